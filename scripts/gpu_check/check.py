"""The command: which steps run, what is kept of them, and what is said in the end."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import click
import device
import machine
import report
import runner
from outcome import FAILED, PASSED, SKIPPED, STOPPED, Outcome
from plan import QUICK, WHOLE, Step, budget_of

EXIT_STATUS = {PASSED: 0, FAILED: 1, SKIPPED: 3, STOPPED: 4}
RUNNING = "running"
LEAST = 5.0
"""With fewer seconds than this, a step is not begun."""

Document = dict[str, Any]


@click.command()
@click.option(
    "--json",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Report file; else gpu_check_DATE.json in the current folder.",
)
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with MNIST's four IDX files; else GPUNN_DATA, else other data are trained.",
)
@click.option("--quick", is_flag=True, help="The most important of it, in 3 minutes, not 15.")
@click.option("--only", metavar="PATTERN", help="Only the steps whose name has this pattern.")
@click.option(
    "--resume", is_flag=True, help="Keep what passed in the report of --json, do the rest."
)
@click.option(
    "--budget",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="For all steps that are to be done, shared out as their own limits are.",
)
def main(
    path: Path | None,
    data: Path | None,
    quick: bool,
    only: str | None,
    resume: bool,
    budget: float | None,
) -> None:
    """Check gpunn on this machine's CUDA device.

    Exit status: 0 no step failed, 1 some step failed, 2 wrong usage, 3 nothing ran because there is
    no CUDA device, 4 nothing failed and some step was stopped because its time was up.
    """
    steps = chosen(QUICK if quick else WHOLE, only)
    if data is not None:
        os.environ["GPUNN_DATA"] = str(data.resolve())
    os.environ.setdefault(device.VARIABLE, "cuda")
    earlier = read_report(path) if resume else None
    document: Document = {
        "emulated": device.REHEARSAL,
        "quick": quick,
        "status": RUNNING,
        **machine.described(),
        "steps": [],
    }
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    kept = {step["name"] for step in (earlier or {}).get("steps", ()) if passed(step)}
    limits = scaled([step for step in steps if step is steps[0] or step.name not in kept], budget)
    check = Check(document, path, limits, earlier)
    try:
        check.look(steps[0])
        for step in steps[1:]:
            check.run(step)
    except KeyboardInterrupt:
        check.interrupted()
    check.end()


def chosen(steps: tuple[Step, ...], only: str | None) -> list[Step]:
    """Return the steps that match, after the first, which says what the others run on."""
    found = [step for step in steps if re.search(only or "", step.name)]
    if not found:
        names = ", ".join(step.name for step in steps)
        raise click.BadParameter(
            f"no step matches {only!r}; there are: {names}", param_hint="--only"
        )
    return [steps[0], *(step for step in found if step is not steps[0])]


def scaled(steps: list[Step], budget: float | None) -> dict[str, float]:
    """Return each step's limit in seconds."""
    factor = device.PATIENCE * (1 if budget is None else budget / budget_of(steps))
    return {step.name: step.limit * factor for step in steps}


def read_report(path: Path | None) -> Document:
    """Return an earlier report."""
    if path is None or not path.exists():
        raise click.BadParameter(
            "name the report of the earlier check with --json FILE", param_hint="--resume"
        )
    try:
        found: Document = json.loads(path.read_text(encoding="utf-8"))
        return found
    except ValueError as error:
        raise click.BadParameter(f"{path} is no report: {error}", param_hint="--resume") from None


def passed(step: dict[str, Any]) -> bool:
    """Return whether a step of an earlier check is not to be done again."""
    return bool(step.get("status") == PASSED)


def succeeded(row: dict[str, Any]) -> bool:
    """Return whether a row of an earlier check is to be kept."""
    return row.get("outcome", PASSED) == PASSED and not row.get("error")


class Check:
    """A check that is under way.

    Parameters
    ----------
    document : dict
        The report.
    path : Path or None
        The report's file.
    limits : dict of str to float
        Seconds that each step to be done may take. What one leaves over, later ones may have.
    earlier : dict or None
        The report in the file, which is to be gone on with.
    """

    def __init__(
        self,
        document: Document,
        path: Path | None,
        limits: dict[str, float],
        earlier: Document | None = None,
    ) -> None:
        self.document, self.path, self.limits, self.earlier = document, path, limits, earlier
        self.entries: dict[str, Document] = {}
        self.began, self.due = time.monotonic(), 0.0
        if path is not None and not path.resolve().parent.is_dir():
            raise click.BadParameter(f"{path.parent}: no such folder", param_hint="--json")

    def look(self, doctor: Step) -> None:
        """Find out what device there is; without one, end at once."""
        outcome = self.run(doctor, write=False)
        if "device" not in outcome.figures:
            self.document["reason"] = outcome.detail
            self.end_at_once(outcome)
        self.document["device"] = outcome.figures["device"]
        if self.earlier is not None:
            self.keep(self.earlier)
        if self.path is None:
            self.path = Path(f"gpu_check_{datetime.now():%Y-%m-%d_%H-%M-%S}.json")
        self.write()
        lines = [f"{name:<15} {value}" for name, value in self.document["device"].items()]
        if self.document["emulated"]:
            lines.insert(0, "REHEARSAL on an emulated device. This says nothing about a GPU.")
        click.echo("\n".join([*lines, f"{'report':<15} {self.path}", ""]))

    def keep(self, earlier: Document) -> None:
        """Take over the steps of an earlier report, if it is of this device and this commit."""
        same = ("device", "commit", "emulated", "quick")
        other = [name for name in same if earlier.get(name) != self.document[name]]
        if other:
            raise click.BadParameter(
                f"{self.path} is of another {' and another '.join(other)}; name another file, "
                "without --resume",
                param_hint="--resume",
            )
        for step in earlier["steps"]:
            if step["status"] == RUNNING:
                step |= {"status": STOPPED, "detail": "cut off"}
            self.entries.setdefault(step["name"], step)

    def run(self, step: Step, write: bool = True) -> Outcome:
        """Run a step, unless it passed before, and keep what it says."""
        before = self.entries.get(step.name, {})
        if passed(before):
            return Outcome(PASSED, before["detail"])
        began = time.monotonic()
        self.due += self.limits[step.name]
        limit = self.due - (began - self.began)
        entry: Document = {"name": step.name, "status": RUNNING, "detail": "", "seconds": 0.0}
        self.entries[step.name] = entry

        def seen(rows: list[dict[str, Any]]) -> None:
            entry["rows"], entry["seconds"] = rows, time.monotonic() - began
            if write:
                self.write()

        done = [row for row in before.get("rows", ()) if succeeded(row)]
        seen(done)
        if limit < LEAST:
            outcome = Outcome(SKIPPED, "no time left", rows=done)
        else:
            outcome = runner.run(step.call, limit, done, seen)
        entry |= {"seconds": time.monotonic() - began, **asdict(outcome)}
        if write:
            self.write()
        click.echo(
            f"{step.name}: {outcome.status}, {outcome.detail} ({entry['seconds']:.0f} s)", err=True
        )
        if outcome.status in (FAILED, STOPPED) and outcome.figures.get("output"):
            click.echo(outcome.figures["output"], err=True)
        return outcome

    def interrupted(self) -> None:
        """Note that the step under way was interrupted; its rows are there."""
        for entry in self.entries.values():
            if entry["status"] == RUNNING:
                entry |= {"status": STOPPED, "detail": "interrupted"}

    def write(self) -> None:
        """Write the report."""
        self.document |= {
            "steps": list(self.entries.values()),
            "seconds": time.monotonic() - self.began,
        }
        if self.path is not None:
            report.write_json(self.path, self.document)

    def end_at_once(self, outcome: Outcome) -> NoReturn:
        """End with the reason that no other step was begun for."""
        self.document["status"] = outcome.status
        if self.earlier is None:
            self.write()
        click.echo(f"{outcome.status}: {outcome.detail}")
        sys.exit(EXIT_STATUS[outcome.status])

    def end(self) -> NoReturn:
        """Say what was seen, and end with the status for it."""
        steps = self.entries.values()
        statuses = [step["status"] for step in steps]
        worst = next((each for each in (FAILED, STOPPED, PASSED) if each in statuses), SKIPPED)
        self.document["status"] = worst
        self.write()
        click.echo()
        for step in steps:
            if step.get("text"):
                click.echo(f"{step['name']}\n\n{step['text']}\n")
        rows = [
            (step["name"], step["status"], f"{step['seconds']:.0f} s", step["detail"])
            for step in steps
        ]
        click.echo(report.table(("check", "outcome", "time", "what was seen"), rows))
        name = self.document.get("device", {}).get("device", "an unknown device")
        if self.document["emulated"]:
            name += ": a rehearsal, not a GPU"
        click.echo(
            f"\n{report.summary(statuses)}, in {self.document['seconds']:.0f} s on {name}\n"
            f"report: {self.path}"
        )
        if STOPPED in statuses or FAILED in statuses:
            click.echo(f"what did not pass is done again by --resume --json {self.path}")
        sys.exit(EXIT_STATUS[worst])
