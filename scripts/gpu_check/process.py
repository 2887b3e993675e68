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


class Step(NamedTuple):
    """What a step is given.

    Attributes
    ----------
    quick : bool
        Whether only the most important of it is to be done.
    done : sequence of dict
        Rows that an earlier check kept, which need not be measured again.
    deadline : float
        The reading of `time.monotonic` at which it is stopped.
    connection : Connection
    """

    quick: bool
    done: Sequence[Row]
    deadline: float
    connection: Any

    def add(self, row: Row) -> None:
        """Put a row, of JSON's types, into the report."""
        self.connection.send(row)

    def seconds_left(self) -> float:
        """Return the seconds until it is stopped."""
        return self.deadline - time.monotonic()


def run(
    module: str, quick: bool, limit: float, done: Sequence[Row], seen: Callable[[list[Row]], None]
) -> Row:
    """Run a step and return its "status", "detail", "rows" and "output".

    Parameters
    ----------
    module, quick, done
        See `Step`.
    limit : float
        Seconds after which it is stopped.
    seen : callable
        Called with all rows whenever there is one more.
    """
    ours, theirs = SPAWN.Pipe()
    rows, outcome = list(done), None
    with tempfile.NamedTemporaryFile() as printed:
        deadline = time.monotonic() + limit
        step = Step(quick, done, deadline, theirs)
        process = SPAWN.Process(target=work, args=(module, step, printed.name))
        process.start()
        theirs.close()
        try:
            while outcome is None and ours.poll(max(0.0, deadline - time.monotonic())):
                said = ours.recv()
                if isinstance(said, dict):
                    rows.append(said)
                    seen(rows)
                else:
                    outcome = said
        except (EOFError, OSError):
            process.join()
            ended = f"the process ended without an answer (exit status {process.exitcode})"
            outcome = FAILED, ended
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with all that it started
            process.kill()
            process.join()
        output = printed.read()[-SHOWN:].decode(errors="replace").strip()
    if outcome is None:
        # With rows it was at work; without, nothing tells it from one that hangs.
        outcome = FAILED, f"stopped after {limit:.0f} s"
        if len(rows) > len(done):
            outcome = STOPPED, f"stopped after {limit:.0f} s, with {len(rows)} rows"
    return {"status": outcome[0], "detail": outcome[1], "rows": rows, "output": output}


def work(module: str, step: Step, printed: str) -> None:
    """Do a step; this is its process."""
    os.setsid()
    threading.Thread(target=end_with_parent, daemon=True).start()
    for descriptor in (1, 2):
        os.dup2(os.open(printed, os.O_WRONLY | os.O_APPEND), descriptor)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    step.connection.send(outcome_of(module, step))


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


def end_with_parent() -> None:
    """End this process and all that it started when the check has ended, as by kill -9."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.killpg(0, signal.SIGKILL)
