"""IntModel to C text: cfmt spells, view computes, render places, write stores."""
