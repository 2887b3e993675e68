import pytest

import gpunn as package

COMMANDS = ["train", "evaluate", "predict", "doctor"]


def test_help(gpunn):
    text = gpunn("--help").stdout
    for command in COMMANDS:
        assert command in text
    assert gpunn("-h").stdout == text


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command(gpunn, command):
    assert "Usage: " in gpunn(command, "--help").stdout


def test_version(gpunn):
    assert gpunn("--version").stdout == f"gpunn, version {package.__version__}\n"
