"""XOR from three hand-set gates has exact truth tables in float, twin and C."""

import pytest
import xor_gates as example


@pytest.fixture(scope="module")
def result() -> example.Result:
    return example.run()


@pytest.mark.parametrize("gate", example.TRUTH)
def test_the_truth_table_is_exact_three_ways(result: example.Result, gate: str) -> None:
    assert result.tables(gate) == [example.TRUTH[gate]] * 3


def test_or_of_and_and_nor_is_xnor_and_its_negation_is_xor() -> None:
    for xnor, xor, conjunction, nor in zip(
        *(example.TRUTH[gate] for gate in ("XNOR", "XOR", "AND", "NOR")), strict=True
    ):
        assert xnor == (conjunction or nor)
        assert xor == 1 - xnor
    assert tuple(-value for value in example.OR) == example.NOR


def test_weights_of_30_are_held_exactly(result: example.Result) -> None:
    for ways in result.networks:
        for k, layer in enumerate(ways.model.layers):
            assert layer.w_format.to_float(layer.w).tolist() == ways.net.w[k].tolist()
            assert layer.w_format.to_float(layer.b).tolist() == ways.net.b[k].tolist()
    assert max(map(abs, result.networks[1].model.layers[0].b)) == 30 << 9


def test_the_clamp_of_the_table_is_counted(result: example.Result) -> None:
    assert result.networks[0].c.counters.activations > 0


def test_c_equals_the_twin_and_the_twin_is_within_the_bound(result: example.Result) -> None:
    for ways in result.networks:
        assert ways.same_bits()
        assert max(ways.bound_shares()) <= 1.0
