"""Test programs with convolutions: what they consist of, and that threads do not affect results."""

import numpy as np
import pytest

pytest.importorskip("numba")

from training_steps import recorded_step

import gpunn
from gpunn.backends.numpy.compiled.conflicts import address
from gpunn.backends.numpy.compiled.library import library
from gpunn.backends.numpy.compiled.lowerings import CompiledLowerings
from gpunn.backends.numpy.compiled.product_plans import ProductPlans
from gpunn.backends.numpy.compiled.program import Program, Table
from gpunn.backends.recording import Arguments
from gpunn.backends.windows import Window
from gpunn.layers import Conv2D, Dense, Flatten, MaxPool2D

CASES = [
    # images, height, width, channels, units, window, output height and width
    (5, 12, 12, 6, 16, Window((5, 5)), (8, 8)),
    (4, 9, 9, 32, 40, Window((3, 3), (2, 1), (1, 1)), (5, 9)),
    (3, 6, 7, 4, 6, Window((2, 3), dilation=(1, 2)), (5, 3)),
]


@pytest.mark.parametrize("threads", [1, 2])
def test_a_step_of_lenet_is_one_table(threads):
    layers = [Conv2D(6, 5, activation="relu"), MaxPool2D(2), Conv2D(16, 5, activation="relu")]
    layers += [MaxPool2D(2), Flatten(), Dense(120, "relu"), Dense(84, "relu"), Dense(10)]
    backend = gpunn.get_backend("numpy", threads=threads)
    model = gpunn.Sequential(layers, (28, 28, 1), backend)
    trainer = gpunn.Trainer(model, "softmax_cross_entropy")
    X, y = np.zeros((8, 28, 28, 1), np.float32), np.arange(8)
    program = backend._program(recorded_step(trainer, X, y))
    assert [type(each) for each in program._steps] == [Table]


def results(case, threads):
    n, height, width, channels, units, window, sizes = case
    random = np.random.default_rng(0)
    patch = window.kernel[0] * window.kernel[1] * channels
    x, y, weights, bias = (
        random.standard_normal(shape).astype(np.float32)
        for shape in ((n, height, width, channels), (n, *sizes, units), (patch, units), units)
    )
    lowerings = CompiledLowerings(threads, ProductPlans(threads, 1 << 16, library().vectors))
    out, dx, dw = np.full_like(y, np.nan), np.full_like(x, np.nan), np.full_like(weights, np.nan)
    for name, arguments in (
        ("convolution", {"x": x, "weights": weights, "bias": bias, "out": out}),
        ("convolution_inputs", {"gradient": y, "weights": weights, "out": dx}),
        ("convolution_weights", {"x": x, "gradient": y, "out": dw}),
    ):
        steps = getattr(lowerings, name)(Arguments(window=window, **arguments))
        Program(steps, threads)(2)  # the second time, buffers have the first's numbers
    return out, dx, dw


@pytest.mark.parametrize("case", CASES, ids=str)
def test_threads_and_repetitions_give_the_same_bits(case):
    one, two, again = results(case, 1), results(case, 2), results(case, 2)
    assert [each.tobytes() for each in two] == [each.tobytes() for each in again]
    assert [each.tobytes() for each in one[:2]] == [each.tobytes() for each in two[:2]]
    np.testing.assert_allclose(one[2], two[2], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("window", "width", "most"),
    [
        (Window((3, 2), padding=(1, 0)), 25, 600_000),
        (Window((3, 3), padding=(1, 1)), 26, 1_450_000),  # by minimal filtering
    ],
    ids=str,
)
def test_the_workspace_of_a_thread_does_not_grow_with_the_batch(window, width, most):
    lowerings = CompiledLowerings(1, ProductPlans(1, 1 << 16, library().vectors))
    weights, taken = np.zeros((32 * window.kernel[0] * window.kernel[1], 64), np.float32), []
    for n in (2, 64):
        x, y = np.zeros((n, 26, 26, 32), np.float32), np.zeros((n, 26, width, 64), np.float32)
        own, forward = {address(each) for each in (x, y, weights)}, {"bias": None, "out": y}
        steps = [
            *lowerings.convolution(Arguments(x=x, weights=weights, window=window, **forward)),
            *lowerings.convolution_weights(Arguments(x=x, gradient=y, window=window, out=weights)),
            *lowerings.convolution_inputs(
                Arguments(gradient=y, weights=weights, window=window, out=x)
            ),
        ]
        arrays = {address(a): a for each in steps for a in (*each.reads, *each.writes)}
        taken.append(sum(a.nbytes for key, a in arrays.items() if key not in own))
    assert taken[0] == taken[1] < most
