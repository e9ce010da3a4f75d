"""bpgen simulate: the generated C, compiled for this machine, against the twin."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from bpgen.commands.shared import (
    ZERO_UPDATES,
    Name,
    check_distinct,
    data_option,
    fail,
    force_option,
    json_option,
    learning_rate_decay_option,
    path_argument,
    print_json,
    print_loss,
    print_table,
    progress,
    score_name,
    spelled_score,
    warn,
    warn_of_clipping,
    warn_of_targets,
)

if TYPE_CHECKING:
    from bpgen.evaluate import Differences, TrainingRun
    from bpgen.model import IntModel


@click.command()
@path_argument("model_file")
@data_option(True, "Samples with the columns that the model was trained on.")
@click.option(
    "--train", "trains", is_flag=True, help="Train in C, beginning with the model's weights."
)
@click.option("--epochs", type=click.IntRange(0), default=100, show_default=True)
@click.option(
    "--learning-rate",
    type=float,
    help="Default: the model's, which for the mean of a batch includes 1 / its size.",
)
@learning_rate_decay_option
@click.option(
    "--test-fraction",
    type=float,
    default=0.25,
    show_default=True,
    help="Share of the samples that is held out from --train; 0 trains on all.",
)
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    help="Decides split and sample order; that of 'bpgen train' repeats its run.",
)
@click.option(
    "--compare-steps",
    type=click.IntRange(0),
    metavar="N",
    help="Training steps that the twin repeats; the final weights are compared on all "
    "samples in any case. Default: 100000, or 4e8 / parameters if that is "
    "less, about 15 s.",
)
@click.option(
    "--keep",
    type=Name(),
    metavar="FOLDER",
    help="Keep the generated C in a new folder.",
)
@json_option
@force_option
def simulate(
    model_file: Path,
    data_file: Path,
    trains: bool,
    test_fraction: float,
    keep: Path | None,
    as_json: bool,
    force: bool,
    **settings: Any,
) -> None:
    """Compile the generated C, run it on samples, and compare every bit with the twin.

    With --train the C code also learns: weights, accumulators and losses are compared while
    the twin repeats its steps. Any bit that differs ends with exit code 1.

    \b
    Example:
      bpgen simulate iris.model.json --data iris.csv --train --epochs 100
    """
    if not trains:
        _refuse_options_of_training()

    from bpgen import simulate as simulation_module
    from bpgen.checkpoint import divide
    from bpgen.emit.write import check_free
    from bpgen.errors import BpgenError
    from bpgen.evaluate import (
        Differences,
        compare_inference,
        load_model,
        load_samples,
        score,
        simulate_training,
    )
    from bpgen.twin import Twin

    if keep is not None:
        check_free(keep, force=force, folder=True)
    model = load_model(model_file)
    if trains and model.training is None:
        raise BpgenError(
            f"{model_file} can only infer: quantize it without --inference-only, or leave --train "
            "out"
        )
    data = load_samples(data_file, model)
    warn_of_targets(data, model.output.activation, "they stay as they are, and so does their error")
    warn_of_clipping(model, data)
    seed = settings["seed"]
    parts = {"all": data}
    if trains:
        train_part, test_part = divide(data, test_fraction, seed)
        parts = {"train": train_part} | ({} if test_part is None else {"test": test_part})
    simulation_module.compiler()
    if keep is not None:
        _keep(model, keep, force, [model_file, data_file])
    differences, twin = Differences(), Twin(model)
    run: TrainingRun | None = None
    to_float = model.output.a_format.to_float
    with simulation_module.Simulation(model) as simulation:
        differences.add("self-test", int(simulation.self_test()), 1)
        scores = {}
        for name, part in parts.items():
            before = score(to_float(compare_inference(simulation, twin, part, differences)), part)
            scores[name] = [before]
        if trains:
            _restart(simulation, twin)
            with progress("learning in C", settings["epochs"]) as advance:
                run = simulate_training(
                    simulation,
                    twin,
                    parts["train"],
                    differences,
                    on_epoch=lambda epoch, loss: advance(1),
                    **settings,
                )
            for name, part in parts.items():
                y = compare_inference(simulation, twin, part, differences)
                scores[name].append(score(to_float(y), part))
    if run is not None and run.zero_updates > ZERO_UPDATES:
        warn(
            f"{100 * run.zero_updates:.0f}% of the updates rounded to zero: choose a larger "
            "learning rate, or the residual update"
        )
    counts = {name: len(part) for name, part in parts.items()}
    _report(model, scores, counts, differences, run, as_json)
    if differences.total:
        fail(
            f"{differences.total} values of the C code differ from the twin: this is a mistake in "
            "bpgen or in the compiler, please report it with the model"
        )


def _restart(simulation: Any, twin: Any) -> None:
    """Forget what the deltas of the first comparison may have left behind."""
    simulation.reset()
    twin.reset()


def _refuse_options_of_training() -> None:
    """Without --train an option that only training heeds is a mistake, not to be ignored."""
    context = click.get_current_context()
    for name in ("epochs", "learning_rate", "learning_rate_decay", "compare_steps"):
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name.replace('_', '-')} needs --train", context)


def _keep(model: IntModel, folder: Path, force: bool, inputs: list[Path]) -> None:
    from bpgen.emit.write import write_folder
    from bpgen.generation import generate

    files = generate(model, "net", main=True)
    check_distinct(inputs, [folder / name for name in files])
    write_folder(folder, files, force=force)


def _report(
    model: IntModel,
    scores: dict[str, list[float]],
    counts: dict[str, int],
    differences: Differences,
    run: TrainingRun | None,
    as_json: bool,
) -> None:
    name, labels = score_name(model.labels), model.labels
    if as_json:
        print_json(
            {
                "hash": model.hash,
                name.lower(): scores,
                "samples": counts,
                "compared": differences.compared,
                "different": differences.different,
                "training": run,
            }
        )
        return
    for part, values in scores.items():
        text = " -> ".join(spelled_score(value, labels) for value in values)
        click.echo(f"{part:5s} {name} {text} on {counts[part]} samples")
    if run is not None:
        print_loss(run.loss)
        click.echo(
            f"{run.steps:,} training steps in C at {run.steps_per_second:,.0f} steps/s; "
            f"the twin repeated {run.compared_steps:,} of them"
        )
    print_table(
        "C against the twin, bit by bit",
        ("what", "compared", "different"),
        [(what, n, differences.different[what]) for what, n in differences.compared.items()],
    )
