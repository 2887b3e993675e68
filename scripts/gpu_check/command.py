"""The command: select and run the steps, write the report, and print a summary."""

import json
import os
import re
import signal
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import click
import device
import process
from process import FAILED, PASSED, SKIPPED, STOPPED, printed_by

EXIT_STATUS = {PASSED: 0, FAILED: 1, SKIPPED: 3, STOPPED: 4}
RUNNING = "running"
MINIMUM = 5.0
"""A step starts only with at least this many seconds left."""


class Planned(NamedTuple):
    """A step: its name, its module, and its time limits in seconds.

    Later steps may use the time that earlier steps leave.
    """

    name: str
    module: str
    limit: float
    quick_limit: float = 0


# The most valuable steps come first: does gpunn train, how fast, and where does the time go? The
# others look for errors that the first ones miss, and time more.
PLAN = (
    Planned("doctor", "doctor", 40, 30),
    Planned("warm-up", "warm_up", 90, 35),
    Planned("training on both backends", "curves", 60, 20),
    Planned("speed", "speed", 75, 45),
    Planned("kernels of a step", "kernels", 55, 20),
    Planned("tests on this device", "tests", 190, 30),
    Planned("networks at the same time", "together", 30),
    Planned("further speed", "further_speed", 110),
    Planned("several devices", "several", 60),
    Planned("kernels in Nsight Compute", "ncu", 45),
    Planned("kernel sources", "sources", 45),
    Planned("compute-sanitizer", "sanitizer", 100),
)

SMI_FIELDS = (
    *("name", "driver_version", "vbios_version", "pstate", "temperature.gpu", "power.limit"),
    *("clocks.sm", "clocks.mem", "clocks.max.sm", "clocks.max.mem"),
    *("compute_mode", "mig.mode.current", "ecc.mode.current", "persistence_mode"),
)

Report = dict[str, Any]


@click.command()
@click.option(
    "--json",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Report file. Default: gpu_check_DATE.json in the current folder.",
)
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, resolve_path=True),
    help="Folder with MNIST's four IDX files. Default: GPUNN_DATA, otherwise other data.",
)
@click.option(
    "--quick", is_flag=True, help="Run only the most important checks, in 3 minutes instead of 15."
)
@click.option("--only", metavar="PATTERN", help="Run only checks whose name matches.")
@click.option(
    "--resume", is_flag=True, help="Keep passed checks of the report in --json; run the rest."
)
@click.option(
    "--budget",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Total time, shared among the remaining checks in proportion to their limits.",
)
@click.option(
    "--wheels",
    metavar="FOLDER",
    expose_value=False,
    help="Install the missing packages that gpunn needs from this folder's wheels, temporarily.",
)
def main(
    path: Path | None,
    data: str | None,
    quick: bool,
    only: str | None,
    resume: bool,
    budget: float | None,
) -> None:
    """Check gpunn on this machine's CUDA device.

    Exit status: 0 if no check failed; 1 if a check failed; 2 for wrong usage; 3 if nothing ran
    because there is no CUDA device; 4 if no check failed but a check ran out of time.
    """
    steps = chosen(quick, only)
    if path is not None and not path.resolve().parent.is_dir():
        raise click.BadParameter(f"{path.parent}: no such folder", param_hint="--json")
    if data is not None:
        os.environ["GPUNN_DATA"] = data
    os.environ.setdefault(device.VARIABLE, "cuda")
    earlier = read_report(path) if resume else {"steps": []}
    passed = {step["name"] for step in earlier["steps"] if step["status"] == PASSED}
    limits = {
        step.name: step.quick_limit if quick else step.limit
        for step in steps
        if step is steps[0] or step.name not in passed
    }
    factor = device.PATIENCE * (1 if budget is None else budget / sum(limits.values()))
    check = Check(quick, {name: limit * factor for name, limit in limits.items()})
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    doctor = check.run(steps[0])
    described = next((row["device"] for row in doctor["rows"] if "device" in row), None)
    if described is None:
        check.path = None if resume else path
        check.report["reason"] = doctor["detail"]
        check.end()
    check.report["device"] = described
    if resume:
        check.keep(earlier, path)
    check.path = path or Path(f"gpu_check_{datetime.now():%Y-%m-%d_%H-%M-%S}.json")
    with suppress(KeyboardInterrupt):
        for step in steps[1:]:
            check.run(step)
    check.end()


def chosen(quick: bool, only: str | None) -> list[Planned]:
    steps = [step for step in PLAN if step.quick_limit or not quick]
    matches = [step for step in steps if re.search(only or "", step.name)]
    if not matches:
        names = ", ".join(step.name for step in steps)
        raise click.BadParameter(
            f"no check matches {only!r}; choose from: {names}", param_hint="--only"
        )
    return [steps[0], *(step for step in matches if step is not steps[0])]


def read_report(path: Path | None) -> Report:
    try:
        if path is not None:
            report: Report = json.loads(path.read_text(encoding="utf-8"))
            return report
    except (OSError, ValueError) as error:
        raise click.BadParameter(
            f"{path} is not a report: {error}", param_hint="--resume"
        ) from None
    raise click.BadParameter(
        "also name the report of the earlier run with --json FILE", param_hint="--resume"
    )


class Check:
    def __init__(self, quick: bool, limits: dict[str, float]) -> None:
        self.limits = limits
        self.path: Path | None = None
        self.steps: dict[str, Report] = {}
        self.began, self.allowed = time.monotonic(), 0.0
        self.report: Report = {
            "emulated": device.REHEARSAL,
            "quick": quick,
            "status": RUNNING,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": commit(),
            "nvidia-smi": printed_by(
                "nvidia-smi", f"--query-gpu={','.join(SMI_FIELDS)}", "--format=csv"
            ).splitlines(),
        }

    def run(self, planned: Planned) -> Report:
        before = self.steps.get(planned.name, {})
        if before.get("status") == PASSED:
            return before
        done = [
            row
            for row in before.get("rows", ())
            if row.get("outcome", PASSED) == PASSED and not row.get("error")
        ]
        began = time.monotonic()
        self.allowed += self.limits[planned.name]
        limit = self.allowed - (began - self.began)
        entry: Report = {"name": planned.name, "status": RUNNING, "detail": "", "seconds": 0.0}
        self.steps[planned.name] = entry

        def seen(rows: list[Report]) -> None:
            entry.update(rows=rows, seconds=time.monotonic() - began)
            self.write()

        seen(done)
        if limit < MINIMUM:
            entry |= {"status": SKIPPED, "detail": "no time left"}
        else:
            entry |= process.run(planned.module, self.report["quick"], limit, done, seen)
        seen(entry["rows"])
        seconds = f"{entry['seconds']:.0f} s"
        click.echo(f"{planned.name}: {entry['status']}, {entry['detail']} ({seconds})")
        if entry.get("output"):
            click.echo(f"\n{entry['output']}\n")
        return entry

    def keep(self, earlier: Report, path: Path | None) -> None:
        """Keep the steps of an earlier report of the same device and commit."""
        same = ("device", "commit", "emulated", "quick")
        other = [name for name in same if earlier.get(name) != self.report[name]]
        if other:
            raise click.BadParameter(
                f"{path} belongs to another {' and another '.join(other)}; omit --resume and name "
                "another file with --json",
                param_hint="--resume",
            )
        for step in earlier["steps"]:
            if step["status"] == RUNNING:
                step |= {"status": STOPPED, "detail": "interrupted"}
            self.steps.setdefault(step["name"], step)

    def write(self) -> None:
        self.report |= {
            "steps": list(self.steps.values()),
            "seconds": time.monotonic() - self.began,
        }
        if self.path is not None:
            part = self.path.with_name(f".{os.urandom(8).hex()}.part")
            with part.open("x", encoding="utf-8") as file:
                file.write(json.dumps(self.report, indent=2) + "\n")
            part.replace(self.path)

    def end(self) -> NoReturn:
        for step in self.steps.values():
            if step["status"] == RUNNING:
                step |= {"status": STOPPED, "detail": "interrupted"}
        statuses = [step["status"] for step in self.steps.values()]
        worst = next((each for each in (FAILED, STOPPED, PASSED) if each in statuses), SKIPPED)
        self.report["status"] = worst
        self.write()
        counts = ", ".join(
            f"{statuses.count(status)} {status}" for status in (PASSED, FAILED, STOPPED, SKIPPED)
        )
        name = self.report.get("device", {}).get("device", "no device")
        if device.REHEARSAL:
            name += ": a rehearsal, which proves nothing about a GPU"
        click.echo(f"\n{counts}, in {self.report['seconds']:.0f} s on {name}")
        if self.path is not None:
            click.echo(f"report: {self.path}")
            if worst in (STOPPED, FAILED):
                click.echo(
                    f"To run the checks that did not pass again: --resume --json {self.path}"
                )
        sys.exit(EXIT_STATUS[worst])


def commit() -> str | None:
    """Return the current commit, with a plus sign if files were changed."""
    git = ("git", "-C", str(device.REPOSITORY))
    head = printed_by(*git, "rev-parse", "HEAD")
    changed = head and printed_by(*git, "status", "--porcelain", "-uno")
    return (head + "+" if changed else head) or None
