from unittest.mock import Mock

import pytest
from processes import run_python

import gpunn as package

COMMANDS = ["train", "evaluate", "predict", "doctor"]


def test_help(gpunn):
    text = gpunn("--help").stdout
    for command in COMMANDS:
        assert command in text
        assert "Usage: " in gpunn(command, "--help").stdout
    assert gpunn("-h").stdout == text


def test_version(gpunn):
    assert gpunn("--version").stdout == f"gpunn, version {package.__version__}\n"


def test_an_error_of_the_system_is_said_in_words(gpunn, digits, tmp_path):
    (tmp_path / "file").touch()
    said = gpunn("train", "none.toml", status=2).stderr
    assert "none.toml: there is no such file in " in said
    inside = gpunn("train", digits, "--output", "file/run", status=2).stderr
    assert "file/run: a part of the path is a file, not a folder" in inside
    assert "Errno" not in said + inside


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "No such command 'trian'"),
        (["train"], "Missing argument 'CONFIG'"),
        (["train", "CONFIG", "--output", "CONFIG"], "this is a file"),
        (["train", "CONFIG", "--overwrite", "--resume"], "cannot be combined"),
        (["train", "CONFIG", "--epochs", "3"], "No such option '--epochs'. To change the config"),
        (["train", "CONFIG", "--outptu", "x"], "No such option '--outptu'. Did you mean"),
        (["train", "CONFIG", "--set", "training.epochs", "3"], "expected key=value without spaces"),
        (["train", "CONFIG", "--set", "epochs=3"], "did you mean 'training.epochs'?"),
        (["train", "CONFIG", "--set", "learning_rate=3"], "'training.optimizer.learning_rate'?"),
        (
            ["train", "CONFIG", "--set", "training.metrics=[f1]"],
            'write strings in quotes and brackets, such as ["f1"]',
        ),
        (["train", "."], ".: expected a folder that gpunn train wrote, or one with images (.bmp, "),
        (["train", "final.safetensors"], "is a model; give a table, a configuration or a run"),
        (["sweep", "a.csv"], "a.csv is a table; a sweep needs a configuration"),
        (["evaluate", "CONFIG"], "expected a folder that gpunn train wrote; this is a file"),
    ],
)
def test_an_error_says_what_to_do(gpunn, digits, arguments, message):
    arguments = [digits if argument == "CONFIG" else argument for argument in arguments]
    assert message in gpunn(*arguments, status=2).stderr


def test_a_lack_of_memory_is_one_line(gpunn, digits, monkeypatch):
    error = MemoryError("Unable to allocate 3 TiB")
    monkeypatch.setattr("gpunn.experiment.data.load_digits", Mock(side_effect=error))
    said = gpunn("train", digits, status=2).stderr
    assert said.startswith(
        "Error: out of memory (Unable to allocate 3 TiB); save data larger than memory"
    )
    assert len(said.splitlines()) == 1


def test_compilation_is_said_where_nobody_looks_on():
    """In the log of a CI job, too, which is a fresh machine each time."""
    code = """
import gpunn.cli
from gpunn.backends.numpy.compiled.announcement import say

@gpunn.cli.main.command("compile")
def compile():
    say("Building")

gpunn.cli.main(["compile"])
"""
    assert run_python("-c", code).stderr == "gpunn: Building\n"
