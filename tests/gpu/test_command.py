"""The command on a CUDA device, end to end, including training and resuming in two processes."""

import contextlib
import json
import os
from pathlib import Path

import devices
import numpy as np
import pytest
from click.testing import CliRunner
from digits import DIGITS
from processes import run_python
from run_folders import history, same_weights, weights

from gpunn.cli import main

pytestmark = pytest.mark.tier(5)

TESTS = Path(__file__).parents[1]

# A cosine would depend on the number of epochs.
CONSTANT = 'training.optimizer.learning_rate={ name = "constant", rate = 0.01 }'
TRAIN = ("train", "digits.toml", "--set", CONSTANT)

SITE = """\
import sys
sys.path.insert(0, {tests!r})
import emulated_cuda
emulated_cuda.install(devices=2)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("command")
    (folder / "digits.toml").write_text(DIGITS)
    return folder


@pytest.fixture(scope="module")
def gpunn(folder):
    """`gpunn("train", ...)` runs the command, if `alone` in a separate process.

    An emulated device is installed when Python starts.
    """
    environment = {n: v for n, v in os.environ.items() if not n.startswith("GPUNN_BACKEND")}
    if devices.DEVICE == "emulated":
        (folder / "site").mkdir()
        (folder / "site" / "sitecustomize.py").write_text(SITE.format(tests=str(TESTS)))
        path = [str(folder / "site"), *filter(None, [environment.get("PYTHONPATH")])]
        environment["PYTHONPATH"] = os.pathsep.join(path)

    def run(*arguments, alone=False):
        if not alone:
            with contextlib.chdir(folder):
                done = CliRunner().invoke(main, list(arguments), catch_exceptions=False)
            assert done.exit_code == 0, done.output
            return done.stdout
        return run_python("-m", "gpunn", *arguments, cwd=folder, env=environment).stdout

    return run


@pytest.fixture(scope="module")
def trained(folder, gpunn):
    for name in ("cupy", "numpy"):
        gpunn(*TRAIN, "--backend", name, "--output", name, alone=name == "cupy")
    return folder


def test_the_run_names_the_device(trained):
    record = json.loads((trained / "cupy" / "environment.json").read_text())["backend"]
    assert record["backend"].startswith("cupy")
    assert record["library"].startswith("cupy ")
    assert "compute capability" in record["device"]
    assert record["driver"].startswith("CUDA ")
    if devices.DEVICE == "emulated":
        assert record["device"].startswith("Emulated CUDA device")


def test_the_run_agrees_with_numpy(trained, proved):
    ours, theirs = history(trained / "numpy"), history(trained / "cupy")
    for mine, other in zip(ours, theirs, strict=True):
        for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
            assert other[name] == pytest.approx(mine[name], rel=2e-3, abs=2e-3)
    assert theirs[-1]["val_accuracy"] > 0.85
    want, found = weights(trained / "numpy"), weights(trained / "cupy")
    assert found.keys() == want.keys()
    for name in want:
        np.testing.assert_allclose(found[name], want[name], 5e-3, 5e-3, err_msg=name)
    proved("runs of the command `gpunn`")


def test_a_run_in_two_parts_gives_the_same_bits(trained, gpunn, proved):
    parts = ("--backend", "cupy", "--output", "parts")
    gpunn(*TRAIN, *parts, "--set", "training.epochs=2")
    gpunn(*TRAIN, *parts, "--resume")
    assert len(history(trained / "parts")) == 4
    assert same_weights(trained / "parts", trained / "cupy")  # of another process
    proved("runs of the command `gpunn`", 2)


@pytest.mark.parametrize("backend", ["cupy", "numpy"])
def test_a_run_is_evaluated_anywhere(trained, gpunn, proved, backend):
    printed = gpunn("evaluate", "cupy", "--backend", backend)
    assert "accuracy" in printed
    proved("runs of the command `gpunn`")


def test_predictions_are_the_same_anywhere(trained, gpunn, proved):
    inputs = np.random.default_rng(0).integers(0, 17, (20, 64)).astype("float32")
    np.save(trained / "x.npy", inputs)
    for name in ("cupy", "numpy"):
        where = ("--input", "x.npy", "--output", f"{name}.npy", "--backend", name)
        gpunn("predict", "cupy", *where, "--probabilities")
    found, want = np.load(trained / "cupy.npy"), np.load(trained / "numpy.npy")
    assert found.shape == (20, 10)
    np.testing.assert_allclose(found, want, 1e-4, 1e-4)
    proved("runs of the command `gpunn`", 2)


def test_doctor_finds_the_device(gpunn):
    report = json.loads(gpunn("doctor", "--json"))
    assert report["auto"]["backend"].startswith("cupy")
    assert not [finding for finding in report["cuda"] if finding["problem"]]
