"""bpgen check: the integer model against float, and against the boards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bpgen.commands.shared import (
    data_option,
    fail,
    json_option,
    path_argument,
    print_json,
    print_table,
    progress,
    score_name,
    spelled_score,
    warn_of_clipping,
    warn_of_targets,
)

if TYPE_CHECKING:
    from bpgen.evaluate import FloatComparison
    from bpgen.model import IntModel
    from bpgen.proof import LayerProof
    from bpgen.targets import Fit


@click.command()
@path_argument("model_file")
@data_option(True, "Samples with the columns that the model was trained on.")
@json_option
def check(model_file: Path, data_file: Path, as_json: bool) -> None:
    """Compare the integers with float on the same weights, and prove that nothing overflows.

    Every activation and gradient must lie within the bound that the formats allow; one outside
    it ends with exit code 1. Memory is shown for every board.

    \b
    Example:
      bpgen check iris.model.json --data iris.csv
    """
    from bpgen.evaluate import compare_with_float, load_model, load_samples
    from bpgen.generation import view_of
    from bpgen.proof import prove
    from bpgen.targets import TARGETS, fits

    model = load_model(model_file)
    proofs = prove(model)
    data = load_samples(data_file, model)
    warn_of_targets(data, model.output.activation, "they stay as they are, and so does their error")
    warn_of_clipping(model, data)
    with progress("comparing", len(data)) as advance:
        found = compare_with_float(model, data, advance)
    view = view_of(model, "net")
    memory = [fits(view, target) for target in TARGETS.values()]
    if as_json:
        print_json(
            {
                "hash": model.hash,
                "comparison": found,
                "violations": found.violations,
                "proof": proofs,
                "memory": memory,
            }
        )
    else:
        _print(model, found, proofs, memory)
    if found.violations:
        fail(
            f"{found.violations} values of the integers lie outside the bound around float: this "
            "is a mistake in bpgen, please report it with the model"
        )


def _print(
    model: IntModel, found: FloatComparison, proofs: list[LayerProof], memory: list[Fit]
) -> None:
    name, labels = score_name(model.labels), model.labels
    click.echo(
        f"{found.samples} samples: {name} {spelled_score(found.twin_score, labels)} in integers, "
        f"{spelled_score(found.float_score, labels)} in float on the same weights; "
        f"loss {found.twin_loss:.6f} and {found.float_loss:.6f}"
    )
    if found.unclipped_score != found.float_score:
        click.echo(
            f"float without clipped inputs: {name} {spelled_score(found.unclipped_score, labels)}"
        )
    left_out = f" ({found.clipped} samples beyond the formats left out)" if found.clipped else ""
    print_table(
        f"Integers against float{left_out}",
        ("tensor", "largest difference", "of its bound", "outside"),
        [
            (d.tensor, f"{d.largest:.3e}", f"{100 * d.bound_share:.1f}%", d.violations)
            for d in found.deviations
        ],
    )
    counters = found.counters
    click.echo(
        f"saturated: {counters.inputs} inputs, {counters.activations} activations, "
        f"{counters.deltas} deltas"
    )
    print_table(
        "Tables, error over every input in units of the last place",
        ("function", "output", "intervals", "bytes", "largest error"),
        [(t.function, t.output, t.intervals, t.bytes, t.largest_error) for t in found.tables],
    )
    print_table(
        "Sums, proven for every weight that a device can reach",
        ("layer", "sum", "terms", "largest |sum|", "kept in"),
        [
            (p.layer, name, s.terms, s.bound,
             "int32" if s.plain else f"int64, blocks of {s.block} in int32")
            for p in proofs
            for name, s in (("forward", p.forward), ("backward", p.backward))
            if s is not None
        ],
    )  # fmt: skip
    print_table(
        "Memory, with the code and a reserve for stack and firmware",
        ("board", "RAM needed", "of", "flash needed", "of", "fits"),
        [
            (f.board, f.ram_needed, f.ram_bytes, f.flash_needed, f.flash_bytes, f.verdict)
            for f in memory
        ],
    )
