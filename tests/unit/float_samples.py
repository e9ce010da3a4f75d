"""Samples, and the comparison of networks, for the tests of the float network."""

import numpy as np

from bpgen.floatnet import FloatArray, FloatNet

SUITE_SEED = 21
XOR_X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])

XOR_T = np.array([[0.0], [1.0], [1.0], [0.0]])


def data(case: int, count: int = 7, n_in: int = 3, n_out: int = 2) -> tuple[FloatArray, FloatArray]:
    random = np.random.default_rng([SUITE_SEED, case])
    return random.standard_normal((count, n_in)), random.uniform(0.1, 0.9, (count, n_out))


def parameters(net: FloatNet) -> list[FloatArray]:
    return [*net.w, *net.b]


def assert_same_net(actual: FloatNet, expected: FloatNet, rtol: float = 1e-12) -> None:
    for one, other in zip(parameters(actual), parameters(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=rtol, atol=1e-15)
