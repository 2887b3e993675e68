"""Models and checkpoints that are written during training."""

import numpy as np
import pytest
from scripted_trainer import Scripted, fit, trainer

import gpunn
from gpunn.callbacks import ModelCheckpoint


def test_checkpoint_after_each_epoch(tmp_path):
    path = tmp_path / "new" / "folder" / "model.safetensors"
    this = trainer()
    fit(this, epochs=2, callbacks=[ModelCheckpoint(path)])
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    loaded = gpunn.load_model(path, "numpy")
    np.testing.assert_array_equal(loaded.parameters.values, this.model.parameters.values)


def test_checkpoint_of_each_epoch(tmp_path):
    fit(trainer(), callbacks=[ModelCheckpoint(f"{tmp_path}/{{epoch}}-{{x}}.st")])
    assert sorted(file.name for file in tmp_path.iterdir()) == [f"{i}-{{x}}.st" for i in (1, 2, 3)]


def test_checkpoint_of_the_best(tmp_path):
    this = Scripted()
    this.run(ModelCheckpoint(tmp_path / "best", monitor="val_loss"), [3, 4, 2, float("nan"), 2, 1])
    assert [epoch for epoch, _ in this.saved] == [1, 3, 6]
    this.saved.clear()
    this.run(ModelCheckpoint(tmp_path / "best", "loss", "max"), [3, 4, 2, 5], "loss")
    assert [epoch for epoch, _ in this.saved] == [7, 8, 10]


def test_checkpoint_of_a_resumed_run_keeps_the_best_so_far(tmp_path):
    callback = ModelCheckpoint(tmp_path / "best", monitor="val_loss", resumable=True)
    this = Scripted()
    this.run(callback, [3, 1, 2])
    assert this.saved == [(1, "best", "resumable"), (2, "best", "resumable")]
    (tmp_path / "best").touch()
    this.saved.clear()
    other = ModelCheckpoint(tmp_path / "best", monitor="val_loss")
    this.run(other, [2, 1.5, 0.5])
    assert this.saved == [(6, "best")]
    (tmp_path / "best").unlink()
    this.saved.clear()
    this.run(other, [4, 5])
    assert this.saved == [(7, "best")], "a file that is gone keeps nothing"


def test_the_best_of_numbered_files_stays_in_a_resumed_run(tmp_path):
    (tmp_path / "best-2-[a]").touch()
    this = Scripted()
    this.run(ModelCheckpoint(tmp_path / "other", monitor="val_loss"), [3, 1, 2])
    this.saved.clear()
    this.run(ModelCheckpoint(tmp_path / "best-{epoch}-[a]", monitor="val_loss"), [2, 1.5, 0.5])
    assert this.saved == [(6, "best-6-[a]")]


@pytest.mark.parametrize("path", ["{epoch}-{updates}.safetensors", "{epoch}/[a].safetensors"])
def test_what_killed_writers_have_left_goes(tmp_path, path):
    for epoch in (1, 2, 17):
        torn = tmp_path / path.format(epoch=epoch, updates=7)
        torn.parent.mkdir(exist_ok=True)
        torn.with_name(f".{torn.name}.{epoch:08x}.part").write_bytes(b"torn")
    (tmp_path / ".other.safetensors.00000000.part").touch()
    fit(trainer(), callbacks=[ModelCheckpoint(tmp_path / path, resumable=True)])
    left = [file.name for file in tmp_path.rglob("*.part")]
    assert left == [".other.safetensors.00000000.part"]


def test_the_file_just_written_stays(tmp_path):
    """Even if files of an earlier, longer training have larger numbers."""
    for epoch in (97, 98, 99):
        (tmp_path / f"{epoch}.safetensors").touch()
    fit(trainer(), epochs=1, callbacks=[ModelCheckpoint(tmp_path / "{epoch}.safetensors", keep=2)])
    assert (tmp_path / "1.safetensors").exists()
