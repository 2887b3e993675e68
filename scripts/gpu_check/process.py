"""A step in a process of its own, which sends its rows while it runs, and its outcome at the end.

A step is a module of `steps` with a function `run`. It is given a `Step` and returns its status and
a line that says what was seen, or why nothing was. An error that it raises is a failure. What it
prints is for the reader: tables, and an error's traceback.
"""

from __future__ import annotations

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
"""Statuses. "stopped" is a step whose time was up, and which has some of its rows."""

SHOWN = 8000
"""Characters of what a step printed that are kept."""

SPAWN = multiprocessing.get_context("spawn")

Row = dict[str, Any]
Outcome = tuple[str, str]


class SkipError(Exception):
    """Raised by what can't be done here; the message says why."""


class EndedError(Exception):
    """Raised where a process has ended without an answer; the message says how."""


class Child:
    """A process that runs `function(connection, *arguments)` and answers by the connection."""

    def __init__(self, function: Callable[..., None], *arguments: Any) -> None:
        self.connection, theirs = SPAWN.Pipe()
        self.process = SPAWN.Process(target=function, args=(theirs, *arguments))
        self.process.start()
        theirs.close()

    def answer(self, seconds: float) -> Any:
        """Return the next answer, or raise a TimeoutError, or an EndedError if the process ends."""
        try:
            if self.connection.poll(max(0.0, seconds)):
                return self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            status = self.process.exitcode
            raise EndedError(f"the process ended with exit status {status}") from None
        raise TimeoutError

    def end(self) -> None:
        """End the process, and all that it started if it leads a session."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.join()


class Step(NamedTuple):
    """What a step is given.

    `quick` is whether only the most important of it is to be done, `done` are rows that an earlier
    check kept, and need not be measured again, `deadline` is the reading of `time.monotonic` at
    which it is stopped, and `add` puts a row, of JSON's types, into the report.
    """

    quick: bool
    done: Sequence[Row]
    deadline: float
    add: Callable[[Row], object]

    def seconds_left(self) -> float:
        """Return the seconds until it is stopped."""
        return self.deadline - time.monotonic()


def run(
    module: str, quick: bool, limit: float, done: Sequence[Row], seen: Callable[[list[Row]], None]
) -> Row:
    """Run a step for so many seconds, and return its "status", "detail", "rows" and "output".

    `seen` is called with all rows whenever there is one more.
    """
    rows = list(done)
    with tempfile.NamedTemporaryFile() as printed:
        deadline = time.monotonic() + limit
        child = Child(work, module, quick, done, deadline, printed.name)
        try:
            while isinstance(said := child.answer(deadline - time.monotonic()), dict):
                rows.append(said)
                seen(rows)
            status, detail = said
        except TimeoutError:
            # With rows it was at work; without, nothing tells it from one that hangs.
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
    """Do a step; this is its process."""
    os.setsid()
    threading.Thread(target=end_with_parent, daemon=True).start()
    for descriptor in (1, 2):
        os.dup2(os.open(printed, os.O_WRONLY | os.O_APPEND), descriptor)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    connection.send(outcome_of(module, Step(quick, done, deadline, connection.send)))


def outcome_of(module: str, step: Step) -> Outcome:
    """Return a step's outcome, whatever happens in it."""
    try:
        outcome: Outcome = called(f"steps.{module}", "run", step)
        return outcome
    except SkipError as reason:
        return SKIPPED, str(reason)
    except Exception as error:
        traceback.print_exc()
        return FAILED, first_line(error)


def called(module: str, function: str, *arguments: Any) -> Any:
    """Call a function of a module that needs the device."""
    device.prepare()
    return getattr(importlib.import_module(module), function)(*arguments)


def first_line(error: Exception) -> str:
    """Return an error's type and the first line of its message."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"


def printed_by(*command: str) -> str:
    """Return what a command prints; nothing if it can't be run or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def end_with_parent() -> None:
    """End this process and all that it started when the check has ended, as by kill -9."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.killpg(0, signal.SIGKILL)
