"""Frames and payloads: what goes in comes out, and what the line damages does not."""

from __future__ import annotations

import struct
import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpgen import wire
from bpgen.wire import Decoder, Flag, Frame, FrameError, Step

FRAMES = st.builds(
    Frame,
    type=st.integers(0, 255),
    seq=st.integers(0, 255),
    session=st.integers(0, 0xFFFF),
    payload=st.binary(max_size=wire.MAX_FRAME - wire.OVERHEAD),
)
S16 = st.integers(-32768, 32767)


def pieces(data: bytes) -> list[bytes]:
    return Decoder().push(data)


# ---- Frames


@given(frame=FRAMES)
def test_a_frame_comes_back_as_it_was_sent(frame: Frame) -> None:
    line = wire.encode(frame)
    assert len(line) == wire.line_size(len(frame.payload))
    assert line[0] == line[-1] == 0
    assert 0 not in line[1:-1]
    assert wire.decode(line[1:-1]) == frame


def test_a_frame_is_spelled_as_the_document_says() -> None:
    body = bytes((0x12, 7, 0x34, 0x12, 2, 0xAA, 0))
    crc = zlib.crc32(body).to_bytes(4, "little")
    assert zlib.crc32(b"123456789") == 0xCBF43926
    coded = wire.encode(Frame(0x12, 7, 0x1234, b"\x02\xaa\x00"))[1:-1]
    assert coded == b"\x07" + body[:6] + b"\x05" + crc


@given(frame=FRAMES, place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_flipped_bit_is_never_a_frame(frame: Frame, place: int, bit: int) -> None:
    coded = bytearray(wire.encode(frame)[1:-1])
    coded[place % len(coded)] ^= 1 << bit
    for piece in pieces(b"\0" + bytes(coded) + b"\0"):
        with pytest.raises(FrameError):
            wire.decode(piece)


@given(frame=FRAMES, place=st.integers(0, 10_000), extra=st.integers(1, 255))
def test_an_inserted_byte_is_never_a_frame(frame: Frame, place: int, extra: int) -> None:
    coded = wire.encode(frame)[1:-1]
    place %= len(coded) + 1
    with pytest.raises(FrameError):
        wire.decode(coded[:place] + bytes((extra,)) + coded[place:])


@given(data=st.binary(max_size=300))
def test_garbage_is_no_frame_and_no_other_error(data: bytes) -> None:
    for piece in pieces(b"\0" + data + b"\0"):
        with pytest.raises(FrameError) as error:
            wire.decode(piece)
        assert error.value.reason in ("cobs", "length", "crc")


def test_a_payload_longer_than_any_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than any frame"):
        wire.encode(Frame(1, 0, 0, bytes(wire.MAX_FRAME - wire.OVERHEAD + 1)))


# ---- The stream


@given(frames=st.lists(FRAMES, max_size=5), cuts=st.lists(st.integers(0, 2000), max_size=8))
def test_a_stream_may_arrive_in_any_pieces(frames: list[Frame], cuts: list[int]) -> None:
    stream = b"".join(wire.encode(frame) for frame in frames)
    places = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    decoder = Decoder()
    found = [
        wire.decode(piece)
        for start, end in pairwise(places)
        for piece in decoder.push(stream[start:end])
    ]
    assert found == frames


@given(garbage=st.binary(max_size=600), frame=FRAMES)
def test_a_frame_after_garbage_is_found(garbage: bytes, frame: Frame) -> None:
    found = pieces(garbage + wire.encode(frame))
    assert wire.decode(found[-1]) == frame


@given(chunk=st.binary(min_size=1, max_size=100).filter(lambda data: 0 not in data))
def test_a_flood_without_separators_is_not_stored(chunk: bytes) -> None:
    decoder = Decoder()
    seen = 0
    for _ in range(60):
        for piece in decoder.push(chunk):
            seen += len(piece)
            with pytest.raises(FrameError):
                wire.decode(piece)
        assert len(decoder._piece) <= Decoder.LONGEST
    assert seen + len(decoder._piece) == 60 * len(chunk)


def test_the_longest_frame_is_not_taken_for_a_flood() -> None:
    frame = Frame(1, 2, 3, bytes(range(1, 247)))
    assert [wire.decode(piece) for piece in pieces(wire.encode(frame))] == [frame]


# ---- Payloads


@given(values=st.lists(S16, max_size=60))
def test_raws_are_little_endian(values: list[int]) -> None:
    assert wire.s16s(values) == struct.pack(f"<{len(values)}h", *values)
    assert wire.sample_crc32(values) == zlib.crc32(wire.s16s(values))


@pytest.mark.parametrize("value", [-32769, 32768])
def test_a_raw_outside_s16_is_refused(value: int) -> None:
    with pytest.raises(ValueError, match="outside s16"):
        wire.s16s([value])


@given(masters=st.lists(st.integers(-(2**23), 2**23 - 1), max_size=40))
def test_masters_come_back(masters: list[int]) -> None:
    assert wire.masters_from_bytes(wire.masters_to_bytes(masters, 3), 3) == masters
    assert wire.masters_from_page(wire.masters_to_page(masters, 3), 3) == masters


def test_a_master_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit 2 bytes"):
        wire.masters_to_bytes([32768], 2)


@pytest.mark.parametrize(
    ("step", "flags", "body"),
    [
        (Step((1, -1), (2, 3)), Flag(0), struct.pack("<4h", 1, -1, 2, 3)),
        (Step(5, (2, 3)), Flag.CLASS, struct.pack("<H2h", 5, 2, 3)),
        (Step((1,), 0xDEADBEEF), Flag.STAGED, struct.pack("<hI", 1, 0xDEADBEEF)),
        (Step(5, 9, apply=True), Flag(7), struct.pack("<HI", 5, 9)),
    ],
    ids=["raws", "class", "staged", "all flags"],
)
def test_a_step_says_how_it_is_spelled(step: Step, flags: Flag, body: bytes) -> None:
    assert wire.train_request(0x01020304, step) == b"\4\3\2\1" + bytes((flags,)) + body


def test_train_n_holds_its_steps_and_applies_after_the_last() -> None:
    payload = wire.train_n_request(1, [Step(0, (1,)), Step(1, (2,), apply=True)])
    assert payload == struct.pack("<IBBHhHh", 1, 2, Flag.CLASS | Flag.APPLY, 0, 1, 1, 2)


@pytest.mark.parametrize(
    "steps",
    [
        [],
        [Step(0, (1,)), Step((1,), (1,))],
        [Step(0, (1,), apply=True), Step(0, (1,))],
        [Step(0, 77), Step(0, 77)],
    ],
    ids=["none", "mixed targets", "apply in the middle", "staged"],
)
def test_steps_that_do_not_fit_one_train_n_are_refused(steps: list[Step]) -> None:
    with pytest.raises(ValueError, match="do not fit one TRAIN_N"):
        wire.train_n_request(1, steps)


@pytest.mark.parametrize(
    ("encoded", "layout", "values"),
    [
        (wire.hello_request(), "<BB", (1, 1)),
        (wire.describe_request(300, 5), "<HB", (300, 5)),
        (wire.setx_request(300, (1, -2)), "<HBhh", (300, 2, 1, -2)),
        (wire.infer_request((1, -2)), "<Bhh", (0, 1, -2)),
        (wire.infer_request(77), "<BI", (Flag.STAGED, 77)),
        (wire.grads_request(1, 300, 3), "<BHB", (1, 300, 3)),
        (wire.getw_request(300, 3), "<HB", (300, 3)),
        (wire.gen_request(2**32 - 1), "<I", (2**32 - 1,)),
        (wire.setw_request(5, 300, (258, -1), 2), "<IHBhh", (5, 300, 2, 258, -1)),
        (wire.setw_request(5, 300, (258, -1), 3), "<IHBhhBB", (5, 300, 2, 1, -1, 2, 255)),
        (wire.setw_commit_request(5, 6), "<II", (5, 6)),
        (wire.reset_model_request(5, 60000), "<IH", (5, 60000)),
        (wire.set_param_request(5, 1, 0x60007), "<IBHB", (5, 1, 7, 6)),
        (wire.stats_request(1), "<B", (1,)),
        (wire.echo_request(b"ab"), "<B2s", (2, b"ab")),
    ],
)
def test_requests_are_laid_out_as_the_document_says(
    encoded: bytes, layout: str, values: tuple[object, ...]
) -> None:
    assert struct.unpack(layout, encoded) == values


def test_a_learning_rate_is_mantissa_and_signed_exponent() -> None:
    assert wire.learning_rate_value(32768, 3) == 0x0003_8000
    assert wire.learning_rate_value(20001, -2) == 0x00FE_0000 | 20001


@pytest.mark.parametrize(
    "reply",
    [
        wire.Hello(1, wire.Capability(7), 4, 63, 52, 52, 3, 2, 50, 200, 5, 6, 2, 3),
        wire.Stats(*range(6)),
        wire.Counters(*range(5)),
    ],
    ids=lambda reply: type(reply).__name__,
)
def test_a_reply_comes_back_and_has_one_length(
    reply: wire.Hello | wire.Stats | wire.Counters,
) -> None:
    data = reply.to_bytes()
    assert type(reply).from_bytes(data) == reply
    for wrong in (data[:-1], data + b"\0", b""):
        with pytest.raises(wire.PayloadError):
            type(reply).from_bytes(wrong)


@pytest.mark.parametrize(
    ("decoder", "sizes", "layout", "values", "result"),
    [
        (wire.outputs, (2,), "<hh", (1, -2), (1, -2)),
        (wire.trained, (2,), "<IIhh", (9, 8, 1, -2), (9, 8, (1, -2))),
        (wire.trained, (0,), "<II", (9, 8), (9, 8, ())),
        (wire.deltas, (1,), "<IIBh", (9, 8, 7, -2), (9, 8, 7, (-2,))),
        (wire.gradients, (2,), "<ii", (1, -2), (1, -2)),
        (wire.parameters, (2, 2), "<Ihh", (9, 1, -2), (9, [1, -2])),
        (wire.parameters, (2, 3), "<IhhBB", (9, 1, -1, 2, 255), (9, [258, -1])),
        (wire.saved, (), "<II", (9, 8), (9, 8)),
        (wire.loaded, (), "<II", (9, 8), (9, 8)),
        (wire.plain, (2,), "<2s", (b"ab",), b"ab"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_replies_are_read_as_the_document_says(
    decoder: object, sizes: tuple[int, ...], layout: str, values: tuple[object, ...], result: object
) -> None:
    data = struct.pack(layout, *values)
    assert callable(decoder)
    assert decoder(data, *sizes) == result
    for wrong in (data[:-1], data + b"\0"):
        with pytest.raises(wire.PayloadError):
            decoder(wrong, *sizes)


def test_a_loss_is_clipped_as_a_board_does() -> None:
    assert wire.wire_loss([-5, 3, 4]) == 7
    assert wire.wire_loss([2**40, 1]) == wire.LOSS_MAX
