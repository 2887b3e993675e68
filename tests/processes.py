"""Processes that tests start and wait for."""

import subprocess
import sys
from typing import Any


def run(*command: Any, status: int | None = 0, **options: Any) -> subprocess.CompletedProcess[Any]:
    """Run a command and return its output, after a check of its exit status unless that is None."""
    options = {"capture_output": True, "text": True, **options}
    ended = subprocess.run([str(word) for word in command], check=False, **options)
    assert status in (None, ended.returncode), f"{ended.stdout}\n{ended.stderr}"
    return ended


def run_python(*arguments: Any, **options: Any) -> subprocess.CompletedProcess[Any]:
    return run(sys.executable, *arguments, **options)
