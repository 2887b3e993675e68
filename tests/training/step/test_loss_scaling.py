"""Loss scaling on NumPy: exact with powers of two, and with products rounded to float16."""

import copy
import warnings

import numpy as np
import pytest
from equality import assert_same_bits
from model_files import rewritten

import gpunn
from gpunn import layers, optimizers
from gpunn.backends import operation
from gpunn.backends.numpy import NumpyBackend
from gpunn.errors import DivergenceError, GpunnWarning
from gpunn.training.step.loss_scaling import DynamicLossScale, NoLossScale, loss_scale

ROWS, FEATURES, CLASSES = 45, 6, 3
RANDOM = np.random.default_rng(0)
LABELS = RANDOM.integers(0, CLASSES, ROWS)
INPUTS = RANDOM.normal(size=(ROWS, FEATURES)) + np.eye(CLASSES, FEATURES)[LABELS]
NUMBERS = INPUTS @ RANDOM.normal(size=(FEATURES, CLASSES))


class Scaled(NumpyBackend):
    """Unchanged products, but a scaled loss."""

    def __init__(self, scaled=True):
        super().__init__()
        self.scaled = scaled

    def needs_loss_scale(self, dtype):
        return self.scaled


class Half(Scaled):
    """Products of matrices that are rounded to float16, summed in their own type."""

    @operation
    def matmul(self, a, b, out, *, transpose_a=False, transpose_b=False):
        with np.errstate(over="ignore", invalid="ignore"):
            a, b = (each.astype(np.float16).astype(out.dtype) for each in (a, b))
            super().matmul(a, b, out, transpose_a=transpose_a, transpose_b=transpose_b)


SUMS = ("statistics.vector", "statistics.totals")
"""The entries of a step's state besides the parameters and the optimizer, within an epoch."""


def trainer(backend, loss="softmax_cross_entropy", optimizer=None, accumulation=1, **options):
    model = gpunn.Sequential(
        [layers.Dense(8, "tanh", bias=False), layers.Dense(CLASSES, bias=False)],
        FEATURES,
        backend,
        seed=4,
        **options,
    )
    optimizer = optimizer or optimizers.Adam(0.01)
    return gpunn.Trainer(model, loss, optimizer, gradient_accumulation=accumulation, log_every=3)


def fit(this, y=LABELS, **options):
    return this.fit(INPUTS, y, **{"batch_size": 8, "progress": False, **options})


def state(this):
    return {**this.model.parameters.to_host(), **this.state()}


class Signs(optimizers.Optimizer):
    name = "signs_of_test_loss_scale"

    def update(self, xp, values, gradients, slots, learning_rate, step):
        values -= learning_rate * xp.sign(gradients)


def test_whether_there_is_a_scale():
    assert type(loss_scale(NumpyBackend(), "float32")) is NoLossScale
    assert type(loss_scale(Scaled(), "float32")) is DynamicLossScale


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"accumulation": 3},
        {"optimizer": optimizers.Adam(0.01, max_norm=0.1, weight_decay=0.1)},
        {"optimizer": optimizers.SGD(0.1, momentum=0.9)},
        {"optimizer": Signs(0.01)},
        {"loss": "mean_squared_error"},
    ],
    ids=["plain", "accumulation", "max_norm", "momentum", "own", "squares"],
)
def test_a_scale_that_nothing_overflows_with_changes_no_bit(dtype, options):
    y = NUMBERS if "loss" in options else LABELS
    options = {"dtype": dtype, **options}
    scaled, plain = (trainer(Scaled(s), **copy.deepcopy(options)) for s in (True, False))
    for each in (scaled, plain):
        fit(each, y, epochs=3, sample_weight=np.linspace(0, 1, ROWS))
    ours = state(scaled)
    assert ours.pop("loss_scale") == 2.0**16
    assert ours.pop("good_updates") == scaled.updates
    assert_same_bits(ours, state(plain))
    assert scaled.history["loss"] == plain.history["loss"]


def large(this, epochs=1):
    """Train on numbers so large that the gradient, times the first scale, is beyond float16."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GpunnWarning)
        fit(this, NUMBERS * 100, epochs=epochs)
    return this


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize(
    "make",
    [
        lambda: optimizers.AdamW(0.1),
        lambda: optimizers.Adam(0.1, max_norm=0.1),
        lambda: Signs(0.1, weight_decay=0.1),
    ],
    ids=["adamw", "max_norm", "own"],
)
def test_an_update_with_infinite_gradients_is_left_out_and_the_scale_halved(make, accumulation):
    this = trainer(Half(), "mean_squared_error", make(), accumulation)
    fit(this, NUMBERS, epochs=0)
    before = state(this)
    step = this.device_state.step
    scales = []
    update = step.update

    def watched(rows, times=1):
        for _ in range(times):
            old = state(this)
            update(rows)
            new = state(this)
            scales.append(float(new["loss_scale"][0]))
            if new["loss_scale"] < old["loss_scale"]:
                assert_same_bits(new, old, ["loss_scale", "good_updates", "passes", *SUMS])
                assert new["good_updates"] == 0
            else:
                assert new["updates"] == old["updates"] + 1
                assert new["good_updates"] == old["good_updates"] + 1

    step.update = watched
    large(this, epochs=6)
    assert before["loss_scale"] == 2.0**16
    assert scales[:2] == [2.0**15, 2.0**14]
    left_out = 16 - int(np.log2(scales[-1]))
    assert 2 <= left_out < len(scales) - 3
    assert state(this)["updates"] == [this.updates - left_out]
    assert np.isfinite(this.model.parameters.to_host()["dense_1.weights"]).all()


def test_the_scale_is_doubled_after_good_updates_in_a_row(monkeypatch):
    monkeypatch.setattr(DynamicLossScale, "INTERVAL", 4)
    this = trainer(Scaled())
    fit(this, epochs=1)
    assert this.updates == 6
    assert (this.state()["loss_scale"], this.state()["good_updates"]) == (2.0**17, 2)
    fit(this, epochs=20)
    assert this.state()["loss_scale"] == DynamicLossScale.LARGEST


def test_where_no_scale_is_small_enough_training_ends_with_an_error():
    class Broken(Scaled):
        """An infinity in the gradient, but not in the loss."""

        @operation
        def activation_gradient(self, activation, z, output, gradient, bias_gradient):
            gradient[...] = np.nan

        @operation
        def unscale(self, gradients, scale, finite):
            tried.add(float(scale[0]))
            super().unscale(gradients, scale, finite)

    tried = set()
    this = trainer(Broken())
    before = this.model.parameters.to_host()
    with pytest.raises(DivergenceError, match=r"gradient: not finite in step \d of .*bfloat16"):
        fit(this, epochs=100)
    # Of 6 updates and 2 report points; 30 halve the scale from 2^16 to 2^-14, and the next fails.
    assert (this.epoch, this.updates) == (5, 33)
    assert {2.0**exponent for exponent in range(-14, 17)} <= tried
    assert_same_bits(this.model.parameters.to_host(), before)
    assert this.state()["updates"] == [0]


def test_the_smallest_scale_is_one_to_train_with():
    class Overflowing(Scaled):
        """Gradients that are finite only with the smallest scale."""

        @operation
        def unscale(self, gradients, scale, finite):
            if scale[0] > DynamicLossScale.SMALLEST:
                gradients[...] = np.inf
            super().unscale(gradients, scale, finite)

    this = trainer(Overflowing())
    fit(this, epochs=10)
    assert this.state()["loss_scale"] == DynamicLossScale.SMALLEST
    assert this.state()["updates"] == [this.updates - 30] == [30]


def test_activations_beyond_float16_end_in_an_error_that_says_so():
    this = trainer(Half(), "mean_squared_error")
    with pytest.raises(DivergenceError, match=r"loss: not a finite number .*exceed"):
        this.fit(INPUTS * 1e6, NUMBERS, batch_size=8, progress=False)


def half_way(path, backend=None):
    """Return a trainer after two epochs, and save it."""
    this = large(trainer(backend or Half(), "mean_squared_error"), 2)
    this.save_checkpoint(path)
    return this


def test_a_resumed_run_has_the_same_bits(path, monkeypatch):
    monkeypatch.setattr(DynamicLossScale, "INTERVAL", 5)
    whole = half_way(path)
    scale = whole.state()["loss_scale"]
    assert scale != 2.0**16
    resumed = trainer(Half(), "mean_squared_error")
    resumed.load_checkpoint(path)
    copied = copy.deepcopy(whole)
    for each in (whole, resumed, copied):
        large(each, 2)
        assert_same_bits(state(each), state(whole))
    assert whole.state()["loss_scale"] != scale


@pytest.mark.parametrize(("first", "second"), [(Half, NumpyBackend), (NumpyBackend, Half)])
def test_a_checkpoint_of_another_precision_is_gone_on_from(path, first, second):
    half_way(path, first())
    other = trainer(second(), "mean_squared_error")
    other.load_checkpoint(path)
    large(other)
    assert other.epoch == 3
    assert ("loss_scale" in other.state()) == (second is Half)


def test_a_damaged_scale_is_refused(path):
    half_way(path)
    rewritten(path, {"training.loss_scale": np.full(1, np.nan, np.float32)})
    with pytest.raises(gpunn.errors.ModelFileError, match="'loss_scale' contains NaN or infinity"):
        trainer(Half(), "mean_squared_error").load_checkpoint(path)


def test_snapshots_hold_the_scale():
    this = large(trainer(Half(), "mean_squared_error"))
    kept, before = this.snapshot(), state(this)
    fit(this, NUMBERS * 1e4, epochs=1)
    assert this.state()["loss_scale"] < before["loss_scale"]
    this.restore(kept)
    assert_same_bits(state(this), before, ["passes"])


def test_another_optimizer_keeps_the_scale():
    this = large(trainer(Half(), "mean_squared_error"))
    scale = this.state()["loss_scale"]
    this.optimizer = optimizers.SGD(1e-6)
    fit(this, NUMBERS, epochs=0)
    assert this.state()["loss_scale"] == scale != 2.0**16
    assert this.state()["updates"] == [0]
