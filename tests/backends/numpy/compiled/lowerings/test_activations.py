"""Test which kernels run an activation and its gradient, also in a dense layer."""

import numpy as np
import pytest

pytest.importorskip("numba")

from gpunn import activations
from gpunn.backends.numpy.compiled.lowerings.activations import NAMES

WITH_KERNELS = [cls() for cls in NAMES]
IDENTITY, RELU = activations.Identity(), activations.ReLU()


def arrays(*shapes):
    return [np.zeros(shape, np.float32) for shape in shapes]


def kernels(instructions):
    return [instruction.kernel for instruction in instructions]


@pytest.mark.parametrize("f", WITH_KERNELS, ids=str)
def test_the_kernels_of_an_activation(encode, f):
    z, out, gradient, bias = arrays((6, 5), (6, 5), (6, 5), 5)
    assert kernels(encode("activate", f, z, bias, out)) == ["activate"]
    names = kernels(encode("activation_gradient", f, z, out, gradient, bias))
    # Each thread sums its rows, and a second kernel sums these sums.
    assert names == (["sum_rows"] if f == IDENTITY else ["activation_gradient", "sum_rows"])


@pytest.mark.parametrize("f", WITH_KERNELS, ids=str)
def test_a_dense_layer_is_its_products_and_its_activation(encode, f):
    x, weights, bias, z, out = arrays((6, 3), (3, 5), 5, (6, 5), (6, 5))
    out = z if f.from_output else out
    names = kernels(encode("dense", x, weights, bias, f, z, out))
    # The product applies ReLU.
    assert names == ["product", *([] if f in (IDENTITY, RELU) else ["activate"])]
    changed = arrays((6, 5), (3, 5), 5, (6, 3))
    names = kernels(encode("dense_gradient", x, weights, f, z, out, *changed))
    first = ["sum_rows"] if f == IDENTITY else ["activation_gradient", "sum_rows"]
    assert names == [*first, "product", "product"]


def test_the_identity_changes_no_gradient(encode):
    assert encode("activation_gradient", IDENTITY, *arrays(4, 4, 4), None) == []


class Doubled(activations.Tanh):
    """Another function, with the attributes of a built-in one."""

    name = "test_doubled"

    def value(self, xp, z):
        return 2 * super().value(xp, z)


def test_a_subclass_is_none_of_the_built_in_ones(encode):
    z, out, gradient = arrays((6, 5), (6, 5), (6, 5))
    assert kernels(encode("activate", Doubled(), z, None, out)) == ["expression"]
    steps = encode("activation_gradient", Doubled(), z, out, gradient, None)
    assert kernels(steps) == ["expression"]
    x, weights = arrays((6, 3), (3, 5))
    assert kernels(encode("dense", x, weights, None, Doubled(), z, z)) == ["product", "expression"]
