"""bpgen-host stream: samples to a board, which predicts or learns."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from bpgen.commands.group import INTERRUPTED
from bpgen.commands.shared import (
    Name,
    check_distinct,
    complain,
    learning_rate_decay_option,
    path_argument,
    print_json,
    print_loss,
    progress,
    score_name,
    spelled_score,
    warn_of_targets,
)
from bpgen.errors import BpgenError
from bpgen_host.commands.live import View
from bpgen_host.commands.shared import Board, Seconds, board_options, load_data

if TYPE_CHECKING:
    from bpgen.dataset import Dataset
    from bpgen.model import IntModel
    from bpgen.qformat import IntArray
    from bpgen_host.device import Device, Faults
    from bpgen_host.session import Outcome

OF_TRAINING = (
    "epochs", "seed", "learning_rate", "learning_rate_decay", "keep_weights", "log", "resume",
    "check_every", "save_every", "patience",
)  # fmt: skip


@click.command()
@path_argument("data_file")
@board_options
@click.option("--train", "trains", is_flag=True, help="Let the board learn from the samples.")
@click.option("--epochs", type=click.IntRange(1), default=50, show_default=True)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Decides the order of the samples.",
)
@click.option(
    "--target-column",
    "targets",
    multiple=True,
    metavar="NAME",
    help="Column with the class or a value; may be repeated. Default: those of the model.",
)
@click.option("--learning-rate", type=float, help="Default: the model's.")
@learning_rate_decay_option
@click.option(
    "--keep-weights",
    is_flag=True,
    help="Begin with the weights that the board has, not with those of its firmware.",
)
@click.option("--log", type=Name(), metavar="FILE", help="Note the run in this file, for --resume.")
@click.option("--resume", is_flag=True, help="Go on where the run of --log ended.")
@click.option(
    "--check-every",
    type=click.IntRange(1),
    default=256,
    show_default=True,
    metavar="K",
    help="Compare all weights with the twin after so many steps.",
)
@click.option(
    "--save-every", type=click.IntRange(0), default=0, show_default=True, metavar="K",
    help="Let the board store its state after so many steps; 0: never.",
)  # fmt: skip
@click.option(
    "--patience",
    type=Seconds(0.0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for a board that was unplugged.",
)
def stream(
    data_file: Path,
    board: Board,
    trains: bool,
    targets: tuple[str, ...],
    as_json: bool,
    **settings: Any,
) -> None:
    """Send samples to the board; with --train it learns from them, else it predicts.

    While it learns, a twin beside it does the same steps, and the weights of both are compared bit
    by bit; one that differs ends with exit code 1. After Ctrl-C, or a cable that was pulled, the
    same command with --resume goes on.

    \b
    Example:
      bpgen-host stream iris.csv --port /dev/ttyACM0 --model iris.model.json --train \\
        --epochs 50 --log iris.log
    """
    from bpgen.evaluate import raw_samples
    from bpgen_host.training_log import log_is_taken

    _check_options(trains, settings)
    model = board.require_model("columns become inputs by the rule of a model")
    log, resume = settings["log"], settings["resume"]
    if log is not None and not resume:
        check_distinct([board.model_file, data_file], [log])
        if log.exists() and not board.force:
            raise log_is_taken(log)
    board.check_files([data_file], [None if resume else log])
    if trains and model.training is None:
        raise BpgenError(
            f"{board.model_file} can only infer: quantize it without --inference-only, or leave "
            "--train out"
        )
    data = load_data(data_file, model, targets)
    warn_of_targets(data, model.output.activation, "they stay as they are, and so does their error")
    a0, t = raw_samples(model, data)
    with board.open() as device:
        outcome = _train(device, board, a0, t, as_json, settings) if trains else None
        y = _outputs(device, a0)
        faults = device.faults
    score, loss = _measured(model, data, t, y)
    _report(model, data, outcome, score, loss, faults, as_json)


def _check_options(trains: bool, settings: dict[str, Any]) -> None:
    context = click.get_current_context()
    if not trains:
        for name in OF_TRAINING:
            if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
                raise click.UsageError(f"--{name.replace('_', '-')} needs --train", context)
    if settings["resume"] and settings["log"] is None:
        raise click.UsageError("--resume goes on with the run of a log, add --log FILE", context)


def _train(
    device: Device,
    board: Board,
    a0: IntArray,
    t: IntArray,
    as_json: bool,
    settings: dict[str, Any],
) -> Outcome:
    from bpgen_host.link import LinkError
    from bpgen_host.session import Plan, Session

    assert board.model is not None
    plan = Plan(
        settings["epochs"],
        settings["seed"],
        settings["learning_rate"],
        settings["learning_rate_decay"],
        "weights" if settings["keep_weights"] else "reset",
    )
    view = View(plan.epochs, quiet=as_json)
    session = Session(
        device,
        board.model,
        a0,
        t,
        plan,
        log=settings["log"],
        resume=settings["resume"],
        force=board.force,
        check_every=settings["check_every"],
        save_every=settings["save_every"],
        reopen=board.connect,
        patience=settings["patience"],
        on_progress=view.progress,
        on_event=view.event,
    )

    def place() -> str:
        return f"after {session.step:,} of {plan.epochs * len(a0):,} steps"

    try:
        with session, view.shown():
            outcome = session.run()
    except KeyboardInterrupt:
        complain(f"interrupted {place()}: {_how_to_go_on(settings['log'])}")
        raise click.exceptions.Exit(INTERRUPTED) from None
    except LinkError as error:
        raise LinkError(
            f"{error}; training ended {place()}, {_how_to_go_on(settings['log'])}"
        ) from None
    return outcome


def _how_to_go_on(log: Path | None) -> str:
    if log is None:
        return "without --log a run cannot be resumed, start it again with --log FILE"
    return f"the same command with --resume goes on from {log}"


def _outputs(device: Device, a0: IntArray) -> IntArray:
    """The board's outputs [n][n_out] for all samples."""
    import numpy as np

    found = []
    with progress("predicting", len(a0)) as advance:
        for y in device.infer_many(a0):
            found.append(y)
            advance(1)
    return np.array(found)


def _measured(model: IntModel, data: Dataset, t: IntArray, y: IntArray) -> tuple[float, float]:
    """The score and the mean loss of outputs."""
    from bpgen.evaluate import score
    from bpgen.twin import Twin

    twin = Twin(model)
    loss = float(twin.losses(y, t).mean()) * 2.0**-twin.loss_frac
    return score(model.output.a_format.to_float(y), data), loss


def _report(
    model: IntModel,
    data: Dataset,
    outcome: Outcome | None,
    score: float,
    loss: float,
    faults: Faults,
    as_json: bool,
) -> None:
    name = score_name(model.labels)
    if as_json:
        training = None
        if outcome is not None:
            training = {key: value for key, value in vars(outcome).items() if key != "parameters"}
            training["weights_crc32"] = f"{outcome.weights_crc32:08x}"
        print_json(
            {
                "hash": model.hash,
                "samples": len(data),
                name.lower(): score,
                "loss": loss,
                "faults": faults,
                "training": training,
            }
        )
        return
    if outcome is not None:
        print_loss(outcome.loss)
        speed = outcome.sent / outcome.seconds if outcome.seconds else 0.0
        click.echo(
            f"{outcome.steps:,} steps, {speed:,.0f} a second; the weights "
            f"{outcome.weights_crc32:08x} equal the twin's in {outcome.checks:,} checks; "
            f"{outcome.restarts} restarts, {outcome.repeated} steps repeated"
        )
    click.echo(
        f"{name} {spelled_score(score, model.labels)}, loss {loss:.6f} on {len(data)} samples; "
        f"{faults}"
    )
