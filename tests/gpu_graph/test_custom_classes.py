"""Custom classes run in as many kernels as the nearest built-in classes."""

import math

import numpy as np
import pytest
from benchmarked_classes import CLASSES, targets_for
from equality import assert_same_bits
from parity.operations import ORACLE, case, check

import gpunn
from gpunn import activations, layers, losses, metrics, optimizers
from gpunn.backends.cupy import CupyBackend, capture
from gpunn.backends.cupy.kernels.activations import compiled
from gpunn.configurable import resolve
from gpunn.expressions import expression_of
from gpunn.metrics.labels import LabelsAUC

TOGETHER = [
    ("SiLU", "log cosh", "absolute error", "Adagrad"),
    ("Mish", "focal", "AdaBelief"),
    ("hard tanh", "Gaussian by values"),
    ("GELU by value", "focal of labels by values"),
]
"""Classes that one training uses."""


def trained(backend, of, custom, dtype="float32"):
    chosen = {"activation": "relu", "loss": "mean_squared_error", "optimizer": "adam"}
    chosen |= {CLASSES[name][0]: CLASSES[name][1 if custom else 2] for name in of}
    f = chosen.pop("activation")
    optimizer = resolve(optimizers.Optimizer, chosen.pop("optimizer"), "optimizer")
    optimizer.max_norm = 1.0
    parts = [layers.Dense(16, f), layers.Dropout(0.2), layers.Dense(8), layers.LayerNorm()]
    parts += [layers.Activation(f), layers.Dense(4)]
    model = gpunn.Sequential(parts, 6, backend, seed=0, dtype=dtype)
    trainer = gpunn.Trainer(model, chosen.pop("loss"), optimizer, [*chosen.values()])
    random = np.random.default_rng(0)
    y = targets_for(trainer.loss if custom else trainer.loss.name, 40, 4)
    trainer.fit(random.standard_normal((40, 6)), y, epochs=2, batch_size=8, progress=False)
    return trainer


@pytest.mark.parametrize("of", TOGETHER, ids=", ".join)
def test_a_step_has_the_results_of_the_definitions_in_few_kernels(of, emulator, monkeypatch):
    """It has as many as with built-in classes. All are in the graph, and none is a definition."""
    executors, create = [], capture.GraphExecutor.__init__

    def watched(self, calls, scratch):
        create(self, calls, scratch)
        executors.append(self)

    monkeypatch.setattr(capture.GraphExecutor, "__init__", watched)
    numbers, results = list[int](), []
    for custom, graph in ((True, True), (False, True), (True, False)):
        with emulator.counters() as counts:
            made = trained(CupyBackend(0, graph=graph, fused_products=False), of, custom)
        results.append(made.model.parameters.to_host())
        numbers.append((counts.kernels + counts.replayed).total())
        assert not counts.float64
    assert numbers[0] <= numbers[1]  # kernels of ReLU in a product can't include dropout
    assert all(each._graph is not None for each in executors if each._requested > 1)
    assert not any(
        isinstance(call, capture.Definition) for each in executors for call in each._calls
    )
    in_graph, _, one_by_one = results
    assert_same_bits(in_graph, one_by_one)
    expected = trained(ORACLE, of, custom=True, dtype="float64").model.parameters.to_host()
    for name, values in one_by_one.items():
        np.testing.assert_allclose(values, expected[name], rtol=0, atol=2e-5)


class Swish(activations.Activation):
    name = "swish_of_test_graph"
    beta = 1.5

    def value(self, xp, z):
        return z / (1 + xp.exp(-self.beta * z))


class Entropy(losses.Loss):
    name = "entropy_of_test_graph"

    def values(self, xp, predictions, targets):
        shifted = predictions - xp.max(predictions, axis=1, keepdims=True)
        logarithms = shifted - xp.log(xp.sum(xp.exp(shifted), axis=1, keepdims=True))
        is_label = targets[:, None] == xp.arange(predictions.shape[1])
        return -xp.sum(xp.where(is_label, logarithms, 0.0), axis=1)


class Gaussian(losses.Loss):
    name = "gaussian_of_test_graph"

    def values(self, xp, predictions, targets):
        k = targets.shape[1]
        mean, log_variance = predictions[:, :k], predictions[:, k:]
        squares = (targets - mean) ** 2 * xp.exp(-log_variance)
        return 0.5 * xp.sum(log_variance + squares, axis=1)


class Bias(metrics.Metric):
    """The weighted mean error of each output; a ratio of sums over all rows and outputs."""

    name = "bias_of_test_graph"

    def size(self, outputs):
        return outputs

    def measure(self, xp, predictions, targets, weights):
        return xp.sum(weights[:, None] * (predictions - targets), axis=0)


class Whole(metrics.Metric):
    name = "whole_of_test_graph"

    def measure(self, xp, predictions, targets, weights):
        errors = xp.reshape((predictions - targets) ** 2, (-1,))
        return xp.sum(errors, keepdims=True) / xp.sum(1 + weights)


class Joined(metrics.Metric):
    name = "joined_of_test_graph"

    def size(self, outputs):
        return 2 * outputs + 1

    def measure(self, xp, predictions, targets, weights):
        sums = [xp.sum(each, axis=0) for each in (predictions, weights[:, None] * targets)]
        return xp.concat([*sums, xp.sum(weights, keepdims=True)])


class Picked(losses.Loss):
    name = "picked_of_test_graph"

    def values(self, xp, predictions, targets):
        margins = xp.astype(xp.arange(predictions.shape[1]), predictions.dtype)
        own = xp.take_along_axis(predictions - margins, targets[:, None], axis=1)
        odd = xp.astype(targets[:, None] % 2, predictions.dtype)
        return xp.sum((1 + odd) * xp.maximum(1 + predictions - own, 0.0), axis=1)


class OwnR2(metrics.R2):
    name = "r2_of_test_graph"


def losses_and_metrics():
    """Yield cases, and how many kernels each takes."""
    for rows, columns in ((1, 6), (6, 1), (37, 3), (13, 70), (5, 5)):
        at, matrix = f"{rows}x{columns}", (rows, columns)
        sums = {"weights": (rows,), "normalizer": lambda g: g.random(1), "loss_sum": (1,)}
        for loss, wide, targets in (
            (Entropy(), columns, lambda g, m=matrix: g.integers(0, m[1], m[0])),
            (Picked(), columns, lambda g, m=matrix: g.integers(0, m[1], m[0])),
            (Gaussian(), 2 * columns, matrix),
            (CLASSES["focal"][1], columns, lambda g, m=matrix: 1.0 * (g.random(m) > 0.5)),
        ):
            kwargs = {"predictions": (rows, wide), "targets": targets, **sums}
            for gradient in ((rows, wide), None):
                name = f"{loss.name}-{at}-{'loss' if gradient is None else 'gradient'}"
                yield 1, case(name, "loss", rows * wide, loss=loss, gradient=gradient, **kwargs)
        kwargs = {"predictions": matrix, "targets": matrix, "weights": (rows,)}
        for metric, size in (
            (Bias(), columns),
            (Whole(), 1),
            (Joined(), 2 * columns + 1),
            (OwnR2(), 3 * columns + 1),
        ):
            kernels = 2 if metric.name != Whole.name and min(matrix) > 1 else 1
            if metric.name == Joined.name and columns == 1 < rows:
                kernels = 2  # the numbers to join are sums over rows
            if metric.name == OwnR2.name:  # sums, then others that need them; the last one copies
                kernels = 5 if min(matrix) > 1 else 4 if rows > 1 else 2
            name = f"{metric.name}-{at}"
            yield (
                kernels,
                case(name, "metric", rows * columns, metric=metric, summary=(size,), **kwargs),
            )


CASES = list(losses_and_metrics())


@pytest.mark.parametrize("name", sorted({each.name.split("-")[0] for _, each in CASES}))
def test_losses_and_metrics_give_the_results_of_the_definitions(name, emulator):
    """Sources in float64 have only another typedef."""
    for kernels, one in CASES:
        if one.name.startswith(name):
            with emulator.counters() as counts:
                check(CupyBackend(0), "float32", one, ("contiguous",))
            own = [n for n in counts.kernels.elements() if n.startswith("gpunn_")]
            assert len(own) == kernels, (one.name, own)


class OwnAUC(metrics.AUC):
    name = "auc_of_test_graph"


class OwnTopK(metrics.TopKAccuracy):
    name = "top_k_of_test_graph"


@pytest.mark.parametrize("columns", [3, 6])
@pytest.mark.parametrize(
    ("metric", "kernels"),
    [(LabelsAUC(16), 2), (OwnAUC(16), 3), (OwnTopK(2), 1)],
    ids=lambda each: getattr(each, "name", ""),
)
def test_metrics_without_kernels_of_their_own(metric, kernels, columns, emulator):
    one = case(
        metric.name,
        "metric",
        7 * columns,
        metric=metric,
        predictions=(7, columns),
        targets=lambda g: (
            1.0 * (g.random((7, columns)) > 0.5)
            if isinstance(metric, LabelsAUC)
            else g.integers(0, columns, 7)
        ),
        weights=(7,),
        summary=(metric.size(columns),),
    )
    with emulator.counters() as counts:
        check(CupyBackend(0), "float32", one, ("contiguous",))
    assert len([n for n in counts.kernels.elements() if n.startswith("gpunn_")]) == kernels


class Restarted(optimizers.Optimizer):
    name = "restarted_of_test_graph"
    slots = ("velocity",)

    def update(self, xp, values, gradient, slots, learning_rate, step):
        velocity, cycle = slots["velocity"], xp.astype((step - 1) // 4 % 3, values.dtype)
        velocity *= xp.where(step % 4 == 0, 0.0, 0.9)
        velocity += gradient
        values -= learning_rate * (1 + cycle) * velocity


def test_updates_read_quotients_and_remainders_of_their_number(emulator, caplog):
    results = []
    for backend, dtype in ((CupyBackend(0), "float32"), (ORACLE, "float64")):
        model = gpunn.Sequential([layers.Dense(4)], 6, backend, seed=0, dtype=dtype)
        trainer = gpunn.Trainer(model, "mean_squared_error", Restarted())
        X = np.random.default_rng(0).standard_normal((40, 6))
        trainer.fit(X, X[:, :4], epochs=3, batch_size=8, progress=False)
        (weights, _) = model.parameters.to_host().values()
        results.append(weights)
    np.testing.assert_allclose(*results, rtol=0, atol=1e-5)
    assert not caplog.messages


def attention(xp, x, w):
    """Return products with a softmax over the last axis, and their sums over the first."""
    power = xp.exp(x - xp.max(x, axis=-1, keepdims=True))
    weighted = w * x * power / xp.sum(power, axis=-1, keepdims=True)
    return weighted, xp.sum(weighted, axis=0)


def sums(xp, x, w):
    """Return products, and sums over the first axes."""
    return x * w, xp.sum(x * w, axis=0), xp.sum(x * x, axis=(0, 1))


def deviations(xp, x, w):
    """Return numbers that need sums over the rows."""
    return ((x - xp.mean(x, axis=0)) * w,)


def positions(xp, x, w):
    """Return numbers chosen by positions and counts."""
    first = xp.argmax(x, axis=-1, keepdims=True) + xp.argmin(w * x, axis=-1, keepdims=True)
    several = xp.count_nonzero(x > 0, axis=-1, keepdims=True) > 2
    return (xp.where(several | (first == 2) & xp.any(x > 1, axis=-1, keepdims=True), x, w),)


def lists(xp, x, w):
    """Return products with lists of numbers and with elements of a vector."""
    chosen = xp.where(xp.asarray([True, False, True, True, False]), x, w[3])
    return (chosen * xp.asarray([0.5, -1.0, 2.0, 0.25, 1e-3], dtype=x.dtype) + (w * w)[0],)


def middle(xp, x, w):
    """Return numbers that reductions over the middle axis are multiplied by."""
    return (x * (w * xp.sum(x, axis=1) + xp.max(x[:, 1:, :], axis=1))[:, None, :],)


def parts(xp, x, w):
    """Return products with a part of a vector, which becomes several rows."""
    return (x[:, :2] * xp.reshape(w[1:5], (2, 2)),)


def joined(xp, x, w):
    """Return products with joined numbers, which become several rows."""
    return (x[:, :2] * xp.reshape(xp.stack([w[0], w[3], w[1], w[2]]), (2, 2)),)


COMPUTED = {  # shapes, and how many kernels
    "attention": (attention, (7, 3, 5), [(7, 3, 5), (3, 5)], 2),
    "attention of one row": (attention, (1, 3, 5), [(1, 3, 5), (3, 5)], 1),
    "sums": (sums, (40, 3, 5), [(40, 3, 5), (3, 5), (5,)], 2),
    "sums of as many rows as columns": (sums, (5, 5, 5), [(5, 5, 5), (5, 5), (5,)], 2),
    "deviations": (deviations, (9, 4, 5), [(9, 4, 5)], 2),
    "middle": (middle, (9, 4, 5), [(9, 4, 5)], 1),
    "positions": (positions, (9, 4, 5), [(9, 4, 5)], 1),
    "lists": (lists, (9, 4, 5), [(9, 4, 5)], 1),
    "parts": (parts, (2, 6), [(2, 2)], 0),
    "joined": (joined, (2, 6), [(2, 2)], 0),
}


@pytest.mark.parametrize("name", COMPUTED)
def test_formulas_of_several_axes(name, emulator):
    function, shape, results, kernels = COMPUTED[name]
    shapes = {"x": (shape, "float"), "w": (shape[-1:], "float")}
    one = case(
        name,
        "compute",
        math.prod(shape),
        expression=expression_of(function, shapes, np.float32),
        inputs=lambda g: [g.standard_normal(shape), g.standard_normal(shape[-1:])],
        outs=lambda g: [g.standard_normal(each) for each in results],
    )
    with emulator.counters() as counts:
        check(CupyBackend(0), "float32", one, ("contiguous",))
    assert counts.kernels["gpunn_compute"] == kernels


class Precise(losses.MeanSquaredError):
    name = "precise_of_test_graph"

    def values(self, xp, predictions, targets):
        doubled = xp.astype(predictions, xp.float64), xp.astype(targets, xp.float64)
        return xp.astype(super().values(xp, *doubled), predictions.dtype)


class Long(losses.MeanSquaredError):
    name = "long_of_test_graph"

    def values(self, xp, predictions, targets):
        values = super().values(xp, predictions, targets)
        for k in range(1000):
            values = xp.maximum(values, -float(k))
        return values


REFUSED = [
    (Precise(), "type float64 is not supported with arrays of float32"),
    (Long(), "a formula is too long"),
]


@pytest.mark.parametrize(("loss", "reason"), REFUSED, ids=["type", "long"])
def test_a_class_that_can_not_be_traced_runs_as_defined(loss, reason, caplog):
    backend, arrays = CupyBackend(0), {}
    for name, shape in {
        "predictions": (4, 3),
        "weights": 4,
        "normalizer": 1,
        "loss_sum": 1,
    }.items():
        arrays[name] = backend.from_host(np.ones(shape), "float32")
    zeros = backend.zeros((4, 3), "float32")
    for _ in range(2):
        backend.loss(loss, targets=zeros, gradient=None, **arrays)
    assert arrays["loss_sum"].get() == [9]
    assert caplog.messages == [
        f"gpunn: {type(loss).__name__} can't be compiled. The results are the same, but training "
        f"is slower. Reason: {reason}"
    ]


def test_a_changed_attribute_compiles_no_kernel():
    f, backend = Swish(), CupyBackend(0)
    z = backend.from_host(np.linspace(-2, 2, 5), "float32")
    for f.beta, compilations in ((1.25, None), (2.5, 0)):
        before, out = compiled.cache_info().misses, backend.zeros((5,), "float32")
        backend.activate(f, z, None, out)
        np.testing.assert_allclose(out.get(), f.value(np, z.get()), rtol=1e-6)
        assert compilations in (None, compiled.cache_info().misses - before)
