"""A folder of networks from which a killed call resumes, with the bits of an uninterrupted one."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from calls import Calls
from equality import assert_same
from training.together.fits import different, fit, trainer

import gpunn
from gpunn.errors import ArgumentError, DataFileError
from gpunn.layers import Dense
from gpunn.storage.files import FolderLock

TESTS = Path(__file__).parents[2]

KILLED = """
import os, signal
from unittest.mock import patch
from calls import Calls
from training.together.fits import different
from gpunn.training.together import fit_job
import gpunn

def kill(trainer, logs):
    if trainer.epoch == 3:
        os.kill(os.getpid(), signal.SIGKILL)

fits = different()
fits[5].session.callbacks.append(Calls(on_epoch_end=kill))  # the fourth in size
with patch.object(fit_job, "SECONDS", 0.0):  # a checkpoint after each epoch
    gpunn.train_together(fits[::-1], 1, folder="fits")
"""


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_killed_call_resumes():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}
    done = subprocess.run([sys.executable, "-c", KILLED], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list(Path("fits").glob("*.safetensors"))) == 4
    expected, fits = different(), different()
    for each in expected:
        each.run()
    first = []
    begins = Calls(on_train_begin=lambda this: first.append(this.epoch))
    fits[5].session.callbacks.append(begins)
    results = gpunn.train_together(fits[::-1], 2, folder="fits")[::-1]
    assert first == [2]  # of 4 epochs
    for result, each in zip(results, expected, strict=True):
        assert_same(result.trainer, each.trainer)
        assert result.history.stopped == each.trainer.history.stopped
    again = gpunn.train_together(different()[::-1], 2, folder="fits")[::-1]
    for result, before in zip(again, results, strict=True):
        assert_same(result.trainer, before.trainer)
        assert result.history.rows == before.history.rows  # also the seconds: nothing was trained
        assert result.history.stopped == before.history.stopped
        assert result.history.rule == before.history.rule


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_after_ctrl_c_the_same_call_resumes():
    """The interrupted network continues within its epoch, even with the same fits."""

    def interrupt(this):
        if this.updates == 9 and not this.resumed:
            os.kill(os.getpid(), signal.SIGINT)

    def make(**callbacks):
        calls = [Calls(every_updates=1, **callbacks)]
        return [fit(trainer(Dense(9)), epochs=200, callbacks=calls), fit(trainer(), epochs=3)]

    fits, expected = make(on_updates_end=interrupt), make()
    gpunn.train_together(fits, 1, folder="fits")
    stopped, waiting = [each.trainer for each in fits]
    assert stopped.history.stopped == waiting.history.stopped == "interrupted by Ctrl-C"
    assert stopped.epoch < 200
    results = gpunn.train_together(fits, 1, folder="fits")
    for result, each in zip(results, expected, strict=True):
        each.run()
        assert_same(result.trainer, each.trainer)


def test_comparisons_resume():
    def fail(this, logs):
        if this.epoch == 3:
            raise ZeroDivisionError

    def train(**options):
        fits = [fit(trainer(Dense(units)), callbacks=calls()) for units in (9, 8, 7, 6)]
        halving = gpunn.Halving("loss", factor=2, min_epochs=2)
        return gpunn.train_together(fits, 2, halving, **options)

    calls = list
    expected = train()
    calls = lambda: [Calls(on_epoch_end=fail)]  # noqa: E731
    with pytest.raises(ZeroDivisionError):
        train(folder="fits")
    calls = list
    for _ in range(2):
        for result, each in zip(train(folder="fits"), expected, strict=True):
            assert_same(result.trainer, each.trainer)
            assert result.history.stopped == each.history.stopped


def test_a_folder_names_settings_as_earlier_versions_did():
    """If a name changed, the folders of earlier versions could not be resumed."""
    gpunn.train_together([fit(trainer(), epochs=1)], folder="fits")
    (described,) = json.loads(Path("fits/fits.json").read_text())
    settings = ("backend", "batches", "data", "epochs", "on_divergence", "report_every")
    objects = ("backend's options", "loss", "metrics", "network", "optimizer", "validation data")
    assert {*described} == {*settings, *objects}


def test_other_fits_are_refused():
    gpunn.train_together([fit(trainer(), epochs=1)], folder="fits")
    for other, message in [
        ([fit(trainer(), epochs=2)], r"fits\[0\]\.epochs was 1, and is 2 now"),
        ([fit(trainer(seed=1), epochs=1)], r"fits\[0\]\.network was"),
        ([fit(trainer(), slice(50), epochs=1)], r"fits\[0\]\.batches was"),
        ([fit(trainer(), slice(None, None, -1), epochs=1)], r"fits\[0\]\.data was"),
        ([fit(trainer(), epochs=1) for _ in range(2)], r"fits\[1\] was None"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            gpunn.train_together(other, folder="fits")
        assert other[0].trainer.epoch == 0


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("notes.txt", "", ArgumentError, "folder: fits contains files, but no fits.json"),
        ("fits.json", "[", DataFileError, "damaged"),
    ],
)
def test_folders_of_others(name, content, error, message):
    Path("fits").mkdir()
    Path("fits", name).write_text(content)
    with pytest.raises(error, match=message):
        gpunn.train_together([fit(trainer())], folder="fits")
    assert [path.name for path in Path("fits").iterdir()] == [name]


def test_two_processes_cannot_train_in_a_folder():
    Path("fits").mkdir()
    lock = FolderLock(Path("fits"))
    with pytest.raises(ArgumentError, match="another process trains in fits"):
        gpunn.train_together([fit(trainer())], folder="fits")
    lock.release()
