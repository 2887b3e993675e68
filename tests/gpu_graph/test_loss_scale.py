"""Loss scaling on the device: equal in graphs and single launches, without waits or allocations."""

import cupy
import devices
import numpy as np
import pytest
from equality import assert_same_bits
from gpu.launches import step_of

import gpunn
from gpunn import layers, optimizers
from gpunn.backends.cupy import CupyBackend
from gpunn.training.step.loss_scaling import DynamicLossScale

pytestmark = pytest.mark.filterwarnings("ignore:y. the targets of output:gpunn.errors.GpunnWarning")

ROWS, FEATURES, CLASSES = 50, 6, 3
RANDOM = np.random.default_rng(0)
LABELS = RANDOM.integers(0, CLASSES, ROWS)
INPUTS = RANDOM.normal(size=(ROWS, FEATURES)).astype("f4")
LARGE = 300 * RANDOM.normal(size=(ROWS, CLASSES))
"""Targets for which the gradient times the first scale overflows in float16."""

ROUNDS = devices.DEVICE == "emulated"
"""Whether products are certainly rounded to float16, so that an update is left out. cuBLAS may but
need not round products to float16."""


class OwnDescent(optimizers.SGD):
    name = "own_descent_of_test_loss_scale"


OPTIMIZERS = {
    "adam": lambda: optimizers.Adam(1e-2, max_norm=1.0),
    "momentum": lambda: optimizers.SGD(1e-4, momentum=0.9, weight_decay=0.1),
    "own": lambda: OwnDescent(1e-4, momentum=0.9),
}
"""With clipping, of one kernel, and by a definition."""


def trainer(backend, optimizer="adam", accumulation=1, dtype="float32"):
    parts = [layers.Dense(8, "relu"), layers.Dropout(0.2), layers.Dense(CLASSES)]
    model = gpunn.Sequential(parts, FEATURES, backend, seed=3, dtype=dtype)
    return gpunn.Trainer(
        model,
        "mean_squared_error",
        OPTIMIZERS[optimizer](),
        gradient_accumulation=accumulation,
        log_every=4,
    )


def half(**options):
    return CupyBackend(0, matmul_precision="float16", **options)


def fit(this, epochs=2):
    this.fit(INPUTS, LARGE, epochs=epochs, batch_size=8, progress=False)
    return this


def state(this):
    return {
        **this.model.parameters.to_host(),
        **this.state(),
        "loss": np.array(this.history["loss"]),
    }


@pytest.mark.parametrize(("optimizer", "accumulation"), [("adam", 3), ("momentum", 1), ("own", 1)])
def test_replayed_training_has_the_same_bits(optimizer, accumulation, monkeypatch, caplog):
    monkeypatch.setattr(DynamicLossScale, "INTERVAL", 6)
    epochs = 2 * accumulation
    replayed = fit(trainer(half(), optimizer, accumulation), epochs)
    eager = fit(trainer(half(graph=False), optimizer, accumulation), epochs)
    assert_same_bits(state(replayed), state(eager))
    assert not caplog.records
    if ROUNDS:
        assert 0 < replayed.state()["updates"] < replayed.updates
        assert replayed.state()["loss_scale"] < 2.0**16


def ready_step(backend, copies=1):
    return step_of(trainer(backend), *(np.tile(array, (copies, 1)) for array in (INPUTS, LARGE)))


def test_several_steps_a_launch_have_the_same_bits(monkeypatch):
    monkeypatch.setattr(DynamicLossScale, "INTERVAL", 6)
    found = []
    for graph in (True, False):
        step = ready_step(half(graph=graph), copies=20)
        step.update(8, 110)
        arrays = {**step.slots, **step.loss_scale.state, "updates": step.updates}
        found.append({name: array.get() for name, array in arrays.items()})
        found[-1]["values"] = step.model.parameters.values.get()
    assert_same_bits(*found)
    assert found[0]["updates"] > 60
    if ROUNDS:
        assert found[0]["updates"] < 110


@pytest.mark.emulated
def test_what_scaling_adds_to_a_step(emulator):
    kernels = {}
    for precision in ("bfloat16", "float16"):
        step = ready_step(CupyBackend(0, graph=False, matmul_precision=precision))
        step.update(8)
        with emulator.counters() as counts:
            step.update(8)
        assert counts.host_syncs == counts.pool_mallocs == 0
        kernels[precision] = counts.kernels
    added, removed = (
        kernels[a] - kernels[b] for a, b in (("float16", "bfloat16"), ("bfloat16", "float16"))
    )
    assert removed == {"gpunn_adam_clipped": 1}
    assert added == {
        "gpunn_scale_loss": 1,
        "gpunn_unscale": 1,
        "gpunn_count_update": 1,
        "gpunn_shrink": 1,
        "gpunn_adam_if_finite": 1,
        "gpunn_adjust_loss_scale": 1,
    }


def test_only_float16_products_need_a_scale():
    assert half().needs_loss_scale("float32")
    assert not half().needs_loss_scale("float64")
    assert not CupyBackend(0, matmul_precision="bfloat16").needs_loss_scale("float32")
    assert "loss_scale" not in fit(trainer(half(), dtype="float64")).state()


@pytest.mark.parametrize("wrong", [slice(0, 0), slice(None), slice(3, 900), slice(4999, 5000)])
def test_any_number_of_infinities_is_detected(wrong):
    gradients = cupy.full(5000, 8.0, "float32")
    gradients[wrong] = np.inf
    scale, finite = cupy.full(1, 4.0, "float32"), cupy.ones(1, "int64")
    half().unscale(gradients, scale, finite)
    expected = np.full(5000, 2.0)
    expected[wrong] = 0
    np.testing.assert_array_equal(gradients.get(), expected)
    assert finite.get() == expected.all()


@pytest.mark.emulated
def test_a_scale_keeps_gradients_that_vanish_in_float16(monkeypatch):
    """Rows with nearly no weight, and rows of zeros with all the weight."""
    light = np.arange(ROWS) % 2 == 0
    labels = INPUTS[:, :CLASSES].argmax(axis=1)
    X, weights = INPUTS * light[:, None], np.where(light, 1e-7, 1.0)
    found = {}
    for scaled in (False, True):
        backend = half()
        monkeypatch.setattr(backend, "needs_loss_scale", lambda dtype, scaled=scaled: scaled)
        parts = [layers.Dense(8, "tanh", bias=False), layers.Dense(CLASSES, bias=False)]
        model = gpunn.Sequential(parts, FEATURES, backend, seed=0)
        before = backend.to_host(model.parameters.values)
        this = gpunn.Trainer(
            model, "softmax_cross_entropy", optimizers.Adam(0.1, epsilon=1e-15), ["accuracy"]
        )
        this.fit(X, labels, epochs=20, batch_size=ROWS, sample_weight=weights, progress=False)
        changed = backend.to_host(model.parameters.values) != before
        found[scaled] = changed.any(), this.evaluate(INPUTS[light], labels[light])["accuracy"]
    assert not found[False][0]
    assert found[True][1] > 0.9 > found[False][1]


def test_a_resumed_run_has_the_same_bits_and_continues_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(DynamicLossScale, "INTERVAL", 5)
    whole = fit(trainer(half()))
    whole.save_checkpoint(tmp_path / "half.safetensors")
    resumed = trainer(half())
    resumed.load_checkpoint(tmp_path / "half.safetensors")
    for each in (whole, resumed):
        fit(each)
    assert_same_bits(state(resumed), state(whole))
    for backend in ("numpy", CupyBackend(0)):
        other = trainer(backend)
        other.load_checkpoint(tmp_path / "half.safetensors")
        fit(other)
        assert other.epoch == 4
        other.save_checkpoint(tmp_path / "other.safetensors")
    again = trainer(half())
    again.load_checkpoint(tmp_path / "other.safetensors")
    assert fit(again).epoch == 6
