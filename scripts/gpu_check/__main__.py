"""Check gpunn on this machine's CUDA device; see docs/gpu.md.

Each step runs in a process of its own, within a time limit: one that hangs or crashes is one failed
row. It ends in one table, and with --json in one file.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import click
import device
import report
import runner
from outcome import FAILED, PASSED, SKIPPED, Outcome
from plan import BUDGET, STEPS

RUNNING = "running"
LEAST = 5.0
"""With fewer seconds left of the budget than this, a step is not begun."""

EXIT_STATUS = {PASSED: 0, FAILED: 1, SKIPPED: 3}


@click.command()
@click.option(
    "--json", "path", type=click.Path(dir_okay=False, path_type=Path), help="Report file."
)
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with MNIST's four IDX files; else GPUNN_DATA, else the bundled digits.",
)
@click.option("--only", metavar="PATTERN", help="Only the steps whose name has this pattern.")
@click.option("--budget", default=BUDGET, show_default=True, help="Seconds for all steps.")
def main(path: Path | None, data: Path | None, only: str | None, budget: float) -> None:
    """Check gpunn on this machine's CUDA device.

    Exit status: 0 no step failed, 1 some step failed, 3 nothing ran: there is no CUDA device.
    """
    if path is not None and not path.resolve().parent.is_dir():
        raise click.BadParameter(f"{path.parent}: no such folder", param_hint="--json")
    device.prepare()
    chosen = [step for step in STEPS if re.search(only or "", step.name)]
    if not chosen:
        names = ", ".join(step.name for step in STEPS)
        raise click.BadParameter(
            f"no step matches {only!r}; there are: {names}", param_hint="--only"
        )
    document: dict[str, Any] = {"emulated": device.REHEARSAL, "status": SKIPPED, "steps": []}
    try:
        reason = device.missing()
    except Exception as error:  # there is one, and nothing can be done with it
        end_at_once(path, {**document, "status": FAILED, "reason": first_line(error)})
    if reason:
        end_at_once(path, {**document, "reason": f"no CUDA device: {reason}"})
    if data is not None:
        os.environ["GPUNN_DATA"] = str(data.resolve())
    os.environ.setdefault(device.VARIABLE, "cuda")
    document["device"] = device.described()
    click.echo("\n".join(heading(document)))

    began = time.monotonic()
    rows, texts = [], []
    for step in chosen:
        started = time.monotonic()
        limit = min(step.limit * device.PATIENCE, budget * device.PATIENCE - (started - began))
        entry: dict[str, Any] = {"name": step.name, "status": RUNNING}
        document["steps"].append(entry)

        def keep(found: list[dict[str, Any]], entry: dict[str, Any] = entry) -> None:
            entry["rows"] = found
            if path is not None:
                report.write_json(path, document)

        keep([])
        if limit < LEAST:
            outcome = Outcome(SKIPPED, "no time left")
        else:
            outcome = runner.run(step.call, limit, seen=keep)
        seconds = time.monotonic() - started
        entry |= {"seconds": seconds, **asdict(outcome)}
        keep(outcome.rows)
        click.echo(f"{step.name}: {outcome.status}, {outcome.detail} ({seconds:.0f} s)", err=True)
        if outcome.status == FAILED and "output" in outcome.figures:
            click.echo(outcome.figures["output"], err=True)
        rows.append((step.name, outcome.status, f"{seconds:.0f} s", outcome.detail))
        if outcome.text:
            texts.append(f"{step.name}\n\n{outcome.text}\n")
    document["seconds"] = time.monotonic() - began

    statuses = [status for _, status, _, _ in rows]
    counts = Counter(statuses)
    document["status"] = verdict = FAILED if counts[FAILED] else ran(counts)
    if path is not None:
        report.write_json(path, document)
    click.echo()
    for text in texts:
        click.echo(text)
    click.echo(report.table(("check", "outcome", "time", "what was seen"), rows))
    click.echo(
        f"\n{report.summary(statuses)}, in {document['seconds']:.0f} s on {device_name(document)}"
    )
    sys.exit(EXIT_STATUS[verdict])


def end_at_once(path: Path | None, document: dict[str, Any]) -> NoReturn:
    """End with the reason that no step was begun for."""
    if path is not None:
        report.write_json(path, document)
    click.echo(f"{document['status']}: {document['reason']}")
    sys.exit(EXIT_STATUS[document["status"]])


def first_line(error: Exception) -> str:
    """Return an error's class and the first line of its message."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"


def ran(counts: Counter[str]) -> str:
    """Return the verdict where nothing failed: if nothing ran, nothing passed."""
    return PASSED if counts[PASSED] else SKIPPED


def device_name(document: dict[str, Any]) -> str:
    """Return the device's name, and in a rehearsal that it is none."""
    name: str = document["device"]["device"]
    return f"{name}: a rehearsal, not a GPU" if document["emulated"] else name


def heading(document: dict[str, Any]) -> list[str]:
    """Return the lines that say what is being checked."""
    lines = [f"{name:<8} {value}" for name, value in document["device"].items()]
    if document["emulated"]:
        lines.insert(0, "REHEARSAL on an emulated device. This says nothing about a GPU.")
    return [*lines, ""]


if __name__ == "__main__":
    main(prog_name="gpu_check.sh")
