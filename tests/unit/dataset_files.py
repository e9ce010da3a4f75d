"""Files of samples, and what is said of a wrong one."""

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from bpgen.errors import BpgenError

# tmp_path is shared by the examples of one property; each example rewrites its file.
shares_tmp_path = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(tmp_path, content, name="data.csv"):
    """Write text or bytes as they are, line ends included, and return the path."""
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def write_npz(tmp_path, **arrays):
    path = tmp_path / "data.npz"
    np.savez(path, **arrays)
    return path


def message(call, *args, **kwargs):
    """Return the sentence of the BpgenError that the call raises."""
    with pytest.raises(BpgenError) as caught:
        call(*args, **kwargs)
    return str(caught.value)


def assert_says(sentence, *parts):
    """Assert that one line of text holds every part."""
    assert "\n" not in sentence
    assert [part for part in parts if part not in sentence] == [], sentence
