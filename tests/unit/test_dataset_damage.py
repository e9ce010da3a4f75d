"""Files nobody meant to write: any content is read, or refused with a BpgenError."""

import csv
import io

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bpgen.dataset import load_csv, load_npz
from bpgen.errors import BpgenError
from tests.unit.dataset_files import shares_tmp_path, write

numbers = st.floats(allow_nan=False, allow_infinity=False)


# csv.writer cannot write surrogates, and a class may not be blank, a number or NaN.
class_names = st.text(
    st.one_of(
        st.sampled_from("\"'\\\n\r,; "), st.characters(codec="utf-8", exclude_characters="\0")
    ),
    min_size=1,
).map(lambda text: "c" + text)


@shares_tmp_path
@given(
    rows=st.lists(st.tuples(numbers, numbers, class_names), min_size=2, max_size=8).filter(
        lambda rows: len({row[2] for row in rows}) >= 2
    )
)
def test_what_csv_writer_writes_loads_back(tmp_path, rows):
    path = tmp_path / "data.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("a", "b", "kind"), *rows])

    data = load_csv(path, ["kind"])

    np.testing.assert_array_equal(data.x, [[row[0], row[1]] for row in rows])
    assert data.labels == tuple(sorted({row[2] for row in rows}))
    assert [data.labels[k] for k in data.classes()] == [row[2] for row in rows]


def attempt(call, *args):
    """Run the call; only BpgenError may come out of it, with one line of text."""
    sentence = ""
    try:
        call(*args)
    except BpgenError as error:
        sentence = str(error)
    assert "\n" not in sentence


@shares_tmp_path
@given(
    head=st.sampled_from([b"", b"a,y\n", b"a,y\n1,2\n", b"\xef\xbb\xbfa,y\r\n"]),
    tail=st.one_of(
        st.binary(max_size=200),
        st.text(alphabet='0123.eE+-,"\n\r\0;\tayNnIif_é', max_size=60).map(str.encode),
    ),
)
def test_no_bytes_in_a_csv_raise_anything_but_bpgenerror(tmp_path, head, tail):
    attempt(load_csv, write(tmp_path, head + tail), ["y"])


@shares_tmp_path
@given(data=st.data())
def test_no_damage_to_an_npz_raises_anything_but_bpgenerror(tmp_path, data):
    good = io.BytesIO()
    np.savez(good, x=np.ones((2, 3)), t=np.eye(2))
    content = bytearray(good.getvalue())
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))

    attempt(load_npz, write(tmp_path, bytes(content), "a.npz"))
    attempt(load_npz, write(tmp_path, bytes(content[:cut]), "a.npz"))
    attempt(load_npz, write(tmp_path, data.draw(st.binary(max_size=100)), "a.npz"))
