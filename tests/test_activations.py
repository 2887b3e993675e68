import math

import array_api_compat.numpy as xp
import numpy as np
import pytest
from numerical import STEP, assert_same

from gpunn import activations
from gpunn.activations import Activation
from gpunn.configurable import known

BUILTIN = [cls() for cls in known(Activation).values() if cls.__module__.startswith("gpunn.")]
BUILTIN += [activations.LeakyReLU(0.0), activations.LeakyReLU(0.3), activations.ELU(0.5)]
BUILTIN += [activations.CELU(0.5)]


def logistic(z):
    return 1 / (1 + np.exp(-z))


def hard_sigmoid(z):
    return np.where(z <= -3, 0, np.where(z >= 3, 1, z / 6 + 1 / 2))


erf = np.vectorize(math.erf)


# Formulas from the papers, for moderate z.
FORMULAS = [
    (activations.Identity(), lambda z: z),
    (activations.ReLU(), lambda z: np.where(z > 0, z, 0)),
    (activations.LeakyReLU(0.2), lambda z: np.where(z > 0, z, 0.2 * z)),
    (activations.ELU(0.7), lambda z: np.where(z > 0, z, 0.7 * (np.exp(z) - 1))),
    (
        activations.SELU(),
        lambda z: 1.0507009873554805 * np.where(z > 0, z, 1.6732632423543772 * (np.exp(z) - 1)),
    ),
    (
        activations.GELU(),
        lambda z: z / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3))),
    ),
    (activations.ExactGELU(), lambda z: z / 2 * (1 + erf(z / np.sqrt(2)))),
    (activations.SiLU(), lambda z: z * logistic(z)),
    (activations.Mish(), lambda z: z * np.tanh(np.log(1 + np.exp(z)))),
    (activations.Sigmoid(), logistic),
    (activations.Tanh(), lambda z: (np.exp(2 * z) - 1) / (np.exp(2 * z) + 1)),
    (activations.Softplus(), lambda z: np.log(1 + np.exp(z))),
    (activations.HardSigmoid(), hard_sigmoid),
    (activations.HardSwish(), lambda z: z * hard_sigmoid(z)),
    (activations.HardTanh(), lambda z: np.clip(z, -1, 1)),
    (activations.ReLU6(), lambda z: np.clip(z, 0, 6)),
    (
        activations.CELU(0.7),
        lambda z: np.maximum(z, 0) + np.minimum(0, 0.7 * (np.exp(z / 0.7) - 1)),
    ),
    (activations.Softsign(), lambda z: z / (1 + np.abs(z))),
    (activations.LogSigmoid(), lambda z: np.log(logistic(z))),
    (activations.TanhShrink(), lambda z: z - np.tanh(z)),
]


def run(backend, f, z, dtype="float64"):
    out, gradient = backend.zeros(z.shape, dtype), backend.zeros(z.shape, dtype)
    z = backend.from_host(z, dtype)
    backend.activate(f, z, None, out)
    backend.fill(gradient, 1.0)
    backend.activation_gradient(f, out if f.from_output else z, out, gradient, None)
    return backend.to_host(out), backend.to_host(gradient)


@pytest.mark.parametrize(("f", "formula"), FORMULAS, ids=[f.name for f, _ in FORMULAS])
def test_value_is_that_of_the_paper(host_backend, f, formula):
    z = np.linspace(-6, 6, 240).reshape(3, -1)
    value, _ = run(host_backend, f, z)
    np.testing.assert_allclose(value, formula(z), rtol=1e-13, atol=1e-14)


def test_every_builtin_has_a_formula():
    assert {f.name for f, _ in FORMULAS} == {f.name for f in BUILTIN}


@pytest.mark.parametrize("f", BUILTIN, ids=repr)
def test_derivative_is_that_of_the_value(host_backend, f):
    z = np.random.default_rng(0).uniform(-5, 5, (8, 40))
    z[np.abs(z) < 2 * STEP] = 0.5  # kinks have no derivative
    above, _ = run(host_backend, f, z + STEP)
    below, _ = run(host_backend, f, z - STEP)
    _, derivative = run(host_backend, f, z)
    assert_same(derivative, (above - below) / (2 * STEP))


@pytest.mark.parametrize("f", BUILTIN, ids=repr)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_arguments_do_not_overflow(host_backend, f, dtype):
    z = np.array([[-1e4, -100.0, -0.0, 0.0, 100.0, 1e4]])
    value, derivative = run(host_backend, f, z, dtype)
    assert np.isfinite(value).all()
    assert np.isfinite(derivative).all()


def test_tails_of_exact_gelu_are_exact():
    """The result is accurate where 1 + erf(z / sqrt(2)) loses its digits."""
    f, z = activations.ExactGELU(), -np.geomspace(1e-3, 12, 5000).astype(np.float32)
    for dtype, limit in ((np.float32, 1e-6), (np.float64, 5e-14)):
        expected = [each / 2 * math.erfc(-each * math.sqrt(0.5)) for each in z.astype(float)]
        np.testing.assert_allclose(f.value(xp, z.astype(dtype)), expected, rtol=limit)


def test_forms_of_gelu_are_near_each_other(host_backend):
    z = np.linspace(-6, 6, 300).reshape(3, -1)
    tanh, exact = (run(host_backend, f(), z)[0] for f in (activations.GELU, activations.ExactGELU))
    assert 4e-4 < np.abs(tanh - exact).max() < 5e-4


@pytest.mark.parametrize("f", BUILTIN, ids=repr)
def test_nan_is_passed_on(host_backend, f):
    value, _ = run(host_backend, f, np.array([[1.0, np.nan]]))
    assert np.isnan(value).tolist() == [[False, True]]


def test_kinks_have_the_documented_derivative(host_backend):
    zero = np.zeros((1, 1))
    for f, expected in (
        (activations.ReLU(), 0.0),
        (activations.LeakyReLU(0.2), 0.2),
        (activations.ELU(0.7), 0.7),
        (activations.CELU(0.7), 1.0),
        (activations.ReLU6(), 0.0),
    ):
        assert run(host_backend, f, zero)[1].item() == pytest.approx(expected, abs=0)


@pytest.mark.parametrize("f", [f for f in BUILTIN if f.from_output], ids=repr)
def test_derivative_from_output_ignores_the_preactivation(f):
    z = np.linspace(-3, 3, 7)
    a = f.value(xp, z)
    np.testing.assert_array_equal(
        f.derivative(xp, np.full_like(z, np.nan), a), f.derivative(xp, a, a)
    )


def test_numpy_parameter_does_not_change_the_type():
    f = activations.LeakyReLU(np.float64(0.1))
    assert type(f.slope) is float
    assert f.value(xp, np.ones(2, np.float32)).dtype == np.float32


def derived(f, z):
    return Activation.derivative(f, xp, z, f.value(xp, z))


@pytest.mark.parametrize(
    "f", [f for f in BUILTIN if type(f).derivative is not Activation.derivative], ids=repr
)
def test_a_derived_derivative_equals_the_written_one(f):
    z = np.random.default_rng(0).uniform(-5, 5, (2, 40)) * [[1], [100]]
    written = f.derivative(xp, z, f.value(xp, z))
    np.testing.assert_allclose(derived(f, z), written, rtol=0, atol=1e-10)


@pytest.mark.parametrize("f", BUILTIN, ids=repr)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_derived_derivative_is_finite(f, dtype):
    slopes = derived(f, np.array([-1e4, -100, -1, -0.0, 0, 1, 100, 1e4], dtype))
    assert slopes.dtype == dtype
    assert np.isfinite(slopes).all()
