"""Compare training runs on every backend with the definitions on NumPy in float64."""

import dataclasses
import functools
import itertools
import re

import devices
import numpy as np
import pytest
from parity.operations import ORACLE, builtin
from parity.runs import (
    CLASSES,
    FEATURES,
    INPUTS,
    LABELS,
    RUNS,
    TOLERANCES,
    Run,
    assert_close,
    assert_learned,
    assert_same_bits,
    every_layer,
    plain,
)

import gpunn
from gpunn import layers, losses, metrics, optimizers
from gpunn.data import batches
from gpunn.layers.base import family

EVERYTHING = Run(
    "everything",
    every_layer,
    optimizer=lambda: optimizers.AdamW(0.01, max_norm=1.0),
    metrics=["accuracy"],
)
TARGETS = [target for target in devices.TARGETS if target[0] not in ("base", "strict")]
BACKENDS = list(dict.fromkeys(name for name, _ in TARGETS))
ESSENTIAL = re.compile("accumulation of 3, weighted|pixels|tables|blocks|images")
"""Layers of each kind and ways of feeding. A device has only these, since its graphs have tests
with weights, and other array libraries run the plain definitions."""

MOST = re.compile(f"{ESSENTIAL.pattern}|accumulation of 3|(tables|blocks), frozen|.* weights")
"""Runs on NumPy, and as programs of compiled kernels."""

EACH = re.compile("loss .*|optimizer .*clipping")
"""Every loss and optimizer, by default only as programs of compiled kernels.

`test_operations` computes each loss and update everywhere. On the host, these runs are in float64,
which has the smaller tolerance. On a device, all runs are in float32, with a check that no kernel
computes in double precision.
"""

SPECIAL = re.compile(
    "loss (softmax_cross_entropy|quantiles|soft targets|of members.*)"
    "|optimizer (adam, decay|lamb, decay|frozen layers|factors.* 0.5|moving settings).*"
)
"""Those with targets, rates or norms of their own kind, which other backends have, too."""


TYPES = {"numpy": "float64", "numpy:compiled": "float32", "cuda": "float32"}
"""The type in which each engine is tested by default. `test_operations` has the other, and those of
other array libraries, which run the plain definitions."""


def runs_by_default(target, name):
    backend, dtype = target
    if backend not in TYPES:
        return target == ("strict:no_float64", "float32") and ESSENTIAL.fullmatch(name)
    if not EACH.fullmatch(name):
        chosen = ESSENTIAL if devices.DEVICE else MOST
        return dtype == TYPES[backend] and chosen.fullmatch(name)
    chosen = EACH if backend == "numpy:compiled" else SPECIAL
    return dtype == ("float32" if devices.DEVICE else "float64") and chosen.fullmatch(name)


def cases():
    for target, (name, run) in itertools.product(TARGETS, RUNS.items()):
        marks = () if runs_by_default(target, name) else pytest.mark.full
        yield pytest.param(target, run, id=f"{'-'.join(target)}-{name}", marks=marks)


REPEATED = "pairs of runs agree bitwise: repeated, resumed, streamed, reported, seen by neighbors"
MOVED = "models and checkpoints go from NumPy's backend and back"


@pytest.fixture(
    params=[
        pytest.param(each, marks=() if TYPES.get(each[0]) == each[1] else pytest.mark.full)
        for each in TARGETS
    ],
    ids="-".join,
)
def target(request):
    name, dtype = request.param
    return devices.BACKENDS[name](), dtype


@pytest.fixture(
    params=[
        pytest.param(each, marks=[pytest.mark.full] * each.startswith("strict"))
        for each in BACKENDS
    ]
)
def backend(request):
    """An engine; other array libraries run the same plain definitions with and without streams."""
    return devices.BACKENDS[request.param]()


@functools.cache
def trained(name, dtype):
    return EVERYTHING.fit(EVERYTHING.make(devices.BACKENDS[name](), dtype))


@pytest.fixture
def finished(request):
    """A trainer that has run EVERYTHING on this backend, and that no test changes."""
    given = request.node.callspec.params
    return trained(*given.get("target", (given.get("backend"), "float32")))


@pytest.fixture(scope="module")
def expected():
    kept = {}

    def results(run):
        if run.name not in kept:
            kept[run.name] = run.results(run.fit(run.make(ORACLE, "float64")))
        return kept[run.name]

    return results


@pytest.mark.parametrize(("target", "run"), list(cases()), indirect=["target"])
def test_a_run_agrees_with_the_oracle(target, expected, no_float64, proved, run):
    backend, dtype = target
    with no_float64(dtype):
        trainer = run.fit(run.make(backend, dtype))
        actual = run.results(trainer)
    assert all(actual[name].dtype == dtype for name in trainer.model.parameters)
    assert_close(actual, expected(run), dtype)
    assert_learned(actual)
    proved("whole training runs agree with NumPy in float64, predictions and evaluation included")


@pytest.mark.parametrize(
    ("kind", "used"),
    [
        (
            layers.Layer,
            {
                type(each)
                for run in RUNS.values()
                for layer in run.network()
                for each in family(layer)
            },
        ),
        (losses.Loss, {type(run.loss) for run in RUNS.values()}),
        (metrics.Metric, {type(metric) for run in RUNS.values() for metric in run.metrics}),
        (optimizers.Optimizer, {type(run.optimizer()) for run in RUNS.values()}),
    ],
    ids=["layers", "losses", "metrics", "optimizers"],
)
def test_the_table_leaves_nothing_out(kind, used):
    assert set(builtin(kind)) - {layers.Ensemble} <= used  # which can't be trained


def test_a_repeated_run_is_bitwise_identical(target, finished, proved):
    again = EVERYTHING.fit(EVERYTHING.make(*target))
    assert_same_bits(EVERYTHING.results(again), EVERYTHING.results(finished))
    proved(REPEATED)


def test_a_resumed_run_is_bitwise_identical(target, finished, expected, proved, tmp_path):
    """It continues on the same backend, and on the host."""
    path = tmp_path / "checkpoint.safetensors"
    EVERYTHING.fit(EVERYTHING.make(*target), epochs=1).save_checkpoint(path)
    here, there = EVERYTHING.make(*target), EVERYTHING.make("numpy", target[1])
    for resumed in (here, there):
        resumed.load_checkpoint(path)
        EVERYTHING.fit(resumed, epochs=2)
    assert_same_bits(EVERYTHING.results(here), EVERYTHING.results(finished))
    assert_close(EVERYTHING.results(there), expected(EVERYTHING), target[1])
    proved(REPEATED)
    proved(MOVED)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_streamed_run_is_bitwise_identical(backend, finished, proved, monkeypatch, weighted):
    run, resident = EVERYTHING, finished
    if weighted:
        options = {"sample_weight": np.linspace(0, 1, len(LABELS))}
        run = dataclasses.replace(run, accumulation=2, options=options)
        resident = run.fit(run.make(backend, "float32"), stream=False)
    monkeypatch.setattr(batches, "STREAM_BYTES", 600)
    streamed = run.fit(run.make(backend, "float32"), stream=True)
    assert_same_bits(run.results(streamed), run.results(resident))
    proved(REPEATED)


def test_report_points_change_no_bits(backend, finished, proved):
    for log_every in (1, 1000):
        trainer = EVERYTHING.make(backend, "float32")
        trainer.log_every = log_every
        bits = EVERYTHING.fit(trainer).model.parameters.to_host()
        assert_same_bits(bits, finished.model.parameters.to_host())
    proved(REPEATED)


def test_networks_that_take_turns_do_not_disturb_one_another(backend, finished, proved):
    """Buffers that operations share must hold nothing from one step to the next."""
    other = Run("other", plain, optimizer=lambda: optimizers.Lion(0.001), batch_size=5)
    alternating, between = EVERYTHING.make(backend, "float32"), other.make(backend, "float32")
    for _ in range(3):
        EVERYTHING.fit(alternating, epochs=1)
        other.fit(between, epochs=1)
    assert_same_bits(alternating.model.parameters.to_host(), finished.model.parameters.to_host())
    proved(REPEATED)


def test_saved_here_and_loaded_on_the_host(target, finished, proved, tmp_path):
    path, tolerance = tmp_path / "model.safetensors", TOLERANCES[target[1]]
    finished.model.save(path)
    loaded = gpunn.load_model(path, backend="numpy")
    assert_same_bits(loaded.parameters.to_host(), finished.model.parameters.to_host())
    actual, want = loaded.predict(INPUTS), finished.model.predict(INPUTS)
    np.testing.assert_allclose(actual, want, tolerance, tolerance)
    proved(MOVED)


def test_a_run_of_the_host_resumes_here(target, expected, proved, tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    EVERYTHING.fit(EVERYTHING.make("numpy", target[1]), epochs=1).save_checkpoint(path)
    resumed = EVERYTHING.make(*target)
    resumed.load_checkpoint(path)
    EVERYTHING.fit(resumed, epochs=2)
    assert_close(EVERYTHING.results(resumed), expected(EVERYTHING), target[1])
    proved(MOVED)


def test_predictions_do_not_depend_on_the_size_of_batches(backend, finished):
    whole = finished.model.predict(INPUTS)
    assert isinstance(whole, np.ndarray)
    assert whole.shape == (len(INPUTS), CLASSES)
    np.testing.assert_allclose(finished.model.predict(INPUTS, batch_size=7), whole, 1e-6, 1e-6)


def test_evaluation_uses_weights_and_streams(target, finished, monkeypatch):
    oracle = EVERYTHING.fit(EVERYTHING.make(ORACLE, "float64"))
    weights = np.arange(len(LABELS)) % 3
    resident, want = (
        each.evaluate(INPUTS, LABELS, sample_weight=weights, batch_size=7)
        for each in (finished, oracle)
    )
    assert resident == pytest.approx(want, rel=TOLERANCES[target[1]])
    monkeypatch.setattr(batches, "STREAM_BYTES", 600)
    streamed = finished.evaluate(INPUTS, LABELS, sample_weight=weights, batch_size=7, stream=True)
    assert streamed == resident


def test_initial_weights_are_bitwise_identical(backend):
    expected, actual = (EVERYTHING.make(each, "float32").model for each in (ORACLE, backend))
    assert_same_bits(actual.parameters.to_host(), expected.parameters.to_host())


def test_a_diverging_run_is_detected(backend):
    model = gpunn.Sequential([layers.Dense(CLASSES)], FEATURES, backend)
    trainer = gpunn.Trainer(model, "mean_squared_error", optimizers.SGD(1e25))
    with pytest.raises(gpunn.errors.DivergenceError, match="at step 2 of epoch 1"):
        trainer.fit(INPUTS, np.eye(CLASSES)[LABELS], batch_size=8, progress=False)
