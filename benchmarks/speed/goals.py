"""What the counts are measured against: goals, and the limits that hand-written code has shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Cycles or instructions per product-sum of the best kernels measured: of inference from RAM, from
# flash, with bytes; and per weight of a training step, forward and update, residual and stochastic.
# What a neuron, a row and the back-propagation cost comes on top.
KERNELS: Mapping[str, Mapping[str, float]] = {
    "AVR": {
        "inference": 27.0,
        "inference, flash": 32.0,
        "inference, s8": 10.4,
        "training, residual": 27.2 + 38.2,
        "training, stochastic": 27.2 + 36.2,
    },
    "Cortex-M0": {
        "inference": 3.66,
        "training, residual": 3.66 + 12.4,
        "training, stochastic": 3.66 + 9.4,
    },
    "Cortex-M3": {
        "inference": 2.4,
        "training, residual": 2.4 + 8.75,
        "training, stochastic": 2.4 + 6.75,
    },
    "Cortex-M4F": {
        "inference": 0.875,
        "training, residual": 0.875 + 5.6,
        "training, stochastic": 0.875 + 3.9,
    },
    "RISC-V": {
        "inference": 3.7,
        "training, residual": 3.7 + 11.9,
        "training, stochastic": 3.7 + 8.9,
    },
}

_STEPS = ("inference, residual", "training, residual", "training, stochastic")


def _steps(board: str, net: str, counts: Sequence[int]) -> dict[tuple[str, str, str], int]:
    return {(board, net, mode): count for mode, count in zip(_STEPS, counts, strict=True)}


# Whole samples in hand-written prototypes, by board, net and mode. On AVR their 32-bit sums wrap;
# on Cortex-M and RISC-V they leave saturation out while the weights are far from the rails, so
# their time depends on the data. What is measured here does neither.
PROTOTYPES: Mapping[tuple[str, str, str], int] = {
    **_steps("uno", "4-16-3", (4_499, 12_964, 12_662)),
    ("uno", "4-16-3", "inference, stochastic"): 4_425,
    **_steps("uno", "2-2-1", (580, 1_513, 1_507)),
    ("uno", "2-2-1", "inference, stochastic"): 562,
    ("uno", "64-16-10", "inference, s8"): 12_663,
    **_steps("mega2560", "64-32-10", (69_160, 177_045, 171_185)),
    ("mega2560", "64-32-10", "inference, stochastic"): 67_940,
    **_steps("microbit", "64-32-10", (11_152, 46_101, 39_886)),
    **_steps("rp2040", "64-32-10", (11_152, 46_101, 39_886)),
    **_steps("bluepill", "64-32-10", (7_315, 31_340, 26_923)),
    **_steps("stm32f405", "64-32-10", (3_703, 19_269, 15_596)),
    **_steps("rv32", "64-32-10", (10_577, 42_557, 35_136)),
    **_steps("microbit", "4-16-3", (1_520, 5_571, 5_258)),
    **_steps("rp2040", "4-16-3", (1_520, 5_571, 5_258)),
    **_steps("bluepill", "4-16-3", (1_023, 3_481, 3_245)),
    **_steps("stm32f405", "4-16-3", (918, 2_627, 2_458)),
    **_steps("rv32", "4-16-3", (1_326, 4_164, 3_940)),
}
NEAR_PROTOTYPE = 1.1  # on AVR

# Worst step over typical step.
MAX_RATIO = 1.02
# A step at the slowest learning rate over one at the fastest.
MAX_RATIO_OF_RATES = 1.15


@dataclass(frozen=True)
class Goal:
    """At most `most` of a `figure` of the row with that board, net and mode."""

    board: str
    net: str
    mode: str
    figure: str  # "count", "flash" or "state"
    most: int
    note: str = ""


def _goals(
    board: str, net: str, counts: Mapping[str, int], figure: str = "count"
) -> tuple[Goal, ...]:
    return tuple(Goal(board, net, mode, figure, most) for mode, most in counts.items())


def _three(board: str, counts: Sequence[int]) -> tuple[Goal, ...]:
    return _goals(board, "64-32-10", dict(zip(_STEPS, counts, strict=True)))


GOALS: tuple[Goal, ...] = (
    *_goals("uno", "4-16-3", dict(zip(_STEPS, (4_600, 13_300, 13_000), strict=True))),
    *_goals("uno", "2-2-1", {"inference, residual": 600, "training, residual": 1_600}),
    *_goals("uno", "2-2-1", {"inference, stochastic": 600, "training, stochastic": 1_600}),
    *_goals("mega2560", "64-32-10", {"inference, stochastic": 73_000}),
    *_goals("mega2560", "64-32-10", {"training, stochastic": 180_000}),
    *_goals("mega2560", "64-32-10", {"training, stochastic": 5_300}, "state"),
    *_goals("uno", "4-16-3", {"training, residual": 510, "training, stochastic": 380}, "state"),
    *_goals("uno", "4-16-3", {"training, residual": 3_800}, "flash"),
    *_goals("uno", "4-16-3", {"training, residual, small": 2_400}, "flash"),
    *_three("rp2040", (12_000, 54_000, 50_000)),
    *_three("bluepill", (8_000, 37_000, 33_000)),
    *_three("stm32f405", (4_200, 23_000, 19_000)),
    *_three("rv32", (12_000, 53_000, 46_000)),
    *_goals("uno", "64-16-10", {"inference, s8": 13_000}),
    *(
        Goal(board, net, mode, "count", int(count * NEAR_PROTOTYPE), ", 1.1 x hand-written")
        for (board, net, mode), count in PROTOTYPES.items()
        if board in ("uno", "mega2560")
    ),
)


def kernel(core: str, mode: str) -> float | None:
    """The best kernel's count per product-sum for a mode on a core, where one was measured."""
    counts = KERNELS["Cortex-M0" if core == "Cortex-M0+" else core]
    if mode in ("inference, residual", "inference, stochastic"):
        mode = "inference"
    return counts.get(mode)
