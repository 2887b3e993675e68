"""Test convolution by minimal filtering: products, results, bits, and infinite pixels."""

import math

import numpy as np
import pytest

pytest.importorskip("numba")

from gpunn.backends.numpy.compiled.interface import IMAGE_STEP, INVERT, PRODUCT, TRANSFORM
from gpunn.backends.numpy.compiled.library import library
from gpunn.backends.numpy.compiled.lowerings import CompiledLowerings
from gpunn.backends.numpy.compiled.product_plans import ProductPlans
from gpunn.backends.numpy.compiled.program import Program
from gpunn.backends.recording import Arguments
from gpunn.backends.windows import Window

MINIMAL = [
    # images, height, width, channels, units, padding, output height and width
    (3, 26, 26, 32, 64, (0, 0), (24, 24)),
    (2, 9, 11, 17, 19, (1, 1), (9, 11)),
    (5, 8, 8, 16, 16, (1, 1), (8, 8)),
    (1, 10, 13, 16, 33, (0, 0), (8, 11)),
    (3, 8, 9, 40, 16, (2, 0), (10, 8)),  # padding below, and less padding at the right
    (2, 9, 8, 16, 16, (3, 4), (13, 14)),  # some tiles have only padding
    (1, 8, 140, 16, 16, (1, 1), (8, 140)),  # a row of tiles is a part
    (1, 8, 8, 256, 256, (1, 1), (8, 8)),
]
DIRECT = [
    # channels, units, height, width, groups, window, output height and width
    (15, 16, 9, 9, 1, Window((3, 3), padding=(1, 1)), (9, 9)),
    (16, 15, 9, 9, 1, Window((3, 3), padding=(1, 1)), (9, 9)),
    (257, 256, 8, 8, 1, Window((3, 3), padding=(1, 1)), (8, 8)),
    (16, 16, 9, 9, 1, Window((3, 3)), (7, 7)),
    (16, 16, 1, 64, 1, Window((3, 3), padding=(1, 1)), (1, 64)),
    (16, 16, 17, 17, 1, Window((3, 3), (2, 2), (1, 1)), (9, 9)),
    (16, 16, 12, 12, 1, Window((3, 3), dilation=(2, 2)), (8, 8)),
    (16, 16, 12, 12, 1, Window((5, 5)), (8, 8)),
    (32, 32, 9, 9, 2, Window((3, 3), padding=(1, 1)), (9, 9)),
    (16, 16, 9, 9, 16, Window((3, 3), padding=(1, 1)), (9, 9)),
]


def lowered(threads, window, x, y, weights, bias, out):
    lowerings = CompiledLowerings(threads, ProductPlans(threads, 1 << 16, library().vectors))
    given = {
        "convolution": {"x": x, "weights": weights, "bias": bias},
        "convolution_inputs": {"gradient": y, "weights": weights},
        "convolution_weights": {"x": x, "gradient": y},
    }
    return [
        getattr(lowerings, name)(Arguments(window=window, out=each, **arguments))
        for (name, arguments), each in zip(given.items(), out, strict=True)
    ]


def arrays(case, dtype):
    n, height, width, channels, units, padding, sizes = case
    random = np.random.default_rng(0)
    shapes = (n, height, width, channels), (n, *sizes, units), (9 * channels, units), (units,)
    x, y, weights, bias = (random.standard_normal(shape).astype(dtype) for shape in shapes)
    return Window((3, 3), padding=padding), x, y, weights, bias


def results(case, dtype, threads=1):
    given = arrays(case, dtype)
    out = [np.full_like(each, np.nan) for each in (given[2], given[1], given[3])]
    for steps in lowered(threads, *given, out):
        Program(steps, threads)(2)  # the second time, buffers have the first's numbers
    return out


def expected(case, dtype):
    window, *given = arrays(case, dtype)
    x, y, weights, bias = (each.astype(np.float64) for each in given)
    (top, left), (_, height, width, channels) = window.padding, x.shape
    _, rows, columns, units = y.shape
    padded = np.zeros((len(x), rows + 2 + height, columns + 2 + width, channels))
    inner = np.s_[:, top : top + height, left : left + width]
    padded[inner] = x
    out, dx, dw = np.zeros_like(y) + bias, np.zeros_like(padded), np.zeros((9, channels, units))
    for tap, kernel in enumerate(weights.reshape(dw.shape)):
        i, j = divmod(tap, 3)
        part = np.s_[:, i : i + rows, j : j + columns]
        out += padded[part] @ kernel
        dx[part] += y @ kernel.T
        dw[tap] = np.tensordot(padded[part], y, ((0, 1, 2), (0, 1, 2)))
    return out, dx[inner], dw.reshape(weights.shape)


def table_of(steps):
    [table] = [one.args[5] for one in steps if one.kernel == "convolution"]
    return table.reshape(-1, IMAGE_STEP)


@pytest.mark.parametrize("case", MINIMAL, ids=str)
def test_each_tile_takes_16_products(case):
    window, x, y, weights, bias = arrays(case, np.float32)
    forward, inputs, of_weights = map(
        table_of, lowered(1, window, x, y, weights, bias, (y, x, weights))
    )
    for table, shape in ((forward, y.shape), (inputs, x.shape), (of_weights, y.shape)):
        product = table[table[:, 0] == PRODUCT]
        rows, columns, terms, runs = product[:, [7, 9, 16, 17]].T
        tiles = math.prod(-(-size // 2) for size in shape[1:3])
        assert (rows * columns * terms * runs).sum() == 16 * tiles * weights.size // 9
    assert INVERT in forward[:, 0]
    assert INVERT in inputs[:, 0]
    assert TRANSFORM in of_weights[:, 0]


@pytest.mark.parametrize("case", DIRECT, ids=str)
def test_other_convolutions_are_direct(case):
    channels, units, height, width, groups, window, sizes = case
    x, y = (np.zeros(s, np.float32) for s in ((2, height, width, channels), (2, *sizes, units)))
    weights = np.zeros((math.prod(window.kernel) * channels // groups, units), np.float32)
    for steps in lowered(1, window, x, y, weights, weights[0], (y, x, weights)):
        for one in steps:
            if one.kernel == "convolution":
                assert TRANSFORM not in table_of([one])[:, 0]


@pytest.mark.parametrize("case", MINIMAL, ids=str)
@pytest.mark.parametrize(("dtype", "error"), [("float32", 2e-6), ("float64", 4e-15)])
@pytest.mark.parametrize("threads", [1, 2])
def test_errors_are_of_a_few_last_digits(case, dtype, error, threads):
    for result, exact in zip(results(case, dtype, threads), expected(case, dtype), strict=True):
        scale = np.sqrt(np.mean(exact**2))
        assert np.sqrt(np.mean((result - exact) ** 2)) < error * scale
        assert np.abs(result - exact).max() < 10 * error * scale


@pytest.mark.parametrize("case", MINIMAL, ids=str)
def test_threads_and_repetitions_give_the_same_bits(case):
    one, two, again = (results(case, "float32", threads) for threads in (1, 2, 2))
    assert [each.tobytes() for each in two] == [each.tobytes() for each in again]
    assert [each.tobytes() for each in one[:2]] == [each.tobytes() for each in two[:2]]


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
@pytest.mark.parametrize(("row", "column"), [(0, 0), (4, 5), (5, 4), (5, 5), (6, 6), (11, 11)])
def test_an_exceptional_pixel_changes_only_the_windows_that_contain_it(row, column, value):
    window, x, y, weights, bias = arrays((2, 12, 12, 16, 16, (1, 1), (12, 12)), np.float32)
    usual, out = np.empty_like(y), np.empty_like(y)
    Program(lowered(1, window, x, y, weights, bias, (usual, x.copy(), weights.copy()))[0], 1)(1)
    x[1, row, column, 3] = value
    Program(lowered(1, window, x, y, weights, bias, (out, x.copy(), weights.copy()))[0], 1)(1)
    changed = (out != usual).any(axis=3)
    windows = np.s_[1, max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
    assert changed[windows].all()
    assert not np.isfinite(out[windows]).all()
    changed[windows] = False
    assert not changed.any()


def test_relu_keeps_nan_and_sets_negative_results_to_zero():
    window, x, y, weights, bias = arrays((1, 9, 9, 16, 16, (1, 1), (9, 9)), np.float32)
    x[0, 8, 8, 0] = np.nan
    lowerings = CompiledLowerings(1, ProductPlans(1, 1 << 16, library().vectors))
    outs = np.empty_like(y), np.empty_like(y)
    for out, floor in zip(outs, (-np.inf, 0.0), strict=True):
        Program(lowerings._convolved(window, x, weights, out, bias, floor), 1)(1)
    np.testing.assert_array_equal(outs[1], np.where(outs[0] < 0, 0, outs[0]))
    assert np.isnan(outs[1][0, 8, 8]).any()
    assert (outs[1] == 0).any()
