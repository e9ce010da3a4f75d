"""Logistic regression, and the same data with a hidden layer."""

import moons as example
import pytest


@pytest.fixture(scope="module")
def runs() -> list[example.Run]:
    return example.run()


def test_the_hidden_layer_bends_the_border_and_gains_accuracy(runs: list[example.Run]) -> None:
    line, bent = runs
    assert (line.name, bent.name) == ("2-1", "2-6-1")
    for without, with_hidden in zip(line.accuracies, bent.accuracies, strict=True):
        assert with_hidden > without + 5.0


def test_training_losses_of_c_and_float_agree_within_one_percent(runs: list[example.Run]) -> None:
    for run in runs:
        in_float, _, in_c = run.losses
        assert in_c == pytest.approx(in_float, rel=0.01)


def test_c_equals_the_twin_and_the_twin_is_within_the_bound(runs: list[example.Run]) -> None:
    for run in runs:
        assert run.same_bits
        assert max(run.ways.bound_shares()) <= 1.0
