"""The fit of a noisy parabola: targets outside the sigmoid's reach, and float beside C."""

import builtins
import sys
from pathlib import Path
from typing import Any

import numpy as np
import parabola as example
import pytest
from compare import learn

from bpgen.floatnet import create
from bpgen.training import Training


@pytest.fixture(scope="module")
def result() -> example.Result:
    return example.run()


def test_targets_outside_0_to_1_are_kept_and_not_clipped(result: example.Result) -> None:
    t, frac = result.ways.t, result.ways.model.output.a_format.frac
    assert t.min() < 0.0
    assert t.max() > 1.0
    assert np.array_equal(result.ways.targets, np.floor(t * 2.0**frac + 0.5))


def test_no_delta_is_clipped_although_targets_lie_outside(result: example.Result) -> None:
    counters = result.ways.c.counters
    assert counters.deltas == counters.weights == counters.inputs == 0


def test_the_loss_of_c_follows_that_of_float_within_one_percent(result: example.Result) -> None:
    # 1% is the parity that the project asks of training losses.
    assert len(result.in_c) == len(result.in_float) == 100
    assert result.in_c == pytest.approx(result.in_float, rel=0.01)
    assert result.in_c[-1] < result.in_c[0] / 10


def test_the_fit_is_as_good_as_the_noise_lets_it_be(result: example.Result) -> None:
    against_points, against_curve = result.rmse()
    for points, curve in zip(against_points, against_curve, strict=True):
        assert curve < points < 0.1


def test_c_equals_the_twin_and_the_twin_is_within_the_bound(result: example.Result) -> None:
    assert result.ways.same_bits()
    assert max(result.ways.bound_shares()) <= 1.0


def test_the_twin_of_a_whole_batch_has_the_bits_of_one_sample_after_the_other() -> None:
    x, t = example.points()
    few = Training(0.1, epochs=3, batch_size=None, reduction="sum", shuffle=False)
    by_count = Training(0.1, epochs=3, batch_size=len(x), reduction="sum", shuffle=False)
    start = create((1, 10, 1), init="normal", seed=example.WEIGHT_SEED)
    whole, one_by_one = (learn(start, x, t, training) for training in (few, by_count))
    assert np.array_equal(whole.twin.parameters(), one_by_one.twin.parameters())


def test_the_plot_is_written_where_it_is_asked_for(result: example.Result, tmp_path: Path) -> None:
    path = example.draw(result, tmp_path / "new")
    assert path == tmp_path / "new" / "parabola.png"
    assert path.read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_the_message_says_how_to_get_it(
    result: example.Result,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    imported = builtins.__import__

    def without_matplotlib(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return imported(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without_matplotlib)
    monkeypatch.setattr(example, "run", lambda: result)
    monkeypatch.setattr(sys, "argv", ["parabola.py", "--folder", str(tmp_path)])
    example.main()
    assert "pip install matplotlib" in capsys.readouterr().out
    assert not any(tmp_path.iterdir())
