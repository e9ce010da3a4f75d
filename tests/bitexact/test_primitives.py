"""The core's functions, each over all its 16-bit inputs or a list of edges, against Python ints."""

import ctypes
import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from bpgen import lut
from bpgen.data import FIRMWARE
from tests.bitexact.build import CONFIGS, KERNELS, compile_c

CORE = FIRMWARE / "core"
ALL_S16 = np.arange(-32768, 32768)
S32_MAX, S64_MAX = 2**31 - 1, 2**63 - 1
EDGES = sorted(
    {
        sign * (2**power + offset)
        for sign in (-1, 1)
        for power in range(63)
        for offset in (-2, -1, 0, 1, 2)
    }
)


class Core:
    """The shim's functions: arrays and numbers in, the first array out."""

    def __init__(self, library: Path, counting: bool) -> None:
        self.counting = counting
        self._library = ctypes.CDLL(str(library))

    def __call__(self, name: str, result: npt.DTypeLike, *arguments: Any) -> list[int]:
        count = next(len(a) for a in arguments if isinstance(a, np.ndarray))
        values = np.zeros(count, dtype=result)
        self.run(name, values, *arguments, count)
        return list(values.tolist())

    def run(self, name: str, *arguments: Any) -> None:
        converted = [
            a.ctypes.data_as(ctypes.c_void_p)
            if isinstance(a, np.ndarray)
            else ctypes.c_size_t(a & 0xFFFFFFFFFFFFFFFF)
            for a in arguments
        ]
        getattr(self._library, f"each_{name}")(*converted)


@pytest.fixture(
    scope="module",
    params=[
        replace(c, counters=counters)
        for c in CONFIGS
        for counters in (True, False)
        if "-O2" in c.flags
    ],
    ids=lambda c: f"{c.name}{'-counters' if c.counters else ''}",
)
def core(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    tool: Callable[[str], str],
) -> Core:
    tool(request.param.command)
    made = tmp_path_factory.mktemp("primitives") / "primitives.so"
    shim = Path(__file__).parent / "primitives.c"
    compile_c(request.param, f"-I{CORE}", "-shared", "-o", made, shim, CORE / KERNELS)
    return Core(made, request.param.counters)


def rounded(x: int, shift: int) -> int:
    """Halves up, without a shift: floor(x / 2^shift + 1/2)."""
    return (2 * x + (1 << shift)) // (2 << shift)


def clamp(x: int, lowest: int, highest: int) -> int:
    return min(max(x, lowest), highest)


@pytest.mark.parametrize("shift", range(31))
def test_round32_rounds_halves_up(core: Core, shift: int) -> None:
    half = 1 << shift >> 1
    x = [e for e in EDGES if -(2**31) <= e <= S32_MAX - half] + ALL_S16.tolist()
    got = core("round32", np.int32, np.array(x, dtype=np.int32), shift)
    assert [rounded(value, shift) for value in x] == got


@pytest.mark.parametrize("shift", range(48))
def test_round64_rounds_halves_up(core: Core, shift: int) -> None:
    half = 1 << shift >> 1
    x = [e for e in EDGES if e <= S64_MAX - half]
    got = core("round64", np.int64, np.array(x, dtype=np.int64), shift)
    assert [rounded(value, shift) for value in x] == got


@pytest.mark.parametrize("top", [1, 2, 255, 4095, 16384, 32766, 32767])
def test_a_clamp_stops_at_its_top_and_counts(core: Core, top: int) -> None:
    around = [sign * top + offset for sign in (-1, 1) for offset in (-1, 0, 1)]
    x = [e for e in EDGES if -S32_MAX - 1 <= e <= S32_MAX] + ALL_S16.tolist() + around
    expected = [clamp(value, -top, top) for value in x]
    clipped = np.zeros(1, dtype=np.uint32)
    values = np.zeros(len(x), dtype=np.int16)
    core.run("clamp", values, np.array(x, dtype=np.int32), top, clipped, len(x))
    assert expected == values.tolist()
    changed = sum(a != b for a, b in zip(x, expected, strict=True))
    assert clipped[0] == (changed if core.counting else 0)


@pytest.mark.parametrize("wide", ["", "_wide"])
def test_a_clamp_to_24_bits_is_symmetric_and_counts(core: Core, wide: str) -> None:
    limit = S64_MAX if wide else S32_MAX
    x = [e for e in EDGES if -limit - 1 <= e <= limit]
    clipped = np.zeros(1, dtype=np.uint32)
    values = np.zeros(len(x), dtype=np.int32)
    given = np.array(x, dtype=np.int64 if wide else np.int32)
    core.run(f"clamp24{wide}", values, given, clipped, len(x))
    expected = [clamp(value, -(2**23) + 1, 2**23 - 1) for value in x]
    assert expected == values.tolist()
    changed = sum(a != b for a, b in zip(x, expected, strict=True))
    assert clipped[0] == (changed if core.counting else 0)


@pytest.mark.parametrize("mantissa", [16385, 16387, 20001, 21845, 32765, 32767, 32768])
def test_a_descent_is_minus_mantissa_times_delta(core: Core, mantissa: int) -> None:
    dz = np.arange(-32767, 32768, dtype=np.int16)
    got = core("descent", np.int16, dz, mantissa)
    assert [rounded(-mantissa * value, 15) for value in dz.tolist()] == got
    # The product is a tie, and so not symmetric, at |dz| = 2^14 alone.
    ties = {int(x) for x, g, h in zip(dz, got, got[::-1], strict=True) if g != -h}
    assert ties == (set() if mantissa == 32768 else {-16384, 16384})


@pytest.mark.parametrize("to_frac", [0, 1, 4, 8, 11, 12, 15])
@pytest.mark.parametrize("from_frac", [4, 7, 8, 11, 12, 15])
def test_rescaling_is_exact_to_the_left_and_rounds_to_the_right(
    core: Core, from_frac: int, to_frac: int
) -> None:
    left = max(0, to_frac - from_frac)
    right = max(0, from_frac - to_frac)
    a = np.array([x for x in range(-32768, 32768) if -32768 <= x << left <= 32767])
    a = a[rounded_all(a, right) <= 32767].astype(np.int16)
    u = core("rescale", np.int16, a, from_frac, to_frac)
    assert [rounded(x << left, right) for x in a.tolist()] == u


def rounded_all(a: npt.NDArray[np.int64], shift: int) -> npt.NDArray[np.int64]:
    return np.array([rounded(x, shift) for x in a.tolist()])


def interpolated(entries: tuple[int, ...], u: int, shift: int) -> int:
    """P of docs/numbers.md, section 4."""
    i = u >> shift
    return entries[i] * 2**shift + (entries[i + 1] - entries[i]) * (u - i * 2**shift)


def sigmoid(z: int, table: lut.Table, frac: int) -> int:
    shift = 15 - table.bits
    p = interpolated(table.entries, min(abs(z), 32767), shift)
    y = rounded(p, 16 + shift - frac)
    return min(y, 2**frac - 1) if z >= 0 else 2**frac - y


def tanh(z: int, table: lut.Table, frac: int) -> int:
    shift = 15 - table.bits
    p = interpolated(table.entries, min(2 * abs(z), 32767), shift)
    y = min(rounded(2 * p - 2 ** (16 + shift), 16 + shift - frac), 2**frac - 1)
    return y if z >= 0 else -y


def tanh_opt(z: int, table: lut.Table, frac: int) -> int:
    shift = 15 - table.bits
    p = interpolated(table.entries, min(abs(z), 32767), shift)
    y = min(rounded(p, 15 + shift - frac), int(1.7159 * 2**frac + 0.5))
    return y if z >= 0 else -y


ACTIVATIONS = {"sigmoid": (sigmoid, range(4, 16)), "tanh": (tanh, range(8, 15))}
ACTIVATIONS["tanh_opt"] = (tanh_opt, range(8, 15))
FRACTIONS = [(kind, frac) for kind, (_, fracs) in ACTIVATIONS.items() for frac in fracs]


@pytest.mark.parametrize(("kind", "frac"), FRACTIONS, ids=[f"{k} q{f}" for k, f in FRACTIONS])
def test_an_activation_has_its_bits_for_every_z(core: Core, kind: str, frac: int) -> None:
    function, _ = ACTIVATIONS[kind]
    table = lut.activation_table(kind, frac)
    entries = np.array(table.entries, dtype=np.uint16)
    got = np.zeros(65536, dtype=np.int16)
    core.run(kind, got, ALL_S16.astype(np.int16), entries, table.bits, frac, 65536)
    assert [function(z, table, frac) for z in ALL_S16.tolist()] == got.tolist()
    assert got.max() <= lut.activation_top(kind, frac)


def sigmoid_derivative(a: int, frac: int) -> int:
    product = a * (2**frac - a)
    return product * 2 ** (16 - 2 * frac) if frac < 8 else rounded(product, 2 * frac - 16)


def tanh_derivative(a: int, frac: int) -> int:
    return rounded((2**frac - a) * (2**frac + a), 2 * frac - 14)


def tanh_opt_derivative(a: int, frac: int) -> int:
    top = lut.activation_top("tanh_opt", frac)
    return rounded(rounded(top * top - a * a, 2 * frac - 14) * 25462, 16)


@pytest.mark.parametrize(("kind", "frac"), FRACTIONS, ids=[f"{k} q{f}" for k, f in FRACTIONS])
def test_a_derivative_has_its_bits_for_every_output(core: Core, kind: str, frac: int) -> None:
    top = lut.activation_top(kind, frac)
    a = np.arange(0 if kind == "sigmoid" else -top, top + 1).astype(np.int16)
    tops = (top,) if kind == "tanh_opt" else ()
    got = np.zeros(len(a), dtype=np.int32)
    core.run(f"{kind}_derivative", got, a, *tops, frac, len(a))
    function = globals()[f"{kind}_derivative"]
    assert [function(x, frac) for x in a.tolist()] == got.tolist()


@pytest.mark.parametrize("frac", [4, 11, 14])
@pytest.mark.parametrize("z_frac", range(5, 15))
def test_a_softmax_of_two_has_its_bits_for_every_distance(
    core: Core, z_frac: int, frac: int
) -> None:
    table = lut.exponential_table(z_frac, frac)
    shift = z_frac + 3 - table.bits
    distances = np.arange(0, 65535, 1 if frac == 11 else 7)
    a = np.stack([np.minimum(32767, distances - 32767), np.full(len(distances), -32767)], axis=1)
    a = np.ascontiguousarray(a, dtype=np.int16)
    expected = []
    for d in (a[:, 0].astype(int) - a[:, 1]).tolist():
        e = 0
        if d < 8 << z_frac:
            e = rounded(interpolated(table.entries, d, shift), shift)
        total = 32768 + e
        expected.append([(x * 2**frac + (total >> 1)) // total for x in (32768, e)])
    entries = np.array(table.entries, dtype=np.uint16)
    core.run("pair_softmax", a, entries, table.bits, z_frac, frac, len(a))
    assert expected == a.tolist()


@pytest.mark.parametrize("frac", range(4, 15))
def test_minus_ln_has_its_bits_for_every_output(core: Core, frac: int) -> None:
    table = lut.ln_table()
    a = np.arange(0, 2**frac + 1).astype(np.int16)
    got = np.zeros(len(a), dtype=np.int64)
    core.run("loss", got, a, np.array(table.entries, dtype=np.uint16), frac, len(a))
    expected = []
    for y in np.maximum(a, 1).tolist():
        k = y.bit_length() - 1
        p = interpolated(table.entries, y * 2 ** (15 - k) - 2**15, 9)
        expected.append((frac - k) * 45426 - rounded(p, 9))
    assert expected == got.tolist()


def test_a_mantissa_is_32768_or_odd_and_above_a_half(core: Core) -> None:
    mantissas = np.arange(65536, dtype=np.uint16)
    got = core("is_mantissa", np.uint8, mantissas)
    expected = [m == 32768 or (16384 < m < 32768 and m % 2 == 1) for m in range(65536)]
    assert expected == [bool(value) for value in got]


@pytest.mark.parametrize("smallest", [-8, 0])
@pytest.mark.parametrize("lowest", range(-3, 9))
def test_an_alignment_is_the_one_fraction_that_works(
    core: Core, lowest: int, smallest: int
) -> None:
    for exponent, constant in itertools.product((-16, -1, 0, 31), range(-40, 41)):
        offset = exponent + constant
        alignment = np.zeros(2, dtype=np.int8)
        refused = core._library.bp_align(
            alignment.ctypes.data_as(ctypes.c_void_p),
            ctypes.c_int8(exponent),
            ctypes.c_int8(constant),
            ctypes.c_int8(lowest),
            ctypes.c_int8(smallest),
        )
        (fu,) = (fu for fu in range(lowest, lowest + 8) if (offset + fu) % 8 == 0)
        works = fu >= 0 and smallest <= offset + fu <= 24
        assert (refused == 0) == works
        assert alignment.tolist() == ([offset + fu, fu] if works else [0, 0])


def test_a_dither_wraps_like_the_rule(core: Core) -> None:
    function = core._library.bp_dither
    function.restype = ctypes.c_uint16
    big = [0, 1, 2, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1]
    for seed in (0, 1, 40503, 65535):
        for index in big:
            for count in (1, 2, 999, 2**20):
                for steps in big:
                    expected = (seed + 40503 * (index + (count | 1) * steps)) % 65536
                    assert expected == function(
                        ctypes.c_uint16(seed),
                        ctypes.c_uint32(index),
                        ctypes.c_uint32(count),
                        ctypes.c_uint32(steps),
                    )
