import csv
import importlib.util
import json
import sys

import numpy as np
import pytest
from kills import KillEpoch

import gpunn
from gpunn.callbacks import CSVLog, JSONLinesLog, TensorBoard
from gpunn.errors import MissingPackageError

X = np.random.default_rng(0).normal(size=(20, 3))
Y = X.sum(axis=1)


def fit(this=None, **options):
    if this is None:
        model = gpunn.Sequential([gpunn.layers.Dense(1)], 3, "numpy")
        this = gpunn.Trainer(model, "mean_squared_error", "sgd", ["mean_absolute_error"])
    standard = {"epochs": 3, "batch_size": 8, "progress": False, "validation_split": 0.2}
    this.fit(X, Y, **{**standard, **options})
    return this


def scalars(folder):
    """What the real TensorBoard finds in a folder: (step, value) of each tag."""
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = reading.EventAccumulator(str(folder))
    found.Reload()
    return {
        tag: [(event.step, event.value) for event in found.Scalars(tag)]
        for tag in found.Tags()["scalars"]
    }


needs_writer = pytest.mark.skipif(
    importlib.util.find_spec("tensorboardX") is None,
    reason="needs the extra `tensorboard`",
)


@needs_writer
def test_tensorboard_reads_it(tmp_path):
    this = fit(callbacks=[TensorBoard(tmp_path)])
    found = scalars(tmp_path)
    assert sorted(found) == [
        "loss/training",
        "loss/validation",
        "mean_absolute_error/training",
        "mean_absolute_error/validation",
        "run/learning_rate",
        "run/samples_per_second",
        "run/seconds",
    ]
    for tag, name in (("loss/training", "loss"), ("loss/validation", "val_loss")):
        assert [step for step, _ in found[tag]] == [1, 2, 3]
        values = [value for _, value in found[tag]]
        assert values == pytest.approx(this.history[name], rel=1e-6)


@needs_writer
def test_tensorboard_of_a_resumed_run(tmp_path):
    """What an interrupted run wrote beyond its checkpoint is void."""
    path, folder = tmp_path / "checkpoint.safetensors", tmp_path / "events"
    writing = gpunn.callbacks.ModelCheckpoint(path, resumable=True)
    with pytest.raises(KeyboardInterrupt):
        fit(epochs=4, callbacks=[TensorBoard(folder), writing, KillEpoch(3)])
    assert [step for step, _ in scalars(folder)["loss/training"]] == [1, 2, 3]
    this = fit(epochs=4, callbacks=[TensorBoard(folder)], resume_from=path)
    found = scalars(folder)["loss/training"]
    assert [step for step, _ in found] == [1, 2, 3, 4]
    assert [value for _, value in found] == pytest.approx(this.history["loss"], rel=1e-6)


def test_without_its_package(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(
        MissingPackageError, match=r"tensorboard needs the package .tensorboardX.*pip"
    ):
        fit(callbacks=[TensorBoard(tmp_path)])


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_logs_of_a_resumed_run(tmp_path, epoch):
    """Each epoch once, whatever was written before and after the checkpoint."""
    path = tmp_path / "checkpoint.safetensors"
    table, lines = tmp_path / "log.csv", tmp_path / "log.jsonl"

    def logs():
        return [CSVLog(table), JSONLinesLog(lines)]

    fit(epochs=2, callbacks=logs())  # of another run, in the same files
    earlier = table.read_text(), lines.read_text()
    writing = gpunn.callbacks.ModelCheckpoint(path, resumable=True)
    writing.on_train_begin = lambda trainer: trainer.save_checkpoint(path)
    with pytest.raises(KeyboardInterrupt):
        fit(epochs=4, callbacks=[*logs(), writing, KillEpoch(epoch)])
    with open(lines, "a") as file:
        file.write('{"epoch": 3, "lo')
    this = fit(epochs=4, callbacks=logs(), resume_from=path)
    assert table.read_text().startswith(earlier[0])
    assert lines.read_text().startswith(earlier[1])
    found = [json.loads(line) for line in lines.read_text().splitlines()]
    assert found[2:] == this.history.rows
    with open(table, newline="") as file:
        assert [int(row["epoch"]) for row in csv.DictReader(file)] == [1, 2, 1, 2, 3, 4]


def test_a_log_that_is_gone_begins_anew(tmp_path):
    path, log = tmp_path / "checkpoint.safetensors", tmp_path / "log.jsonl"
    writing = gpunn.callbacks.ModelCheckpoint(path, resumable=True)
    fit(epochs=2, callbacks=[JSONLinesLog(log), writing])
    log.unlink()
    fit(epochs=3, callbacks=[JSONLinesLog(log)], resume_from=path)
    assert [json.loads(line)["epoch"] for line in log.read_text().splitlines()] == [3]
