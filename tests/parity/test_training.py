"""Whole runs on NumPy's operations against the plain array-API ones: the same training.

Initial weights, shuffles and dropout masks have to be the same bits everywhere; the arithmetic may
differ by rounding, which training amplifies. In float64 the tolerance is 1e-9, in float32 5e-4,
relative to each figure's size.
"""

import devices
import numpy as np
import pytest

import gpunn
from gpunn import layers, optimizers
from gpunn.backends import get_backend
from gpunn.data import batches
from gpunn.schedules import Cosine, WarmUp
from gpunn.workspace import Workspace

ROWS, FEATURES, CLASSES = 45, 6, 3

BACKENDS = {name: make for name, make in devices.BACKENDS.items() if name != "numpy"}
TOLERANCES = {"float64": 1e-9, "float32": 5e-4}

NETWORKS = {
    "small": lambda: [layers.Dense(CLASSES)],
    "deep": lambda: [
        layers.Dense(16, "relu"),
        layers.Dense(12, "gelu", bias=False),
        layers.Dense(CLASSES),
    ],
    "every layer": lambda: [
        layers.Flatten(),
        layers.Standardization(),
        layers.Dense(16, bias=False),  # a bias here has no gradient but rounding
        layers.BatchNorm(),
        layers.Activation("silu"),
        layers.Dropout(0.3),
        layers.Rescaling(1.5, 0.1),
        layers.Dense(8, "tanh"),
        layers.LayerNorm(),
        layers.Dropout(0.1),
        layers.Dense(CLASSES),
    ],
}

LABELS = np.random.default_rng(0).integers(0, CLASSES, ROWS)
INPUTS = np.random.default_rng(1).normal(size=(ROWS, FEATURES)) + np.eye(CLASSES, FEATURES)[LABELS]
TARGETS = {
    "softmax_cross_entropy": LABELS,
    "binary_cross_entropy": np.eye(CLASSES)[LABELS],
    "poisson": 3.0 * np.eye(CLASSES)[LABELS],
}
NUMBERS = INPUTS[:, :CLASSES] + 0.5
METRICS = {"softmax_cross_entropy": ["accuracy"], "binary_cross_entropy": ["binary_accuracy"]}
OPTIMIZERS = {
    "sgd": lambda: optimizers.SGD(0.05),
    "nesterov": lambda: optimizers.SGD(0.02, momentum=0.9, nesterov=True, weight_decay=0.1),
    "rmsprop": lambda: optimizers.RMSprop(0.003, decay_all=True, weight_decay=0.1),
    "adam": lambda: optimizers.Adam(WarmUp(Cosine(0.01), 1.0), max_norm=0.5),
    "adamw": lambda: optimizers.AdamW(0.01),
    "lion": lambda: optimizers.Lion(0.001),
}


def run(backend, network, loss, optimizer, dtype, **options):
    model = gpunn.Sequential(NETWORKS[network](), FEATURES, backend, seed=4, dtype=dtype)
    metrics = METRICS.get(loss, ["r2", "mean_absolute_error"])
    trainer = gpunn.Trainer(model, loss, OPTIMIZERS[optimizer](), metrics, report_every=3)
    trainer.fit(
        INPUTS,
        TARGETS.get(loss, NUMBERS),
        **{"epochs": 3, "batch_size": 8, "validation_split": 0.2, "progress": False, **options},
    )
    return trainer


def assert_parity(backend, *case, dtype, **options):
    ours, theirs = (run(b, *case, dtype, **options) for b in (get_backend("numpy"), backend))
    tolerance = TOLERANCES[dtype]
    for name in set(ours.figures) - {"seconds", "samples_per_second"}:
        np.testing.assert_allclose(
            theirs.history[name], ours.history[name], rtol=tolerance, atol=tolerance, err_msg=name
        )
    assert ours.history["loss"][-1] < ours.history["loss"][0]
    a, b = ours.model.predict(INPUTS), theirs.model.predict(INPUTS)
    np.testing.assert_allclose(b, a, rtol=tolerance, atol=tolerance * np.abs(a).max())
    for name, value in ours.model.parameters.to_host().items():
        found = theirs.model.parameters.to_host()[name]
        assert found.dtype == dtype
        np.testing.assert_allclose(
            found, value, rtol=tolerance, atol=tolerance * np.abs(value).max(), err_msg=name
        )
    expected = ours.evaluate(INPUTS, TARGETS.get(case[1], NUMBERS))
    found = theirs.evaluate(INPUTS, TARGETS.get(case[1], NUMBERS))
    assert found == pytest.approx(expected, rel=tolerance, abs=tolerance)


def cases():
    """Each backend with each type it has."""
    return [
        pytest.param(BACKENDS[name], dtype, id=f"{name}-{dtype}")
        for name, dtype in devices.TARGETS
        if name in BACKENDS
    ]


@pytest.mark.parametrize(("make", "dtype"), cases())
@pytest.mark.parametrize(
    ("network", "optimizer"),
    [*(("every layer", name) for name in OPTIMIZERS), ("deep", "nesterov"), ("small", "adam")],
)
def test_networks_and_optimizers(make, dtype, network, optimizer):
    assert_parity(make(), network, "softmax_cross_entropy", optimizer, dtype=dtype)


@pytest.mark.parametrize(("make", "dtype"), cases())
@pytest.mark.parametrize(
    "loss",
    [
        "mean_squared_error",
        "mean_absolute_error",
        "huber",
        "binary_cross_entropy",
        "poisson",
        "quantile",
    ],
)
def test_losses(make, dtype, loss):
    assert_parity(make(), "every layer", loss, "nesterov", dtype=dtype)


@pytest.mark.parametrize("make", BACKENDS.values(), ids=BACKENDS)
@pytest.mark.parametrize(
    "options",
    [
        {"sample_weight": np.linspace(0, 1, ROWS)},
        {"class_weight": "balanced", "shuffle": False},
        {"stream": True},
        {"stream": True, "sample_weight": np.linspace(0, 1, ROWS)},
    ],
    ids=["weights", "classes", "streamed", "streamed-weights"],
)
def test_options(make, options, monkeypatch):
    monkeypatch.setattr(batches, "STREAM_BYTES", 600)
    assert_parity(
        make(), "every layer", "softmax_cross_entropy", "adam", dtype="float32", **options
    )


@pytest.mark.parametrize("make", BACKENDS.values(), ids=BACKENDS)
def test_pixels(make):
    images = np.random.default_rng(0).integers(0, 256, (30, 3, 2), np.uint8)
    runs = []
    for backend in (get_backend("numpy"), make()):
        parts = [layers.Flatten(), layers.Rescaling(), layers.Dense(2)]
        model = gpunn.Sequential(parts, (3, 2), backend)
        trainer = gpunn.Trainer(model, "softmax_cross_entropy", "adam", gradient_accumulation=2)
        runs.append(trainer.fit(images, np.arange(30) % 2, epochs=3, batch_size=4, progress=False))
    np.testing.assert_allclose(runs[1]["loss"], runs[0]["loss"], rtol=1e-5)


@pytest.mark.parametrize("make", BACKENDS.values(), ids=BACKENDS)
@pytest.mark.parametrize("dtype", ["float32"])
def test_initial_weights_are_the_same_bits(make, dtype):
    ours, theirs = (
        gpunn.Sequential(NETWORKS["every layer"](), FEATURES, backend, seed=7, dtype=dtype)
        for backend in (get_backend("numpy"), make())
    )
    for name, value in ours.parameters.to_host().items():
        np.testing.assert_array_equal(theirs.parameters.to_host()[name], value)


@pytest.mark.parametrize("make", BACKENDS.values(), ids=BACKENDS)
def test_dropout_masks_are_the_same_bits(make):
    masks = []
    for backend in (get_backend("numpy"), make()):
        model = gpunn.Sequential([layers.Dropout(0.4)], 500, backend)
        workspace = Workspace(backend, "float32", 20, training=True)
        x = backend.from_host(np.ones((20, 500)), "float32")
        for _ in range(3):
            backend.increment(workspace.passes, 1)
            masks.append(backend.to_host(model.forward(x, workspace)[-1]) != 0)
    ours, theirs = masks[:3], masks[3:]
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(ours[0], ours[1])


@pytest.mark.parametrize("make", BACKENDS.values(), ids=BACKENDS)
def test_batches_are_the_same_rows(make):
    found = []
    for backend in (get_backend("numpy"), make()):
        source = batches.Dataset(backend, INPUTS, LABELS, None, "float32", "float32")
        (piece,) = source.chunks(gpunn.randomness.permutation(3, 1, ROWS), 8)
        rows = backend.zeros((8, FEATURES), "float32")
        start = backend.from_host(np.array([16]), "int64")
        backend.gather_rows(piece.X, piece.order, start, rows)
        found.append(backend.to_host(rows))
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("make", BACKENDS.values(), ids=BACKENDS)
def test_a_run_goes_on_where_another_backend_stopped(make, tmp_path):
    """Train on one, resume on the other: as if on one alone."""
    path = tmp_path / "checkpoint.safetensors"
    case = ("every layer", "softmax_cross_entropy", "adamw", "float32")
    whole = run(get_backend("numpy"), *case, epochs=4)
    first = run(make(), *case, epochs=2)
    first.save_checkpoint(path)
    second = run(get_backend("numpy"), *case, epochs=0)
    second.load_checkpoint(path)
    second.fit(INPUTS, LABELS, epochs=2, batch_size=8, validation_split=0.2, progress=False)
    np.testing.assert_allclose(second.history["loss"], whole.history["loss"], rtol=5e-4)
    np.testing.assert_allclose(second.history["val_loss"], whole.history["val_loss"], rtol=5e-4)


@pytest.mark.parametrize("make", BACKENDS.values(), ids=BACKENDS)
def test_divergence_is_found_on_every_backend(make):
    model = gpunn.Sequential([layers.Dense(CLASSES)], FEATURES, make())
    trainer = gpunn.Trainer(model, "mean_squared_error", optimizers.SGD(1e25))
    with pytest.raises(gpunn.errors.DivergenceError, match="at step 2 of epoch 1"):
        trainer.fit(INPUTS, NUMBERS, batch_size=8, progress=False)
