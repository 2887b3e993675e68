"""Test which kernels run an activation and its gradient, also in a dense layer."""

import numpy as np
import pytest

pytest.importorskip("numba")

import gpunn
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


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("inputs", [1, 5, 31, 32])
@pytest.mark.parametrize("sums", ["of_relu", "none", "no_relu"])
def test_gradients_of_one_output_are_bitwise_those_of_products(sums, inputs, dtype):
    random, backend = np.random.default_rng(inputs), gpunn.get_backend("numpy", threads=1)
    x, weights = random.normal(size=(77, inputs)).astype(dtype), np.zeros((inputs, 2), dtype)
    weights[:, :1] = random.normal(size=(inputs, 1))
    gradient = np.zeros((77, 2), dtype)
    gradient[:, 0], gradient[3, 0] = random.normal(size=77), -0.0
    found = []
    for outputs in (1, 2):
        w, g = weights[:, :outputs].copy(), gradient[:, :outputs].copy()
        of_weights, of_bias, of_x = np.empty_like(w), np.empty_like(w[0]), np.empty_like(x)
        of_relu = np.zeros_like(x[0]) if sums == "of_relu" else None

        def trace(w=w, g=g, gradients=(of_weights, of_bias, of_x), sums_of_relu=of_relu):
            backend.dense_gradient(x, w, IDENTITY, g, g, g, *gradients)
            if sums != "no_relu":
                backend.activation_gradient(RELU, x, x, gradients[-1], sums_of_relu)

        program = backend.recorded(trace)
        program(1)
        found.append([each.tobytes() for each in (of_weights[:, 0], of_bias[:1], of_x)])
        found[-1].append(None if of_relu is None else of_relu.tobytes())
        assert (kernels(program._kept) == ["one_output_gradient"]) == (outputs == 1)
    assert found[0] == found[1]


def test_the_identity_changes_no_gradient(encode):
    assert encode("activation_gradient", IDENTITY, *arrays(4, 4, 4), None) == []


@pytest.mark.parametrize(("shape", "dtype"), [((4, 5), "f4"), ((), "f4"), ((5,), "f8")])
def test_kernels_sum_images_only_over_pixels(encode, shape, dtype):
    z, out, gradient = arrays((6, 3, 4, 5), (6, 3, 4, 5), (6, 3, 4, 5))
    assert encode("activation_gradient", RELU, z, out, gradient, np.zeros(shape, dtype)) is None


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


class GELU(activations.Activation):
    """A function whose derivative reads z^2, which the function itself joins with a sum."""

    name = "test_gelu"

    def value(self, xp, z):
        return 0.5 * z * (1 + xp.tanh(0.8 * (z + 0.05 * z**3)))


class Bent(activations.Activation):
    """A function whose derivative needs the sign of a sum of products, but not the exact sign."""

    name = "test_bent"

    def inner(self, xp, z):
        return 0.3 * (0.7 * xp.exp(z) * z) + 0.2

    def value(self, xp, z):
        return xp.abs(self.inner(xp, z))


class WrittenBent(Bent):
    """A function whose derivative reads the exact sign of a sum of products."""

    name = "test_written_bent"

    def derivative(self, xp, z, a):
        return xp.sign(self.inner(xp, z)) * 0.21 * xp.exp(z) * (z + 1)


class Layer:
    """The arrays and operations of a dense layer."""

    def __init__(self, f):
        random = np.random.default_rng(0)
        self.backend, self.f = gpunn.get_backend("numpy", threads=2), f
        self.x, self.W, self.b = (
            random.normal(size=size).astype(np.float32) for size in ((70, 3), (3, 40), 40)
        )
        self.z, self.a, self.gradient, self.dW, self.db = arrays(
            (70, 40), (70, 40), (70, 40), (3, 40), 40
        )

    def forward(self, f=None):
        self.backend.dense(self.x, self.W, self.b, f or self.f, self.z, self.a)

    def backward(self):
        self.backend.fill(self.gradient, 2.0)
        changed = self.gradient, self.dW, self.db, None
        self.backend.dense_gradient(self.x, self.W, self.f, self.z, self.a, *changed)

    def check(self, *passes, keeps_z):
        """Run the passes in one trace, and compare their results with the definitions."""
        self.backend.recorded(lambda: [each() for each in passes])(2)
        z = self.x @ self.W + self.b
        slope = self.f.derivative(np, z, self.f.value(np, z))
        np.testing.assert_allclose(self.z, z if keeps_z else slope, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(self.gradient, 2 * slope, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(self.db, 2 * slope.sum(axis=0), rtol=1e-4, atol=1e-4)


def test_a_forward_pass_stores_the_derivative_and_has_the_bits_of_a_prediction():
    layer = Layer(GELU())
    layer.backend.recorded(layer.forward)(1)
    alone = layer.a.copy()
    layer.check(layer.forward, layer.backward, keeps_z=False)
    np.testing.assert_array_equal(layer.a, alone)


@pytest.mark.parametrize("reads", [False, True])
def test_z_is_kept_if_another_operation_reads_it(reads):
    layer = Layer(GELU())
    (other,) = arrays((70, 40))
    part = layer.z.reshape(-1)[40:80] if reads else other

    def read():
        layer.backend.assign(part, np.zeros_like(part))

    layer.check(layer.forward, read, layer.backward, keeps_z=reads)


@pytest.mark.parametrize("f", [Bent(), WrittenBent()], ids=["derived", "written"])
def test_z_is_kept_if_a_written_derivative_reads_an_exact_sign(f):
    layer = Layer(f)
    layer.check(layer.forward, layer.backward, keeps_z=isinstance(f, WrittenBent))


def test_z_is_kept_for_a_backward_pass_without_its_forward_pass():
    layer = Layer(GELU())
    layer.backend.recorded(layer.forward)(1)
    layer.check(layer.backward, layer.forward, keeps_z=True)
    layer.check(
        layer.forward, lambda: layer.forward(activations.Tanh()), layer.backward, keeps_z=True
    )
