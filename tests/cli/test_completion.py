"""What a shell is offered to complete; docs/how_to/shell.md says how to turn it on."""

import os

import pytest
from processes import run_python


def offered(words):
    line = f"gpunn {words}"
    variables = {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    environment = os.environ | {"_GPUNN_COMPLETE": "bash_complete"} | variables
    program = "from gpunn.cli import main; main(prog_name='gpunn')"
    return run_python("-c", program, env=environment).stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("ev", ["plain,evaluate"]),
        ("train --resu", ["plain,--resume"]),
        ("evaluate ru", ["file,ru"]),
        ("predict runs/a --output pre", ["file,pre"]),
    ],
)
def test_what_is_offered(words, expected):
    assert offered(words) == expected
