"""bpgen: train a small network in float, run and train it as integers in C99."""

__version__ = "0.1.0"
