"""Updates that diverge: how training recovers, and what the messages say."""

from functools import partial
from unittest.mock import Mock

import numpy as np
import pytest
from equality import assert_same_weights
from kills import Kill, Killed, assert_resumes

import gpunn
from gpunn import layers
from gpunn.callbacks import ModelCheckpoint
from gpunn.errors import ArgumentError, DivergenceError
from gpunn.losses import MeanAbsoluteError, MeanSquaredError
from gpunn.metrics import RootMeanSquaredError
from gpunn.optimizers import SGD, Adam, RMSprop
from gpunn.schedules import Schedule

ROWS = 40
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(ROWS, 3)).astype(np.float32)
Y = X.sum(axis=1)


def poisoned(*rows, size=1e30):
    """Rows of finite numbers that become infinite in the network."""
    bad = X.copy()
    bad[list(rows)] = size
    return bad


def trainer(*parts, optimizer=None, backend="numpy", **options):
    parts = parts or (layers.Dense(4, "relu", label="first"), layers.Dense(1, label="last"))
    model = gpunn.Sequential(list(parts), 3, backend)
    return gpunn.Trainer(model, "mean_squared_error", optimizer or SGD(0.01), **options)


def fit(this, inputs=X, y=Y, **options):
    standard = {"epochs": 1, "batch_size": 4, "progress": False, "shuffle": False}
    return this.fit(inputs, y, **{**standard, **options})


def test_the_first_layer_that_goes_bad(backend):
    """The sum of three 1e30 is finite, 1e10 times that is not."""
    first, second = (layers.Dense(3, initializer="ones", label=name) for name in ("a", "b"))
    parts = [first, layers.Rescaling(1e10), second, layers.Dense(1)]
    this = trainer(*parts, backend=backend, optimizer=SGD(0.0))
    message = (
        r"loss: not a finite number at step 4 of epoch 1\. The activations of layer "
        r"'rescaling_1' are the first that are not finite \(3 of 12 numbers\); the layer's inputs "
    )
    with pytest.raises(DivergenceError, match=message):
        fit(this, poisoned(13))
    assert this.updates == 3


def test_clipped_gradients_that_are_not_finite_leave_nothing_behind(backend):
    """No step computes the gradients' padding, so it must not become NaN."""
    this = trainer(backend=backend, optimizer=SGD(1e38, max_norm=1.0))
    good = this.model.parameters.snapshot()
    with pytest.raises(DivergenceError):
        fit(this, epochs=2)
    this.model.parameters.restore(good)
    this.optimizer = SGD(0.01, max_norm=1.0)
    fit(this, epochs=2)


def test_the_loss_alone():
    message = r"not a finite number at step 1 .*, although all activations are finite; .* up to"
    with pytest.raises(DivergenceError, match=message):
        fit(trainer(layers.Dense(1, initializer="ones")), poisoned(1))


class Steep(MeanSquaredError):  # noqa: N818  its base is no exception
    name = "steep"

    def gradients(self, xp, predictions, targets):
        return super().gradients(xp, predictions, targets) * 1e38 * 1e10


def test_gradients():
    this = trainer()
    this.loss = Steep()
    message = (
        "gradients: not finite at step 1 of epoch 1, although the loss is finite. In the "
        "backward pass, the first such gradients are the gradients at the network's outputs"
    )
    with pytest.raises(DivergenceError, match=message):
        fit(this)


def test_gradients_of_a_layer():
    """The gradients of the outputs are finite, but not those of the weights."""
    this = trainer(layers.Dense(1, initializer="zeros", label="only"))
    message = r"the first such gradients are the gradients of 'weights' in layer 'only'"
    with pytest.raises(DivergenceError, match=message):
        fit(this, poisoned(2, size=3e38), 10 * Y)


def test_the_penalty(backend):
    """Weights whose squares overflow, but whose inputs are zero."""
    nothing = layers.Dense(3, bias=False, initializer="zeros", label="a")
    last = layers.Dense(1, label="b")
    this = trainer(nothing, last, backend=backend, optimizer=SGD(0.0, l2_penalty=0.5))
    this.model.parameters["b.weights"] = np.full((3, 1), 1e25)
    message = (
        r"loss: not a finite number at step 1 of epoch 1, although the loss without the penalty "
        r"is finite\. The penalty of the parameters is too large, with l2_penalty=0\.5\."
    )
    with pytest.raises(DivergenceError, match=message):
        fit(this)


def test_an_update_that_is_too_large():
    this = trainer(optimizer=SGD(3e38))
    message = (
        r"parameters: not finite after step \d+ of epoch 1\. Activations and gradients are "
        r"finite, so the update itself was too large: the learning rate is 3e\+38 and the largest "
        r"gradient [\d.]+e?.*, in layer '(first|last)'\. A smaller learning_rate usually helps"
    )
    with pytest.raises(DivergenceError, match=message):
        fit(this, 3 * X)
    for value in this.model.parameters.to_host().values():
        assert np.isfinite(value).all(), "the network is as it was before that update"


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("stream", [False, True])
def test_the_batch_is_found_however_it_comes(accumulation, stream):
    this = trainer(gradient_accumulation=accumulation)
    step = 5 if accumulation == 1 else 3
    with pytest.raises(DivergenceError, match=f"at step {step} of epoch 1"):
        fit(this, poisoned(17), stream=stream)


def test_dropout_is_that_of_the_step():
    """A unit that is dropped in the bad batch can't be the first that is not finite."""
    this = trainer(layers.Dense(64, "relu"), layers.Dropout(0.5), layers.Dense(1))
    with pytest.raises(DivergenceError, match="loss: not a finite number at step 3 of epoch 1"):
        fit(this, poisoned(8))


def test_what_does_not_happen_again(monkeypatch):
    """If a device gives different results each time, repeating does not help."""
    this = trainer()
    fit(this, epochs=0)
    original = this.device_state.step.statistics.collect
    monkeypatch.setattr(this.device_state.step.statistics, "collect", lambda: original() - 1)
    with pytest.raises(DivergenceError, match="the updates did not reproduce the divergence"):
        fit(this)


def test_no_memory_for_a_copy(monkeypatch):
    refuse = Mock(side_effect=MemoryError)
    monkeypatch.setattr("gpunn.training.divergence.recovery.GoodState.__init__", refuse)
    with pytest.raises(DivergenceError, match=r"not a finite number since epoch 1, step 4\. A"):
        fit(trainer(), poisoned(13))
    with pytest.raises(ArgumentError, match="out of memory"):
        fit(trainer(on_divergence="skip"))
    refuse.reset_mock()
    prepared = trainer().prepare(X, Y, epochs=3, progress=False)
    for runs in (1, 2):
        prepared.run()
        assert refuse.call_count == runs  # not once more for each epoch


def without(inputs, *left_out):
    """Train manually on the same batches except some."""
    this = trainer()
    kept = [step for step in range(ROWS // 4) if step not in left_out]
    rows = np.concatenate([np.arange(4 * step, 4 * step + 4) for step in kept])
    fit(this, inputs[rows], Y[rows])
    return this


@pytest.mark.parametrize(
    ("bad", "log_every"),
    [
        *(((0,), 1), ((0,), 100), ((3,), 3), ((3,), 4), ((9,), 1), ((9,), 4)),
        *(((2, 3), 1), ((2, 3), 3), ((2, 3), 100), ((0, 5, 9), 3), ((0, 5, 9), 100)),
    ],
)
def test_skipping_leaves_out_the_batch_alone(bad, log_every, caplog):
    inputs = poisoned(*(4 * step + 1 for step in bad))
    this = trainer(on_divergence="skip", log_every=log_every)
    history = fit(this, inputs)
    expected = without(inputs, *bad)
    assert_same_weights(expected, this)
    assert history["loss"] == pytest.approx(expected.history["loss"], rel=1e-6)
    assert this.updates == 10
    assert this.state()["updates"] == 10 - len(bad)
    assert len(caplog.records) == len(bad)
    message = caplog.records[0].getMessage()
    assert f"not a finite number at step {bad[0] + 1} of epoch 1" in message
    assert "gpunn left out 1 update(s)" in message


def test_rolling_back_leaves_out_all_since_the_report(caplog):
    inputs = poisoned(4 * 5)
    this = trainer(on_divergence="roll_back", log_every=3)
    fit(this, inputs)
    assert_same_weights(without(inputs, 3, 4, 5), this)
    assert "gpunn left out 3 update(s)" in caplog.text


@pytest.mark.parametrize("choice", ["skip", "roll_back"])
def test_on_every_backend(backend, choice):
    this = trainer(on_divergence=choice, log_every=2, backend=backend)
    fit(this, poisoned(21), epochs=2)
    assert np.isfinite(this.history["loss"]).all()


def test_when_nothing_helps():
    this = trainer(on_divergence="skip", log_every=100)
    with pytest.raises(DivergenceError, match="all updates of epoch 1 diverged and were skipped"):
        fit(this, poisoned(*range(ROWS)), epochs=5)
    this = trainer(on_divergence="skip", log_every=100)
    with pytest.raises(DivergenceError, match=r"10 recoveries in a row did not help\. A smaller"):
        fit(this, poisoned(*range(ROWS)), batch_size=2)


def test_an_update_that_overflows_is_left_out_too():
    """The update itself, not the one after it, whose loss would show it."""

    class Spike(Schedule):
        name = "spike"

        def at(self, time, duration):
            return np.where(np.floor(10 * time) == 6, 3e38, 0.01)

    this = trainer(optimizer=SGD(Spike()), on_divergence="skip", log_every=100)
    fit(this, 3 * X)
    assert_same_weights(without(3 * X, 6), this)


@pytest.mark.parametrize("choice", ["skip", "roll_back"])
@pytest.mark.parametrize(
    "at", [*(pytest.param(n, marks=pytest.mark.full) for n in (4, 6, 8, 12)), 5, 7]
)
def test_a_resumed_run_leaves_out_the_same(at, choice, tmp_path):
    def make():
        return trainer(optimizer=Adam(0.01), on_divergence=choice, log_every=4)

    assert_resumes(make, fit, tmp_path, at, inputs=poisoned(4 * 5 + 1), epochs=2)


def test_a_resumed_run_counts_on(path):
    """Fourteen bad updates with good ones between them, all before a logging step."""
    inputs = poisoned(*range(1, 28, 2))

    class KillIfSound(Kill):
        def on_updates_end(self, trainer):
            if trainer.can_checkpoint():
                super().on_updates_end(trainer)

    def make():
        return trainer(on_divergence="skip", log_every=100)

    def train(this, *callbacks, **options):
        fit(this, inputs, batch_size=1, callbacks=callbacks, **options)

    message = r"at step 22 of epoch 1, .* 10 recoveries in a row did not help"
    whole, resumed = make(), make()
    with pytest.raises(DivergenceError, match=message):
        train(whole)
    writing = ModelCheckpoint(path, resumable=True, every_updates=1)
    for at in (9, 19):
        options = {"resume_from": path} if path.exists() else {}
        with pytest.raises(Killed):
            train(make(), writing, KillIfSound(at), **options)
    with pytest.raises(DivergenceError, match=message):
        train(resumed, resume_from=path)
    assert_same_weights(whole, resumed)
    assert whole.updates == resumed.updates


def test_a_further_call_counts_from_zero():
    this = trainer(on_divergence="skip", log_every=100)
    with pytest.raises(DivergenceError, match="10 recoveries in a row"):
        fit(this, poisoned(*range(1, 28, 2)), batch_size=1)
    history = fit(this, poisoned(3, 5, 7), batch_size=1)
    assert np.isfinite(history["loss"]).all()


def test_no_checkpoint_of_a_bad_state(tmp_path):
    """Between the bad step and the logging step that finds it, nothing is worth saving."""
    path = tmp_path / "{updates}.safetensors"
    writing = ModelCheckpoint(path, resumable=True, every_updates=1)
    with pytest.raises(DivergenceError):
        fit(trainer(), poisoned(13), callbacks=[writing])
    assert sorted(int(file.stem) for file in tmp_path.iterdir()) == [1, 2, 3]


SENTINEL = 1e20
"""Finite in float32, but its square is not."""


class Steeper(MeanSquaredError):  # noqa: N818  its base is no exception
    """Its gradients are finite, but not their squares; they are ordinary for ordinary rows."""

    name = "steeper"

    def gradients(self, xp, predictions, targets):
        gradients = super().gradients(xp, predictions, targets)
        return xp.where(xp.abs(targets) > 20, 1e25 * gradients, gradients)


def with_averages(backend="numpy", **options):
    return trainer(
        layers.BatchNorm(label="norm"), layers.Dense(1, label="last"), backend=backend, **options
    )


def with_squares(optimizer, backend="numpy", **options):
    this = trainer(optimizer=optimizer, backend=backend, **options)
    this.loss = Steeper()
    return this


def targets(*rows):
    bad = Y.copy()
    bad[list(rows)] = 30.0
    return bad


def test_running_averages(backend):
    this = with_averages(backend, log_every=3)
    this.model.feature_names = ["age", "income", "debt"]
    inputs = X.copy()
    inputs[13, 1] = SENTINEL
    message = (
        r"buffers: 'norm\.running_variance' is not finite after step 4 of epoch 1 \(1 of 3 "
        r"numbers\), although the activations are finite\. The inputs of layer 'norm' are up to "
        r"1e\+20; the largest absolute value in X is 1e\+20, in column 'income'"
    )
    with pytest.raises(DivergenceError, match=message):
        fit(this, inputs)
    assert this.updates == 3
    for value in this.model.parameters.to_host().values():
        assert np.isfinite(value).all(), "the network is as it was before that update"


def test_the_cause_is_sought_in_the_rows_of_the_training_split():
    inputs = X.copy()
    inputs[13, 1] = SENTINEL
    message = r"the largest absolute value in X is 1e\+20, in column 1"
    with pytest.raises(DivergenceError, match=message):
        fit(with_averages(), inputs, validation_split=0.5)


def test_the_state_of_an_optimizer(backend):
    """An infinite average of squares makes each further update 0."""
    this = with_squares(RMSprop(0.01), backend)
    message = (
        r"optimizer: the state 'square' of '(first|last)\.\w+' is not finite \(.*\) after step 4 "
        r"of epoch 1, although activations and gradients are finite; the largest gradient is .*e\+"
    )
    with pytest.raises(DivergenceError, match=message):
        fit(this, X, targets(13))
    for name, value in this.state().items():
        assert np.isfinite(value).all(), name


@pytest.mark.parametrize("log_every", [1, 4, 100])
@pytest.mark.parametrize("part", ["averages", "optimizer"])
def test_such_an_update_is_left_out(part, log_every, caplog):
    inputs, wanted = X.copy(), Y
    if part == "averages":
        make, inputs[21, 1] = with_averages, SENTINEL
    else:
        make, wanted = partial(with_squares, Adam(0.01)), targets(21)
    this, expected = make(on_divergence="skip", log_every=log_every), make()
    rows = [*range(20), *range(24, ROWS)]
    fit(this, inputs, wanted)
    fit(expected, inputs[rows], wanted[rows])
    assert_same_weights(expected, this)
    assert caplog.text.count("gpunn left out 1 update(s)") == 1


def test_a_large_sum_of_finite_averages_is_no_divergence():
    this = with_averages(optimizer=SGD(0.0))
    this.model.parameters["norm.running_variance"] = np.full(3, 3e38)
    fit(this)
    assert np.isfinite(this.history["loss"]).all()


@pytest.mark.parametrize("broken", ["parameter", "average", "slot"])
def test_nothing_is_written_that_can_not_be_read(broken, tmp_path):
    path = tmp_path / "file.safetensors"
    this = with_averages(optimizer=Adam(0.01))
    fit(this)
    this.save_checkpoint(path)
    before = path.read_bytes()
    if broken == "slot":
        this.set_state({"optimizer.square": np.full_like(this.state()["optimizer.square"], np.inf)})
    else:
        name = {"parameter": "last.weights", "average": "norm.running_mean"}[broken]
        this.model.parameters[name] = np.full(this.model.parameters[name].shape, np.nan)
        with pytest.raises(ArgumentError, match=f"{name}' contains NaN or infinity"):
            this.model.save(path)
    with pytest.raises(ArgumentError, match="contains NaN or infinity"):
        this.save_checkpoint(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_metric_may_overflow(tmp_path):
    """It is shown unchanged, and a checkpoint within the epoch works like any other."""

    def make():
        this = trainer(optimizer=SGD(0.0), log_every=2)
        this.loss, this.metrics = MeanAbsoluteError(), [RootMeanSquaredError()]
        this.model.parameters["last.biases"] = np.array([1e30])
        return this

    whole, _ = assert_resumes(make, fit, tmp_path, 5, epochs=2)
    name = RootMeanSquaredError().name
    assert whole.history[name] == [np.inf, np.inf]
