"""XOR is learned, or not learned, by float, twin and C alike."""

import pytest
import xor_learned as example


@pytest.fixture(scope="module")
def runs() -> list[example.Run]:
    return example.run()


def test_the_stated_seeds_learn_in_float_twin_and_c(runs: list[example.Run]) -> None:
    for run in runs:
        if (run.name, run.seed) != ("2-2-1", example.STUCK):
            assert max(run.losses) < example.SOLVED
            assert run.right == (4, 4, 4)


def test_the_stuck_seed_is_stuck_near_a_sixteenth_in_all_three(runs: list[example.Run]) -> None:
    (stuck,) = (run for run in runs if (run.name, run.seed) == ("2-2-1", example.STUCK))
    for loss in stuck.losses:
        assert 1 / 16 < loss < 1.05 / 16
    assert max(stuck.right) < 4


def test_the_survey_finds_stuck_seeds_for_two_hidden_units_only() -> None:
    solved = example.survey(2)
    assert example.LEARNS in solved
    assert example.STUCK not in solved
    assert example.survey(4) == list(example.SEEDS)


def test_c_equals_the_twin_and_the_twin_is_within_the_bound(runs: list[example.Run]) -> None:
    for run in runs:
        assert run.ways.same_bits()
        assert max(run.ways.bound_shares()) <= 1.0
