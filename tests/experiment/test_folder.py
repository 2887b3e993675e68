"""When a run writes its checkpoints, by a clock of our own, and who may go on with it."""

import errno

import numpy as np
import pytest
from run_folders import checkpoints, history, same_weights, without_times

import gpunn.experiment.folder
from gpunn.checkpoints import CheckpointFolder
from gpunn.config import load_config
from gpunn.errors import ConfigError, DivergenceError
from gpunn.experiment import RunFolder, build
from gpunn.saving import TakenCheckpoint, read_checkpoint
from gpunn.training.callbacks import Callback

CONFIG = """\
[data]
dataset = "digits"
validation_fraction = 0.2

[model]
layers = [{ name = "rescaling", scale = 0.0625 }, { name = "dense", units = 10 }]

[training]
loss = "softmax_cross_entropy"
epochs = 9
batch_size = 64
"""


class Killed(BaseException):
    """Stands for a process that ends at once."""


class Clock:
    """Time goes by when it is told to."""

    now = 0.0

    def monotonic(self):
        return self.now


class Epochs(Callback):
    """An epoch takes so many seconds; after one of them, something happens."""

    def __init__(self, clock, seconds, last=None, error=None):
        self.clock, self.seconds, self.last, self.error = clock, seconds, last, error

    def on_epoch_end(self, trainer, logs):
        self.clock.now += self.seconds
        if trainer.epoch == self.last:
            raise self.error


@pytest.fixture
def clock(monkeypatch):
    """Each checkpoint takes a second to write."""
    clock, write = Clock(), CheckpointFolder.write

    def written(self, taken):
        clock.now += 1
        return write(self, taken)

    monkeypatch.setattr(gpunn.experiment.folder, "time", clock)
    monkeypatch.setattr(CheckpointFolder, "write", written)
    return clock


def train(tmp_path, clock, *settings, seconds=30.0, last=None, error=None, **options):
    path = tmp_path / "config.toml"
    path.write_text(CONFIG)
    experiment = build(load_config(path, settings), "numpy")
    with RunFolder(tmp_path / "run", **options) as folder:
        checkpoint = folder.attach(experiment)
        epochs = Epochs(clock, seconds, last, error)
        experiment.run(epochs, folder, progress=False, resume_from=checkpoint)
        folder.save_model()


def epoch_of(path):
    """The epoch that a checkpoint, or the best epoch, was taken after."""
    return read_checkpoint(path).progress.epoch


def kept(tmp_path):
    """The epochs after which there is a checkpoint."""
    return [epoch_of(file) for file in reversed(checkpoints(tmp_path / "run"))]


@pytest.mark.parametrize(
    ("seconds", "setting", "epochs"),
    [
        (30.0, None, [0, 4, 8, 9]),  # after 100 seconds, and at the end
        (100.0, None, list(range(10))),
        (30.0, "training.checkpoint_every=1", list(range(10))),
        (30.0, "training.checkpoint_every=5", [0, 5, 9]),
        (30.0, "training.checkpoint_every_seconds=60", [0, 2, 4, 6, 8, 9]),
    ],
)
def test_when_checkpoints_are_written(tmp_path, clock, seconds, setting, epochs):
    settings = [setting] if setting else []
    train(tmp_path, clock, "training.keep_checkpoints=99", *settings, seconds=seconds)
    assert kept(tmp_path) == epochs


def test_the_best_epoch_is_written_with_a_checkpoint(tmp_path, clock, monkeypatch):
    """Until then a kill loses it, and who goes on finds it again."""
    train(tmp_path, clock)
    (tmp_path / "run").rename(tmp_path / "whole")
    best = epoch_of(tmp_path / "whole" / "best.safetensors")
    assert best == 9, "the loss on the validation rows falls all the time"
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "on_train_end", lambda self, trainer: None)
        with pytest.raises(Killed):
            train(tmp_path, clock, last=7, error=Killed())
    assert epoch_of(tmp_path / "run" / "best.safetensors") == 4
    train(tmp_path, clock, resume=True)
    for name in ("best", "final"):
        assert same_weights(tmp_path / "whole", tmp_path / "run", name)
    one, other = (history(tmp_path / name) for name in ("whole", "run"))
    assert without_times(one) == without_times(other)


def test_the_best_epoch_is_written_when_training_fails(tmp_path, clock):
    """As is its checkpoint, so that the run does not go on from before its best epoch."""
    with pytest.raises(DivergenceError):
        train(tmp_path, clock, last=7, error=DivergenceError("loss: not a finite number"))
    assert epoch_of(tmp_path / "run" / "best.safetensors") == 6
    assert kept(tmp_path) == [0, 4, 6]
    train(tmp_path, clock, resume=True)
    assert [row["epoch"] for row in history(tmp_path / "run")] == list(range(1, 10))


def test_a_best_epoch_that_cannot_be_written_is_tried_once(tmp_path, clock, monkeypatch):
    def full(self, path):
        raise OSError(errno.ENOSPC, "full", str(path))

    monkeypatch.setattr(RunFolder, "on_train_begin", begin_then(monkeypatch, full))
    with pytest.raises(OSError, match="full") as caught:
        train(tmp_path, clock)
    assert caught.value.__context__ is None


def begin_then(monkeypatch, full):
    """Return a beginning of a run after which nothing can be written."""
    begin = RunFolder.on_train_begin

    def beginning(self, trainer):
        begin(self, trainer)
        monkeypatch.setattr(TakenCheckpoint, "write", full)

    return beginning


# ------------------------------------------------------------------------ who may go on, and when


def attached(tmp_path, *settings, **options):
    (tmp_path / "config.toml").write_text(CONFIG)
    folder = RunFolder(tmp_path / "run", **options)
    experiment = build(load_config(tmp_path / "config.toml", settings), "numpy")
    return folder, experiment, folder.attach(experiment)


@pytest.mark.parametrize("options", [{"resume": True}, {"overwrite": True}])
def test_one_process_at_a_time(tmp_path, clock, options):
    train(tmp_path, clock, "training.epochs=1")
    first, _, _ = attached(tmp_path, resume=True)
    with first:
        before = {file: file.read_bytes() for file in (tmp_path / "run").glob("*.*")}
        with pytest.raises(ConfigError, match="another process is training in this folder"):
            attached(tmp_path, **options)
        assert {file: file.read_bytes() for file in (tmp_path / "run").glob("*.*")} == before
    second, _, _ = attached(tmp_path, **options)
    with second:
        pass


def test_two_begin_the_same_run(tmp_path):
    """Both have found no folder; the one that comes second must not spoil what is there."""
    first, first_experiment, _ = attached(tmp_path, "training.epochs=1")
    second, second_experiment, _ = attached(tmp_path)
    with first:
        first_experiment.run(first, progress=False)
        with pytest.raises(ConfigError, match="another process is training in this folder"):
            second_experiment.run(second, progress=False)
    with second, pytest.raises(ConfigError, match="another process has meanwhile trained"):
        second_experiment.run(second, progress=False)
    assert len(history(tmp_path / "run")) == 1


def test_a_file_system_without_locks(tmp_path, clock, monkeypatch):
    def no_locks(descriptor, operation):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    train(tmp_path, clock, "training.epochs=1")
    train(tmp_path, clock, resume=True)


NUMBERS = """\
[data]
dataset = "npz"
path = "numbers.npz"
validation_fraction = 0.25

[model]
layers = [{ name = "dense", units = 1 }]

[training]
loss = "mean_squared_error"
epochs = 2
"""


@pytest.mark.parametrize(
    "changed",
    [
        lambda X, y: (X[1:], y[1:]),
        lambda X, y: (X[::-1], y),
        lambda X, y: (X, y + 1),
        lambda X, y: (X.astype(np.float64), y),
    ],
    ids=["fewer rows", "another order", "other targets", "another type"],
)
def test_other_data_under_the_same_name(tmp_path, changed):
    random = np.random.default_rng(0)
    X, y = random.normal(size=(40, 3)).astype(np.float32), random.normal(size=40)
    (tmp_path / "config.toml").write_text(NUMBERS)

    def run(**options):
        with RunFolder(tmp_path / "run", **options) as folder:
            experiment = build(load_config(tmp_path / "config.toml"), "numpy")
            checkpoint = folder.attach(experiment)
            experiment.run(folder, progress=False, resume_from=checkpoint)

    np.savez(tmp_path / "numbers.npz", X=X, y=y)
    run()
    run(resume=True)
    X, y = changed(X, y)
    np.savez(tmp_path / "numbers.npz", X=X, y=y)
    with pytest.raises(ConfigError, match=r"data: it is not what the run in .*run was trained on"):
        run(resume=True)


def test_a_kill_while_a_run_is_overwritten(tmp_path, clock, monkeypatch):
    """What is left begins anew; it does not go on with what was to be replaced."""
    train(tmp_path, clock, "training.epochs=2")

    def kill(path, value):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(gpunn.experiment.folder, "write_json", kill)
        with pytest.raises(Killed):
            train(tmp_path, clock, overwrite=True)
    train(tmp_path, clock, resume=True)
    assert [row["epoch"] for row in history(tmp_path / "run")] == list(range(1, 10))
