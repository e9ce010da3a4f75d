"""Which kernels of AVR cores do a layer, and what its constants say to them."""

from __future__ import annotations

from dataclasses import dataclass

from bpgen import lut
from bpgen.model import Dense
from bpgen.proof import WEIGHT_LIMIT, Sum

# Products of 16-bit numbers that the sums of AVR cores hold, in 40 bits.
AVR_WIDE_OUTPUTS = 512
# From how many weights on the loop of large layers saves enough for its 640 to 800 bytes of code.
AVR_LARGE_WEIGHTS = 128


@dataclass(frozen=True)
class Kernel:
    """
    What a layer's constants say: functions, the count that they take, whether they are fused.

    Of a sum at once, `sums` makes the sums of so many pairs of inputs, and `name` ends them; of
    others these are "0" and 0, and `name` does all.
    """

    sums: str
    at_once: int
    name: str
    count: int
    fused: bool  # the activation, not z alone
    a_scale: int  # of a fused layer of s16 weights, 2^(fraction of the outputs - 8)


def kernel_of(layer: Dense, total: Sum, a_in_frac: int, rom: str) -> Kernel:
    """The kernel of a layer with that sum and inputs; `rom` is "_rom" for weights in flash."""
    frac = layer.a_format.frac
    bits = lut.activation_table("sigmoid", frac).bits if layer.activation == "sigmoid" else 0
    if layer.w_format.bits == 8:
        narrows = layer.a_format.bits == 8
        # A sigmoid of a fraction from 11 up reaches no 1.
        fused = bits == 7 and (frac == 8 if narrows else 11 <= frac <= 13)
        fits = avr_bytes(total, layer.outputs)
        end = ("sigmoid" if fused else "clip") if fits else "any"
        return Kernel("0", 0, f"bp_avr_{'u8' if narrows else 's8'}_{end}", 0, fused and fits, 0)
    kind, count = avr_sum(total, layer.outputs, a_in_frac)
    # Where no y reaches 1, and with the tables that the kernels of AVR cores know.
    fused = kind != "any" and {7: 11, 8: 14}.get(bits, 16) <= frac <= 14
    end = f"_sigmoid_{bits}" if fused else "" if kind == "any" else "_clip"
    a_scale = 1 << frac - 8 if fused else 0
    if kind == "plain":
        pairs = (layer.inputs + 1) // 2
        return Kernel(f"bp_avr_sums{rom}", pairs, f"bp_avr_ends{end}", count, fused, a_scale)
    return Kernel("0", 0, f"bp_avr_{kind}{end}{rom}", count, fused, a_scale)


def avr_bytes(total: Sum, outputs: int) -> bool:
    """Whether a layer of s8 weights is one for the kernels of bpgen_avr_s8.h."""
    inputs = total.terms + total.terms % 2
    return 1 <= total.shift <= 8 and outputs <= 128 and inputs <= 256 and total.bound < 2**23


def avr_sum(total: Sum, outputs: int, a_in_frac: int) -> tuple[str, int]:
    """
    How bpgen_avr_forward.h makes a sum: which kernel, and the count that this takes.

    "plain" is at once, in 32 bits. "parts" is to 40 bits, in parts each below 2^31 - 2^24. "any" is
    portable C.
    """
    pairs = (total.terms + 1) // 2
    part = min((2**31 - 2**24) // (2 * WEIGHT_LIMIT * total.top), 255)
    if outputs > 64 or a_in_frac < 8 or not 9 <= total.shift <= 16:
        return "any", 0
    if total.plain and pairs <= 64:
        return "plain", 4 * (pairs - 1) + (outputs + 3) % 4
    return ("parts", part) if part > 0 and total.terms * total.top < 2**24 else ("any", 0)


def is_large(inputs: int, outputs: int) -> bool:
    """
    Whether a layer has its deltas and its step in one loop.

    That counts pairs of inputs in a byte, and its sums of products have 36 bits.
    """
    return outputs <= 32 and _pays(inputs, outputs)


def is_large_first(inputs: int, outputs: int) -> bool:
    """
    Whether the first layer that learns has a step of its own, whose loop expects what it did last.

    It counts pairs of inputs and outputs in a byte each. The steps of up to three outputs have
    registers, or with masters of 24 bits the pass for three, which is shorter.
    """
    return 4 <= outputs <= 255 and _pays(inputs, outputs)


def _pays(inputs: int, outputs: int) -> bool:
    return inputs <= 510 and inputs * outputs >= AVR_LARGE_WEIGHTS
