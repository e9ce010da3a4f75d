"""Five weight layers: matrices, scalar loops and sums over paths give one gradient."""

import deep_recursion as example
import numpy as np
import pytest


@pytest.fixture(scope="module")
def result() -> example.Result:
    return example.run()


def test_the_network_has_five_weight_layers_and_no_two_sizes_alike() -> None:
    assert example.network().n_layers == 5
    assert len(set(example.SIZES)) == len(example.SIZES)
    assert min(example.SIZES) >= 2


@pytest.mark.parametrize("k", range(5))
def test_the_three_layer_formulas_give_the_gradient_of_the_matrices(
    result: example.Result, k: int
) -> None:
    loops, matrices = result.by_triples, result.by_matrices
    np.testing.assert_allclose(loops.dw[k], matrices.dw[k], rtol=1e-12, atol=1e-17)
    np.testing.assert_allclose(loops.db[k], matrices.db[k], rtol=1e-12, atol=1e-17)
    assert np.abs(matrices.dw[k]).min() > 0.0


@pytest.mark.parametrize("k", range(5))
def test_the_sum_over_all_paths_gives_the_deltas_of_the_recursion(
    result: example.Result, k: int
) -> None:
    np.testing.assert_allclose(result.by_paths[k], result.by_triples.db[k], rtol=1e-12, atol=1e-17)


def test_the_twin_is_within_the_running_bound_in_every_layer(result: example.Result) -> None:
    assert len(result.shares) == 5
    assert max(result.shares) <= 1.0


def test_c_equals_the_twin_before_and_after_training(result: example.Result) -> None:
    assert result.same_bits
