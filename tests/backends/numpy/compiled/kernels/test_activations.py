"""Test the activations of compiled programs at single numbers, including extreme ones."""

import array_api_compat.numpy as xp
import numpy as np
import pytest

pytest.importorskip("numba")

from gpunn import activations
from gpunn.backends.numpy.compiled import CompiledBackend
from gpunn.configurable import known

BACKEND = CompiledBackend(threads=2)

ACTIVATIONS = [
    *(
        cls()
        for cls in known(activations.Activation).values()
        if cls.__module__.startswith("gpunn")
    ),
    *(activations.LeakyReLU(0.3), activations.ELU(0.7)),
]

WIDER = {np.float32: np.float64, np.float64: np.longdouble}

NUMBERS = {
    "moderate": np.linspace(-12, 12, 1001),
    "large": np.array([-1e30, -3e19, -400.0, -90.0, 90.0, 400.0, 3e19, 1e30]),
    "none": np.array([np.inf, -np.inf, np.nan]),
}


@pytest.mark.parametrize("dtype", WIDER)
@pytest.mark.parametrize("numbers", NUMBERS)
@pytest.mark.parametrize("f", ACTIVATIONS, ids=str)
def test_each_number_is_that_of_the_definition(f, numbers, dtype):
    z = NUMBERS[numbers].astype(dtype)[None]
    wide = z.astype(WIDER[dtype])
    if np.finfo(wide.dtype).eps == np.finfo(dtype).eps:
        pytest.skip("there is no wider type here")
    with np.errstate(all="ignore"):
        value = f.value(xp, wide)
        slope = f.derivative(xp, wide, value)
    out, gradient, sums = np.empty_like(z), np.ones_like(z), np.empty_like(z[0])
    BACKEND.recorded(lambda: BACKEND.activate(f, z, None, out))(1)
    BACKEND.recorded(lambda: BACKEND.activation_gradient(f, z, out, gradient, sums))(1)
    tolerance = 8 * np.finfo(dtype).eps
    np.testing.assert_allclose(out, value, tolerance, tolerance)
    np.testing.assert_allclose(gradient, slope, tolerance, tolerance)
    np.testing.assert_array_equal(sums, gradient[0])
