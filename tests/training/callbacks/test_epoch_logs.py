import csv
import importlib.util
import json
import sys

import pytest
from kills import KillEpoch
from sums import fit

import gpunn
from gpunn.callbacks import CSVLog, JSONLinesLog, TensorBoard
from gpunn.errors import MissingPackageError


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
    with pytest.raises(
        MissingPackageError, match=r"tensorboard needs the package .tensorboardX.*pip"
    ):
        fit(TensorBoard(tmp_path))


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_logs_of_a_resumed_run(tmp_path, path, epoch):
    """Each epoch occurs once, regardless of lines before and after the checkpoint."""
    table, lines = tmp_path / "log.csv", tmp_path / "log.jsonl"

    def logs():
        return [CSVLog(table), JSONLinesLog(lines)]

    fit(*logs(), epochs=2)  # of another run, in the same files
    earlier = table.read_text(), lines.read_text()
    writing = gpunn.callbacks.ModelCheckpoint(path, resumable=True)
    writing.on_train_begin = lambda trainer: trainer.save_checkpoint(path)
    with pytest.raises(KeyboardInterrupt):
        fit(*logs(), writing, KillEpoch(epoch), epochs=4)
    with open(lines, "a") as file:
        file.write('{"epoch": 3, "lo')
    history = fit(*logs(), epochs=4, resume_from=path)
    assert table.read_text().startswith(earlier[0])
    assert lines.read_text().startswith(earlier[1])
    found = [json.loads(line) for line in lines.read_text().splitlines()]
    assert found[2:] == history.rows
    with open(table, newline="") as file:
        assert [int(row["epoch"]) for row in csv.DictReader(file)] == [1, 2, 1, 2, 3, 4]


def test_a_log_that_is_gone_begins_anew(tmp_path):
    path, log = tmp_path / "checkpoint.safetensors", tmp_path / "log.jsonl"
    writing = gpunn.callbacks.ModelCheckpoint(path, resumable=True)
    fit(JSONLinesLog(log), writing, epochs=2)
    log.unlink()
    fit(JSONLinesLog(log), epochs=3, resume_from=path)
    assert [json.loads(line)["epoch"] for line in log.read_text().splitlines()] == [3]
