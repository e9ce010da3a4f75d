"""The comparison that all examples rest on can fail, and their list is complete."""

from pathlib import Path

import compare
import numpy as np
import pytest

from bpgen.floatnet import create
from bpgen.training import Training

EXAMPLES = Path(compare.__file__).parent


def learned() -> compare.ThreeWays:
    x = np.array([[0.0, 0.5], [1.0, 0.25]])
    t = np.array([[0.0], [1.0]])
    return compare.learn(create((2, 3, 1), seed=1), x, t, Training(0.5, epochs=2))


@pytest.fixture(scope="module")
def ways() -> compare.ThreeWays:
    return learned()


def test_one_unit_in_one_master_is_seen(ways: compare.ThreeWays) -> None:
    assert ways.same_bits()
    masters = ways.c.parameters()
    masters[4] += 1
    ways.c.set_parameters(masters)
    assert not ways.same_bits()
    masters[4] -= 1
    ways.c.set_parameters(masters)
    assert ways.same_bits()


def test_a_twin_further_off_than_its_bound_is_seen(
    ways: compare.ThreeWays, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert max(ways.bound_shares()) <= 1.0
    forward = ways.twin.forward
    # Four units of an activation are far outside any bound of so small a network.
    monkeypatch.setattr(ways.twin, "forward", lambda a0: [a + 4 for a in forward(a0)])
    assert max(ways.bound_shares()) > 1.0


def test_every_example_is_in_the_list() -> None:
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for path in EXAMPLES.glob("*.py"):
        assert path.name in listed
