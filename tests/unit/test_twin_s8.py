"""Networks of bytes that only infer: section 13 of docs/numbers.md."""

import pytest

from bpgen.errors import BpgenError
from bpgen.model import Dense, Input, IntModel
from bpgen.qformat import QFormat
from bpgen.twin import Twin


def test_an_s8_network_has_the_bits_worked_by_hand() -> None:
    # Layer 1, relu: shift 6 + 8 - 8 = 6; round(1000 + 100 * 255 - 127 * 10, 6) = 394 -> 255.
    # Layer 2, linear: shift -8 + 8 - 4 = -4; (5 - 2 * 255) * 2^4 = -8080.
    u8q8, s16q4 = QFormat(False, 8, 8), QFormat(True, 16, 4)
    model = IntModel(
        input=Input(("p", "q"), u8q8, 255, (0, 0), (0, 0), (1, 1), (0, 0)),
        layers=(
            byte_layer("relu", 6, u8q8, u8q8, 255, ((100, -127),), (1000,)),
            byte_layer("linear", -8, s16q4, s16q4, 9000, ((-2,),), (5,)),
        ),
        loss="squared_error",
        targets=("y",),
        labels=(),
        training=None,
    )
    twin = Twin(model)
    assert twin.quantize_input([[300, 10]]).tolist() == [[255, 10]]
    assert twin.counters.inputs == 1
    assert [a.tolist() for a in twin.forward([[255, 10]])] == [[[255, 10]], [[255]], [[-8080]]]
    assert twin.counters.activations == 1
    with pytest.raises(BpgenError, match="can only infer"):
        twin.backward(twin.forward([[255, 10]]), [[0]])
    with pytest.raises(BpgenError, match="no masters"):
        twin.parameter_bytes()


def byte_layer(
    kind: str,
    w_frac: int,
    z_format: QFormat,
    a_format: QFormat,
    a_top: int,
    w: tuple[tuple[int, ...], ...],
    b: tuple[int, ...],
) -> Dense:
    z_format = QFormat(True, 16, z_format.frac)
    w_format = QFormat(True, 8, w_frac)
    return Dense(kind, w_format, z_format, a_format, a_top, None, None, False, None, w, b)


def test_an_s8_sigmoid_reaches_255() -> None:
    u8q8 = QFormat(False, 8, 8)
    s16q12 = QFormat(True, 16, 12)
    model = IntModel(
        input=Input(("p",), u8q8, 255, (0,), (0,), (1,), (0,)),
        layers=(
            byte_layer("sigmoid", 4, s16q12, u8q8, 255, ((127,), (-127,)), (0, 0)),
            byte_layer("linear", 4, s16q12, s16q12, 32767, ((1, 0),), (0,)),
        ),
        loss="squared_error",
        targets=("y",),
        labels=(),
        training=None,
    )
    assert Twin(model).forward([[255]])[1].tolist() == [[255, 0]]
