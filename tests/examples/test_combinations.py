"""Every hidden and output activation with mini-batches and sparsity."""

from itertools import product

import combinations as example
import pytest


@pytest.fixture(scope="module")
def runs() -> list[example.Run]:
    return example.run()


def test_all_six_combinations_train_in_float_twin_and_c(runs: list[example.Run]) -> None:
    kinds = [(run.hidden, run.output) for run in runs]
    assert kinds == list(product(("sigmoid", "tanh_opt"), ("sigmoid", "softmax", "linear")))
    for run in runs:
        assert max(run.losses) < run.start / 2


def test_c_equals_the_twin_with_its_accumulators_and_running_means(
    runs: list[example.Run],
) -> None:
    for run in runs:
        assert run.same_bits
        assert len(run.ways.c.velocities()) == run.ways.model.parameter_count
        assert len(run.ways.c.means()) == 8


def test_nothing_saturates(runs: list[example.Run]) -> None:
    assert [run.saturated for run in runs] == [0] * 6
