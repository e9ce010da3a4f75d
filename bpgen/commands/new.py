"""bpgen new: integer model to a whole firmware, or to an Arduino library."""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource

from bpgen.commands.shared import Name, check_distinct, force_option, optimize_option, warn


@click.command()
@click.argument("folder", type=Name())
@click.option(
    "--model",
    "model_file",
    type=Name(),
    required=True,
    metavar="FILE",
    help="What 'bpgen quantize' wrote.",
)
@click.option("--board", required=True, metavar="BOARD", help="See 'bpgen boards'.")
@click.option(
    "--prefix", default="net", show_default=True, help="Name of the network, and of the image."
)
@click.option("--baud", type=int, help="Rate of the serial line.  [default: 115200]")
@optimize_option
@click.option(
    "--arduino", is_flag=True, help="Write a library for the Arduino IDE instead; uno or mega2560."
)
@click.option(
    "--demo-data",
    "data_file",
    type=Name(),
    metavar="FILE",
    help="Make a firmware that trains itself on these samples and prints its loss, without a host.",
)
@click.option(
    "--epochs",
    type=click.IntRange(1, 65535),
    default=50,
    show_default=True,
    help="How often it visits the samples of --demo-data.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Decides the order of the samples of --demo-data.",
)
@force_option
def new(
    folder: Path,
    model_file: Path,
    board: str,
    prefix: str,
    baud: int | None,
    optimize: str,
    arduino: bool,
    data_file: Path | None,
    epochs: int,
    seed: int,
    force: bool,
) -> None:
    """Write a complete firmware project for a board: make, make flash, make sim.

    \b
    Example:
      bpgen new uno-iris --model iris.model.json --board uno --prefix iris
      make -C uno-iris
    """
    _refuse_options_of_samples(data_file)

    from bpgen import targets
    from bpgen.commands.shared import warn_of_clipping
    from bpgen.emit import cfmt
    from bpgen.emit.write import check_free, write_folder
    from bpgen.evaluate import load_model, load_samples
    from bpgen.project import arduino_files, firmware_files, plan, port_of, samples_of

    cfmt.check_identifier(prefix)
    port_of(targets.target(board), baud)
    check_free(folder, force=force, folder=True)
    model = load_model(model_file)
    samples = None
    if data_file is not None:
        data = load_samples(data_file, model)
        warn_of_clipping(model, data)
        samples = samples_of(model, data, epochs=epochs, seed=seed)
    project = plan(model, prefix, board, baud, samples=samples, optimize=optimize)
    files = arduino_files(project) if arduino else firmware_files(project)
    inputs = [model_file] if data_file is None else [model_file, data_file]
    check_distinct(inputs, [folder / name for name in files])
    write_folder(folder, files, force=force)
    if project.no_store and model.training is not None and (arduino or samples is None):
        warn(f"generated without SAVE: {project.no_store}")
    click.echo(f"{folder}: {len(files)} files, model {model.hash} for {project.target.title}")
    click.echo(f"{board}: {targets.describe(project.fit)}")
    if arduino:
        click.echo(f"next: move {folder} into the folder libraries of the Arduino IDE's sketchbook")
    else:
        click.echo(f"next: make -C {folder}, and see its README.md")


def _refuse_options_of_samples(data_file: Path | None) -> None:
    """Without --demo-data an option that only it heeds is a mistake, not to be ignored."""
    context = click.get_current_context()
    for name in ("epochs", "seed"):
        if data_file is None and (
            context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        ):
            raise click.UsageError(f"--{name} needs --demo-data", context)
