"""A compiled step allocates nothing: no array as large as an activation, once buffers exist.

NumPy alone makes temporary arrays, as the definitions say.
"""

import dataclasses
import tracemalloc

import array_api_strict
import numpy as np
import pytest
from training_steps import step_of

import gpunn
from gpunn import activations, layers, losses, metrics, optimizers
from gpunn.backends import Backend, get_backend
from gpunn.backends.numpy import NumpyBackend
from gpunn.backends.numpy.compiled.library import library
from gpunn.configurable import known
from gpunn.data.batches import Dataset
from gpunn.training.progress_bar import NoBar
from gpunn.training.step.train_step import BatchPass, PassRecipe


@pytest.fixture(autouse=True)
def kernels():
    if library() is None:
        pytest.skip("there are no compiled kernels here")


@pytest.fixture(autouse=True)
def small_buffers():
    """Make NumPy's own buffer for broadcasting, 32 KiB whatever the arrays' sizes, a small one."""
    previous = np.setbufsize(1024)
    yield
    np.setbufsize(previous)


BATCH, FEATURES, CLASSES = 256, 48, 5
ACTIVATION_BYTES = BATCH * FEATURES * 4  # 48 KiB
STEPS = 20
# Views, Python numbers and the short vectors that metrics like R2 return.
ALLOWED = 12 * 1024


def hidden(*parts, first=()):
    return [*first, layers.Dense(FEATURES, "relu"), *parts, layers.Dense(CLASSES)]


def step_and_rates(
    parts,
    loss="softmax_cross_entropy",
    optimizer="adam",
    metric=None,
    *,
    weighted=False,
    accumulation=1,
    pixels=False,
    targets="labels",
):
    if isinstance(loss, losses.GaussianNLL):
        parts = [*parts, layers.Dense(2 * CLASSES)]  # a mean and a variance for each target
    model = gpunn.Sequential(parts, FEATURES, "numpy")
    trainer = gpunn.Trainer(model, loss, optimizer, [] if metric is None else [metric])
    random = np.random.default_rng(0)
    rows = BATCH * accumulation * 3 + 10
    X = random.integers(0, 9, (rows, FEATURES))
    X = X.astype(np.uint8 if pixels else np.float32)
    labels = random.integers(0, CLASSES, rows)
    y = labels if targets == "labels" else np.eye(CLASSES, dtype=np.float32)[labels]
    weights = random.random(rows) if weighted else None
    source = Dataset(model.backend, X, y, weights, (model.input_dtype(X.dtype), "float32"))
    step = step_of(trainer, BATCH, accumulation=accumulation)
    (chunk,) = source.chunks(random.permutation(rows), step.rows_per_update)
    return step, chunk, np.full((2 * STEPS, 1), 1e-4)


def growth(step, chunk, rates):
    """Return the maximum bytes that steps allocated beyond the first steps' memory.

    The least of up to three measurements: steps that allocate do so in each, and threads that
    other tests have left, which are counted too, in few.
    """

    def epoch():
        step.load(chunk)
        for rows in (step.rows_per_update, step.rows_per_update, step.rows_per_update, 10):
            step.update(rows)

    step.load_settings(rates)
    for _ in range(2):
        epoch()
    grown = []
    for _ in range(3):
        tracemalloc.start()
        step.load_settings(rates)
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        for _ in range(STEPS // 4):
            epoch()
        grown.append(tracemalloc.get_traced_memory()[1] - before)
        tracemalloc.stop()
        if grown[-1] < ALLOWED:
            break
    return min(grown)


def built_in(kind, module):
    return [cls for cls in known(kind).values() if cls.__module__.startswith(module.__name__)]


STRONG = {"weight_decay": 0.1, "max_norm": 1.0, "l2_penalty": 0.1}
PARTS = (
    layers.Activation("gelu"),
    layers.BatchNorm(),
    layers.Dropout(0.3),
    layers.Flatten(),
    layers.LayerNorm(),
    layers.Rescaling(0.5, 0.1),
    layers.Dense(FEATURES, bias=False),
)
# The area under the curve is counted in an array as large as its summary.
METRICS = [cls for cls in built_in(metrics.Metric, metrics) if cls is not metrics.AUC]
CASES = {
    **{part.name: {"parts": hidden(part)} for part in PARTS},
    "standardization": {"parts": hidden(first=[layers.Standardization()])},
    "pixels": {"parts": hidden(first=[layers.Rescaling()]), "pixels": True},
    **{
        f"activation {cls.name}": {"parts": [layers.Dense(FEATURES, cls()), layers.Dense(CLASSES)]}
        for cls in built_in(activations.Activation, activations)
    },
    **{
        f"loss {cls.name}, weighted: {weighted}": {
            "loss": cls(),
            "targets": "numbers",
            "weighted": weighted,
        }
        for cls in built_in(losses.Loss, losses)
        for weighted in (False, True)
    },
    **{
        f"optimizer {cls.name} {' '.join(options)}": {"optimizer": cls(1e-4, **options)}
        for cls in built_in(optimizers.Optimizer, optimizers)
        for options in ({}, STRONG)
    },
    "momentum": {"optimizer": optimizers.SGD(1e-4, momentum=0.9, nesterov=True)},
    **{f"metric {cls.name}": {"metric": cls(), "targets": "numbers"} for cls in METRICS},
    "accuracy": {"metric": "accuracy"},
    "top 2 accuracy": {"metric": metrics.TopKAccuracy(2)},
    **{f"accumulation, weighted: {w}": {"accumulation": 3, "weighted": w} for w in (False, True)},
}


@pytest.mark.parametrize("case", CASES)
def test_a_step_allocates_nothing(case):
    options = {"parts": hidden(), **CASES[case]}
    options["parts"] = [dataclasses.replace(part) for part in options["parts"]]
    assert growth(*step_and_rates(**options)) < ALLOWED <= ACTIVATION_BYTES / 4


def test_this_test_can_fail():
    """A layer with one temporary array is detected."""

    @dataclasses.dataclass(eq=False)
    class Wasteful(layers.Rescaling):
        def backward(self, x, y, gradient, workspace, wants_input_gradient):
            return gradient * self.scale

    assert growth(*step_and_rates(hidden(Wasteful(1.0)))) > ACTIVATION_BYTES / 2


@pytest.mark.parametrize("backend", [get_backend("numpy"), Backend(array_api_strict)], ids=repr)
def test_positions_and_counters_are_on_the_device(backend):
    model = gpunn.Sequential([layers.Dense(1, bias=False)], 1, backend, dtype="float64")
    model.parameters["dense_1.weights"] = np.zeros((1, 1))
    step = step_of(gpunn.Trainer(model, losses.MeanSquaredError("sum"), optimizers.SGD()), 2)
    X, y = np.ones((5, 1)), np.arange(5.0)[:, None]
    source = Dataset(backend, X, y, None, ("float64", "float64"))
    (chunk,) = source.chunks(np.array([4, 3, 2, 1, 0]), 2)
    step.load(chunk)
    step.load_settings(np.array([[0.5], [0.25], [0.125]]))
    w, expected = 0.0, 0.0
    for rate, targets in ((0.5, [4, 3]), (0.25, [2, 1]), (0.125, [0])):
        step.update(len(targets))
        expected += sum((w - t) ** 2 for t in targets)
        w -= rate * 2 * np.mean([w - t for t in targets])
    assert backend.to_host(model.parameters["dense_1.weights"]) == pytest.approx(w)
    assert backend.to_host(step.updates) == [3]
    assert backend.to_host(step.workspace.passes) == [3]
    assert step.statistics.collect() == 3
    assert step.statistics.result() == {"loss": pytest.approx(expected / 5)}


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("everything", [False, True], ids=["weights", "everything"])
@pytest.mark.parametrize("backend", [get_backend("numpy"), Backend(array_api_strict)], ids=repr)
def test_the_penalty_is_part_of_the_loss(backend, everything, accumulation):
    """L = (sum_i w_i l_i + penalty / 2 * ||W||^2) / sum_i w_i, and one step of descent along it."""
    model = gpunn.Sequential([layers.Dense(1)], 2, backend, dtype="float64")
    model.parameters["dense_1.weights"] = np.array([[1.0], [-2.0]])
    model.parameters["dense_1.biases"] = np.array([0.5])
    optimizer = optimizers.SGD(0.1, l2_penalty=3.0, decay_all=everything)
    loss = losses.MeanSquaredError("half_sum")
    this = gpunn.Trainer(model, loss, optimizer)
    step = step_of(this, 4 // accumulation, accumulation=accumulation)
    random = np.random.default_rng(0)
    X, y, w = random.normal(size=(4, 2)), random.normal(size=(4, 1)), np.array([1.0, 2, 0, 0.5])
    (chunk,) = Dataset(backend, X, y, w, ("float64", "float64")).chunks(None, 4)
    step.load(chunk)
    step.load_settings(np.array([[0.1]]))
    step.update(4)
    error = X @ [[1.0], [-2.0]] + 0.5 - y
    squares = 5.0 + 0.25 * everything
    expected = (w @ (0.5 * error**2) + 3.0 / 2 * squares) / w.sum()
    step.statistics.collect()
    assert step.statistics.result() == {"loss": pytest.approx(expected.item())}
    weight_gradient = (X.T @ (w[:, None] * error) + 3.0 * np.array([[1.0], [-2.0]])) / w.sum()
    bias_gradient = (w @ error + 3.0 * 0.5 * everything) / w.sum()
    got = model.parameters.to_host()
    np.testing.assert_allclose(got["dense_1.weights"], [[1], [-2]] - 0.1 * weight_gradient)
    np.testing.assert_allclose(got["dense_1.biases"], 0.5 - 0.1 * bias_gradient)


@pytest.mark.parametrize("backend", [get_backend("numpy"), Backend(array_api_strict)], ids=repr)
def test_an_update_without_weight_has_no_penalty(backend):
    results = []
    for rows in (4, 8):  # the last four rows have no weight
        model = gpunn.Sequential([layers.Dense(1)], 2, backend, seed=0, dtype="float64")
        optimizer = optimizers.SGD(1e-12, l2_penalty=3.0)
        X, y, w = np.ones((rows, 2)), np.ones(rows), np.arange(rows) < 4.0
        trainer = gpunn.Trainer(model, "mean_squared_error", optimizer)
        options = {"epochs": 1, "batch_size": 4, "shuffle": False, "progress": False}
        results.append(trainer.fit(X, y, sample_weight=w.astype(float), **options)["loss"])
    assert results[0] == pytest.approx(results[1])


def test_rates_may_become_more():
    step, chunk, _ = step_and_rates(hidden())
    for count in (1, 4, 2):
        step.load(chunk)
        step.load_settings(np.zeros((count, 1)))
        step.update(BATCH)


def test_a_pass_needs_rows():
    model = gpunn.Sequential([layers.Dense(1)], 1, "numpy")
    loss = losses.MeanSquaredError()
    evaluation = BatchPass(PassRecipe(model=model, loss=loss, metrics=[], batch_size=2))
    with pytest.raises(RuntimeError, match="call load first"):
        evaluation.evaluate(1)


def test_recording_is_no_part_of_an_epochs_seconds(monkeypatch):
    """It may compile once per machine, and a measured speed must not include that."""
    passed, bars = [0.0], []
    monkeypatch.setattr("time.perf_counter", lambda: passed[0])

    class Slow(NumpyBackend):
        def recorded(self, operations):
            passed[0] += 1000
            repeat = super().recorded(operations)

            def run(times):
                passed[0] += times
                repeat(times)

            return run

    class Bar(NoBar):
        def unpause(self):
            bars.append(passed[0])

    monkeypatch.setattr("gpunn.training.session.progress_bar", lambda *_: Bar())
    model = gpunn.Sequential([gpunn.layers.Dense(2)], input_shape=(3,), backend=Slow())
    trainer = gpunn.Trainer(model, "mean_squared_error")
    X, y = np.ones((20, 3), np.float32), np.ones((20, 2), np.float32)
    # Batches of 8, 8 and 4 rows, so that two steps are recorded.
    trainer.fit(X, y, batch_size=8, epochs=2, validation_data=(X, y), progress=False)
    assert trainer.history["seconds"] == [3.0, 3.0]
    assert trainer.history["samples_per_second"] == [20 / 3, 20 / 3]
    assert bars == [1001, 2003]
