import math

import numpy as np
import pytest

from gpunn import initializers
from gpunn.configurable import known
from gpunn.initializers import Initializer

BUILTIN = [cls for cls in known(Initializer).values() if cls.__module__.startswith("gpunn.")]
SHAPE = (200, 300)
DRAWS = math.prod(SHAPE)


def sample(initializer, shape=SHAPE):
    return initializer.sample(np.random.default_rng(0), shape)


# Standard deviations; the bounded distributions are uniform.
SPREADS = [
    (initializers.Normal(0.3), 0.3, False),
    (initializers.Uniform(0.3), 0.3 / math.sqrt(3), True),
    (initializers.Glorot(), math.sqrt(2 / 500), True),
    (initializers.Glorot(uniform=False), math.sqrt(2 / 500), False),
    (initializers.He(), math.sqrt(2 / 200), False),
    (initializers.He(uniform=True), math.sqrt(2 / 200), True),
    (initializers.LeCun(), math.sqrt(1 / 200), False),
    (initializers.FanIn(), math.sqrt(1 / 600), True),
    (initializers.GlorotOrFanIn(), math.sqrt(2 / 500), True),
    (initializers.GlorotFanInMean(), (2 / 500 / 600) ** 0.25, True),
]


@pytest.mark.parametrize(("initializer", "deviation", "uniform"), SPREADS, ids=repr)
def test_moments(initializer, deviation, uniform):
    drawn = sample(initializer)
    # Five standard errors: of a mean, s / sqrt(n); of a variance, s^2 * sqrt((kurtosis - 1) / n).
    kurtosis = 1.8 if uniform else 3.0
    assert abs(drawn.mean()) < 5 * deviation / math.sqrt(DRAWS)
    error = 5 * math.sqrt((kurtosis - 1) / DRAWS)
    assert drawn.var() == pytest.approx(deviation**2, rel=error)
    if uniform:
        assert np.abs(drawn).max() <= deviation * math.sqrt(3)
    else:
        assert np.abs(drawn).max() > 3 * deviation


def test_the_larger_of_two_variances():
    """With over five times as many outputs as inputs, the variance is that of `FanIn`."""
    larger = initializers.GlorotOrFanIn()
    assert larger.variance(10, 40) == initializers.Glorot().variance(10, 40)
    assert larger.variance(10, 60) == initializers.FanIn().variance(10, 60)


def test_constants():
    np.testing.assert_array_equal(sample(initializers.Zeros(), (2, 3)), np.zeros((2, 3)))
    np.testing.assert_array_equal(sample(initializers.Ones(), (4,)), np.ones(4))
    around = initializers.Normal(0.0, mean=2.5)
    np.testing.assert_array_equal(sample(around, (4,)), np.full(4, 2.5))


@pytest.mark.parametrize("shape", [(5, 5), (3, 7), (7, 3)])
def test_orthogonal(shape):
    Q = sample(initializers.Orthogonal(gain=2.0), shape)
    shorter = Q @ Q.T if shape[0] <= shape[1] else Q.T @ Q
    np.testing.assert_allclose(shorter, 4 * np.eye(min(shape)), rtol=0, atol=1e-13)


def test_orthogonal_is_uniform_over_the_group():
    # QR favors one sign: without the correction, the trace of Q is far from 0 on average.
    g = np.random.default_rng(0)
    traces = [np.trace(initializers.Orthogonal().sample(g, (3, 3))) for _ in range(2000)]
    # The trace of a uniform orthogonal matrix has mean 0 and variance 1.
    assert abs(np.mean(traces)) < 5 / math.sqrt(2000)


@pytest.mark.parametrize("cls", BUILTIN)
def test_shape_dtype_and_dependence_on_the_generator(cls):
    for shape in ((4,), (3, 4)):
        drawn = sample(cls(), shape)
        assert drawn.shape == shape
        assert drawn.dtype == np.float64
        np.testing.assert_array_equal(drawn, sample(cls(), shape))
