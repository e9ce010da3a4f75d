"""bpgen quantize: float network to integer model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bpgen.commands.shared import (
    check_outputs,
    check_suffix,
    data_option,
    force_option,
    json_option,
    output_option,
    path_argument,
    print_json,
    print_table,
    score_name,
    spelled_score,
    warn_of_clipping,
)

if TYPE_CHECKING:
    from bpgen.checkpoint import Checkpoint
    from bpgen.dataset import Dataset
    from bpgen.model import IntModel
    from bpgen.quantization import Row


@click.command()
@path_argument("checkpoint_file")
@data_option(False, "Samples to try the integer model on; the columns of the training.")
@output_option("the model, a .json file")
@click.option(
    "--initial",
    is_flag=True,
    help="Take the weights from before training: the device learns from scratch.",
)
@click.option(
    "--update",
    type=click.Choice(("residual", "stochastic")),
    help="How online updates keep what 16 bits drop: 3 or 2 bytes a weight. "
    "Default: residual; batches and momentum have their own.",
)
@click.option(
    "--freeze",
    type=int,
    multiple=True,
    metavar="LAYER",
    help="Keep a layer, counted from 1, in flash; may be repeated.",
)
@click.option("--inference-only", is_flag=True, help="Leave all training out.")
@click.option(
    "--weights",
    type=click.Choice(("s16", "s8")),
    default="s16",
    show_default=True,
    help="s8 needs --inference-only, --data and inputs without sign.",
)
@click.option(
    "--hidden-frac",
    type=click.IntRange(4, 15),
    metavar="BITS",
    help="Fraction bits of the hidden activations, instead of the search.",
)
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    help="Of the dither of stochastic updates, 0 to 65535.",
)
@json_option
@force_option
def quantize(
    checkpoint_file: Path,
    data_file: Path | None,
    output_file: Path,
    as_json: bool,
    force: bool,
    **settings: Any,
) -> None:
    """Turn a trained network into integers: choose the formats, and say why.

    \b
    Example:
      bpgen quantize iris.npz --data iris.csv -o iris.model.json
    """
    if settings["weights"] == "s8" and not settings["inference_only"]:
        raise click.UsageError(
            "s8 weights cannot learn, add --inference-only", click.get_current_context()
        )
    if settings["inference_only"]:
        for name in ("update", "freeze"):
            if settings[name]:
                raise click.UsageError(
                    f"--{name} is about learning, which --inference-only leaves out, give only one",
                    click.get_current_context(),
                )
    check_outputs([checkpoint_file, data_file], [output_file], force)
    check_suffix(output_file, "a model", ".json")

    from bpgen import checkpoint, dataset, quantization
    from bpgen.emit.write import write_file

    trained = checkpoint.load(checkpoint_file)
    data = None
    if data_file is not None:
        data = dataset.load(data_file, trained.targets, trained.features, trained.labels)
        if settings["weights"] == "s8":
            settings["inputs"] = trained.scaling.apply(data.x)
    model = quantization.quantize(trained, **settings)
    measured = None if data is None else _measure(trained, model, data)
    if data is not None:
        warn_of_clipping(model, data)
    write_file(output_file, model.to_json(), force=force)
    rows = quantization.explain(model, trained.log.ranges)
    if as_json:
        print_json({"file": output_file, "hash": model.hash, "layers": rows, "measured": measured})
        return
    _print_formats(rows)
    if measured is not None:
        name, labels = score_name(model.labels), model.labels
        click.echo(
            f"{measured['samples']} samples: {name} {spelled_score(measured['integer'], labels)} "
            f"in integers, {spelled_score(measured['float'], labels)} in float; "
            f"{measured['saturated_inputs']} inputs and {measured['saturated_activations']} "
            "activations saturated"
        )
    click.echo(f"wrote {output_file}, model {model.hash}")


def _measure(trained: Checkpoint, model: IntModel, data: Dataset) -> dict[str, Any]:
    """Scores of the integer network, and of the float one with the weights it was made from."""
    from bpgen.bounds import dequantized
    from bpgen.evaluate import score, twin_score
    from bpgen.twin import Twin

    twin = Twin(model)
    integer = twin_score(model, data, twin)
    w, b = [layer.w for layer in model.layers], [layer.b for layer in model.layers]
    y = dequantized(model, w, b).forward(trained.scaling.apply(data.x)).a[-1]
    return {
        "samples": len(data),
        "integer": integer,
        "float": score(y, data),
        "saturated_inputs": twin.counters.inputs,
        "saturated_activations": twin.counters.activations,
    }


def _print_formats(rows: list[Row]) -> None:
    print_table(
        "Formats (sNqF: N bits, value = raw * 2^-F)",
        ("layer", "size", "activation", "w", "z", "a", "dz", "sum", "backward sum", "RAM bytes"),
        [
            (
                r.layer,
                r.shape,
                r.activation,
                r.w_format,
                r.z_format,
                r.a_format,
                r.dz_format,
                r.forward,
                r.backward,
                r.state_bytes,
            )
            for r in rows
        ],
    )
    for row in rows:
        click.echo(f"layer {row.layer}: {'; '.join(row.why)}")
        if row.shift is not None:
            click.echo(
                f"         updates: activations with {row.update_frac} fraction bits, products "
                f"shifted right by {row.shift}"
            )
