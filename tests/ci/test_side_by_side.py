"""ci/test.sh runs pytest in two processes at the same time: what is printed, and what is left."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
BASH = shutil.which("bash")
TIMEOUT = 600
"""Seconds: a guard against waiting for ever, and no more."""

INTERRUPTIONS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 143}

pytestmark = pytest.mark.skipif(
    BASH is None or sys.platform != "linux" or os.uname().machine != "x86_64",
    reason="the emulated devices need Linux on x86-64, and ci/test.sh needs bash",
)

# Stands for the environment's interpreter. Each pytest waits for the other one to have begun.
PYTHON = """#!/usr/bin/env bash
case "$*" in
  *print*%d*) echo 3.12 ;;
  "-m pytest"*)
    this=${GPUNN_TEST_DEVICE:-none} other=emulated status=${STATUS_NONE:-0}
    [[ $this == none ]] || other=none status=${STATUS_EMULATED:-0}
    if [[ -n ${HANG:-} ]]; then
      sleep 1000 &
      echo $$ $! >"$MARKS/$this.part"
      mv "$MARKS/$this.part" "$MARKS/$this"
      wait
    fi
    touch "$MARKS/$this"
    until [[ -e $MARKS/$other ]]; do sleep 0.01; done
    if [[ -n ${STOP:-} ]]; then
      # Until ci/test.sh has seen that this one stopped, and sleeps.
      (
        children=/proc/$PPID/task/$PPID/children
        until [[ $(cut -d " " -f 3 /proc/$$/stat) == T ]] &&
          grep -qsx sleep $(printf "/proc/%s/comm " $(<$children)); do sleep 0.01; done
        kill -CONT $$
      ) &
      kill -STOP $$
    fi
    echo "tests of $this: ${*:3}"
    exit "$status" ;;
esac
"""
COMPILER = """#!/bin/sh
echo 12
"""


@pytest.fixture
def start(tmp_path):
    """Start a copy of ci/test.sh whose Python, and g++, are stand-ins."""
    root, tools, marks = tmp_path / "clone", tmp_path / "tools", tmp_path / "marks"
    shutil.copytree(REPOSITORY / "ci", root / "ci")
    shutil.copy(REPOSITORY / "pyproject.toml", root)
    for path, script in {root / ".venv/bin/python": PYTHON, tools / "g++": COMPILER}.items():
        path.parent.mkdir(parents=True)
        path.write_text(script)
        path.chmod(0o755)
    marks.mkdir()
    left_out = {"PYTHON", "GPUNN_TEST_DEVICE"}
    environment = {name: text for name, text in os.environ.items() if name not in left_out}
    environment |= {"PATH": f"{tools}:{os.environ['PATH']}", "MARKS": str(marks)}
    environment["TMPDIR"] = str(marks)

    def defaults():
        """Nohup and shells without job control leave signals ignored, which bash can't change."""
        for number in INTERRUPTIONS:
            signal.signal(number, signal.SIG_DFL)

    def begin(*arguments, **variables):
        return subprocess.Popen(
            [BASH, str(root / "ci/test.sh"), *arguments],
            env=environment | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=defaults,
        )

    begin.marks = marks
    return begin


NONE, EMULATED = "tiers 1 to 4: pytest without a CUDA device", "tier 5: pytest on emulated CUDA"
REST = "tier 1: pytest on what is built upon it"


@pytest.mark.parametrize(
    ("arguments", "none", "emulated", "failed"),
    [
        ((), 0, 0, []),
        ((), 1, 0, [REST, NONE]),
        ((), 0, 1, [EMULATED]),
        ((), 1, 1, [EMULATED, REST, NONE]),
        ((), 5, 0, [REST, NONE]),
        (("tests/gpu_graph",), 5, 0, []),
        (("tests/gpu_graph",), 5, 2, [EMULATED]),
    ],
)
def test_both_run_at_once_and_both_count(start, arguments, none, emulated, failed):
    process = start(*arguments, STATUS_NONE=str(none), STATUS_EMULATED=str(emulated))
    output, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == bool(failed), output
    names = (EMULATED, NONE) if arguments else (EMULATED, REST, NONE)
    sections = output.split("\n== ")[-len(names) :]
    for section, name in zip(sections, names, strict=True):
        assert section.startswith(name)
        asked = " ".join(arguments) if name != REST else "tests/"
        device = "emulated" if name == EMULATED else "none"
        assert f"tests of {device}: {asked}" in section
    said = output.partition("test.sh: error: failed: ")[2]
    assert [name for name in (EMULATED, REST, NONE) if name in said] == failed
    assert sorted(path.name for path in start.marks.iterdir()) == ["emulated", "none"], "a log"


def test_no_folder_is_left_out_or_tested_twice(start):
    process = start()
    output, _ = process.communicate(timeout=TIMEOUT)
    ignored = {word.removeprefix("--ignore=") for word in output.split() if "--ignore" in word}
    later = next(line for line in output.splitlines() if "tests of none: tests/" in line)
    assert ignored == set(later.partition(": ")[2].split())
    assert all((REPOSITORY / folder).is_dir() for folder in ignored)


def test_one_that_is_stopped_for_a_while_has_not_ended(start):
    process = start("tests/gpu_graph", STOP="yes", STATUS_EMULATED="1")
    output, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 1
    assert output.index("tests of emulated") < output.index("tests of none")
    assert f"failed: {EMULATED}" in output
    assert NONE not in output.partition("failed: ")[2]


def is_running(process):
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.parametrize("number", INTERRUPTIONS)
def test_an_interruption_ends_both_and_what_they_started(start, number):
    process = start(HANG="yes")
    marks = [start.marks / "none", start.marks / "emulated"]
    while not all(mark.exists() for mark in marks):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    started = [int(word) for mark in marks for word in mark.read_text().split()]
    assert len(started) == 4
    assert all(map(is_running, started))
    try:
        process.send_signal(number)
        process.communicate(timeout=TIMEOUT)
        assert process.returncode == INTERRUPTIONS[number]
        limit = time.monotonic() + TIMEOUT
        while any(map(is_running, started)):  # they are told to end, and nobody waits for it
            assert time.monotonic() < limit, f"still running after {TIMEOUT} s"
            time.sleep(0.01)
    finally:
        for left in filter(is_running, started):
            os.kill(left, signal.SIGKILL)
    assert sorted(start.marks.iterdir()) == sorted(marks), "the log is gone"
