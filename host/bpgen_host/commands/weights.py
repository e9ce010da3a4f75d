"""bpgen-host weights: read, write and compare the weights of a board."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bpgen.commands.shared import Name, fail, path_argument, print_json, print_table
from bpgen_host.commands.shared import Board, board_options

if TYPE_CHECKING:
    from bpgen_host.device import Device
    from bpgen_host.weights import Layout

ROWS = 20


class Subcommands(click.Group):
    """Commands in the order of their use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=Subcommands, invoke_without_command=True)
@click.pass_context
def weights(ctx: click.Context) -> None:
    """Read, write or compare the weights of a board, every bit of them.

    \b
    Example:
      bpgen-host weights get --port /dev/ttyACM0 -o learned.npz
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@weights.command()
@board_options
@click.option(
    "-o", "--output-file", type=Name(), metavar="FILE",
    help="Where to write them: .npz, .json or .csv. Default: print them.",
)  # fmt: skip
def get(board: Board, output_file: Path | None, as_json: bool) -> None:
    """Read the weights of the layers that learn.

    \b
    Example:
      bpgen-host weights get --port /dev/ttyACM0 -o learned.npz
    """
    from bpgen.emit.write import write_file
    from bpgen_host.weights import require_suffix, spelled

    suffix = ".json" if as_json else ".csv"
    if output_file is not None:
        suffix = require_suffix(output_file)
    board.check_files([], [output_file])
    with board.open() as device:
        layout = _layout(device)
        masters = device.parameters()
        gen = device.gen
    content = spelled(layout, masters, suffix)
    if output_file is None:
        click.echo(content.decode(), nl=False)
        return
    write_file(output_file, content, force=board.force)
    figures = {"file": output_file, "weights": layout.size, "hash": layout.hash, "generation": gen}
    if as_json:
        print_json(figures)
    else:
        click.echo(
            f"wrote {layout.size:,} weights of model {layout.hash}, generation {gen}, to "
            f"{output_file}"
        )


@weights.command("set")
@path_argument("weights_file")
@board_options
def set_(weights_file: Path, board: Board, as_json: bool) -> None:
    """Replace the weights of the layers that learn by those of a file.

    The board takes all of them or none.

    \b
    Example:
      bpgen-host weights set learned.npz --port /dev/ttyACM0
    """
    from bpgen_host.weights import read, require_suffix

    require_suffix(weights_file)
    board.check_files([weights_file])
    with board.open() as device:
        layout = _layout(device)
        device.set_parameters(read(weights_file, layout))
        gen = device.gen
    if as_json:
        print_json({"weights": layout.size, "hash": layout.hash, "generation": gen})
        return
    click.echo(f"the board has the {layout.size:,} weights of {weights_file}, generation {gen}")


@weights.command()
@click.argument("weights_file", type=Name(), required=False)
@board_options
@click.option(
    "--rows", type=click.IntRange(0), default=ROWS, show_default=True,
    help="How many weights the table shows.",
)  # fmt: skip
def diff(weights_file: Path | None, board: Board, rows: int, as_json: bool) -> None:
    """Compare the weights of a board with a file, or with what its model began with.

    One that differs ends with exit code 1.

    \b
    Example:
      bpgen-host weights diff learned.npz --port /dev/ttyACM0
      bpgen-host weights diff --port /dev/ttyACM0 --model iris.model.json
    """
    import numpy as np

    from bpgen_host.weights import of_model, read, require_suffix

    if weights_file is None:
        board.require_model("the weights are compared with a file or a model")
    else:
        require_suffix(weights_file)
    board.check_files([weights_file])
    with board.open() as device:
        layout = _layout(device)
        if weights_file is not None:
            other = read(weights_file, layout)
        else:
            assert board.model is not None
            other = of_model(board.model, layout)
        mine = device.parameters()
    names = [tensor.element(i) for tensor in layout.tensors for i in range(tensor.size)]
    fracs = np.concatenate([np.full(tensor.size, tensor.frac) for tensor in layout.tensors])
    change = np.ldexp((mine - other).astype(np.float64), -fracs)
    different = np.flatnonzero(mine != other)
    worst = different[np.argsort(-np.abs(change[different]), kind="stable")]
    table = [(names[i], int(mine[i]), int(other[i]), float(change[i])) for i in worst.tolist()]
    columns = ("weight", "board", "other", "difference")
    if as_json:
        found = [dict(zip(columns, row, strict=True)) for row in table]
        print_json({"hash": layout.hash, "compared": layout.size, "different": found})
    else:
        if table:
            print_table("Largest difference first; raws, and the difference", columns, table[:rows])
        click.echo(f"{len(table):,} of {layout.size:,} weights differ")
    if table:
        than = weights_file or board.model_file
        fail(f"{len(table)} weights of the board are not those of {than}")


def _layout(device: Device) -> Layout:
    from bpgen_host.weights import Layout

    return Layout.of(device.info, device.description())
