"""Interrupted and resumed trainings end bitwise identical to uninterrupted ones."""

import copy
import json
import os
import signal

import equality
import numpy as np
import pytest
from calls import Calls
from equality import assert_arrays, rows
from kills import assert_resumes, killed

import gpunn
from gpunn import layers
from gpunn.callbacks import Callback, CSVLog, EarlyStopping, JSONLinesLog, ModelCheckpoint, NormLog
from gpunn.data import batches
from gpunn.errors import ArgumentError, ModelFileError
from gpunn.losses import SoftmaxCrossEntropy
from gpunn.optimizers import SGD, Adam
from gpunn.schedules import Cosine, CosineLog, FlatCosine, ReduceOnPlateau, WarmUp
from gpunn.training import epoch_blocks
from gpunn.training.step.train_step import TrainStep

ROWS = 50
RANDOM = np.random.default_rng(0)
Y = RANDOM.integers(0, 3, ROWS)
X = RANDOM.normal(size=(ROWS, 4)) + 2 * np.eye(3, 4)[Y]


def trainer(optimizer=None, backend="numpy", metrics=("accuracy",), **options):
    parts = [layers.Standardization(), layers.Dense(8, "relu"), layers.BatchNorm()]
    parts += [layers.Dropout(0.3), layers.Dense(3)]
    model = gpunn.Sequential(parts, 4, backend, seed=3)
    chosen = optimizer() if optimizer else Adam(WarmUp(Cosine(0.01), 1.5))
    return gpunn.Trainer(model, "softmax_cross_entropy", chosen, metrics, **options)


def fit(this, **options):
    standard = {"epochs": 3, "batch_size": 8, "progress": False, "validation_split": 0.2}
    return this.fit(X, Y, **{**standard, **options})


def assert_same(one, other):
    equality.assert_same(one, other)
    assert one.history.stopped == other.history.stopped


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"shuffle": False},
        {"stream": True},
        {"batch_size": 7, "class_weight": "balanced"},
        {"sample_weight": np.linspace(0, 1, ROWS)},
    ],
    ids=lambda options: " ".join(options) or "plain",
)
@pytest.mark.parametrize(
    "at", [*(pytest.param(n, marks=pytest.mark.full) for n in (1, 4, 14)), 5, 8]
)
def test_from_any_update(options, at, tmp_path, monkeypatch):
    """Five or six updates per epoch."""
    monkeypatch.setattr(batches, "STREAM_BYTES", 500)
    assert_resumes(lambda: trainer(log_every=3), fit, tmp_path, at, **options)


def moving_trainer(backend):
    """With factors of parameters, and scheduled settings."""
    rate = FlatCosine(0.4)
    parts = [
        layers.Dense(8, "relu", learning_rate_factor=6.0, weight_decay_factor={"biases": 1.0}),
        layers.Dropout(rate),
        layers.Chain([layers.Dense(8, "tanh"), layers.Dropout(rate)], learning_rate_factor=0.1),
        layers.Dense(3),
    ]
    model = gpunn.Sequential(parts, 4, backend, seed=3)
    optimizer = Adam(CosineLog(0.01, time_of_update=0.0), weight_decay=FlatCosine(0.1))
    return gpunn.Trainer(model, SoftmaxCrossEntropy(Cosine(0.2)), optimizer, ["accuracy"])


@pytest.mark.parametrize("make", [trainer, moving_trainer])
@pytest.mark.parametrize("at", [pytest.param(2, marks=pytest.mark.full), 7])
def test_on_every_backend(make, backend, at, tmp_path):
    assert_resumes(lambda: make(backend=backend), fit, tmp_path, at, epochs=2)


def test_from_one_backend_to_another(backend, path):
    """Each continues from the other's numbers, with differences by rounding only."""
    killed(fit, trainer(backend="numpy"), path, 7)
    whole, resumed = trainer(), trainer(backend=backend)
    fit(whole)
    fit(resumed, resume_from=path)
    found, expected = (each.model.parameters.to_host() for each in (resumed, whole))
    assert_arrays(found, expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(resumed.history["loss"], whole.history["loss"], rtol=1e-4)


@pytest.mark.parametrize(
    "make",
    [
        lambda: trainer(lambda: SGD(ReduceOnPlateau(0.1, patience=1), momentum=0.9)),
        lambda: trainer(gradient_accumulation=2),
    ],
)
def test_other_trainers(make, tmp_path):
    assert_resumes(make, fit, tmp_path, 4)


def test_killed_again_and_again(path):
    whole = trainer()
    fit(whole)
    killed(fit, trainer(), path, 1)
    for at in (2, 3, 5, 6, 9, 10, 14):
        killed(fit, trainer(), path, at, resume_from=path)
    resumed = trainer()
    fit(resumed, resume_from=path)
    assert_same(whole, resumed)


@pytest.mark.filterwarnings("ignore:y. the targets of output 0 have a mean of 100.8")
def test_the_sum_of_an_epoch_does_not_begin_anew(tmp_path):
    """Metrics that combine are the hard case: R2's summary is not a plain sum."""

    def regression():
        model = gpunn.Sequential([layers.Dense(2)], 4, "numpy")
        return gpunn.Trainer(model, "mean_squared_error", "adam", ["r2"], log_every=2)

    def train(this, **options):
        targets = X[:, :2] + 100
        this.fit(X, targets, epochs=2, batch_size=8, progress=False, **options)

    assert_resumes(regression, train, tmp_path, 5)


def quick(**options):
    return EarlyStopping("val_loss", patience=2, **options)


def climbing():
    """The rate is much too high, so the loss on the validation rows is best early."""
    return trainer(lambda: SGD(3.0))


@pytest.mark.parametrize("at", [1, 5, 10, 15])
def test_early_stopping_goes_on(at, tmp_path):
    stoppings = []

    def train(this, callbacks=(), **options):
        stoppings.append(quick())
        fit(this, epochs=20, callbacks=[stoppings[-1], *callbacks], **options)

    whole, _ = assert_resumes(climbing, train, tmp_path, at)
    assert whole.history.stopped.startswith("val_loss has not improved")
    assert whole.updates >= 15, "so that every kill comes before the end"
    assert stoppings[-1].best == min(whole.history["val_loss"])


def test_early_stopping_may_be_more_patient_afterwards(path):
    this = climbing()
    fit(this, epochs=20, callbacks=[quick(), ModelCheckpoint(path, resumable=True)])
    ended = this.epoch
    again = climbing()
    fit(again, epochs=20, callbacks=[quick()], resume_from=path)
    assert again.epoch == ended, "it is over"
    more = climbing()
    patient = EarlyStopping("val_loss", patience=4)
    fit(more, epochs=20, callbacks=[patient], resume_from=path)
    assert more.epoch > ended
    other = climbing()
    fit(other, epochs=ended + 1, callbacks=[EarlyStopping("val_accuracy")], resume_from=path)
    assert other.epoch == ended, "another callback's reason to stop stays"


def test_checkpoints_come_after_what_they_are_to_hold(path):
    stopping = quick()
    fit(climbing(), epochs=1, callbacks=[ModelCheckpoint(path, resumable=True), stopping])
    again = quick()
    fit(climbing(), epochs=1, callbacks=[again], resume_from=path)
    assert (again.best_epoch, again.best) == (1, stopping.best)


def test_a_callback_of_ones_own(path):
    class Counter(Callback):
        name = "counter"

        def __init__(self):
            self.seen, self.last = 0, np.zeros(2)

        def on_epoch_end(self, trainer, logs):
            self.seen += 1
            self.last = np.array([logs["loss"], self.seen])

        def state(self, trainer):
            return {"seen": self.seen, "last": self.last}

        def restore(self, state, trainer):
            self.seen, self.last = state.get("seen", -1), state.get("last")

    first, second = Counter(), Counter()
    killed(fit, trainer(), path, 12, [first, second])
    assert first.seen == 2
    again, other, third = Counter(), Counter(), Counter()
    fit(trainer(), callbacks=[again, other, third], resume_from=path)
    assert (again.seen, other.seen, third.seen) == (3, 3, 0)
    assert again.last[1] == 3


@pytest.mark.parametrize("at", [4, 5, 6, 11])
def test_logs_have_each_epoch_once(at, tmp_path):
    """Even from within an epoch, in files of another run, and after lines after the checkpoint."""
    path = tmp_path / "checkpoint.safetensors"
    files = {CSVLog: tmp_path / "log.csv", JSONLinesLog: tmp_path / "log.jsonl"}

    def logs():
        return [log(file) for log, file in files.items()]

    fit(trainer(), epochs=2, callbacks=logs())
    earlier = [file.read_text() for file in files.values()]
    killed(fit, trainer(), path, at, logs())
    for file in files.values():
        with open(file, "a") as writing:
            writing.write('{"epoch": 7}\n{"epo')
    this = trainer()
    fit(this, callbacks=logs(), resume_from=path)
    contents = [file.read_text() for file in files.values()]
    assert all(map(str.startswith, contents, earlier))
    table, lines = (content.splitlines() for content in contents)
    assert [json.loads(line) for line in lines[2:]] == this.history.rows
    assert [row[: row.index(",")] for row in table[1:]] == [*"12", *"123"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 9}, "batches of 8, 8 rows per update, shuffled.*has .*batches of 9"),
        ({"shuffle": False}, "not shuffled"),
        ({"validation_split": 0.4}, "40 rows .*this call has 30 rows"),
    ],
)
def test_another_epoch_has_other_places(options, message, path):
    killed(fit, trainer(), path, 4)
    this = trainer()
    before = this.model.parameters.to_host()
    with pytest.raises(ArgumentError, match=f"resume_from: .*{message}"):
        fit(this, resume_from=path, **options)
    assert (this.epoch, this.updates, this.history.rows) == (0, 0, [])
    assert_arrays(before, this.model.parameters.to_host())


def test_between_epochs_another_call_may_go_on(path):
    killed(fit, trainer(), path, 5)
    fit(trainer(), resume_from=path, batch_size=9)


def test_other_figures(path):
    killed(fit, trainer(), path, 4)
    with pytest.raises(ArgumentError, match=r"with the metrics \['loss', 'accuracy'\]"):
        fit(trainer(metrics=[]), resume_from=path)
    with pytest.raises(ModelFileError, match="in the middle of an epoch that computes the metrics"):
        trainer(metrics=[]).load_checkpoint(path)


def test_no_checkpoint(tmp_path):
    with pytest.raises(ModelFileError, match="there is no such file"):
        fit(trainer(), resume_from=tmp_path / "none.safetensors")
    with pytest.raises(ModelFileError, match="this folder contains no checkpoint"):
        fit(trainer(), resume_from=tmp_path)


@pytest.mark.parametrize("values", [np.zeros(3), [0.0, 1.0, 2.0], 1.0, {}], ids=repr)
def test_damaged_state_of_a_callback(path, monkeypatch, values):
    damaged = {"figure": ["val_loss", "min"], "best": 1.0, "best_epoch": 1, "values": values}
    with monkeypatch.context() as patch:
        patch.setattr(EarlyStopping, "state", lambda self, trainer: damaged)
        killed(fit, trainer(), path, 6, [quick()])
    with pytest.raises(ModelFileError, match=r"callback 'early_stopping' is damaged: values: exp"):
        fit(trainer(), callbacks=[quick()], resume_from=path)


def test_a_log_that_has_lost_lines_is_named(tmp_path, caplog):
    path, log = tmp_path / "checkpoint.safetensors", tmp_path / "log.jsonl"
    killed(fit, trainer(), path, 11, [JSONLinesLog(log)])
    log.write_bytes(log.read_bytes()[:10])
    fit(trainer(), callbacks=[JSONLinesLog(log)], resume_from=path)
    assert f"{log}: had " in caplog.text
    assert "The lost lines are not restored" in caplog.text


class Signal(Callback):
    def __init__(self, number, at):
        self.number, self.every_updates = number, at

    def on_updates_end(self, trainer):
        if trainer.updates == self.every_updates:
            os.kill(os.getpid(), self.number)


posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@posix
@pytest.mark.parametrize("at", [2, 4, 7])
def test_ctrl_c_writes_a_checkpoint(at, tmp_path, path):
    whole, this, resumed = trainer(), trainer(), trainer()
    fit(whole)
    writing = ModelCheckpoint(path, resumable=True)
    history = fit(this, callbacks=[Signal(signal.SIGINT, at), writing])
    assert history.stopped == "interrupted by Ctrl-C"
    assert this.updates == at
    later, from_later = tmp_path / "later.safetensors", trainer()
    this.save_checkpoint(later)  # when `stop_reason` says so already
    for each, source in ((resumed, path), (from_later, later)):
        fit(each, resume_from=source)
        assert_same(whole, each)
    # The same trainer can go on, too: a further call ends the epoch that was cut short.
    fit(this, epochs=3 - this.epoch)
    assert_same(whole, this)


@posix
def test_ctrl_c_in_the_last_update_of_an_epoch_ends_the_epoch(tmp_path, path, monkeypatch):
    """So its last gradient has the same norms as in an uninterrupted run."""
    whole, this, resumed = trainer(), trainer(), trainer()
    fit(whole, callbacks=[NormLog(tmp_path / "whole.jsonl")])
    update, updates, done = TrainStep.update, whole.updates // 3, 0

    def interrupted(step, rows, times=1):
        nonlocal done
        update(step, rows, times)
        done += times
        if done == 2 * updates:
            os.kill(os.getpid(), signal.SIGINT)

    callbacks = [NormLog(tmp_path / "log.jsonl"), ModelCheckpoint(path, resumable=True)]
    with monkeypatch.context() as patched:
        patched.setattr(TrainStep, "update", interrupted)
        patched.setattr(epoch_blocks, "MAX_EPOCHS", 0)  # train by requests, which call `update`
        history = fit(this, callbacks=callbacks)
    assert history.stopped == "interrupted by Ctrl-C"
    assert (this.epoch, this.cursor) == (2, None)
    fit(resumed, callbacks=callbacks, resume_from=path)
    assert_same(whole, resumed)
    assert (tmp_path / "log.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


@posix
def test_after_ctrl_c_other_data_begin_the_epoch_anew(caplog):
    this = trainer()
    fit(this, callbacks=[Signal(signal.SIGINT, 7)])
    assert (this.epoch, this.updates) == (1, 7)
    fit(this, epochs=1, batch_size=10)
    assert (this.epoch, this.updates) == (2, 7 + 4)
    assert "The interrupted epoch starts again" in caplog.text


@posix
@pytest.mark.parametrize("at", [2, 7])
def test_sigterm_ends_the_program(at, path):
    whole, this, resumed = trainer(), trainer(), trainer()
    fit(whole)
    writing = ModelCheckpoint(path, resumable=True)
    with pytest.raises(SystemExit) as ended:
        fit(this, callbacks=[Signal(signal.SIGTERM, at), writing])
    assert ended.value.code == 143
    assert this.history.stopped == "ended by SIGTERM"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    fit(resumed, resume_from=path)
    assert_same(whole, resumed)


def test_a_copy_goes_on_in_the_middle_of_an_epoch(tmp_path):
    """A trainer that a callback copies within an epoch can finish the epoch."""
    copies, whole = [], trainer()
    keep = Calls(every_updates=7, on_updates_end=lambda this: copies.append(copy.deepcopy(this)))
    fit(whole, epochs=2, callbacks=[keep])
    (twin,) = copies
    assert twin.cursor.done == 2
    fit(twin, epochs=1)
    assert rows(twin.history) == rows(whole.history)
    np.testing.assert_array_equal(twin.model.parameters.values, whole.model.parameters.values)


def test_updates_are_counted_exactly():
    seen = []

    def look(trainer):
        seen.append((trainer.updates, trainer.cursor.done))

    whole, this = trainer(), trainer()
    fit(whole)
    fit(this, callbacks=[Calls(every_updates=3, on_updates_end=look)])
    assert seen == [(3, 3), (6, 1), (9, 4), (12, 2)]
    assert_same(whole, this)


def test_checkpoints_within_an_epoch(tmp_path):
    path = tmp_path / "{epoch}-{updates}.safetensors"
    writing = ModelCheckpoint(path, resumable=True, every_updates=2, keep=3)
    fit(trainer(), callbacks=[writing])
    names = sorted(file.stem for file in tmp_path.iterdir())
    assert names == ["2-12", "2-14", "3-15"]


def test_checkpoints_by_time(tmp_path, monkeypatch):
    times = iter(range(1000))
    monkeypatch.setattr(
        "gpunn.training.callbacks.model_checkpoint.time.monotonic", lambda: next(times)
    )
    path = tmp_path / "{updates}.safetensors"
    writing = ModelCheckpoint(path, resumable=True, every_seconds=2)
    writing.every_updates = None
    fit(trainer(), epochs=1, callbacks=[Calls(every_updates=1), writing])
    assert (tmp_path / "5.safetensors").exists()
    within = {int(file.stem) for file in tmp_path.iterdir()} - {5}
    assert within <= {2, 3, 4}


@pytest.mark.parametrize(
    "options",
    [
        {"every_updates": 5},
        {"every_seconds": 5, "resumable": True, "monitor": "loss"},
        {"keep": 2},
        {"every_updates": 0, "resumable": True},
        {"every_seconds": -1, "resumable": True},
    ],
)
def test_checkpoints_that_make_no_sense(options):
    with pytest.raises(ArgumentError, match=r"keep|every_"):
        ModelCheckpoint("a.safetensors", **options)
