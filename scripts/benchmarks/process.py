"""The other end of a competitor's process, and what the system says of processor time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.catalogue import EVERYBODY, process_environment

SCRIPTS = Path(__file__).resolve().parents[1]


class FailedError(Exception):
    """Raised where a competitor could not do its job; the message says why."""


class Worker:
    """A running process of `worker`."""

    def __init__(self, name: str, threads: int) -> None:
        self.name = name
        environment = process_environment(EVERYBODY[name], threads)
        path = [str(SCRIPTS), *filter(None, [environment.get("PYTHONPATH")])]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", name],
            env={**environment, "PYTHONPATH": os.pathsep.join(path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, job: str, **arguments: Any) -> dict[str, Any]:
        """Return the answer to a job.

        Raises
        ------
        FailedError
            If the competitor raised an error, or its process ended.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            print(json.dumps({"job": job, **arguments}), file=self.process.stdin, flush=True)
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise FailedError(f"{self.name}: its process ended, exit status {self.process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise FailedError(f"{self.name}: {answer['error']}")
        return answer

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self.process.poll() is None

    def processor_seconds(self) -> float:
        """Return the processor time it has used so far; 0 where the system does not tell."""
        return statistic_seconds(Path(f"/proc/{self.process.pid}/stat"), 11, 13)

    def close(self) -> None:
        """Wait for its end."""
        self.process.communicate()


def busy_seconds() -> float:
    """Return the processor time that the machine has spent on anything; 0 where it is not told."""
    try:
        first = Path("/proc/stat").read_text().partition("\n")[0]
    except OSError:
        return 0.0
    user, nice, system, _, _, *interrupts = map(int, first.split()[1:9])
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


def statistic_seconds(path: Path, first: int, end: int) -> float:
    """Return the sum of some fields of a process's statistics, counted from after its name."""
    try:
        fields = path.read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[first:end])) / os.sysconf("SC_CLK_TCK")
