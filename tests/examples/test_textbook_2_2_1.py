"""The 2-2-1 network of the textbooks: every printed figure, three ways."""

import pytest
import textbook_2_2_1 as example


@pytest.fixture(scope="module")
def result() -> example.Result:
    return example.run()


@pytest.mark.parametrize("figure", example.PRINTED)
def test_pencil_and_float_give_the_figure_that_the_text_prints(
    result: example.Result, figure: str
) -> None:
    printed = example.PRINTED[figure]
    decimals = len(printed.partition(".")[2])
    assert f"{result.by_hand[figure]:.{decimals}f}" == printed
    assert f"{result.in_float[figure]:.{decimals}f}" == printed


def test_the_slips_of_the_copied_text_are_no_figures_of_this_network(
    result: example.Result,
) -> None:
    assert f"{result.by_hand['o3']:.2f}" != "0.69"
    assert f"{result.by_hand['dE/dz5']:.3f}" != "0.027"
    assert f"{0.19 * 0.69 * 0.31:.4f}" == "0.0406"


def test_float_agrees_with_pencil_on_all_gradients_and_the_step(result: example.Result) -> None:
    assert result.in_float == pytest.approx(result.by_hand, rel=1e-12)
    assert list(result.in_float) == list(result.by_hand)


def test_the_step_lowers_the_loss_in_float_twin_and_c(result: example.Result) -> None:
    for way in (result.by_hand, result.in_float, result.in_twin, result.in_c):
        assert way["E new"] < way["E"]


def test_the_twin_is_within_the_running_bound(result: example.Result) -> None:
    assert max(result.bound_shares) <= 1.0


def test_c_gives_every_figure_of_the_twin(result: example.Result) -> None:
    assert result.same_bits
    missing = set(result.in_twin) - set(result.in_c)
    assert missing == {"z3", "z4", "z5"}
    assert {name: result.in_twin[name] for name in result.in_c} == result.in_c


def test_six_weights_move_and_biases_are_shown_apart(
    result: example.Result, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sum(name.endswith(" new") and name[0] == "w" for name in result.in_c) == 6
    example.main()
    assert "dE/db = dE/dz" in capsys.readouterr().out
