"""A gradient as a picture: in the terminal, or as an image file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bpgen.commands.shared import check_plot

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from bpgen_host.compare import Row

SHADES = " .:-=+*#%@"
WIDTH = 96


def matrices(rows: Sequence[Row]) -> dict[int, npt.NDArray[np.float64]]:
    """The gradient of each layer as [out][in + 1], the biases in the last column."""
    import numpy as np

    found = {}
    for layer in sorted({row.layer for row in rows}):
        own = [row for row in rows if row.layer == layer]
        inputs = 1 + max((row.i for row in own if row.i is not None), default=-1)
        image = np.zeros((1 + max(row.j for row in own), inputs + 1))
        for row in own:
            image[row.j, inputs if row.i is None else row.i] = row.value
        found[layer] = image
    return found


def print_heatmap(rows: Sequence[Row]) -> None:
    """Print each layer as characters, the darker the larger; below 0 in blue, above in red."""
    import numpy as np
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    for layer, whole in matrices(rows).items():
        image = _narrowed(whole)
        top = float(np.abs(image).max()) or 1.0
        console.print(
            Text(f"dw{layer}, db{layer} in the last column; @ is {top:.4g}"), soft_wrap=True
        )
        for values in image:
            line = Text("  ")
            for value in values:
                shade = SHADES[round(abs(value) / top * (len(SHADES) - 1))]
                line.append(shade, style="red" if value > 0 else "blue")
            console.print(line, soft_wrap=True)


def _narrowed(image: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """At most WIDTH columns: of neighbours that share one, the largest is shown."""
    import numpy as np

    if image.shape[1] <= WIDTH:
        return image
    parts = np.array_split(image, WIDTH, axis=1)
    largest = [
        np.take_along_axis(part, np.abs(part).argmax(axis=1)[:, np.newaxis], axis=1)
        for part in parts
    ]
    return np.concatenate(largest, axis=1)


def draw_heatmap(path: Path, rows: Sequence[Row], title: str, force: bool) -> None:
    """Write each layer's gradient as an image; the suffix of the file decides its kind."""
    check_plot(path)
    import io

    from matplotlib.figure import Figure

    from bpgen.emit.write import write_file

    images = matrices(rows)
    figure = Figure(figsize=(3.5 * len(images) + 1, 4), layout="constrained")
    for axes, (layer, image) in zip(
        figure.subplots(1, len(images), squeeze=False)[0], images.items(), strict=True
    ):
        top = float(abs(image).max()) or 1.0
        shown = axes.imshow(image, cmap="RdBu_r", vmin=-top, vmax=top, aspect="auto")
        axes.set(title=f"dw{layer} | db{layer}", xlabel="from", ylabel="to")
        figure.colorbar(shown, ax=axes)
    figure.suptitle(title)
    data = io.BytesIO()
    figure.savefig(data, format=path.suffix.lstrip(".").lower())
    write_file(path, data.getvalue(), force=force)
