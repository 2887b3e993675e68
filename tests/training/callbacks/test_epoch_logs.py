import csv
import importlib.util
import json
import sys

import pytest
from equality import assert_arrays
from kills import KillEpoch
from scripted_trainer import Scripted, trainer
from scripted_trainer import fit as train
from sums import fit

import gpunn
from gpunn.callbacks import CSVLog, JSONLinesLog, TensorBoard
from gpunn.errors import ArgumentError, MissingPackageError


def scalars(folder):
    """Return what the real TensorBoard reads from a folder: (step, value) of each tag."""
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
    history = fit(TensorBoard(tmp_path))
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
        assert values == pytest.approx(history[name], rel=1e-6)


@needs_writer
def test_tensorboard_of_a_resumed_run(tmp_path):
    """Events that an interrupted run wrote after its checkpoint are void."""
    path, folder = tmp_path / "checkpoint.safetensors", tmp_path / "events"
    writing = gpunn.callbacks.ModelCheckpoint(path, resumable=True)
    with pytest.raises(KeyboardInterrupt):
        fit(TensorBoard(folder), writing, KillEpoch(3), epochs=4)
    assert [step for step, _ in scalars(folder)["loss/training"]] == [1, 2, 3]
    history = fit(TensorBoard(folder), epochs=4, resume_from=path)
    found = scalars(folder)["loss/training"]
    assert [step for step, _ in found] == [1, 2, 3, 4]
    assert [value for _, value in found] == pytest.approx(history["loss"], rel=1e-6)


def test_without_its_package(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(MissingPackageError, match=r"tensorboard needs the package"):
        fit(TensorBoard(tmp_path))


def test_a_log_that_is_gone_begins_anew(tmp_path):
    path, log = tmp_path / "checkpoint.safetensors", tmp_path / "log.jsonl"
    writing = gpunn.callbacks.ModelCheckpoint(path, resumable=True)
    fit(JSONLinesLog(log), writing, epochs=2)
    log.unlink()
    fit(JSONLinesLog(log), epochs=3, resume_from=path)
    assert [json.loads(line)["epoch"] for line in log.read_text().splitlines()] == [3]


def test_json_lines_log(tmp_path):
    path = tmp_path / "new" / "log.jsonl"
    this = trainer()
    train(this, callbacks=[JSONLinesLog(path)])
    train(this, epochs=1, validation_split=0.2, callbacks=[JSONLinesLog(path)])
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert rows == this.history.rows
    assert rows[0]["learning_rate"] == 0.1
    assert "val_loss" in rows[3]


def test_json_has_no_nan(tmp_path):
    path = tmp_path / "log.jsonl"
    Scripted().run(JSONLinesLog(path), [1.5, float("nan"), float("inf")])
    assert path.read_text().splitlines() == [
        '{"epoch": 1, "val_loss": 1.5}',
        '{"epoch": 2, "val_loss": null}',
        '{"epoch": 3, "val_loss": null}',
    ]


def read_csv(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_csv_log(tmp_path):
    path = tmp_path / "new" / "log.csv"
    this = trainer()
    train(this, validation_split=0.2, callbacks=[CSVLog(path)])
    train(this, epochs=1, validation_split=0.2, callbacks=[CSVLog(path)])
    rows = read_csv(path)
    assert list(rows[0]) == this.log_names
    assert [{name: float(value) for name, value in row.items()} for row in rows] == [
        {name: float(value) for name, value in row.items()} for row in this.history.rows
    ]


@pytest.mark.parametrize(
    ("there", "lines"),
    [
        ("val_loss,epoch\n7,1\n", ["val_loss,epoch", "7,1", "0.5,1"]),
        ("", ["epoch,val_loss", "1,0.5"]),
    ],
)
def test_csv_log_keeps_the_order_of_a_file_that_is_there(tmp_path, there, lines):
    path = tmp_path / "log.csv"
    path.write_text(there)
    Scripted(["epoch", "val_loss"]).run(CSVLog(path), [0.5])
    assert path.read_text().splitlines() == lines


def test_csv_log_of_other_columns_does_not_begin(tmp_path):
    path = tmp_path / "log.csv"
    this = trainer()
    train(this, callbacks=[CSVLog(path)])
    before, values = path.read_text(), this.model.parameters.to_host()
    with pytest.raises(ArgumentError, match=r"csv_log.path: .*log.csv has the columns .*another"):
        train(this, validation_split=0.2, callbacks=[CSVLog(path)])
    assert path.read_text() == before
    assert_arrays(this.model.parameters.to_host(), values)
