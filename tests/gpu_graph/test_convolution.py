"""Convolution in parts, and the kernels and products of a convolution."""

from unittest.mock import Mock

import cupy
import pytest
from kernels.cases import small_cases
from parity import operations

from gpunn import activations
from gpunn.backends.cupy import CupyBackend
from gpunn.backends.cupy.kernels import patches, windows
from gpunn.backends.cupy.matmul import choice
from gpunn.backends.windows import Window

CASES = [case for case in small_cases() if "convol" in case.operation or "pool" in case.operation]
RECTIFIED = [case for case in CASES if case.name.startswith("convol") and "relu" in case.name]


def check(backend, cases, dtype="float32"):
    assert cases
    for case in cases:
        operations.check(backend, dtype, case, operations.LAYOUTS[:1])


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.full)])
def test_parts_that_begin_within_images(dtype, monkeypatch):
    monkeypatch.setattr(patches, "PART_BYTES", 0)
    monkeypatch.setattr(patches, "ALIGNED", 5)
    monkeypatch.setattr(windows, "MOST", 0)  # pooling takes one image at a time
    check(CupyBackend(0), CASES, dtype)


def test_without_cublas(monkeypatch):
    monkeypatch.setattr(choice, "load_cublas", Mock(side_effect=OSError("no such library")))
    monkeypatch.setattr(patches, "PART_BYTES", 0)
    check(CupyBackend(0), RECTIFIED)


@pytest.mark.parametrize("seed", [1, 2])
def test_refused_products_are_computed_separately(seed, emulator, monkeypatch):
    monkeypatch.setattr(patches, "PART_BYTES", 0)
    with emulator.refusals(seed), emulator.counters() as counts:
        check(CupyBackend(0), RECTIFIED)
    assert counts.fused_matmuls
    assert counts.kernels["gpunn_bias_relu_in_place"]


GRADIENT, IM2COL, COL2IM = "gpunn_relu_gradient_and_sums", "gpunn_im2col", "gpunn_col2im"
THREE = Window((3, 3), padding=(1, 1))
LAUNCHES = {
    "one part": (THREE, 1, 1, 1, {IM2COL: 1}, 2, {IM2COL: 1, COL2IM: 1}),
    "parts": (THREE, 1, 3, 3, {IM2COL: 3}, 6, {IM2COL: 3, COL2IM: 3}),
    "1x1": (Window((1, 1)), 1, 1, 1, {}, 2, {}),
    "1x1, strides": (Window((1, 1), (2, 2)), 1, 1, 1, {IM2COL: 1}, 2, {IM2COL: 1, COL2IM: 1}),
    "groups": (
        *(THREE, 2, 1, 0, {IM2COL: 1, "gpunn_bias_relu_in_place": 1}),
        *(2, {IM2COL: 1, COL2IM: 1}),
    ),
    "depthwise": (
        *(THREE, 4, 0, 0, {"gpunn_depthwise_biased": 1, "gpunn_relu": 1}),
        *(0, {"gpunn_depthwise_weights": 1, "gpunn_depthwise_inputs": 1}),
    ),
}
"""Window and groups; then products, fused products and kernels forward, and products and kernels
backward, besides the gradient of ReLU."""


@pytest.mark.parametrize("name", LAUNCHES)
def test_what_a_convolution_launches(name, emulator, monkeypatch):
    window, groups, products, fused, forward, back, backward = LAUNCHES[name]
    if name == "parts":
        monkeypatch.setattr(patches, "PART_BYTES", 64 * 36 * 4)
    backend, relu = CupyBackend(0), activations.ReLU()
    size = 8 // window.strides[0]
    x, z = cupy.ones((3, 8, 8, 4), "f4"), cupy.zeros((3, size, size, 4), "f4")
    W, b = (
        cupy.ones((window.kernel[0] * window.kernel[1] * 4 // groups, 4), "f4"),
        cupy.ones(4, "f4"),
    )
    with emulator.counters() as counts:
        backend.convolve(x, W, b, relu, window, z, z)
    assert counts.kernels == forward
    assert (counts.matmuls.total(), counts.fused_matmuls) == (products, fused)
    dz, dW, db, dx = cupy.ones_like(z), cupy.empty_like(W), cupy.empty_like(b), cupy.empty_like(x)
    with emulator.counters() as counts:
        backend.activation_gradient(relu, z, z, dz, db)
        backend.convolution_weights(x, dz, window, dW)
        backend.convolution_inputs(dz, W, window, dx)
    own = {kernel: n for kernel, n in counts.kernels.items() if kernel.startswith("gpunn_")}
    assert own == {GRADIENT: 1, **backward}
    assert counts.matmuls.total() == back
