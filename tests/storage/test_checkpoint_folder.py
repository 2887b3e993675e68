import os
from pathlib import Path

import numpy as np
import pytest
from model_files import rewritten

import gpunn
from gpunn.errors import ModelFileError
from gpunn.storage.checkpoint_folder import CheckpointContent, CheckpointFolder
from gpunn.storage.files import Replacement
from gpunn.training.checkpoints.checkpoint import newest_checkpoint, take_checkpoint


def trainer():
    model = gpunn.Sequential([gpunn.layers.Dense(1)], 2, "numpy")
    return gpunn.Trainer(model, "mean_squared_error", "sgd")


def train(this, epochs=1):
    this.fit(np.ones((4, 2)), np.ones(4), epochs=epochs, batch_size=2, progress=False)


def begin(folder, this):
    with Replacement() as new:
        first = folder.add_first(take_checkpoint(this), new)
        new.commit()
    folder.drop_ahead_of(first)


def begun(path, keep):
    this, folder = trainer(), CheckpointFolder(path, keep=keep)
    begin(folder, this)
    return this, folder


def written_after_an_epoch(this, folder):
    train(this)
    return folder.write(take_checkpoint(this))


def numbers(folder):
    return sorted(int(file.stem) for file in folder.iterdir())


def test_the_last_few_are_kept(tmp_path):
    this, folder = begun(tmp_path / "a" / "checkpoints", keep=3)
    for _ in range(4):
        written = written_after_an_epoch(this, folder)
    assert numbers(folder.path) == [4, 6, 8]
    assert written.name == "0000000008.safetensors"
    assert newest_checkpoint(folder.path).progress.epoch == 4
    assert newest_checkpoint(tmp_path / "a").path == written, "the folder of a run"
    assert newest_checkpoint(str(written)).path == written


def test_one_is_written_before_an_old_one_goes(tmp_path, monkeypatch):
    this, folder = begun(tmp_path, keep=1)
    train(this)

    def fail(taken, path):
        assert numbers(tmp_path) == [0]
        raise OSError("disk full")

    monkeypatch.setattr(CheckpointContent, "write", fail)
    with pytest.raises(OSError, match="disk full"):
        folder.write(take_checkpoint(this))
    assert numbers(tmp_path) == [0]


def test_those_ahead_of_a_new_beginning_go(tmp_path):
    """They are damaged, or belong to a future that is not to be."""
    this, folder = begun(tmp_path, keep=9)
    for _ in range(3):
        written_after_an_epoch(this, folder)
    again = trainer()
    train(again)
    (tmp_path / ".0000000008.safetensors.01234567.part").write_bytes(b"torn")
    begin(folder, again)
    assert numbers(tmp_path) == [0, 2]


def with_an_infinite_number(content, tmp_path):
    """As an earlier release could write it."""
    file = tmp_path / "other"
    file.write_bytes(content)
    rewritten(file, {"dense_1.biases": np.full(1, np.inf, np.float32)})
    content = file.read_bytes()
    file.unlink()
    return content


@pytest.mark.parametrize("damage", [b"", b"torn", None, with_an_infinite_number])
def test_damaged_ones_are_skipped(tmp_path, caplog, damage):
    this, folder = begun(tmp_path, keep=9)
    good = written_after_an_epoch(this, folder)
    newest = written_after_an_epoch(this, folder)
    content = newest.read_bytes()
    if callable(damage):
        damage = damage(content, tmp_path)
    newest.write_bytes(content[:-1] if damage is None else damage)
    assert newest_checkpoint(tmp_path).path == good
    messages = [record.getMessage() for record in caplog.records]
    assert messages[0].startswith(f"Skipped a checkpoint: {newest}: ")
    assert messages[1] == f"Resuming from {good}"
    for file in tmp_path.iterdir():
        file.write_bytes(b"")
    with pytest.raises(ModelFileError, match=r"all checkpoints .* are damaged(; .*){3}"):
        newest_checkpoint(tmp_path)


def test_age_is_told_by_numbers_and_then_by_time(tmp_path):
    this = trainer()
    names = ["9-1", "10-0", "10-1", "model"]
    for name in names:
        this.save_checkpoint(tmp_path / f"{name}.safetensors")
    this.model.save(tmp_path / "11.safetensors")  # a model is no checkpoint
    assert newest_checkpoint(tmp_path).path.stem == "10-1"
    for name in names[:3]:
        (tmp_path / f"{name}.safetensors").unlink()
    this.save_checkpoint(tmp_path / "other.safetensors")
    os.utime(tmp_path / "other.safetensors", (0, 0))
    assert newest_checkpoint(tmp_path).path.stem == "model"


FOREIGN = ["backup-20260101.safetensors", "99999999999.safetensors", "notes.txt"]


def test_files_of_others_are_kept_and_not_gone_on_from(tmp_path):
    this, folder = begun(tmp_path / "checkpoints", keep=1)
    for name in FOREIGN:
        this.save_checkpoint(folder.path / name)
    (folder.path / ".backup.safetensors.0123abcd.part").touch()
    for _ in range(3):
        written_after_an_epoch(this, folder)
    begin(folder, this)
    there = sorted([*FOREIGN, ".backup.safetensors.0123abcd.part"])
    own = "0000000006.safetensors"
    assert sorted(file.name for file in folder.path.iterdir()) == sorted([*there, own])
    assert newest_checkpoint(folder.path).path.name == own
    folder.clear()
    assert sorted(file.name for file in folder.path.iterdir()) == there


def test_clearing(tmp_path):
    folder = CheckpointFolder(tmp_path / "checkpoints", keep=2)
    folder.clear()
    begin(folder, trainer())
    (folder.path / "notes.txt").touch()
    folder.clear()
    assert [file.name for file in folder.path.iterdir()] == ["notes.txt"]


def test_one_that_vanishes_meanwhile_is_skipped(tmp_path, monkeypatch):
    """A reader of the folder of a running training, such as `gpunn report`."""
    this, folder = begun(tmp_path, keep=9)
    oldest = tmp_path / "0000000000.safetensors"
    newest = written_after_an_epoch(this, folder)
    stat = Path.stat

    def vanishing(self, **options):
        if self == oldest:
            oldest.unlink()
        return stat(self, **options)

    monkeypatch.setattr(Path, "stat", vanishing)
    assert newest_checkpoint(tmp_path).path == newest
