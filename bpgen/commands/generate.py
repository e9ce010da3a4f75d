"""bpgen generate: integer model to C."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from bpgen.commands.shared import (
    Name,
    check_distinct,
    force_option,
    optimize_option,
    path_argument,
    print_table,
)


@click.command()
@path_argument("model_file")
@click.option(
    "--prefix", default="net", show_default=True, help="Start of every file name and C name."
)
@click.option(
    "-o",
    "--output-folder",
    "folder",
    type=Name(),
    required=True,
    metavar="FOLDER",
    help="A new folder for the C files.",
)
@click.option(
    "--inference-only", is_flag=True, help="Leave training out of a model that can learn."
)
@click.option("--board", metavar="BOARD", help="Refuse what does not fit it; see 'bpgen boards'.")
@optimize_option
@click.option("--main", "with_main", is_flag=True, help="Add a main program for a PC, to read.")
@force_option
def generate(
    model_file: Path,
    prefix: str,
    folder: Path,
    inference_only: bool,
    board: str | None,
    optimize: str,
    with_main: bool,
    force: bool,
) -> None:
    """Write C99 that runs a model and, unless it only infers, trains it.

    \b
    Example:
      bpgen generate iris.model.json --prefix iris -o build/iris --board uno
    """
    from bpgen import targets
    from bpgen.emit import cfmt
    from bpgen.emit.write import check_free, write_folder
    from bpgen.evaluate import load_model
    from bpgen.generation import generate as generate_files
    from bpgen.generation import view_of
    from bpgen.quantization import inference_only as without_training

    cfmt.check_identifier(prefix)
    target = targets.target(board) if board is not None else None
    check_free(folder, force=force, folder=True)
    model = load_model(model_file)
    if inference_only:
        model = without_training(model)
    view = view_of(model, prefix, optimize)
    if target is not None:
        targets.require_fit(view, target)
    files = generate_files(model, prefix, main=with_main, view=view)
    check_distinct([model_file], [folder / name for name in files])
    kept = _other_sources(folder, files)
    write_folder(folder, files, force=force)
    print_table(
        "", ("file", "bytes"), [(folder / name, len(t.encode())) for name, t in files.items()]
    )
    state, tables = view.state_size, targets.rom_bytes(view)
    click.echo(
        f"model {model.hash}: {state:,} bytes of state, {tables:,} bytes of tables and weights"
    )
    if target is not None:
        fit = targets.fits(view, target)
        click.echo(f"{target.name}: {targets.describe(fit)}")
    if kept:
        click.echo(f"kept {', '.join(kept)}, which this run did not write")


def _other_sources(folder: Path, files: Mapping[str, str]) -> list[str]:
    """The C files that are in a folder besides those to be written."""
    if not folder.is_dir():
        return []
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.suffix in (".c", ".h") and path.name not in files
    )
