"""What a shell is offered to complete; docs/how_to/shell.md says how to turn it on."""

import os
import subprocess
import sys

import pytest


def offered(words):
    """Return the lines that `gpunn` gives to bash."""
    line = f"gpunn {words}"
    done = subprocess.run(
        [sys.executable, "-c", "from gpunn.cli import main; main(prog_name='gpunn')"],
        env=os.environ
        | {
            "_GPUNN_COMPLETE": "bash_complete",
            "COMP_WORDS": line,
            "COMP_CWORD": str(line.count(" ")),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


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
