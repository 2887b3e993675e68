"""Run a step in a separate process, which sends rows while it runs and its outcome at the end.

A step is a module of `steps` with a function `run`. The function receives a `Step`, and returns a
status and one line with the result or the reason. If it raises an error, the step has failed. The
function prints tables and tracebacks for the reader.
"""

import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import wait
from typing import Any, NamedTuple

import device

PASSED, FAILED, STOPPED, SKIPPED = "passed", "failed", "stopped", "skipped"
"""Statuses. A "stopped" step ran out of time after it had sent some of its rows."""

SHOWN = 16_000
"""Maximum number of characters that are kept of a step's output."""

SPAWN = multiprocessing.get_context("spawn")

Row = dict[str, Any]
Outcome = tuple[str, str]


class SkipError(Exception):
    """Raised if a step can't run on this machine; the message has the reason."""


class EndedError(Exception):
    """Raised if a process has ended without an answer; the message has its exit status."""


class Child:
    """A process that runs `function(connection, *arguments)` and answers over the connection."""

    def __init__(self, function: Callable[..., None], *arguments: Any) -> None:
        self.connection, remote = SPAWN.Pipe()
        self.process = SPAWN.Process(target=function, args=(remote, *arguments))
        self.process.start()
        remote.close()

    def answer(self, seconds: float) -> Any:
        """Return the next answer; raise TimeoutError, or EndedError if the process ends."""
        try:
            if self.connection.poll(max(0.0, seconds)):
                return self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            status = self.process.exitcode
            raise EndedError(f"the process ended with exit status {status}") from None
        raise TimeoutError

    def end(self) -> None:
        """Kill the process and, if it leads a session, all its child processes."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.join()


class Step(NamedTuple):
    """The arguments of a step.

    `quick` asks for only the most important part. `done` has rows of an earlier run, which need not
    be measured again. The step is stopped when `time.monotonic` reaches `deadline`. `add` puts a
    row of JSON types into the report.
    """

    quick: bool
    done: Sequence[Row]
    deadline: float
    add: Callable[[Row], object]

    def seconds_left(self) -> float:
        return self.deadline - time.monotonic()


def run(
    module: str, quick: bool, limit: float, done: Sequence[Row], seen: Callable[[list[Row]], None]
) -> Row:
    rows = list(done)
    with tempfile.NamedTemporaryFile() as printed:
        deadline = time.monotonic() + limit
        child = Child(work, module, quick, done, deadline, printed.name)
        try:
            while isinstance(answer := child.answer(deadline - time.monotonic()), dict):
                rows.append(answer)
                seen(rows)
            status, detail = answer
        except TimeoutError:
            # A step with new rows was working; a step without any may hang.
            status = STOPPED if len(rows) > len(done) else FAILED
            detail = f"stopped after {limit:.0f} s, with {len(rows)} rows"
        except EndedError as ended:
            status, detail = FAILED, str(ended)
        finally:
            child.end()
        output = printed.read()[-SHOWN:].decode(errors="replace").strip()
    return {"status": status, "detail": detail, "rows": rows, "output": output}


def work(
    connection: Any, module: str, quick: bool, done: Sequence[Row], deadline: float, printed: str
) -> None:
    os.setsid()
    threading.Thread(target=end_with_parent, daemon=True).start()
    for descriptor in (1, 2):
        os.dup2(os.open(printed, os.O_WRONLY | os.O_APPEND), descriptor)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    connection.send(outcome_of(module, Step(quick, done, deadline, connection.send)))


def outcome_of(module: str, step: Step) -> Outcome:
    try:
        outcome: Outcome = called(f"steps.{module}", "run", step)
        return outcome
    except SkipError as reason:
        return SKIPPED, str(reason)
    except Exception as error:
        traceback.print_exc()
        return FAILED, first_line(error)


def called(module: str, function: str, *arguments: Any) -> Any:
    device.prepare()
    return getattr(importlib.import_module(module), function)(*arguments)


def first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"


def printed_by(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def exclusive() -> str:
    """Return why several processes can't use the device together, or "" if they can."""
    mode = printed_by("nvidia-smi", "--query-gpu=compute_mode", "--format=csv,noheader")
    if "Exclusive" not in mode:
        return ""
    return (
        "the device allows only one process at a time; to allow several, run: "
        "nvidia-smi --compute-mode=DEFAULT"
    )


def end_with_parent() -> None:
    """Kill this process and its child processes if the check has ended, for example by kill -9."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.killpg(0, signal.SIGKILL)
