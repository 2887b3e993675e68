"""What the two commands say where Python is missing, too old or incomplete."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
BASH = shutil.which("bash")

pytestmark = pytest.mark.skipif(BASH is None, reason="the commands are bash scripts")

# Stand-ins for interpreters: what they print or refuse is all that the scripts ask of them.
TOO_OLD = """#!/bin/sh
case "$*" in *print*) echo 3.9;; *) exit 1;; esac
"""
WITHOUT_VENV = """#!/bin/sh
case "$*" in *print*) echo 3.12;; *ensurepip*) exit 1;; *) exit 0;; esac
"""
BROKEN = """#!/bin/sh
exit 127
"""


@pytest.fixture
def clone(tmp_path):
    """Return a copy of the scripts, in a path with a space, without an environment."""
    root = tmp_path / "a clone"
    for name in ("ci", "scripts"):
        shutil.copytree(
            REPOSITORY / name, root / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(REPOSITORY / "pyproject.toml", root)
    return root


def run(clone, command, interpreters, **variables):
    """Run a command with no Python on PATH but these stand-ins, by name."""
    folder = clone.parent / "bin"
    folder.mkdir()
    for tool in ("dirname", "cat", "cksum", "sh", "bash"):
        (folder / tool).symlink_to(shutil.which(tool))
    for name, script in interpreters.items():
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)
    environment = {"PATH": str(folder), "HOME": str(clone.parent), **variables}
    return subprocess.run(
        [BASH, str(clone / command)], env=environment, capture_output=True, text=True, cwd=os.sep
    )


@pytest.mark.parametrize("command", ["scripts/quickstart.sh", "ci/test.sh"])
@pytest.mark.parametrize(
    ("interpreters", "variables", "message"),
    [
        ({}, {}, "found none on PATH"),
        ({"python3": TOO_OLD}, {}, "is Python 3.9, which is too old"),
        ({"python3": WITHOUT_VENV}, {}, "apt install python3-venv, or python3.12-venv"),
        ({"python3": BROKEN}, {}, "does not run"),
        ({"python3.12": TOO_OLD, "python3": BROKEN}, {}, "is Python 3.9, which is too old"),
        ({}, {"PYTHON": "python9"}, "PYTHON=python9: no such command"),
        ({"mine": TOO_OLD}, {"PYTHON": "mine"}, "PYTHON=mine is Python 3.9, which is too old"),
    ],
)
def test_what_is_wrong_with_python_is_said(clone, command, interpreters, variables, message):
    done = run(clone, command, interpreters, **variables)
    assert done.returncode == 1
    assert message in done.stderr
    assert "3.11 or newer" in done.stderr or "no such command" in done.stderr
    assert not (clone / ".venv").exists()
