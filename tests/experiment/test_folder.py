"""When a run writes its checkpoints, by a simulated clock, and when it may resume."""

import errno
import json
import re
from unittest.mock import Mock

import numpy as np
import pytest
from digits import configuration
from kills import Killed
from run_folders import checkpoints, edited, everything, history, same_weights, without_times

import gpunn.experiment.folder
from gpunn.backends.numpy.backend import NumpyBackend
from gpunn.config import load_config
from gpunn.errors import ConfigError, DivergenceError
from gpunn.experiment import RunFolder, build
from gpunn.storage.checkpoint_folder import CheckpointContent, CheckpointFolder
from gpunn.storage.files import Replacement
from gpunn.training.callbacks import Callback
from gpunn.training.checkpoints.checkpoint import read_checkpoint

CONFIG = configuration(metrics=[], epochs=9, batch_size=64)


class Clock:
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
    clock, write, add_first = Clock(), CheckpointFolder.write, CheckpointFolder.add_first

    def written(self, taken):
        clock.now += 1
        return write(self, taken)

    def first(self, trainer, new):
        clock.now += 1
        return add_first(self, trainer, new)

    monkeypatch.setattr(gpunn.experiment.folder, "time", clock)
    monkeypatch.setattr(CheckpointFolder, "write", written)
    monkeypatch.setattr(CheckpointFolder, "add_first", first)
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
    return read_checkpoint(path).progress.epoch


def kept(tmp_path):
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
    """Until then a kill loses it, and the resumed run selects it again."""
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
    """As is its checkpoint, so that the run does not resume from before its best epoch."""
    with pytest.raises(DivergenceError):
        train(tmp_path, clock, last=7, error=DivergenceError("loss: not a finite number"))
    assert epoch_of(tmp_path / "run" / "best.safetensors") == 6
    assert kept(tmp_path) == [0, 4, 6]
    train(tmp_path, clock, resume=True)
    assert [row["epoch"] for row in history(tmp_path / "run")] == list(range(1, 10))


def test_a_best_epoch_that_cannot_be_written_is_tried_once(tmp_path, clock, monkeypatch):
    full = Mock(side_effect=OSError(errno.ENOSPC, "full"))
    monkeypatch.setattr(RunFolder, "on_train_begin", begin_then(monkeypatch, full))
    with pytest.raises(OSError, match="full") as caught:
        train(tmp_path, clock)
    assert caught.value.__context__ is None


def begin_then(monkeypatch, full):
    """Return a beginning of a run after which nothing can be written."""
    begin = RunFolder.on_train_begin

    def beginning(self, trainer):
        begin(self, trainer)
        monkeypatch.setattr(CheckpointContent, "write", full)

    return beginning


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
    with (
        second,
        pytest.raises(ConfigError, match="another process has trained in this folder"),
    ):
        second_experiment.run(second, progress=False)
    assert len(history(tmp_path / "run")) == 1


def test_a_file_system_without_locks(tmp_path, clock, monkeypatch):
    no_locks = OSError(errno.ENOLCK, "no locks available")
    monkeypatch.setattr("fcntl.flock", Mock(side_effect=no_locks))
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
    ("changed", "message"),
    [
        (lambda X, y: (X[1:], y[1:]), "its rows were 30 training, 10 .*; now they are"),
        (lambda X, y: (X[::-1], y), "as many rows, but with other values, in another order"),
        (lambda X, y: (X, y + 1), "as many rows"),
        (lambda X, y: (X.astype(np.float64), y), "as many rows"),
    ],
    ids=["fewer rows", "another order", "other targets", "another type"],
)
def test_other_data_under_the_same_name(tmp_path, changed, message):
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
    with pytest.raises(ConfigError, match=f"trained on other data: {message}"):
        run(resume=True)


@pytest.mark.parametrize("place", ["add", "commit"])
def test_a_kill_while_a_run_is_overwritten(tmp_path, clock, monkeypatch, place):
    """The earlier run is complete, or nothing of it can be resumed."""
    train(tmp_path, clock, "training.epochs=2")
    before = everything(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(Replacement, place, Mock(side_effect=Killed))
        with pytest.raises(Killed):
            train(tmp_path, clock, overwrite=True)
    if place == "add":
        assert everything(tmp_path / "run") == before
    else:
        assert not list((tmp_path / "run").rglob("*.safetensors"))
    train(tmp_path, clock, resume=True)
    assert [row["epoch"] for row in history(tmp_path / "run")] == list(range(1, 10))


FOREIGN = "backup-20260101.safetensors"


@pytest.mark.parametrize("options", [{"resume": True}, {"overwrite": True}], ids=str)
def test_files_of_others_beside_the_checkpoints(tmp_path, clock, options):
    train(tmp_path, clock)
    folder = tmp_path / "run" / "checkpoints"
    newest = checkpoints(tmp_path / "run")[0]
    (folder / FOREIGN).write_bytes(newest.read_bytes())
    train(tmp_path, clock, "training.epochs=11", **options)
    assert (folder / FOREIGN).exists()
    assert len(checkpoints(tmp_path / "run")) == 3 + 1
    assert len(history(tmp_path / "run")) == 11


@pytest.mark.parametrize("options", [{"resume": True}, {"overwrite": True}], ids=str)
def test_checkpoints_that_lead_out_of_the_folder(tmp_path, clock, options):
    train(tmp_path, clock)
    outside = tmp_path / "outside"
    (tmp_path / "run" / "checkpoints").rename(outside)
    (tmp_path / "run" / "checkpoints").symlink_to(outside)
    before = everything(tmp_path)
    with pytest.raises(ConfigError, match="run/checkpoints: this link leads out of the run f"):
        train(tmp_path, clock, "training.epochs=11", **options)
    assert everything(tmp_path) == before


def test_a_log_that_is_a_link_is_replaced(tmp_path, clock):
    train(tmp_path, clock, "training.epochs=1")
    for name in ("history.jsonl", "history.csv", "norms.jsonl"):
        (tmp_path / "run" / name).rename(tmp_path / name)
        (tmp_path / "run" / name).symlink_to(tmp_path / name)
    train(tmp_path, clock, "training.epochs=3", resume=True)
    for name in ("history.jsonl", "history.csv", "norms.jsonl"):
        assert len((tmp_path / name).read_text().splitlines()) == 1 + name.endswith("csv")
        assert len((tmp_path / "run" / name).read_text().splitlines()) == 3 + name.endswith("csv")


def test_a_network_without_checkpoints_is_not_replaced(tmp_path, clock):
    train(tmp_path, clock)
    for file in checkpoints(tmp_path / "run"):
        file.unlink()
    before = everything(tmp_path / "run")
    with pytest.raises(ConfigError, match=r"there is final\.safetensors, but no checkpoint"):
        train(tmp_path, clock, resume=True)
    assert everything(tmp_path / "run") == before


LOGS = """training.callbacks=[
    { name = "csv_log", path = "logs/log.csv" },
    { name = "json_lines_log", path = "log.jsonl" },
    { name = "norm_log", path = "norms_too.jsonl" },
]"""


def test_logs_of_callbacks_stay_where_overwriting_fails(tmp_path, clock, monkeypatch):
    train(tmp_path, clock, LOGS, "training.epochs=2")
    before = everything(tmp_path / "run")
    other = [LOGS, "training.epochs=1", "data.validation_fraction=0"]  # and so other columns
    full = Mock(side_effect=OSError(errno.ENOSPC, "no room left"))
    with monkeypatch.context() as patch:
        patch.setattr(Replacement, "add", full)
        with pytest.raises(OSError, match="no room left"):
            train(tmp_path, clock, *other, overwrite=True)
    assert everything(tmp_path / "run") == before
    train(tmp_path, clock, *other, overwrite=True)
    assert not list((tmp_path / "run").rglob("*.overwritten"))
    for name, lines in (("logs/log.csv", 2), ("log.jsonl", 1), ("norms_too.jsonl", 1)):
        assert len((tmp_path / "run" / name).read_text().splitlines()) == lines


CHECKPOINT = "training.callbacks=[{{name='model_checkpoint', path='{}'}}]"


@pytest.mark.parametrize(
    ("path", "target", "said"),
    [
        ("link{epoch}/x.safetensors", "outside", "is outside the run folder"),
        ("link{epoch}/new/x.safetensors", "outside", "is outside the run folder"),
        ("link{epoch}/x.safetensors", "run/checkpoints", r"the run itself writes x\.safetensors"),
    ],
)
def test_a_callback_s_file_is_looked_at_once_its_name_is_known(tmp_path, clock, path, target, said):
    for folder in ("outside", "run/checkpoints"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "run" / "link2").symlink_to(tmp_path / target)
    with pytest.raises(ConfigError, match=r"training\.callbacks\[0\]\.path: .*" + said):
        train(tmp_path, clock, CHECKPOINT.format(path), overwrite=True)
    assert not list((tmp_path / "outside").iterdir())
    assert not (tmp_path / "run" / "checkpoints" / "x.safetensors").exists()
    assert len(history(tmp_path / "run")) == 1
    train(tmp_path, clock, CHECKPOINT.format("{epoch}/x.safetensors"), resume=True)
    assert (tmp_path / "run" / "9" / "x.safetensors").exists()


@pytest.mark.parametrize("damage", ["cut", "gone", "old"])
def test_a_damaged_best_epoch_is_restored(tmp_path, clock, caplog, damage):
    train(tmp_path, clock)
    best = tmp_path / "run" / "best.safetensors"
    whole = best.read_bytes()
    if damage == "gone":
        best.unlink()
    else:
        oldest = checkpoints(tmp_path / "run")[-1]
        best.write_bytes(whole[:-1] if damage == "cut" else oldest.read_bytes())
    train(tmp_path, clock, resume=True)
    assert best.read_bytes() == whole
    assert str(best) in caplog.text
    assert "Restoring the best epoch from" in caplog.text


def test_a_damaged_best_epoch_that_cannot_be_restored(tmp_path, clock, caplog):
    """Later checkpoints, with a worse network, have replaced its checkpoint."""
    train(tmp_path, clock)
    worse = [
        "training.epochs=11",
        "training.keep_checkpoints=1",
        "training.optimizer={name='adam', learning_rate=9.0}",
    ]
    train(tmp_path, clock, *worse, resume=True)
    assert len(checkpoints(tmp_path / "run")) == 1
    best = tmp_path / "run" / "best.safetensors"
    assert epoch_of(best) == 9
    best.write_bytes(b"damaged")
    caplog.clear()
    train(tmp_path, clock, *worse, resume=True)
    assert "best.safetensors: " in caplog.text
    assert "no checkpoint of the best epoch is left" in caplog.text


def test_lost_norms_are_restored(tmp_path, clock):
    train(tmp_path, clock)
    norms = tmp_path / "run" / "norms.jsonl"
    whole = norms.read_bytes()
    norms.write_bytes(b"".join(whole.splitlines(keepends=True)[3:5]))
    train(tmp_path, clock, resume=True)
    assert norms.read_bytes() == whole


ADAM = "training.optimizer={name='adam', learning_rate=0.001}"


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("training.batch_size=32", "training.batch_size: the run had 64 and resumes with 32"),
        (
            "training.optimizer.learning_rate=0.5",
            "training.optimizer.learning_rate.rate: the run had 0.001 and resumes with 0.5",
        ),
        ("training.optimizer.max_norm=1", "training.optimizer.max_norm: the run had None"),
        ("training.shuffle=false", "training.shuffle: the run had True and resumes with False"),
        (
            "backend_options.matmul_algorithms=measured",
            "backend_options.matmul_algorithms: the run had 'heuristic' and resumes with 'mea",
        ),
        ("backend_options.graph=true", None),
        ("training.epochs=9", None),
        ("training.keep_checkpoints=2", None),
        ("training.metrics=['accuracy']", None),
    ],
)
def test_other_settings_are_said(tmp_path, clock, caplog, setting, said):
    train(tmp_path, clock, ADAM, "training.epochs=2")
    train(tmp_path, clock, ADAM, "training.epochs=3", setting, resume=True)
    messages = [record.getMessage() for record in caplog.records]
    if said is None:
        assert messages == []
    else:
        (message,) = messages
        assert message.startswith(said)
        assert message.endswith("so its results will differ from an uninterrupted run")


def test_another_schedule_is_said_by_its_name(tmp_path, clock, caplog):
    """Its parameters are others too, which would be a warning each."""
    cosine = "training.optimizer.learning_rate.name=cosine"
    train(tmp_path, clock, ADAM, "training.epochs=2")
    train(tmp_path, clock, ADAM, "training.epochs=3", cosine, resume=True)
    said = [each for each in caplog.messages if "learning_rate" in each.split(":")[0]]
    assert len(said) == 1
    assert "resumes with" in said[0]


def test_another_number_of_threads_is_said(tmp_path, caplog):
    (tmp_path / "config.toml").write_text(CONFIG)
    for threads, options in ((2, {}), (1, {"resume": True})):
        config = load_config(tmp_path / "config.toml", ["training.epochs=1"])
        experiment = build(config, NumpyBackend(threads=threads))
        with RunFolder(tmp_path / "run", **options) as folder:
            experiment.run(folder, progress=False, resume_from=folder.attach(experiment))
    assert "backend.threads: the run had '2' and resumes with '1', so its results" in caplog.text


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (lambda old: old["backend"].update(library="numpy 1.0, numba 0.1"), "backend.library: the"),
        (lambda old: old.update(processor="Z80"), "processor: the run had 'Z80' and resumes with"),
        (
            lambda old: old.update(thread_variables={"OMP_NUM_THREADS": "77"}),
            "thread_variables.OMP_NUM_THREADS: the run had '77' and resumes with",
        ),
        (lambda old: old.pop("backend"), None),
        (lambda old: old.update(backend=[1], blas=2), None),
        (lambda old: old["backend"].pop("threads"), None),
    ],
)
def test_another_machine_is_said(tmp_path, clock, caplog, record, said):
    train(tmp_path, clock, "training.epochs=1")
    with edited(tmp_path / "run" / "environment.json") as old:
        record(old)
    train(tmp_path, clock, "training.epochs=2", resume=True)
    messages = [record.getMessage() for record in caplog.records]
    assert (not messages) if said is None else messages[0].startswith(said)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", None])
def test_a_damaged_record_of_the_machine_is_no_hindrance(tmp_path, clock, content):
    train(tmp_path, clock, "training.epochs=1")
    path = tmp_path / "run" / "environment.json"
    path.unlink() if content is None else path.write_bytes(content)
    train(tmp_path, clock, "training.epochs=2", resume=True)
    assert json.loads(path.read_text())["backend"]["backend"] == "numpy"


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        ("{name='cosine', rate=0.01}", True),
        ("{name='one_cycle', rate=0.01}", True),
        ("{name='step', rate=0.01, every=1}", False),
        ("{name='reduce_on_plateau', rate=0.01}", False),
    ],
)
def test_a_schedule_that_has_come_to_its_end_is_said(tmp_path, clock, caplog, schedule, said):
    rate = f"training.optimizer={{name='adam', learning_rate={schedule}}}"
    train(tmp_path, clock, rate, "training.epochs=3")
    train(tmp_path, clock, rate, "training.epochs=3", resume=True)
    assert not caplog.records
    train(tmp_path, clock, rate, "training.epochs=4", resume=True)
    messages = [record.getMessage() for record in caplog.records]
    if not said:
        assert messages == []
        return
    (message,) = messages
    assert "The run began with 3 epochs. A run with 4 epochs from the beginning" in message
    low, high = re.search(
        r"remaining epochs have rates from (\S+) to (\S+); the highest", message
    ).groups()
    assert float(high) < float(low) < 0.005
