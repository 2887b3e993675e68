"""Running a step in a process of its own, stopped when its time is up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import rows
from outcome import FAILED, STOPPED, Outcome

WORKER = Path(__file__).with_name("worker.py")
GLANCE = 0.2
"""Seconds between looks at a running step's rows."""

SHOWN = 2000
"""Characters of a failed step's output that are kept."""

Rows = list[dict[str, Any]]


def run(
    call: str,
    limit: float,
    done: Sequence[dict[str, Any]] = (),
    seen: Callable[[Rows], None] = lambda found: None,
) -> Outcome:
    """Run a step and return its outcome.

    Parameters
    ----------
    call : str
        See `plan.Step`.
    limit : float
        Seconds after which it is stopped.
    done : sequence of dict
        Rows that an earlier check kept of it; they come first.
    seen : callable
        Called with all rows whenever there are more, while the step runs.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer, added, known, printed = (
            Path(folder) / name for name in ("outcome.json", "added", "done", "printed")
        )
        rows.write(known, list(done))
        began = time.monotonic()
        places = {rows.ADDED: added, rows.DONE: known, rows.DEADLINE: began + limit}
        # A session of its own, so that what the step starts is stopped with it.
        with printed.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, str(WORKER), call, str(answer), str(os.getpid())],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **{name: str(value) for name, value in places.items()}},
                start_new_session=True,
            )
        found: Rows = []
        try:
            ended = False
            while not ended and time.monotonic() < began + limit:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(min(GLANCE, max(0.0, began + limit - time.monotonic())))
                    ended = True
                if len(now := rows.read(added)) > len(found):
                    found = now
                    seen([*done, *found])
        finally:
            stop(process)
        found = rows.read(added)
        if answer.exists():
            outcome = Outcome(**json.loads(answer.read_text(encoding="utf-8")))
        elif ended:
            end = f"exit status {process.returncode}"
            outcome = Outcome(FAILED, f"the process ended without an answer ({end})")
        else:
            outcome = stopped(limit, found)
        outcome.rows = [*done, *found]
        if outcome.status in (FAILED, STOPPED):
            outcome.figures["output"] = printed.read_bytes().decode(errors="replace")[-SHOWN:]
    return outcome


def stopped(limit: float, found: Rows) -> Outcome:
    """Return the outcome of a step that was stopped.

    With rows it was at work; without, nothing tells it from one that hangs.
    """
    said = f"stopped after {limit:.0f} s"
    return Outcome(STOPPED, f"{said}, with {len(found)} rows") if found else Outcome(FAILED, said)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
