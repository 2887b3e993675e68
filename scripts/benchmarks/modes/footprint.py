"""What a library costs before it has trained anything: time, disk and memory."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.catalogue import COMPETITORS, EVERYBODY, FLOOR, Competitor, process_environment
from benchmarks.figures import Figure, figure
from benchmarks.installed import installed_bytes
from benchmarks.modes.listing import listing, plain
from benchmarks.plan import Plan, Report
from benchmarks.process import FailedError, Worker
from benchmarks.quietness import Turn
from benchmarks.session import Session
from benchmarks.work import TINY_TASK


def run(session: Session, names: Sequence[str], plan: Plan) -> Report:
    """Measure whole processes; NumPy with the data alone is the row to compare with."""
    trainers = [name for name in names if name in COMPETITORS]
    everybody = [FLOOR, *trainers]

    def importing(cell: str, name: str, number: int) -> Turn:
        competitor = EVERYBODY[name]
        statements = competitor.imports if cell == "import" else whole(competitor)
        return session.watch.turn(
            lambda: import_seconds(competitor, statements, session.threads), children_seconds
        )

    def cold_start(cell: str, name: str, number: int) -> Turn:
        return session.watch.turn(lambda: tiny_fit(name, session.threads), children_seconds)

    for name in everybody:  # so that the first turn, too, reads from memory rather than from disk
        import_seconds(EVERYBODY[name], whole(EVERYBODY[name]), session.threads)
    measured = session.rotate(["import", "ready"], everybody, importing)
    measured |= session.rotate(["cold"], trainers, cold_start)
    measured |= session.measure(["peak"], trainers, peak_of(plan, train=True), fresh=True)
    measured |= session.measure(["peak"], [FLOOR], peak_of(plan, train=False), fresh=True)

    rows = []
    for name in everybody:
        row: dict[str, Any] = {"cell": "", "competitor": "NumPy alone" if name == FLOOR else name}
        for cell in ("import", "ready", "cold"):
            found = seconds_of(session, measured.get((cell, name), []))
            row[cell] = None if found is None else getattr(found, plan.statistic)
            row[f"{cell}_figure"] = None if found is None else asdict(found)
        peaks = [turn.answer["bytes"] for turn in measured.get(("peak", name), [])]
        row["peak_mb"] = max(peaks) / 1e6 if peaks else None
        row["installed_mb"] = installed_bytes(EVERYBODY[name].packages) / 1e6
        rows.append(row)
    columns = [
        ("import, s", plain("import")),
        ("with what trains, s", plain("ready")),
        ("cold start, s", plain("cold")),
        ("installed, MB", plain("installed_mb")),
        ("peak memory, MB", plain("peak_mb")),
    ]
    head = (
        "Import: inside a new process. Cold start: a whole process that imports, builds and fits "
        f"{TINY_TASK.net} for one epoch of 45 steps. Installed: with required dependencies. Peak "
        f"memory: of a process that trains one epoch of MNIST, {plan.tasks[0]}; of NumPy alone, "
        f"with the data. Times are {plan.statistics} of quiet turns."
    )
    return Report(rows, f"{head}\n\n{listing(rows, columns, [('cold start', 'cold')])}")


def whole(competitor: Competitor) -> str:
    """Return the statements that import everything a training needs."""
    return f"{competitor.imports}; {competitor.uses}" if competitor.uses else competitor.imports


def import_seconds(competitor: Competitor, statements: str, threads: int) -> dict[str, Any]:
    """Return what a new process takes for the statements."""
    hiding = "; ".join(f"sys.modules[{name!r}] = None" for name in competitor.hidden)
    code = (
        f"import sys, time; {hiding}\nbegan = time.perf_counter()\n{statements}\n"
        "print(time.perf_counter() - began)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=process_environment(competitor, threads),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise FailedError(f"{statements}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
    return {"seconds": float(done.stdout.split()[-1])}


def tiny_fit(name: str, threads: int) -> dict[str, Any]:
    """Return what a whole process takes that fits a tiny network."""
    began = time.perf_counter()
    worker = Worker(name, threads)
    try:
        worker.ask("tiny")
    finally:
        worker.close()
    return {"seconds": time.perf_counter() - began}


def children_seconds() -> float:
    """Return the processor time of processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def peak_of(plan: Plan, *, train: bool) -> Any:
    """Return the question for the peak memory of an epoch, or of holding the data."""

    def question(cell: str, number: int) -> dict[str, Any]:
        task = asdict(plan.tasks[0]) if train else None
        return {"job": "peak_memory", "folder": os.fspath(plan.folder or ""), "task": task}

    return question


def seconds_of(session: Session, turns: Sequence[Turn]) -> Figure | None:
    """Return the figure of turns that answered seconds."""
    return figure(turns, session.watch.quiet, lambda answer: [answer["seconds"]])
