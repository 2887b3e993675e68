"""When a run writes its checkpoints and its best epoch, by a clock of our own."""

import errno

import pytest
from run_folders import checkpoints, history, same_weights, without_times

import gpunn.experiment.folder
from gpunn.checkpoints import CheckpointFolder
from gpunn.config import load_config
from gpunn.errors import DivergenceError
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
    folder = RunFolder(tmp_path / "run", **options)
    checkpoint = folder.attach(experiment)
    epochs = Epochs(clock, seconds, last, error)
    experiment.run(epochs, folder, progress=False, resume_from=checkpoint)
    experiment.trainer.model.save(tmp_path / "run" / "final.safetensors")
    return folder


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
