"""Plant realistic bugs, one at a time, and report which tests detect them.

    python -m tests.robustness.mutations [--only PATTERN] [--table FILE] [--folder FOLDER]

Each bug is planted in a copy of the repository, where the tests of one tier must detect it. They
must first pass without the bug. This needs no GPU, the packages of ci/test.sh, and some minutes.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import click

from .bugs import BUGS, Bug

REPOSITORY = Path(__file__).resolve().parents[3]
COPIED = ("gpunn", "tests", "scripts", "docs", "ci", "pyproject.toml", "README.md", "CHANGELOG.md")
LIMIT = 600
"""Seconds for the tests of one bug. A bug that makes them hang counts as detected."""

PASSED, FAILED = 0, 1
"""Exit statuses of pytest; 2 or more means that it could not run the tests."""


@dataclass(frozen=True)
class Verdict:
    """Whether all tests passed, and the first that failed."""

    passed: bool
    said: str


@contextmanager
def planted(bug: Bug, tree: Path) -> Iterator[None]:
    """Replace the text in a copy of the repository, and restore it at the end.

    Raises
    ------
    ValueError
        If the text does not occur exactly once. Adapt the bug to the code.
    """
    path = tree / bug.file
    text = path.read_text(encoding="utf-8")
    if text.count(bug.old) != 1:
        raise ValueError(
            f"{bug.name}: occurs {text.count(bug.old)} times in {bug.file}: {bug.old!r}"
        )
    path.write_text(text.replace(bug.old, bug.new), encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(text, encoding="utf-8")


def copy_to(tree: Path) -> None:
    unwanted = shutil.ignore_patterns("__pycache__", ".*", "*.egg-info")
    for name in COPIED:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=unwanted)
        else:
            shutil.copy(source, tree / name)


def run(bug: Bug, tree: Path) -> Verdict:
    listing = tree / "tests.xml"
    listing.unlink(missing_ok=True)
    environment = {key: value for key, value in os.environ.items() if key != "GPUNN_TEST_DEVICE"}
    environment |= {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    environment["GPUNN_EMULATOR_CACHE"] = str(tree.parent / "cache")
    if bug.device:
        environment["GPUNN_TEST_DEVICE"] = bug.device
    options = ["-x", "-q", "-m", "not full", "-p", "no:cacheprovider", f"--junit-xml={listing}"]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *bug.tests],
            cwd=tree,
            env=environment,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Verdict(False, f"stopped after {LIMIT} s")
    if done.returncode == PASSED:
        return Verdict(True, counted(listing))
    if done.returncode == FAILED:
        return Verdict(False, first_failure(listing))
    if done.returncode < 0:
        return Verdict(False, f"ended by signal {-done.returncode}")
    said = (done.stdout + done.stderr)[-2000:]
    raise click.ClickException(f"{bug.name}: {' '.join(bug.tests)} could not run:\n{said}")


def counted(listing: Path) -> str:
    cases = [case for case in ET.parse(listing).iter("testcase") if case.find("skipped") is None]
    if not cases:
        raise click.ClickException("all tests were skipped, which proves nothing")
    return f"{len(cases)} tests"


def first_failure(listing: Path) -> str:
    for case in ET.parse(listing).iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            module = (case.get("classname") or "").replace(".", "/").removeprefix("tests/")
            return f"{module}::{case.get('name')}" if module else str(case.get("name"))
    raise ValueError("pytest reported a failure but lists none")


@click.command()
@click.option("--only", metavar="PATTERN", default="", help="Only bugs whose name matches.")
@click.option("--table", type=click.Path(dir_okay=False, path_type=Path), help="Markdown file.")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the copy and the built kernels here, so that a second run is faster.",
)
def main(only: str, table: Path | None, folder: Path | None) -> None:
    """Plant each bug and report whether its tier detects it. Exit status 1 if one is missed."""
    bugs = [bug for bug in BUGS if re.search(only, bug.name)]
    if not bugs:
        raise click.BadParameter(f"no bug has {only!r} in its name", param_hint="--only")
    with tempfile.TemporaryDirectory() as temporary:
        rows, missed = check(bugs, (folder or Path(temporary)).resolve())
    text = "\n".join(("| bug | file | tier | detected by |", "|---|---|---|---|", *rows))
    click.echo(text)
    if table is not None:
        table.write_text(text + "\n", encoding="utf-8")
    click.echo(f"\n{len(bugs) - missed} of {len(bugs)} bugs detected")
    sys.exit(int(missed > 0))


def check(bugs: Sequence[Bug], folder: Path) -> tuple[list[str], int]:
    tree = folder / "copy"
    if tree.exists():
        shutil.rmtree(tree)
    tree.mkdir(parents=True)
    copy_to(tree)
    before: dict[tuple[tuple[str, ...], str], Verdict] = {}
    rows, missed = [], 0
    for bug in bugs:
        key = bug.tests, bug.device
        if key not in before:
            before[key] = run(bug, tree)
        if before[key].passed:
            with planted(bug, tree):
                verdict = run(bug, tree)
            said = "NOT DETECTED" if verdict.passed else f"`{verdict.said}`"
            missed += verdict.passed
        else:
            said = f"its tests fail without it: `{before[key].said}`"
            missed += 1
        rows.append(f"| {bug.name} | `{bug.file}` | {bug.tier} | {said} |")
        click.echo(f"{rows[-1]} before: {before[key].said}", err=True)
    return rows, missed


if __name__ == "__main__":
    main(prog_name="mutations")
