"""Test that instructions of traced definitions compute what the definitions compute in NumPy."""

import math
from collections import Counter
from itertools import cycle

import array_api_compat.numpy as xp
import numpy as np
import pytest
from functions import FUNCTIONS, gradient_of
from instructions import instructions_of

pytest.importorskip("numba")

from gpunn import activations, losses, metrics, optimizers
from gpunn.backends.numpy.compiled.expressions import loop
from gpunn.backends.numpy.compiled.expressions.steps import NUMBERS
from gpunn.backends.numpy.compiled.interface import (
    BLOCK_BYTES,
    CHAIN,
    CHUNK_BYTES,
    CONTRACTION,
    COPY,
    ONE_EACH,
    OPERATIONS,
    PUT,
    REPEATED,
    STEP_BYTES,
)
from gpunn.backends.numpy.compiled.program import Instruction, Program, table_of
from gpunn.backends.numpy.memory import LINE
from gpunn.backends.operations import Operations, Segment, Trained
from gpunn.backends.recording import Arguments, arrays_in
from gpunn.backends.tracing import trace_operation
from gpunn.expressions import Untraceable, expression_of
from gpunn.metrics.labels import OF_CLASSES

FUNCTION_OF = {number: function for function, number in NUMBERS.items()}

BOUNDS = {"float32": 2e-6, "float64": 1e-14}
"""Maximum errors, relative to the largest number of an array."""

TYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
THREADS_AND_TYPES = pytest.mark.parametrize(("threads", "dtype"), [(1, "float32"), (3, "float64")])

SHAPES = [(32, 10), (7, 5), (40, 300), (3, 2100), (1, 1)]


class Reference:
    """What definitions use of a NumPy backend."""

    xp = xp


def compare(definition, arguments, dtype, threads=2):
    values = list(vars(arguments).values())
    arrays = {id(each): each for each in arrays_in(values)}.values()
    before = [each.copy() for each in arrays]
    with np.errstate(all="ignore"):
        definition(Reference, **vars(arguments))
    expected = [each.copy() for each in arrays]
    for array, original in zip(arrays, before, strict=True):
        array[...] = original
    writes = trace_operation(definition, arguments, np.dtype(dtype))
    steps = instructions_of(writes, np.dtype(dtype), threads)
    Program(steps, threads)(1)
    for actual, wanted in zip(arrays, expected, strict=True):
        with np.errstate(all="ignore"):
            largest = np.max(np.abs(wanted), initial=0, where=np.isfinite(wanted))
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=BOUNDS[dtype] * max(largest, 1))
    return steps


def normal(shape, dtype, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def positive(shape, dtype, seed=0):
    return np.abs(normal(shape, dtype, seed)) + np.asarray(0.1, dtype)


def built_in(module, base):
    kinds = [each for each in vars(module).values() if isinstance(each, type)]
    return [each for each in kinds if issubclass(each, base) and each.name]


@pytest.mark.parametrize(
    ("kind", "shape"),
    list(zip(built_in(activations, activations.Activation), cycle(SHAPES), strict=False)),
)
def test_activations(kind, shape):
    dtype = "float64"  # `tests/parity` compares them in float32
    f, z = kind(), 2 * normal(shape, dtype)
    out = z if f.from_output else np.empty_like(z)
    arguments = Arguments(activation=f, z=z, bias=normal(shape[1], dtype), out=out)
    steps = compare(Operations.activate.definition, arguments, dtype)
    assert len(steps) == 1 or shape == (1, 1)  # all in one loop
    gradient, sums = normal(shape, dtype, 1), np.zeros(shape[1], dtype)
    arguments = Arguments(activation=f, z=z, output=out, gradient=gradient, bias_gradient=sums)
    compare(Operations.activation_gradient.definition, arguments, dtype)


def targets_for(name, columns, seed=0):
    """Return targets of 33 rows."""
    generator, shape = np.random.default_rng(seed), (33, columns)
    if name in ("softmax_cross_entropy", "softmax_focal"):
        return generator.integers(0, columns, shape[0])
    if name == "kl_divergence":
        return generator.dirichlet(np.ones(columns), shape[0])
    if name.startswith("binary") or name in ("hinge", "auc"):
        return 1.0 * (generator.random(shape) > 0.5)
    if name == "gaussian_nll":
        return generator.normal(size=(33, columns // 2))
    return generator.lognormal(size=(33, 1) if name == "quantiles" else shape)


@pytest.mark.parametrize("kind", built_in(losses, losses.Loss))
def test_losses(kind):
    loss, columns = kind(), 6
    columns = len(loss.quantiles) if kind is losses.Quantiles else columns
    arguments = Arguments(
        loss=loss,
        predictions=normal((33, columns), "float64"),
        targets=loss.check_targets(targets_for(kind.name, columns), columns),
        weights=positive(33, "float64"),
        normalizer=positive(1, "float64", 1),
        gradient=normal((33, columns), "float64", 2),
        loss_sum=positive(1, "float64", 3),
    )
    compare(Operations.loss.definition, arguments, "float64")


METRICS = [
    *((kind(), columns) for kind in built_in(metrics, metrics.Metric) for columns in (1, 2, 6)),
    *((kind(), columns) for kind in OF_CLASSES for columns in (2, 3)),
    (metrics.AUC(100), 3),
    (metrics.F1("macro", 0.5), 2),
    (metrics.TopKAccuracy(1), 4),
]


@THREADS_AND_TYPES
@pytest.mark.parametrize(
    ("metric", "columns"), METRICS, ids=lambda each: getattr(each, "name", str(each))
)
def test_metrics(metric, columns, threads, dtype):
    """They have their own kernels, but copies of their definitions are custom classes."""
    kinds = [normal((33, columns), dtype), targets_for("auc", columns).astype(dtype)]
    if columns > 1 and not isinstance(metric, (metrics.ValueMetric, *OF_CLASSES)):
        kinds = [targets_for("softmax_cross_entropy", columns)]
        kinds.append(targets_for("kl_divergence", columns).astype(dtype))
    for targets in kinds:
        arguments = Arguments(
            metric=metric,
            predictions=np.round(normal((33, columns), dtype, 1), 1),  # with ties
            targets=targets,
            weights=positive(33, dtype),
            summary=positive(metric.size(columns), dtype, 3),
        )
        compare(Operations.metric.definition, arguments, dtype, threads)


@THREADS_AND_TYPES
@pytest.mark.parametrize("columns", [1, 3, 20, 300])
def test_numbers_at_positions(columns, threads, dtype):
    """Infinities, NaN and -0.0 stay what they are; positions outside of the row give NaN."""

    def chosen(backend, x, table, positions, out, other):
        xp = backend.xp
        out[...] = xp.take_along_axis(x, positions[:, None], axis=1)[:, 0]
        other[...] = xp.take(table, positions)

    x = np.array([-np.inf, np.nan, np.inf, -0.0], dtype)[np.arange(12 * columns) % 4]
    x = x.reshape(12, columns)
    positions = np.random.default_rng(0).integers(-columns, columns, 12)
    out, other = np.empty((2, 12), dtype)
    arguments = Arguments(x=x, table=x[0].copy(), positions=positions, out=out, other=other)
    compare(chosen, arguments, dtype, threads)
    expected = x[range(12), positions], x[0, positions]
    for array, wanted in zip((out, other), expected, strict=True):
        assert np.array_equal(np.signbit(array), np.signbit(wanted))
    positions[:2] = columns, -columns - 1
    writes = trace_operation(chosen, arguments, np.dtype(dtype))
    Program(instructions_of(writes, np.dtype(dtype), threads), threads)(1)
    assert np.isnan(out[:2]).all()


@THREADS_AND_TYPES
@pytest.mark.parametrize("bins", [20, 130, 700])
def test_histograms(bins, threads, dtype):
    """Weights of many bins are added by position; positions that are no bins are not counted."""

    def histogram(backend, x, labels, weights, sums, counts):
        xp = backend.xp
        numbers, zero = xp.arange(bins, dtype=x.dtype), xp.zeros_like(weights)
        places = xp.floor(x * bins)
        for column, count in enumerate(sums):
            is_place = places[:, column, None] == numbers
            count += xp.sum(xp.where(is_place, weights[:, None], zero[:, None]), axis=0)
        is_label = xp.arange(bins) == labels[:, None] + 1
        counts[...] = xp.sum(xp.where(is_label, weights[:, None], 0.0), axis=0)
        weights *= 2.0

    generator = np.random.default_rng(0)
    x = generator.uniform(-0.2, 1.2, (300, 3)).astype(dtype)
    x[::50] = np.array([np.nan, np.inf, -np.inf], dtype)
    labels = generator.integers(-3, bins + 3, 300)
    sums = [positive(bins, dtype, seed) for seed in range(3)]
    arguments = Arguments(
        x=x, labels=labels, weights=positive(300, dtype), sums=sums, counts=np.empty(bins, dtype)
    )
    arguments.weights[7] = np.inf
    steps = compare(histogram, arguments, dtype, threads)
    assert Counter(each.kernel for each in steps)["add_at"] == (4 if bins > 20 else 0)


def test_numbers_between_positions_are_not_counted():
    def histogram(backend, x, sums):
        is_place = x[:, None] == backend.xp.arange(200, dtype=x.dtype)
        sums[...] = backend.xp.sum(backend.xp.where(is_place, 1.0 + x[:, None], 0.0), axis=0)

    arguments = Arguments(x=np.arange(0.0, 100.0, 0.5), sums=np.empty(200))
    compare(histogram, arguments, "float64")


@pytest.mark.parametrize("rows", [130, 140])
def test_sums_of_bins_numbers_are_no_histograms_of_rows_weights(rows):
    def definition(backend, x, numbers, sums):
        is_place = backend.xp.floor(x)[:, None] == backend.xp.arange(130, dtype=x.dtype)
        sums[...] = backend.xp.sum(backend.xp.where(is_place, numbers, 0.0), axis=0)

    x = np.random.default_rng(0).integers(0, 130, rows).astype(float)
    arguments = Arguments(x=x, numbers=normal(130, "float64"), sums=np.empty(130))
    compare(definition, arguments, "float64")


@THREADS_AND_TYPES
@pytest.mark.parametrize("start", [0, 2**24 - 5, 2**50])
def test_remainders_and_quotients_of_integers_are_exact(start, threads, dtype):
    """The float32 of an integer above 2^24 is another integer."""

    def code(backend, step, labels, x, y):
        xp = backend.xp
        once = xp.where(step % 3 == 0, 0.5, 2.0) + xp.astype((step - 1) // 5 % 7, x.dtype)
        once += xp.astype((step + 2**25 + 1) % 7, x.dtype)
        x[...] = once * xp.astype(labels[:, None] % 5, x.dtype)
        y[...] = xp.astype((3 + labels) // 2 % 1000 - (labels // 4 + labels) % 9, x.dtype)

    for step in range(start, start + 5):
        arguments = Arguments(
            step=np.array([step]),
            labels=np.arange(start - 3, start + 4),
            x=np.empty((7, 9), dtype),
            y=np.empty(7, dtype),
        )
        compare(code, arguments, dtype, threads)


@THREADS_AND_TYPES
@pytest.mark.parametrize(
    "optimizer",
    [
        optimizers.SGD(weight_decay=0.1),
        optimizers.SGD(momentum=0.9, nesterov=True, weight_decay=0.2),
        optimizers.Adam(epsilon_hat=True),
        *(kind() for kind in built_in(optimizers, optimizers.Optimizer)),
    ],
    ids=lambda each: f"{each.name}-{each.weight_decay}",
)
def test_optimizers(optimizer, threads, dtype):
    n = 5003
    slots = {name: positive(n, dtype, k) for k, name in enumerate(optimizer.slots)}
    trained = Trained(normal(n, dtype, 8), normal(n, dtype, 9), slots, [Segment(0, n, 0.5, 1.0)])
    arguments = Arguments(
        optimizer=optimizer,
        trained=trained,
        learning_rate=np.array([0.01], dtype),
        step=np.array([3]),
    )
    steps = compare(Operations.update.definition, arguments, dtype, threads)
    # Numbers, such as corrections of Adam, are computed in the same loop; norms need others.
    # One thread sums elements in the loop that computes them.
    assert len(steps) == ((2 if threads == 1 else 3) if optimizer.by_parameter else 1)


def clipped(backend, x, g, mean, before, square):
    """Mix a gradient with the last one, and clip its norm."""
    xp = backend.xp
    doubled, c = 2 * before, 1.1 * g - 0.1 * before
    norm = xp.sqrt(xp.sum(c * c)) + xp.mean(xp.abs(c))
    mean[...] = 0.9 * mean + 0.1 * (c / xp.maximum(norm, 1.0))
    before[...] = g
    square[...] = 0.9 * square + 0.1 * g * g
    x -= (mean + 0.01 * doubled) / (xp.sqrt(square) + 0.5)


@TYPES
@pytest.mark.parametrize("n", [1, 33, 1024, 2416, 5003])
def test_sums_of_all_elements_need_no_loop_and_no_array(n, dtype):
    results = []
    for threads in (1, 3):
        arrays = {name: normal(n, dtype, k) for k, name in enumerate(("x", "g", "mean", "before"))}
        arrays["square"] = positive(n, dtype, 5)
        steps = compare(clipped, Arguments(**arrays), dtype, threads)
        results.append(arrays)
        own = {id(each) for each in arrays.values()}
        written = {id(each): each for step in steps for each in step.writes}
        others = [each for number, each in written.items() if number not in own]
        sizes = sorted(each.size for each in others)
        if threads == 1 < n:  # arrays of c and, since `before` changes, of `doubled`; no root
            assert len(steps) == 2
            assert sizes == [1, 1, n, n]
        assert all(each.ctypes.data % LINE == 0 for each in others)
    for name, array in results[0].items():  # not even rounding depends on the threads
        np.testing.assert_array_equal(array, results[1][name])


def averaged(backend, x, gradient, mean, square, largest):
    """An update by running means of the gradient, of its square, and of this mean."""
    mean[...] = 0.9 * mean + 0.1 * gradient
    square[...] = 0.99 * square + 0.01 * gradient * gradient
    largest[...] = largest + 0.1 * (square - largest)
    x -= 0.01 * mean / (backend.xp.sqrt(largest) + 1e-8)


def damped(backend, x, gradient, mean, square, largest, numbers):
    averaged(backend, x, gradient, mean, square, largest)
    x *= backend.xp.exp(-largest * backend.xp.astype(numbers, x.dtype))


@TYPES
def test_a_chain_needs_one_tile_and_tiles_of_other_large_arrays_are_small(dtype, monkeypatch):
    n = 5003
    rows = -(-n // 2)  # of a thread
    arrays = [normal(n, dtype), normal(n, dtype, 1), normal(n, dtype, 2)]
    names = dict(zip(("x", "gradient", "mean"), arrays, strict=True))
    more = {"square": positive(n, dtype, 3), "largest": positive(n, dtype, 4)}
    lanes = CHUNK_BYTES // np.dtype(dtype).itemsize
    (step,) = compare(averaged, Arguments(**names, **more), dtype)
    *_, steps, once, _, _, _, tile, _, _ = step.args
    assert steps - once == 1
    assert tile >= rows
    for far, most in ((loop.FAR, loop.TILE), (1, loop.TILE // 2)):
        monkeypatch.setattr(loop, "FAR", far)
        (step,) = compare(damped, Arguments(**names, **more, numbers=np.arange(n)), dtype)
        tile = step.args[10]
        count = -(-rows // most)
        assert tile <= most
        assert rows <= count * tile < rows + count * lanes  # no tile is much smaller


def operations_of(step: Instruction) -> list[str]:
    """Return the functions of a step's chains, without copies by tables."""
    chains = step.args[0][step.args[0][:, 0] == CHAIN]
    numbers = step.args[12][1 : chains[:, 5].max(), 0] if len(chains) else []
    operations = [OPERATIONS[number] for number in numbers]
    return [name for name, kinds in operations if kinds not in (REPEATED, ONE_EACH)]


@TYPES
def test_usual_updates_by_hand_are_one_chain(dtype):
    """No number divides each element, and only one result needs memory that isn't an array's.

    The mean and the dividend are computed after the root, while the processor takes the root.
    """

    def adam(backend, x, gradient, mean, square, step):
        t = backend.xp.astype(step, x.dtype)
        gradient = backend.xp.clip(gradient, -1.0, 1.0)
        mean[...] = 0.9 * mean + 0.1 * gradient / t
        square[...] = 0.99 * square + 0.01 * gradient * gradient
        root = backend.xp.sqrt(square / (1 - 0.99**t))
        x -= 0.01 * (mean / (1 - 0.9**t)) / (root + 1e-8)

    n = 5003
    arrays = [normal(n, dtype), 2 * normal(n, dtype, 1), normal(n, dtype, 2)]
    names = dict(zip(("x", "gradient", "mean"), arrays, strict=True))
    more = {"square": positive(n, dtype, 3), "step": np.array([3])}
    (step,) = compare(adam, Arguments(**names, **more), dtype)
    ((*_, first, stop, _, _),) = step.args[0].reshape(-1, STEP_BYTES // 8)[step.args[6] :]
    assert np.count_nonzero(step.args[12][first:stop, 1] >= 0) == 4
    names = [OPERATIONS[number][0] for number in step.args[12][first:stop, 0]]
    assert "multiply_add" in names[names.index("sqrt") : names.index("divide")]


@TYPES
@pytest.mark.parametrize("n", [1, 5, 128, 2416])
def test_a_chain_adds_up_elements_that_it_also_uses(n, dtype):
    def definition(backend, x, y, out, first, second):
        square = x * x
        first[...] = backend.xp.sum(square)
        second[...] = backend.xp.sum(square * y)
        out[...] = square + backend.xp.sqrt(square + y)

    x, y = normal(n, dtype), positive(n, dtype, 1)
    first, second, out = (np.empty(size, dtype) for size in (1, 1, n))
    arguments = Arguments(x=x, y=y, out=out, first=first, second=second)
    steps = compare(definition, arguments, dtype, 1)
    operations = operations_of(steps[0])
    assert n == 1 or (operations.count("sum") == 2 and "copy" not in operations)
    sums = [*first, *second]
    Program(steps, 1)(3)
    assert [*first, *second] == sums


@THREADS_AND_TYPES
@pytest.mark.parametrize("n", [1, 5, 2416])
@pytest.mark.parametrize(
    "case",
    [
        "independent",
        "mean used between",
        "square of the new mean",
        "square of the old mean",
        "old mean used later",
        "gradient changes",
        "factors are arrays",
        "two roots",
        "copy between",
    ],
)
def test_chains_of_means_and_roots(case, n, threads, dtype):
    def definition(backend, x, g, mean, square, other, rate):
        xp = backend.xp
        old, factors = mean + 0.0, (other, other) if case == "factors are arrays" else (0.3, 0.2)
        if case == "old mean used later":
            other[...] = mean
        mean[...] = 0.7 * mean + factors[0] * g
        direction = xp.abs(mean) if case == "mean used between" else mean
        if case == "gradient changes":
            g[...] = g - rate
        squared = {"square of the new mean": mean, "square of the old mean": old}.get(case, g)
        square[...] = 0.9 * square + factors[1] * squared * squared
        if case == "copy between":
            other[...] = g
        x -= rate * direction / (xp.sqrt(square) + 0.5)
        if case == "two roots":
            other[...] = x / (xp.sqrt(square + 2) + 0.5) * other

    arrays = {"x": normal(n, dtype), "g": normal(n, dtype, 1), "mean": normal(n, dtype, 2)}
    more = {"square": positive(n, dtype, 3), "other": positive(n, dtype, 4)}
    arguments = Arguments(**arrays, **more, rate=np.array([0.5], dtype))
    steps = compare(definition, arguments, dtype, threads)
    chains = [each for each in steps if each.kernel == "expression"]
    assert sum(operations_of(each).count("divide") for each in chains) == 1 + (case == "two roots")


@THREADS_AND_TYPES
@pytest.mark.parametrize("columns", [1, 2, 3, 8, 10, 40])
@pytest.mark.parametrize("gate", ["array", "slice", "computed", "stored", "changed", "divisor"])
def test_gates_of_rows(gate, columns, threads, dtype):
    def definition(backend, p, x, y, out, kept):
        xp = backend.xp
        if gate == "slice":
            p = p[:, 1:2]
        elif gate == "computed":
            p = xp.sum(xp.exp(p), axis=1, keepdims=True)
        elif gate == "changed":
            p = 1 - p / xp.sum(x, axis=1, keepdims=True)
        rest = 1 - p
        out[...] = (x / rest if gate == "divisor" else rest * x) + p * y
        kept[...] = rest if gate == "stored" else xp.floor(3 * p)

    p = normal((19, 3 if gate in ("slice", "computed") else 1), dtype, 2)
    given = {"p": p, "x": positive((19, columns), dtype), "y": normal((19, columns), dtype, 1)}
    results = {"out": np.empty((19, columns), dtype), "kept": np.empty((19, 1), dtype)}
    compare(definition, Arguments(**given, **results), dtype, threads)


@TYPES
@pytest.mark.parametrize("columns", [1, 3, 4, 8, 10, 32, 100])
@pytest.mark.parametrize("name", ["max", "min"])
def test_extremes_of_rows(name, columns, dtype):
    x = -np.abs(normal((38, columns), dtype))
    for row, special in enumerate((np.nan, np.inf, -np.inf, 0.0)):
        x[row, (7 * row) % columns] = special
    x[4] = -np.inf

    def definition(backend, x, out):
        out[...] = getattr(backend.xp, name)(x, axis=1)

    compare(definition, Arguments(x=x, out=np.empty(38, dtype)), dtype)
    compare(definition, Arguments(x=-x, out=np.empty(38, dtype)), dtype)


@TYPES
@pytest.mark.parametrize("name", ["sum", "max", "min"])
@pytest.mark.parametrize("columns", [1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 24, 31, 32, 33, 70])
def test_a_row_has_the_same_sum_and_maximum_in_each_batch(columns, name, dtype):
    def definition(backend, x, out):
        out[...] = getattr(backend.xp, name)(x, axis=1)

    x = normal((38, columns), dtype)
    x[1:3] = [[-0.0], [np.nan]]
    x[3, 0] = x[4, -1] = np.nan
    out, alone = np.empty((2, 38), dtype)
    compare(definition, Arguments(x=x, out=out), dtype)
    for row in range(0, 38, 2):
        given = Arguments(x=x[row : row + 2], out=alone[row : row + 2])
        compare(definition, given, dtype)
    np.testing.assert_array_equal(out, alone)
    np.testing.assert_array_equal(np.signbit(out[:2]), np.signbit(alone[:2]))


@THREADS_AND_TYPES
@pytest.mark.parametrize("columns", [2, 3, 5, 10, 16, 24, 32, 64, 100, 256])
@pytest.mark.parametrize("rows", [1, 7, 300])
def test_chains_repeat_the_numbers_of_rows(rows, columns, threads, dtype):
    """The numbers are elements of an array, computed, integers, or some column."""

    def definition(backend, x, p, labels, out, halves):
        xp = backend.xp
        scale = xp.sqrt(xp.sum(x * x, axis=1, keepdims=True)) + p
        is_own = xp.astype(labels[:, None] == xp.arange(columns), x.dtype)
        out[...] = x * scale - is_own + p * (x - x[:, 1:2])
        half = columns // 2
        halves[...] = x[:, :half] * x[:, half : 2 * half] + p

    arrays = {"x": normal((rows, columns), dtype), "p": normal((rows, 1), dtype, 1)}
    arrays["out"] = np.empty((rows, columns), dtype)
    arrays["halves"] = np.empty((rows, columns // 2), dtype)
    labels = np.arange(rows) % columns
    steps = compare(definition, Arguments(**arrays, labels=labels), dtype, threads)
    repeated = [
        kinds
        for one in steps
        for number in one.args[12][:, 0]
        for kinds in [OPERATIONS[number][1] if 0 <= number < len(OPERATIONS) else ""]
    ]
    is_whole = columns * np.dtype(dtype).itemsize % (BLOCK_BYTES // 2) == 0
    assert (ONE_EACH if is_whole else REPEATED) in repeated or rows == 1


@THREADS_AND_TYPES
@pytest.mark.parametrize("columns", [3, 10, 40])
def test_columns_are_not_joined_in_place(columns, threads, dtype):
    def definition(backend, x, out):
        xp = backend.xp
        values = xp.sqrt(x) + 1
        out[...] = xp.sin(xp.concat([values[:, 1:], values[:, :1]], axis=1))

    x = positive((33, columns), dtype)
    compare(definition, Arguments(x=x, out=np.empty_like(x)), dtype, threads)


@THREADS_AND_TYPES
def test_columns_of_the_array_to_write_are_joined(threads, dtype):
    def definition(backend, x):
        x[...] = backend.xp.concat([x[:, 1:], x[:, :1]], axis=1)

    compare(definition, Arguments(x=positive((33, 10), dtype)), dtype, threads)


@TYPES
@pytest.mark.parametrize(("rows", "columns"), [(3, 5), (70, 33), (300, 32), (900, 64), (19, 700)])
def test_sums_of_matrices_are_added_where_they_are_computed(rows, columns, dtype):
    def definition(backend, x, w, k, out, total, of_rows):
        product = x * w
        out[...] = product + 1
        total[...] = backend.xp.sum(product)
        of_rows[...] = backend.xp.sum(k * k)

    found = []
    for threads in (1, 3):
        arrays = {"x": normal((rows, columns), dtype), "w": normal(columns, dtype, 1)}
        results = {"out": np.empty((rows, columns), dtype), "total": np.empty(1, dtype)}
        results["of_rows"] = np.empty(1, dtype)
        arguments = Arguments(**arrays, k=normal((rows, 1), dtype, 2), **results)
        steps = compare(definition, arguments, dtype, threads)
        found.append([*results["total"], *results["of_rows"]])
        if threads == 1:
            functions = [FUNCTION_OF.get(number) for one in steps for number, *_ in one.args[0]]
            assert ("sum" in functions) == (columns in (5, 32, 64))  # else blocks are divided
    np.testing.assert_array_equal(*found)  # not even rounding depends on the threads


@TYPES
def test_sums_count_comparisons_without_copies(dtype):
    def definition(backend, x, out, constant):
        xp = backend.xp
        out[...] = xp.sum(xp.astype(x > 0, x.dtype), axis=1)
        constant[...] = xp.sum(xp.astype(xp.astype(xp.ones_like(x), x.dtype) * 1, x.dtype), axis=1)

    results = {"out": np.empty(6, dtype), "constant": np.empty(6, dtype)}
    steps = compare(definition, Arguments(x=normal((6, 40), dtype), **results), dtype)
    functions = [FUNCTION_OF.get(number) for number, *_ in steps[0].args[0]]
    assert functions.count("row_sum") == 2
    assert operations_of(steps[0]) == ["greater", "copy"]  # a copy of the number 1


@TYPES
@pytest.mark.parametrize(("columns", "divided"), [(4, [4, 4]), (40, [40, 1])])
def test_long_rows_are_multiplied_by_inverses_unless_they_may_be_subnormal(columns, divided, dtype):
    def definition(backend, x, out):
        size = backend.xp.sqrt(backend.xp.sum(x * x, axis=1, keepdims=True))
        out[...] = x / size + x / x[:, :1]

    x = positive((6, columns), dtype)
    x[0], x[1] = 1e-12, 1e15
    steps = compare(definition, Arguments(x=x, out=np.empty_like(x)), dtype)
    (step,) = steps
    found = [
        code[1]
        for code in step.args[0].tolist()
        for number, *_ in step.args[12][code[4] : code[5] if code[0] == CHAIN else 0]
        if OPERATIONS[number][0] == "divide"
    ]
    assert found == divided


@TYPES
def test_elements_are_multiplied_by_inverses_of_sums(dtype):
    def definition(backend, x, w, out):
        out[...] = x / backend.xp.sum(w * w)

    arguments = Arguments(
        x=normal((6, 40), dtype), w=normal(40, dtype), out=np.empty((6, 40), dtype)
    )
    steps = compare(definition, arguments, dtype)
    loops = [each for each in steps if each.kernel == "expression"]
    assert ["divide" in operations_of(each) for each in loops].count(True) == 0 < len(loops)


@TYPES
@pytest.mark.parametrize("columns", [2, 5])
def test_a_short_row_has_the_same_softmax_in_each_batch(columns, dtype):
    """The sum of an only row is one number, but nothing is multiplied by its inverse."""

    def softmax(backend, x, out, average):
        xp = backend.xp
        e = xp.exp(x - xp.max(x, axis=1, keepdims=True))
        total = xp.sum(e, axis=1, keepdims=True)
        average[...] = xp.sum(e, axis=0)
        out[...] = e / total

    x, results = normal((50, columns), dtype), []
    for rows in (x, *x[:, None]):
        out, average = np.empty_like(rows), np.empty(columns, dtype)
        compare(softmax, Arguments(x=rows.copy(), out=out, average=average), dtype)
        results.append(out)
    assert np.array_equal(np.concatenate(results[1:]), results[0])


@TYPES
def test_one_row_is_divided_by_a_sum_of_parameters_like_many(dtype):
    def shares(backend, x, w, out):
        out[...] = x / backend.xp.sum(w * w)

    x, w = normal((50, 8), dtype), normal(8, dtype, 1)
    out, one = np.empty_like(x), np.empty_like(x[:1])
    compare(shares, Arguments(x=x, w=w, out=out), dtype)
    compare(shares, Arguments(x=x[:1].copy(), w=w, out=one), dtype)
    assert np.array_equal(out[:1], one)


@TYPES
@pytest.mark.parametrize(("factors", "joined"), [(2, True), (3, False), (4, True), (5, False)])
def test_products_joined_with_a_sum(factors, joined, dtype):
    """The rounding of updates, such as RAdam's, depends on which products are joined."""

    def definition(backend, x, factors):
        x[...] -= math.prod(factors[1:], start=factors[0])

    x, *arrays = (normal(100, dtype, seed) for seed in range(factors + 1))
    rounded = x - math.prod(arrays[1:], start=arrays[0])
    (step,) = compare(definition, Arguments(x=x, factors=arrays), dtype)
    assert ("subtract_product" in operations_of(step)) == joined
    assert np.array_equal(x, rounded) != joined


@TYPES
def test_roots_and_sums_of_a_softmax_are_inverted(dtype):
    def definition(backend, x, root, softmax):
        xp = backend.xp
        root[...] = x / (xp.sqrt(xp.sum(x, axis=1, keepdims=True)) + 1e-6)
        power = xp.exp(x - xp.max(x, axis=1, keepdims=True))
        softmax[...] = power / xp.sum(power, axis=1, keepdims=True)

    limits = np.finfo(dtype)
    x = np.array([limits.max / 50, 1.0, limits.tiny], dtype)[:, None] * positive((3, 40), dtype)
    results = {"root": np.empty_like(x), "softmax": np.empty_like(x)}
    steps = compare(definition, Arguments(x=x, **results), dtype)
    assert not any("greater" in operations_of(each) for each in steps)


def extreme(dtype):
    largest, tiny = np.finfo(dtype).max, np.finfo(dtype).tiny
    finite = [largest, -largest / 3, 1.5 / tiny, 0.9 / tiny, 4 * tiny, -1.0]
    return [*finite, np.inf, -np.inf, np.nan, 0.0, -0.0]


def quotients(x, divisor, dtype, **options):
    """Compare x / divisor, and a longer formula, with NumPy's; the divisor is computed."""

    def definition(backend, x, divisor, out, other):
        divisor = 2 * divisor
        out[...] = x / divisor
        other[...] = backend.xp.abs(x * 0.5) / divisor * 0.25 - 1

    numbers = {"x": x, "divisor": divisor / np.asarray(2, dtype)}
    results = {"out": np.empty_like(x), "other": np.empty_like(x)}
    compare(definition, Arguments(**numbers, **results), dtype, **options)


@TYPES
@pytest.mark.parametrize("shape", [(11, 1), (11,)])
def test_rows_and_columns_are_divided_by_extreme_numbers(shape, dtype):
    divisor = np.reshape(np.array(extreme(dtype)[: math.prod(shape)], dtype), shape)
    x = np.linspace(0.5, 0.99, 121, dtype=dtype).reshape(11, 11)
    x *= np.where(np.isfinite(divisor) & (divisor != 0), divisor, 1)
    quotients(x, divisor, dtype)


@TYPES
@pytest.mark.parametrize("number", range(11))
@pytest.mark.parametrize("shape", [(3000,), (6, 40)])
def test_arrays_are_divided_by_extreme_numbers(shape, number, dtype):
    divisor = np.array(extreme(dtype)[number : number + 1], dtype)
    x = np.linspace(0.5, 0.99, math.prod(shape), dtype=dtype).reshape(shape)
    x *= divisor if np.isfinite(divisor) and divisor else 1
    quotients(x, divisor, dtype)


@TYPES
def test_later_loops_treat_subnormals_as_zero(dtype):
    """The inverse of a large divisor is subnormal, but only its own loop may compute with it."""

    def definition(backend, x, divisor, out, tiny, smaller):
        out[...] = x / (2 * divisor)
        smaller[...] = tiny * 0.25

    limits = np.finfo(dtype)
    x, divisor = np.full(9, limits.max, dtype), np.array([limits.max / 2], dtype)
    tiny, smaller = np.full(5, limits.tiny, dtype), np.ones(5, dtype)
    numbers = {"x": x, "divisor": divisor, "out": np.zeros_like(x)}
    compare(definition, Arguments(**numbers, tiny=tiny, smaller=smaller), dtype, threads=1)
    assert not np.any(smaller)


@TYPES
@pytest.mark.parametrize("axis", [None, 1])
@pytest.mark.parametrize("function", ["floor", "greater_equal"])
def test_discontinuous_functions_read_exact_quotients(function, axis, dtype):
    def definition(backend, x, divisor, out):
        xp = backend.xp
        quotient = x / (divisor + 1 if axis is None else xp.max(x, axis=1, keepdims=True))
        if function == "floor":
            out[...] = xp.floor(quotient)
        else:
            out[...] = xp.where(xp.sqrt(quotient) >= 1, x, 0.0)

    x = np.arange(1, 200, dtype=dtype)[:, None] * np.linspace(0.1, 1, 12, dtype=dtype)
    divisor = np.array([40 if dtype == "float32" else 48], dtype)
    compare(definition, Arguments(x=x, divisor=divisor, out=np.empty_like(x)), dtype)


@TYPES
@pytest.mark.parametrize("function", ["floor", "round", "greater_equal"])
@pytest.mark.parametrize(
    "formula",
    [
        lambda x: x / 49.0,
        lambda x: x / 0.1,
        lambda x: -(x * 2.0 / 41.0),
        lambda x: x * 0.1 * 10.0,
        lambda x: (x * 0.1) * (x * 0.7),
        lambda x: x * 0.7 - 7.0,
        lambda x: 7.0 - x * 0.7,
        lambda x: x * 0.1 + 0.2 * x,
    ],
)
def test_discontinuous_functions_read_numbers_that_are_rounded_as_in_numpy(
    function, formula, dtype
):
    def definition(backend, x, out, also):
        xp, value = backend.xp, formula(x)
        stepped = value >= 1 if function == "greater_equal" else getattr(xp, function)(value)
        out[...] = xp.where(stepped, 1.0, 0.0) if function == "greater_equal" else stepped
        also[...] = value

    x = np.concatenate([np.arange(-50, 50) * each for each in (1, 49, 41, 0.5)]).astype(dtype)
    compare(definition, Arguments(x=x, out=np.empty_like(x), also=np.empty_like(x)), dtype)


@TYPES
@pytest.mark.parametrize("mask", ["u * g > 0", "sign(u) == sign(g)", "u / (number + 1) >= 0"])
def test_only_sums_are_exact_below_masks_of_signs(mask, dtype):
    def definition(backend, m, g, number, out):
        sqrt, sign = backend.xp.sqrt, backend.xp.sign
        m[...] = 0.7 * m + 0.1 * g  # 0 for some elements, but only if each product is rounded
        u = m / (2 * number) / (sqrt(0.5 * g * g + 0.3) + 1e-8)
        chosen = eval(mask, {"u": u, "g": g, "number": number, "sign": sign})
        out[...] = backend.xp.where(chosen, 1.0, 0.0)

    g = np.repeat(np.arange(-49, 50), 99).astype(dtype)
    m = np.tile(np.arange(-49, 50), 99).astype(dtype) / np.asarray(7, dtype)
    number = np.array([0.15], dtype)
    arguments = Arguments(m=m, g=g, number=number, out=np.empty_like(m))
    (step,) = compare(definition, arguments, dtype)
    assert operations_of(step).count("divide") == 1  # by the root


SPECIAL = [0.0, -0.0, 0.5, -0.5, 1.0, -1.5, 2.5, 30.0, -30.0, 100.0, -100.0]
SPECIAL += [3.3e3, -3.3e3, np.inf, -np.inf, np.nan]


@TYPES
@pytest.mark.parametrize(
    "function",
    [
        *("abs", "exp", "expm1", "floor", "ceil", "trunc", "sign", "tanh", "sqrt", "log", "log1p"),
        *("log2", "log10", "round", "isnan", "isinf", "isfinite", "square", "reciprocal", "sin"),
        *("cos", "sinh", "cosh", "negative", "positive"),
        lambda xp, x: 1 / (1 + xp.exp(-x)),
        lambda xp, x: xp.log(1 + xp.exp(0.01 * x)),
        lambda xp, x: xp.clip(x, -1, 2),
        lambda xp, x: xp.where(x > 0.25, x, -2 * x),
        lambda xp, x: xp.where((x > 0) & ~(x >= 30) | (x == -0.5), 1.0, x),
        lambda xp, x: xp.maximum(x, 0.5) - xp.minimum(0.25, x),
        lambda xp, x: xp.astype(x != x, x.dtype) + (x <= 1) * 2.0,
        lambda xp, x: xp.logaddexp(x, 0 * x),
        lambda xp, x: x**2 + x**-1,
        lambda xp, x: xp.abs(x) ** 0.125 - xp.abs(x) ** 0.75 + xp.maximum(x, 0.1) ** -0.5,
    ],
    ids=lambda each: each if isinstance(each, str) else "formula",
)
def test_functions_of_special_numbers(function, dtype):
    """Results are NaN and infinite where NumPy's are in float64."""
    x = np.array(SPECIAL * 3, dtype)

    def definition(backend, x, out):
        named = isinstance(function, str)
        result = getattr(backend.xp, function)(x) if named else function(backend.xp, x)
        out[...] = backend.xp.astype(result, x.dtype)

    out, expected = np.empty_like(x), np.empty_like(x)
    wide = x.astype(np.float64)
    with np.errstate(all="ignore"):
        exact = np.empty_like(wide)
        definition(Reference, wide, exact)
        expected[...] = exact
    writes = trace_operation(definition, Arguments(x=x, out=out), x.dtype)
    Program(instructions_of(writes, x.dtype, 1), 1)(1)
    tiny, bound = np.finfo(dtype).tiny, 4e-6 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(out, expected, rtol=bound, atol=max(tiny, bound / 10))


ROWS, COLUMNS = 9, 6


@TYPES
@pytest.mark.parametrize(
    "function",
    [
        lambda xp, x, row, column, labels: x * row + column[:, None],
        lambda xp, x, row, column, labels: (row * 2)[None, :] * x / xp.sum(row),
        lambda xp, x, row, column, labels: x - xp.max(x, axis=1, keepdims=True),
        lambda xp, x, row, column, labels: x / xp.expand_dims(xp.sum(x * x, axis=1), axis=1),
        lambda xp, x, row, column, labels: x - xp.mean(x, axis=0),
        lambda xp, x, row, column, labels: x - xp.min(x) / xp.max(x),
        lambda xp, x, row, column, labels: x[:, 1:3] * xp.ones((1, 1)) + 0 * x[:, 3:5],
        lambda xp, x, row, column, labels: x * x[:, :1] + x[:, 5][:, None],
        lambda xp, x, row, column, labels: xp.exp(x)[:, 2:] + xp.exp(x)[:, :4],
        lambda xp, x, row, column, labels: xp.where(labels[:, None] == xp.arange(6), x, row),
        lambda xp, x, row, column, labels: x * xp.astype(labels, x.dtype)[:, None],
        lambda xp, x, row, column, labels: xp.broadcast_to(row, x.shape) + xp.zeros_like(x),
        lambda xp, x, row, column, labels: xp.reshape(xp.reshape(x, (-1,)) * 2, x.shape) + x,
        lambda xp, x, row, column, labels: x * xp.sum(column * xp.sum(x, axis=1)),
        lambda xp, x, row, column, labels: x / (2 - 0.9**labels)[:, None],
        lambda xp, x, row, column, labels: xp.reshape(x[:, :2], (-1,)) * 2,
        lambda xp, x, row, column, labels: x[:, 1][None, :] * x[:, 2][:, None],
        lambda xp, x, row, column, labels: xp.sum(x[:, :2]) + xp.max(x[:, 1]) * x,
        lambda xp, x, row, column, labels: x[:, 1:4][:, 1:] * x[:, 1:4][:, 0][:, None],
        lambda xp, x, row, column, labels: xp.reshape(x[:, :4], (18, 2))[:, 1] * 3,
        lambda xp, x, row, column, labels: xp.exp(x - 80) * 1e20 * 1e20,
        lambda xp, x, row, column, labels: xp.concat([x * row, xp.exp(x), x], axis=1),
        lambda xp, x, row, column, labels: xp.concat(
            [x[:, 1:3], column[:, None], x[:, :1]], axis=-1
        ),
        lambda xp, x, row, column, labels: xp.concat([row * 2, xp.sum(x, axis=0), column]),
        lambda xp, x, row, column, labels: xp.stack([xp.sum(x), xp.max(x), xp.sum(column)]),
        lambda xp, x, row, column, labels: xp.stack([column, x[:, 2], xp.sum(x, axis=1)], axis=1),
        lambda xp, x, row, column, labels: xp.concat([xp.max(x, axis=1), column]) * 2,
        lambda xp, x, row, column, labels: xp.where(xp.argmax(x, axis=1) == labels, column, 0.0),
        lambda xp, x, row, column, labels: xp.where(xp.sum(x > row, axis=1) < 3, column, 0.0),
        lambda xp, x, row, column, labels: xp.where(xp.all(x < 1, axis=1)[:, None], x, row),
        lambda xp, x, row, column, labels: xp.asarray([0.5, -1.0, 2.0], dtype=x.dtype) * x[:, 3:],
        lambda xp, x, row, column, labels: xp.where(
            labels[:, None] == xp.asarray([5, 0, 4, 2, 1, 3]), x, xp.asarray((0.25,) * 6)
        ),
        lambda xp, x, row, column, labels: (row / xp.sum(row))[2] * x + xp.exp(row)[-2:][0],
    ],
)
def test_shapes(function, dtype):
    arrays = normal((ROWS, COLUMNS), dtype), normal(COLUMNS, dtype, 1), normal(ROWS, dtype, 2)
    shape = function(xp, *arrays, np.arange(ROWS) % COLUMNS).shape

    def definition(backend, x, row, column, labels, out):
        out[...] = function(backend.xp, x, row, column, labels)

    names = dict(zip(("x", "row", "column"), arrays, strict=True))
    labels = np.arange(ROWS) % COLUMNS
    arguments = Arguments(**names, labels=labels, out=np.empty(shape, dtype))
    compare(definition, arguments, dtype)


def shift(backend, x, y, sums):
    """y reads the old x after x was written; a sum and a slice read it too."""
    old = x + 0
    x[...] = 2 * y
    y[...] = old * 3 + old[:, :1]
    sums[...] = backend.xp.sum(old, axis=0)


def swap(backend, x, y, sums):
    old = x * 1
    x[...] = y
    y[...] = old
    sums[...] = 1.0


def by_column(backend, x, y, sums):
    x[...] = x - x[:, :1]
    y += x
    sums += backend.xp.sum(x, axis=0)


def twice(backend, x, y, sums):
    x += y
    y *= x
    x -= backend.xp.max(y, axis=1, keepdims=True)
    sums -= x[:, 1].shape[0]


def sum_of_rows(backend, x, y, sums):
    """A column's sum replaces a number of a row that later tiles read."""
    old = sums + 0
    sums[...] = backend.xp.sum(x, axis=0)
    y[...] = x * old[:, None]


@pytest.mark.parametrize("definition", [shift, swap, by_column, twice, sum_of_rows])
@pytest.mark.parametrize("threads", [1, 2])
def test_no_result_overwrites_what_is_read_later(definition, threads):
    shape = (50, 40) if definition is not sum_of_rows else (40, 40)
    arguments = Arguments(
        x=normal(shape, "float32"), y=normal(shape, "float32", 1), sums=normal(40, "float32", 2)
    )
    compare(definition, arguments, "float32", threads)


@THREADS_AND_TYPES
def test_results_that_are_read_as_they_were_are_stored_by_the_same_loop(threads, dtype):
    def compensated(backend, x, y, sums):  # Kahan 1965
        total = x + y
        y[...] = (x - total) + y
        x[...] = total
        sums[...] = sums + x[:, 0] - y[:, 1]

    arrays = {"x": normal((40, 70), dtype), "y": normal((40, 70), dtype, 1) / 100}
    arguments = Arguments(**arrays, sums=normal(40, dtype, 2))
    assert len(compare(compensated, arguments, dtype, threads)) == 1


@THREADS_AND_TYPES
@pytest.mark.parametrize("shape", [(9, 6), (70, 40), (3, 1500)], ids=str)
def test_functions_of_the_same_rows_are_one_loop(shape, threads, dtype):
    def definition(backend, x, gate, labels, largest):
        xp = backend.xp
        e = xp.exp(gate - xp.max(gate, axis=1, keepdims=True))
        e = e / xp.sum(e, axis=1, keepdims=True)
        y = e[:, :1] * x + e[:, 1:2] * xp.abs(x) + xp.astype(labels, x.dtype)[:, None]
        largest[...] = xp.max(y, axis=1) + xp.min(e[:, 1:], axis=1)
        x[...] = y - largest[:, None] * xp.sum(gate * gate, axis=1)[:, None]

    arrays = normal(shape, dtype), normal((shape[0], 3), dtype, 1), np.arange(shape[0]) % 5
    names = dict(zip(("x", "gate", "labels"), arrays, strict=True))
    arguments = Arguments(**names, largest=np.zeros(shape[0], dtype))
    assert len(compare(definition, arguments, dtype, threads)) == 1


@TYPES
@pytest.mark.parametrize("threads", [1, 3])
def test_groups_of_columns_are_normalized_in_one_loop(threads, dtype):
    def definition(backend, x, out):
        xp = backend.xp
        groups = xp.reshape(x, (x.shape[0], 4, 3))
        centered = groups - xp.mean(groups, axis=-1, keepdims=True)
        norm = xp.sqrt(xp.sum(centered * centered, axis=-1, keepdims=True)) + 1
        share = xp.exp(groups - xp.max(groups, axis=-1, keepdims=True)) / (2 + norm) ** 2
        out[...] = xp.reshape(centered / norm + share * 0.5, x.shape)

    x = normal((29, 12), dtype)
    assert len(compare(definition, Arguments(x=x, out=np.empty_like(x)), dtype, threads)) == 1


def test_threads_wait_for_numbers_of_rows_that_are_numbers_of_columns_too():
    def definition(backend, x, out):
        largest = backend.xp.max(x, axis=1)
        out[...] = largest[:, None] - largest[None, :]

    x = normal((40, 40), "float32")
    steps = compare(definition, Arguments(x=x, out=np.empty_like(x)), "float32", 3)
    assert table_of(steps, 3)[:, 1].tolist() == [1, 1]


@THREADS_AND_TYPES
@pytest.mark.parametrize(
    "shape",
    [(4,), (3, 1), (3, 4), (1, 1, 4), (1, 1), (9, 1, 1), (9, 3, 1), (9, 1, 4), (9, 3, 4)],
    ids=str,
)
def test_broadcasts_of_arrays_with_several_axes(shape, threads, dtype):
    def definition(backend, x, y, out, changed):
        inner = backend.xp.exp(y) * backend.xp.tanh(x + y)
        out[...] = backend.xp.where(inner > 0.5 * y, inner / (1 + y * y), x)
        changed += x * y + backend.xp.max(x, axis=-1, keepdims=True)

    x, y = normal((9, 3, 4), dtype), normal(shape, dtype, 1)
    arguments = Arguments(x=x, y=y, out=np.empty_like(x), changed=normal(x.shape, dtype, 2))
    compare(definition, arguments, dtype, threads)
    if len(shape) == 2:  # parameters of four axes
        x = normal((5, 2, 3, 4), dtype)
        arguments = Arguments(x=x, y=y, out=np.empty_like(x), changed=normal(x.shape, dtype, 2))
        compare(definition, arguments, dtype, threads)
    if len(shape) == 3:  # an axis of length 1 after an axis along which y may be repeated
        x, y = x[:, :, None], y[:, :, None]
        arguments = Arguments(x=x, y=y, out=np.empty_like(x), changed=normal(x.shape, dtype, 2))
        compare(definition, arguments, dtype, threads)


@THREADS_AND_TYPES
@pytest.mark.parametrize("shape", [(7, 3), (5, 8), (9, 1), (1, 4), (3, 2, 4)])
def test_products_of_pairs_and_reductions_over_middle_axes(shape, threads, dtype):
    def definition(backend, x, pairs, total, largest):
        xp = backend.xp
        pairs[...] = x[..., None, :] * xp.exp(x)[..., :, None]
        total[...] = xp.sum(pairs, axis=-2) + xp.mean(pairs, axis=-1)
        largest[...] = xp.max(pairs, axis=-2) - xp.min(xp.stack([x, 2 * x], axis=1), axis=1)

    x, pairs = normal(shape, dtype), np.empty((*shape, shape[-1]), dtype)
    total, largest = np.empty((2, *shape), dtype)
    compare(definition, Arguments(x=x, pairs=pairs, total=total, largest=largest), dtype, threads)


@THREADS_AND_TYPES
@pytest.mark.parametrize("columns", [2, 5, 20])
def test_sums_over_a_middle_axis_are_one_step_and_their_gradients_choose_nothing(
    columns, threads, dtype
):
    def total(xp, x):
        parts = xp.reshape(x, (x.shape[0], 3, columns))
        return xp.sum(parts * parts, axis=1, keepdims=True) * parts

    def definition(backend, x, out):
        out[...] = total(backend.xp, x)

    x, out = normal((70, 3 * columns), dtype), np.zeros((70, 3, columns), dtype)
    steps = compare(definition, Arguments(x=x, out=out), dtype, threads)
    functions = [number for one in steps for number, *_ in one.args[0].tolist()]
    assert functions.count(CONTRACTION) == 2  # the sum, and its repetition
    assert COPY not in functions
    expression = gradient_of(total, [x.shape], dtype)
    arguments = Arguments(expression=expression, inputs=[x], outs=[np.zeros_like(x)])
    steps = compare(Operations.compute.definition, arguments, dtype, threads)
    assert not any("where" in operations_of(one) for one in steps)


@THREADS_AND_TYPES
@pytest.mark.parametrize(("rows", "size"), [(2, 3), (37, 8), (70, 20)])
@pytest.mark.parametrize(
    ("function", "shape"),
    [
        (lambda xp, x, y, w: xp.sum(x[:, :, None, :] * y[:, None, :, :], axis=3), (4, 4)),
        (lambda xp, x, y, w: xp.sum(x[:, :, :, None] * y[:, :, None, :], axis=1), ("n", "n")),
        (lambda xp, x, y, w: xp.sum(w[:, :, None] * x[:, None, :, :], axis=2), (4, "n")),
        (lambda xp, x, y, w: xp.sum(x * xp.sum(y, axis=1, keepdims=True), axis=2), (4,)),
        (lambda xp, x, y, w: x + xp.max(y, axis=1, keepdims=True) * w[:, :1], (4, "n")),
    ],
)
def test_products_of_matrices_are_summed_in_one_step(function, shape, rows, size, threads, dtype):
    def definition(backend, x, y, w, out):
        out[...] = function(backend.xp, x, y, w)

    given = [normal((rows, 4, size), dtype, seed) for seed in range(2)]
    given.append(normal((4, 4), dtype, 2))
    own = (rows, *(size if each == "n" else each for each in shape))
    arguments = Arguments(**dict(zip("xyw", given, strict=True)), out=np.zeros(own, dtype))
    steps = compare(definition, arguments, dtype, threads)
    functions = [number for one in steps for number, *_ in one.args[0].tolist()]
    assert CONTRACTION in functions
    assert PUT not in functions
    expression = gradient_of(function, [each.shape for each in given], dtype)
    outs = [np.zeros_like(each) for each in given]
    arguments = Arguments(expression=expression, inputs=given, outs=outs)
    compare(Operations.compute.definition, arguments, dtype, threads)


@THREADS_AND_TYPES
def test_repetitions_keep_minus_zero_and_sums_do_not(threads, dtype):
    def definition(backend, x, y, inverses, sums):
        inverses[...] = y / x
        sums[...] = 1 / backend.xp.sum(y * x, axis=1)

    x, y = np.full((37, 1, 4), -0.0, dtype), np.ones((37, 3, 4), dtype)
    inverses, sums = np.zeros_like(y), np.zeros((37, 4), dtype)
    compare(definition, Arguments(x=x, y=y, inverses=inverses, sums=sums), dtype, threads)
    assert np.all(inverses == -np.inf)
    assert np.all(sums == np.inf)


@THREADS_AND_TYPES
@pytest.mark.parametrize("columns", [1, 2, 8])
def test_sums_of_all_pairs_of_two_parts_are_no_sums_over_a_middle_axis(columns, threads, dtype):
    def definition(backend, x, out):
        first, second = +x[:, :columns], +x[:, columns:]
        out[...] = first[:, :, None] + second[:, None, :]

    x, out = normal((9, 2 * columns), dtype), np.zeros((9, columns, columns), dtype)
    compare(definition, Arguments(x=x, out=out), dtype, threads)


@THREADS_AND_TYPES
def test_parts_of_rows_are_copied_before_they_become_rows(threads, dtype):
    def definition(backend, x, y, out, sums):
        xp = backend.xp
        part = xp.reshape(x[:, 2:14], (9, 3, 4))
        out[...] = part * y + xp.sum(part * y, axis=-1, keepdims=True)
        sums[...] = part - xp.abs(xp.max(out, axis=-1, keepdims=True))

    out, sums = np.empty((2, 9, 3, 4), dtype)
    x, y = normal((9, 20), dtype), normal((9, 3, 1), dtype, 1)
    steps = compare(definition, Arguments(x=x, y=y, out=out, sums=sums), dtype, threads)
    assert not any("copy" in operations_of(one) for one in steps)


def test_an_unsupported_shape_is_refused():
    def definition(backend, x, out):
        out[...] = x[:, :, None, :, None] * x[:, None, :, None, :]

    x = normal((4, 3, 2), "float32")
    arguments = Arguments(x=x, out=np.empty((4, 3, 3, 2, 2), np.float32))
    writes = trace_operation(definition, arguments, x.dtype)
    with pytest.raises(Untraceable, match="broadcasting"):
        instructions_of(writes, x.dtype, 1)


@TYPES
@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivatives(name, dtype):
    x, out = 2 * normal((11, 5), dtype), np.zeros((11, 5), dtype)
    x += np.sign(x) * np.asarray(0.3, dtype)  # near 0, the formula of sinc loses digits
    expression = gradient_of(lambda xp, x: FUNCTIONS[name](xp, x) ** 2, [x.shape], dtype)
    arguments = Arguments(expression=expression, inputs=[x], outs=[out])
    compare(Operations.compute.definition, arguments, dtype)


@THREADS_AND_TYPES
@pytest.mark.parametrize("columns", [3, 5, 11, 41])
def test_gradients_of_columns(columns, threads, dtype):
    def product(xp, x):
        half = x.shape[1] // 2
        return xp.sin(x[:, :half]) * x[:, half : 2 * half] * x[:, 2 * half :]

    x, out = normal((70, columns), dtype), np.zeros((70, columns), dtype)
    expression = gradient_of(product, [x.shape], dtype)
    arguments = Arguments(expression=expression, inputs=[x], outs=[out])
    steps = compare(Operations.compute.definition, arguments, dtype, threads)
    assert len(steps) == 1
    functions = Counter(number for number, *_ in steps[0].args[0].tolist())
    assert functions[PUT] == 3
    assert "where" not in operations_of(steps[0])


@THREADS_AND_TYPES
@pytest.mark.parametrize("rows", [1, 70])
def test_gradients_of_some_columns(rows, threads, dtype):
    def product(xp, x):
        return xp.sin(x[:, :1]) * x[:, 2:3] * x[:, 4:9] ** 2

    x, out = normal((rows, 11), dtype), np.ones((rows, 11), dtype)
    expression = gradient_of(product, [x.shape], dtype)
    arguments = Arguments(expression=expression, inputs=[x], outs=[out])
    steps = compare(Operations.compute.definition, arguments, dtype, threads)
    functions = Counter(number for one in steps for number, *_ in one.args[0].tolist())
    assert functions[PUT] == 6  # 3 parts, with 0 between them
    assert not any("where" in operations_of(one) for one in steps)


@TYPES
def test_loops_of_the_same_rows_are_joined(dtype):
    shape = 6, 4
    arguments = Arguments(
        loss=losses.Huber(),
        predictions=normal(shape, dtype),
        targets=normal(shape, dtype, 1),
        weights=positive(6, dtype),
        normalizer=np.array([3], dtype),
        gradient=np.zeros(shape, dtype),
        loss_sum=np.ones(1, dtype),
    )
    steps = compare(Operations.loss.definition, arguments, dtype)
    assert len(steps) == 3  # the rows, their sum, and the total


@TYPES
@pytest.mark.parametrize(
    "function",
    [
        lambda xp, x, w, total: total + xp.sum(w * x),
        lambda xp, x, w, total: xp.sum(x * x) + total,
        lambda xp, x, w, total: xp.maximum(total, xp.sum(x * w)),
        lambda xp, x, w, total: 2 * total + xp.sum(x),
    ],
)
def test_totals(function, dtype):
    def definition(backend, x, w, total):
        total[...] = function(backend.xp, x, w, total)
        w *= 2  # the total is of the earlier weights

    arguments = Arguments(
        x=normal((50, 3), dtype), w=normal((50, 3), dtype, 1), total=np.ones(1, dtype)
    )
    compare(definition, arguments, dtype)


@TYPES
@pytest.mark.parametrize(
    "function",
    [
        lambda xp, x: xp.broadcast_to(x[:, 1:2], x.shape) * x,
        lambda xp, x: (2 * x)[:, 1:2] * x[:, :1],
        lambda xp, x: xp.broadcast_to(xp.sum(x[:, 1:], axis=1)[:, None], x.shape),
    ],
)
def test_broadcast_columns(function, dtype):
    x, out = normal((11, 5), dtype), np.zeros((11, 5), dtype)
    for expression in (
        expression_of(function, {"x": (x.shape, "float")}, dtype),
        gradient_of(function, [x.shape], dtype),
    ):
        arguments = Arguments(expression=expression, inputs=[x], outs=[out])
        compare(Operations.compute.definition, arguments, dtype)
