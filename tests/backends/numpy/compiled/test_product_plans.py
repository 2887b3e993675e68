"""Test matrix products by every method, and updates combined with the products before them."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("numba")

from gpunn.backends.numpy.compiled import interface
from gpunn.backends.numpy.compiled.backend import largest_panels
from gpunn.backends.numpy.compiled.conflicts import Uses
from gpunn.backends.numpy.compiled.interface import Vectors
from gpunn.backends.numpy.compiled.library import library
from gpunn.backends.numpy.compiled.product_plans import ProductPlans
from gpunn.backends.numpy.compiled.program import Instruction, Program, fuse_updates
from gpunn.backends.recording import Operation

AVX512 = Vectors(64, 32)

# method, transposed operand, m, n, k: no size is a multiple of a tile's, to test its edges.
CASES = [
    ("TILES", "nn", 33, 130, 700),
    ("TILES", "nn", 37, 2050, 300),  # more terms than are processed together
    ("TILES", "nn", 1, 150, 90),
    ("TILES", "nn", 5, 10, 1),
    ("TILES", "tn", 130, 37, 50),
    ("PACKED", "nn", 300, 261, 290),
    ("PACKED", "nn", 170, 530, 40),
    ("PACKED", "tn", 261, 517, 70),
    ("PACKED", "tn", 90, 600, 1030),
    ("PACKED", "tn", 517, 70, 260),
    ("PACKED", "nt", 1030, 523, 10),
    ("TRANSPOSED_PANELS", "nt", 45, 77, 130),
    ("TRANSPOSED_PANELS", "nt", 1, 1, 2),
    ("TRANSPOSED_PANELS", "nt", 170, 300, 530),
    ("TRANSPOSED_PRODUCT", "nt", 35, 700, 530),
    ("TRANSPOSED_PRODUCT", "nt", 150, 701, 530),
    ("TILES", "nt", 35, 77, 1),
    ("TILES", "tn", 130, 1, 50),
    ("TILES", "tn", 131, 3, 51),
    ("TILES", "tn", 1, 1, 1),
    ("DOTS", "nn", 130, 1, 50),
    ("DOTS", "nn", 131, 4, 700),
    ("DOTS", "nn", 1, 1, 1),
]


def run(instructions, threads, times=1):
    Program(instructions, threads)(times)


def operands(form, m, n, k, dtype):
    random = np.random.default_rng(m + n + k)
    a = random.normal(size=(k, m) if form == "tn" else (m, k)).astype(dtype)
    b = random.normal(size=(n, k) if form == "nt" else (k, n)).astype(dtype)
    return a, b, np.full((m, n), np.nan, dtype)


def plans(threads):
    return ProductPlans(threads, 1 << 24, library().vectors)


def forced(method, threads):
    made = plans(threads)
    made._method = lambda *_: getattr(interface, method)
    return made


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(("method", "form", "m", "n", "k"), CASES)
def test_every_method_agrees_with_numpy(method, form, m, n, k, threads, dtype):
    a, b, out = operands(form, m, n, k, dtype)
    made = forced(method, threads)
    run(made.encode(a, b, out, form == "tn", form == "nt"), threads)
    a, b = (a.T if form == "tn" else a), (b.T if form == "nt" else b)
    expected = a.astype(np.float64) @ b.astype(np.float64)
    # Higham 2002, "Accuracy and Stability of Numerical Algorithms", equation 3.13, for both
    bound = 2 * k * np.finfo(dtype).eps * (np.abs(a) @ np.abs(b))
    assert (np.abs(out - expected) <= bound).all()


@pytest.mark.parametrize(("method", "form", "m", "n", "k"), CASES)
def test_sizes_decide_on_the_method(method, form, m, n, k):
    made = replace(plans(2), vectors=AVX512)
    instructions = made.encode(*operands(form, m, n, k, "float32"), form == "tn", form == "nt")
    product = next(each for each in instructions if each.kernel == "product")
    assert product.args.method == getattr(interface, method)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("m", "n", "k"), [(32, 3, 600), (33, 3, 600), (64, 9, 700)])
def test_transposed_gradients_of_weights_are_bitwise_those_of_tiles(m, n, k, dtype):
    a, b, expected = operands("tn", m, n, k, dtype)
    (product,) = plans(1).encode(a, b, out := np.empty_like(expected), transpose_a=True)
    assert product.args.method == interface.TRANSPOSED_PRODUCT
    run([product], threads=1)
    run(forced("TILES", 1).encode(a, b, expected, transpose_a=True), threads=1)
    np.testing.assert_array_equal(out, expected, strict=True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("m", "n", "k"), [(40, 21, 500), (50, 1, 300), (50, 3, 301), (1, 1, 40)])
def test_gradients_of_long_batches_are_summed_over_the_threads(m, n, k, dtype):
    for threads in (2, 3):
        a, b, out = operands("tn", m, n, k, dtype)
        product, total = plans(threads).encode(a, b, out, transpose_a=True)
        assert product.args.by_terms
        assert total.kernel == "sum_rows"
        assert product.by_rows == [a, b]
        run([product, total], threads)
        bound = 2 * k * np.finfo(dtype).eps * (np.abs(a.T) @ np.abs(b))
        assert (np.abs(out - a.T.astype(np.float64) @ b) <= bound).all()


def test_threads_divide_the_rows_of_a_batch_where_all_can_hold_the_weights():
    made = plans(2)
    divided = {}
    for name, m, n, k in (
        ("small", 64, 128, 128),
        ("short", 32, 128, 128),
        ("wide", 128, 900, 784),
    ):
        a, b, out = operands("nn", m, n, k, "float32")
        product = made.encode(a, b, out)[-1]
        divided[name] = (made.is_by_columns(out), bool(product.by_rows))
    assert divided == {"small": (False, True), "short": (True, False), "wide": (True, False)}


def test_panels_are_as_large_as_the_products_need():
    data = np.zeros((100_000, 4), np.float32)
    x, weights, out = (np.zeros(shape, np.float32) for shape in ((8, 4), (4, 300), (8, 300)))
    trace = [
        Operation("gather_rows", (data, None, None, x)),
        Operation("matmul", (x, weights, out)),
    ]
    assert 300 * 4 * 4 <= largest_panels(trace, AVX512.panel) < 100_000


@pytest.mark.parametrize(
    "sizes",
    [
        *((1, 701, 300), (33, 130, 300), (37, 2050, 300), (300, 261, 290), (170, 530, 40)),
        *((33, 1, 130), (33, 3, 130)),
    ],
)
def test_bias_and_floor_are_applied_once(sizes):
    a, b, out = operands("nn", *sizes, "float64")
    bias = np.random.default_rng(0).normal(size=sizes[1])
    run(plans(2).encode(a, b, out, bias=bias, floor=0.0), 2)
    np.testing.assert_allclose(out, np.maximum(bias + a @ b, 0.0), rtol=1e-11, atol=1e-11)


def update_of(kernel, values, gradients, slots, rate):
    hyperparameters = [0.9, 0.1, 0.999, 0.001, 1e-8, np.log(0.9), np.log(0.999), 0.0]
    step = np.ones(1, np.int64)
    args = [values, gradients, *[*slots, None, None][:2], values.size]
    args += [rate, step, None, 1.0, 0.01, *hyperparameters]
    read = [gradients, rate, step]
    return Instruction(kernel, args, read, [values, *slots], early=True)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("kernel", "slots"), [("sgd", 0), ("adam", 2)])
@pytest.mark.parametrize(("m", "n", "k"), [(130, 37, 50), (261, 517, 70)])  # by tiles and by panels
def test_updates_done_with_their_products_are_the_same(m, n, k, kernel, slots, threads):
    results = []
    for together in (True, False):
        a, b, gradients = operands("tn", m, n, k, "float32")
        values, rate = np.ones((m, n), np.float32), np.full(1, 0.1, np.float32)
        state = [np.full((m, n), 0.5, np.float32) for _ in range(slots)]
        instructions = plans(threads).encode(a, b, gradients, transpose_a=True)
        update = update_of(kernel, values, gradients, state, rate)
        order = [*instructions, update]
        assert len(fuse_updates(order, Uses(order))) == len(instructions)
        if together:
            run([*instructions, update], threads, times=3)
        else:
            for each in [*instructions, update] * 3:
                run([each], threads)
        results.append([gradients, values, *state])
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


def test_updates_wait_where_others_look_at_the_gradient():
    a, b, gradients = operands("tn", 20, 30, 10, "float32")
    values, rate, norm = np.ones((20, 30), np.float32), np.ones(1, np.float32), np.zeros(1)
    (product,) = plans(1).encode(a, b, gradients, transpose_a=True)
    update = update_of("sgd", values, gradients, [], rate)
    look = Instruction("squares", [gradients, gradients.size, norm], [gradients], [norm])
    for order in ([product, look, update], [product, update, look]):
        assert fuse_updates(order, Uses(order)) == order
    part = update_of("sgd", values[:10], gradients[:10], [], rate)
    order = [product, part]
    assert fuse_updates(order, Uses(order)) == order
