"""Adjacent operations become one kernel, but only if that cannot change a result."""

import numpy as np
import pytest

from gpunn import activations
from gpunn.backends.cupy import CupyBackend

ROWS, FEATURES = 5, 70
SHAPES = {"scale": (FEATURES,), "shift": (FEATURES,), "bias": (FEATURES,), "inverse": (ROWS, 1)}
NAMES = (*SHAPES, "x", "z", "y", "normal", "gradient")
GELU = activations.GELU()


class OwnGELU(activations.GELU):
    """An activation without a kernel."""


def norm(ops, scale, shift, inverse, x, z, normal, **_):
    ops.layer_norm(x, scale, shift, 1e-5, normal, inverse, z)


def activate(ops, z, y, **_):
    ops.activate(GELU, z, None, y)


def chain_rule(ops, z, y, gradient, **_):
    ops.activation_gradient(GELU, z, y, gradient, None)


def norm_gradient(ops, scale, shift, inverse, gradient, normal, bias, **_):
    """Compute gradients; the arrays `shift` and `bias` are results."""
    ops.layer_norm_gradient(gradient, normal, inverse, scale, shift, bias)


CASES = {
    "norm and activation": ([norm, activate], "layer_norm_gelu"),
    "another activation": (
        [norm, lambda ops, z, y, **_: ops.activate(activations.ReLU(), z, None, y)],
        "layer_norm_relu",
    ),
    "the activation's argument is another array": (
        [norm, lambda ops, x, y, **_: ops.activate(GELU, x, None, y)],
        "layer_norm gelu",
    ),
    "the result overwrites the norm's argument": (
        [norm, lambda ops, z, x, **_: ops.activate(GELU, z, None, x)],
        "layer_norm gelu",
    ),
    "the result overwrites a part of what the backward pass reads": (
        [norm, lambda ops, z, normal, **_: ops.activate(GELU, z[:4], None, normal[1:])],
        "layer_norm gelu",
    ),
    "a bias": (
        [norm, lambda ops, z, y, bias, **_: ops.activate(GELU, z, bias, y)],
        "layer_norm bias_gelu",
    ),
    "an operation between them": (
        [norm, lambda ops, normal, **_: ops.rescale(normal, 2.0, 0.0, normal), activate],
        "layer_norm rescale gelu",
    ),
    "no kernel for the activation": (
        [norm, lambda ops, z, y, **_: ops.activate(OwnGELU(), z, None, y)],
        "layer_norm",
    ),
    "gradients": ([chain_rule, norm_gradient], "layer_norm_gelu_gradient"),
    "gradients in another order": (
        [norm_gradient, chain_rule],
        "layer_norm_gradient gelu_gradient",
    ),
    "a gradient of a bias": (
        [
            lambda ops, z, y, gradient, bias, **_: ops.activation_gradient(
                GELU, z, y, gradient, bias
            ),
            norm_gradient,
        ],
        "gelu_gradient_and_sums layer_norm_gradient",
    ),
    "gradients that share an argument": (
        [
            lambda ops, normal, y, gradient, **_: ops.activation_gradient(
                GELU, normal, y, gradient, None
            ),
            norm_gradient,
        ],
        "gelu_gradient layer_norm_gradient",
    ),
}
"""Operations in order, and the kernels of the project that run them."""


@pytest.mark.parametrize("name", CASES)
def test_which_kernels_run(name, emulator):
    operations, expected = CASES[name]
    results = []
    for recorded, graph in ((False, False), (True, False), (True, True)):
        ops, random = CupyBackend(0, graph=graph), np.random.default_rng(0)
        arrays = {
            name: ops.from_host(
                random.uniform(0.5, 1.5, SHAPES.get(name, (ROWS, FEATURES))), "float32"
            )
            for name in NAMES
        }

        def run(ops=ops, arrays=arrays):
            for each in operations:
                each(ops, **arrays)

        with emulator.counters() as counts:
            ops.recorded(run)(1) if recorded else run()
        if recorded:
            kernels = [each.removeprefix("gpunn_") for each in counts.kernels if "gpunn" in each]
            assert kernels == expected.split()
        results.append({name: each.get() for name, each in arrays.items()})
    for other in results[1:]:
        for name, value in results[0].items():
            assert np.array_equal(value, other[name]), name
