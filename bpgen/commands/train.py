"""bpgen train: samples to a float network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bpgen.commands.shared import (
    Name,
    check_outputs,
    check_plot,
    check_suffix,
    force_option,
    json_option,
    learning_rate_decay_option,
    output_option,
    path_argument,
    plot_loss,
    print_json,
    print_loss,
    progress,
    score_name,
    spelled_score,
    warn,
    warn_of_targets,
    warnings_as_lines,
)
from bpgen.errors import BpgenError

if TYPE_CHECKING:
    from bpgen.checkpoint import Checkpoint
    from bpgen.dataset import Dataset
    from bpgen.training import Training

# Spelled here so that --help needs no NumPy; a test holds them to floatnet and dataset.
HIDDEN = ("sigmoid", "tanh", "tanh_opt", "relu", "linear")
OUTPUTS = ("sigmoid", "softmax", "linear")
LOSSES = ("squared_error", "cross_entropy")
INITS = ("xavier", "normal", "zeros")
SCALINGS = ("minmax", "standard", "none")
REDUCTIONS = ("mean", "sum")
NAMED = 5  # constant features in a warning
LARGEST_TARGET = 10.0  # of a linear output, without a warning
TASKS = ("auto", "classify", "regress")


def layer_sizes(text: str) -> tuple[int, ...]:
    """4-8-3."""
    parts = text.split("-")
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise click.BadParameter(f"{text!r} is no list of layer sizes such as 4-8-3")
    for part in parts:
        if len(part) > 6:
            raise click.BadParameter(f"a layer of {part[:20]} units is too large, use up to 999999")
    return tuple(int(part) for part in parts)


def batch_size(text: str) -> int | None:
    """A number, or full: None."""
    if text == "full":
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise click.BadParameter(f"{text!r} is neither a number of samples nor 'full'")
    return int(text)


@click.command()
@path_argument("data_file")
@click.option(
    "--layers",
    type=layer_sizes,
    metavar="N-N-...",
    required=True,
    help="Layer sizes, inputs first: 4-8-3.",
)
@click.option(
    "--target-column",
    "targets",
    multiple=True,
    metavar="NAME",
    help="Column to predict; may be repeated for several values.",
)
@click.option(
    "--feature",
    "features",
    multiple=True,
    metavar="NAME",
    help="Column to use as an input; may be repeated. Default: all others.",
)
@click.option(
    "--task",
    type=click.Choice(TASKS),
    default="auto",
    show_default=True,
    help="Whether the target is a class or a value.",
)
@output_option("the trained network, an .npz file")
@click.option("--epochs", type=int, default=100, show_default=True)
@click.option(
    "--hidden",
    "--activation",
    "hidden",
    type=click.Choice(HIDDEN),
    default="sigmoid",
    show_default=True,
    help="Activation of the hidden layers.",
)
@click.option(
    "--output",
    type=click.Choice(OUTPUTS),
    default="sigmoid",
    show_default=True,
    help="Activation of the outputs.",
)
@click.option(
    "--loss",
    type=click.Choice(LOSSES),
    help="Default: cross_entropy behind softmax, else squared_error.",
)
@click.option("--learning-rate", type=float, default=0.2, show_default=True)
@learning_rate_decay_option
@click.option(
    "--batch-size",
    type=batch_size,
    metavar="N|full",
    default="1",
    show_default=True,
    help="Samples per update; 1 is online training.",
)
@click.option(
    "--reduction",
    type=click.Choice(REDUCTIONS),
    default="mean",
    show_default=True,
    help="What an update makes of the gradients of its batch.",
)
@click.option("--momentum", type=float, default=0.0, show_default=True)
@click.option("--l2", type=float, default=0.0, show_default=True, help="Weight of the L2 penalty.")
@click.option(
    "--sparsity-target",
    type=float,
    metavar="MEAN",
    help="Wanted mean activation of hidden units, such as 0.05.",
)
@click.option(
    "--sparsity-weight",
    type=float,
    metavar="BETA",
    help="Weight of the sparsity penalty; needs --sparsity-target.",
)
@click.option(
    "--stop-loss",
    type=float,
    nargs=2,
    metavar="LOW HIGH",
    help="Stop once the training loss is in this range.",
)
@click.option(
    "--init",
    type=click.Choice(INITS),
    default="xavier",
    show_default=True,
    help="How the first weights are drawn.",
)
@click.option(
    "--scale",
    type=click.Choice(SCALINGS),
    default="minmax",
    show_default=True,
    help="How columns are scaled to inputs.",
)
@click.option(
    "--test-fraction",
    type=float,
    default=0.25,
    show_default=True,
    help="Share of the samples that is held out; 0 trains on all.",
)
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    help="Decides split, first weights and sample order.",
)
@click.option(
    "--plot",
    type=Name(),
    metavar="FILE",
    help="Also write the learning curve as .png or .svg.",
)
@json_option
@force_option
def train(
    data_file: Path,
    layers: tuple[int, ...],
    targets: tuple[str, ...],
    features: tuple[str, ...],
    task: Any,
    output_file: Path,
    hidden: str,
    output: str,
    loss: str | None,
    init: str,
    scale: str,
    test_fraction: float,
    plot: Path | None,
    as_json: bool,
    force: bool,
    **settings: Any,
) -> None:
    """Train a network in float64 on the samples of a .csv or .npz file.

    \b
    Example:
      bpgen train iris.csv --layers 4-8-3 --target-column species --epochs 200 -o iris.npz
    """
    training = _training(settings)
    check_outputs([data_file], [output_file, plot], force)
    check_suffix(output_file, "a trained network", ".npz")
    if plot is not None:
        check_plot(plot)

    from bpgen import checkpoint, dataset

    data = dataset.load(data_file, targets, features or None, task=task)
    warn_of_targets(data, output, "choose --output linear, or scale the targets")
    _warn_of_data(data, output)
    _warn_of_rate(training, len(data))
    with warnings_as_lines(), progress("training", training.epochs) as advance:
        trained = checkpoint.train(
            data,
            layers,
            training,
            hidden=hidden,
            output=output,
            loss=loss,
            init=init,
            scaling=scale,
            test_fraction=test_fraction,
            on_epoch=lambda epoch, loss: advance(1),
        )
    trained.save(output_file, force=force)
    if plot is not None:
        plot_loss(plot, trained.log.loss, str(data_file.name), force)
    _report(trained, data, output_file, as_json)


def _training(settings: dict[str, Any]) -> Training:
    from bpgen.floatnet import Sparsity
    from bpgen.training import Training

    target, weight = settings.pop("sparsity_target"), settings.pop("sparsity_weight")
    if (target is None) != (weight is None):
        raise click.UsageError(
            "--sparsity-target and --sparsity-weight go together, give both",
            click.get_current_context(),
        )
    return Training(sparsity=None if target is None else Sparsity(target, weight), **settings)


def _warn_of_data(data: Dataset, output: str) -> None:
    """Say what of the samples teaches a network nothing, or more than it can hold."""
    constant = [data.features[i] for i in (data.x == data.x[0]).all(axis=0).nonzero()[0]]
    if constant:
        shown = ", ".join(map(repr, constant[:NAMED])) + (", ..." if constant[NAMED:] else "")
        one = len(constant) == 1
        warn(
            f"{'feature' if one else f'{len(constant)} features:'} {shown} "
            f"{'has' if one else 'have'} the same value in every sample and teach"
            f"{'es' if one else ''} nothing: leave {'it' if one else 'them'} out"
        )
    largest = abs(data.t).max()
    if output == "linear" and largest > LARGEST_TARGET:
        warn(
            f"the targets reach {largest:g}, far from the size of weights and inputs: scale the "
            "targets to about -1 to 1"
        )


def _warn_of_rate(training: Training, samples: int) -> None:
    """Say that a device could not learn with this rate, whatever its formats."""
    from bpgen.ranges import learning_rate

    divisor = (training.batch_size or samples) if training.reduction == "mean" else 1
    try:
        learning_rate(training.learning_rate / divisor)
    except BpgenError:
        warn(
            f"no device can learn with a learning rate of {training.learning_rate:g}: the model "
            "will need --inference-only"
        )


def _report(trained: Checkpoint, data: Dataset, output_file: Path, as_json: bool) -> None:
    from bpgen.evaluate import float_score

    parts = dict(zip(("train", "test"), trained.split.divide(data), strict=True))
    scores = {name: float_score(trained, part) for name, part in parts.items() if part is not None}
    name, labels = score_name(trained.labels), trained.labels
    if as_json:
        figures = {
            "file": output_file,
            "layers": trained.net.sizes,
            "samples": {part: len(rows) for part, rows in parts.items() if rows is not None},
            "epochs": len(trained.log.loss),
            name.lower(): scores,
            "loss": trained.log.loss,
        }
        print_json(figures)
        return
    print_loss(trained.log.loss)
    for part, value in scores.items():
        rows = parts[part]
        assert rows is not None
        click.echo(f"{part:5s} {name} {spelled_score(value, labels)} on {len(rows)} samples")
    click.echo(f"wrote {output_file}")
