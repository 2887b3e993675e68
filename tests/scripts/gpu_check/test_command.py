"""The command that checks a GPU: machines without one, wrong usage, budgets, resumed checks."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from zipfile import ZipFile

import pytest
from click.testing import CliRunner


@pytest.mark.parametrize(
    ("absent", "variables", "reason"),
    [
        (["cupy"], {}, "CuPy is not installed. To fix it: pip install"),
        ([], {"CUDA_VISIBLE_DEVICES": ""}, ""),
    ],
    ids=["without CuPy", "hidden"],
)
def test_without_a_device_it_is_skipped_and_never_passes(run, tmp_path, absent, variables, reason):
    done = run("--json", tmp_path / "report.json", absent=absent, **variables)
    assert done.returncode == 3
    first, second, *_ = done.stdout.splitlines()
    assert first.startswith("to bring: array_api_compat, click, numpy,")
    assert ("cupy" in first.partition("absent here: ")[2].split(", ")) == ("cupy" in absent)
    assert second.startswith(f"doctor: skipped, no CUDA device: {reason}")
    assert "0 passed" in done.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["status"] == "skipped"
    assert report["reason"] in done.stdout
    assert [step["status"] for step in report["steps"]] == ["skipped"]


@pytest.mark.parametrize(
    ("absent", "wheel", "said"),
    [
        (["click", "tqdm"], None, "needs: click, tqdm. To install them:\n"),
        (["tqdm"], "tqdm-4.0-py3-none-any.whl", "pip can't install from"),
    ],
    ids=["without a folder", "an old wheel"],
)
def test_what_gpunn_needs_is_named(run, tmp_path, absent, wheel, said):
    """Also if only the standard library is installed."""
    if wheel is not None:
        (tmp_path / wheel).touch()
    done = run(*([] if wheel is None else ["--wheels", tmp_path]), absent=absent)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout.startswith("to bring: ")


def test_wheels_are_installed(load, tmp_path, monkeypatch):
    """The packages can be imported here and in other processes; nothing else is installed."""
    supplies = load("supplies")
    with ZipFile(tmp_path / "carried-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("carried.py", "")
        about = "carried-1.0.dist-info"
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: carried\nVersion: 1.0\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    monkeypatch.setattr(supplies, "required", lambda: {"carried>=1": "carried", "pytest": "pytest"})
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("PYTHONPATH", "earlier")
    with pytest.raises(supplies.WheelsError, match=r"no wheel of carried>=1\. To"):
        supplies.install(tmp_path / "target", tmp_path / "target")
    supplies.install(tmp_path, tmp_path / "target")
    assert supplies.absent_requirements() == {}
    assert os.environ["PYTHONPATH"] == f"{tmp_path / 'target'}{os.pathsep}earlier"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "no such step"], "no check matches 'no such step'; choose from: doctor, "),
        (["--json", "/no/such/folder/report.json"], "/no/such/folder: no such folder"),
        (["--data", "/no/such/folder"], "does not exist"),
        (["--resume"], "name the report of the earlier run with --json FILE"),
        (["--resume", "--json", "/"], "is a directory"),
        (["--resume", "--json", __file__], f"{__file__} is not a report"),
        (["--budget", "0"], "--budget"),
    ],
)
def test_wrong_usage(load, arguments, said):
    done = CliRunner().invoke(load("command").main, arguments)
    assert done.exit_code == 2
    assert said in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("python", "said"),
    [("no-such-python", "no such command"), ("false", "not Python 3.11 or newer")],
)
def test_an_unusable_interpreter(run, python, said):
    done = run(PYTHON=python)
    assert done.returncode == 2
    assert f"{python}: {said}" in done.stderr


LOOK = "step.add({'device': {'device': 'a GPU'}}); end('passed')"
HANG = "time.sleep(1e6)"


def write_step(folder, name, code):
    """Write a step of a few lines; `end(status, detail)` is its outcome."""
    (folder / "steps").mkdir(exist_ok=True)
    body = "\n".join(f"        {line}" for line in code.splitlines() or ["pass"])
    (folder / "steps" / f"{name}.py").write_text(
        "import os, pathlib, time\nclass Ended(BaseException): pass\n"
        "def end(*said): raise Ended(*said)\n"
        f"def run(step):\n    try:\n{body}\n    except Ended as ended:\n"
        "        status, *detail = ended.args\n        return status, ''.join(detail)\n"
    )


@pytest.fixture
def run_code(load, tmp_path, monkeypatch):
    process = load("process")
    monkeypatch.syspath_prepend(str(tmp_path))

    def ran(code, limit=1e4, done=(), seen=lambda rows: None):
        write_step(tmp_path, "planted", code)
        return process.run("planted", False, limit, done, seen)

    return ran


@pytest.mark.parametrize(
    ("code", "limit", "status", "detail", "output"),
    [
        (HANG, 0.5, "failed", "stopped after 0 s", ""),
        ("print('last words'); os._exit(7)", 1e4, "failed", "exit status 7", "last words"),
        ("raise ValueError('one\\ntwo')", 1e4, "failed", "ValueError: one", "in run"),
        ("import process; raise process.SkipError('why')", 1e4, "skipped", "why", ""),
        ("print('a table'); end('passed', 'all')", 1e4, "passed", "all", "a table"),
    ],
    ids=["hangs", "crashes", "fails", "skips", "passes"],
)
def test_outcomes(run_code, code, limit, status, detail, output):
    found = run_code(code, limit)
    assert found["status"] == status
    assert detail in found["detail"]
    assert output in found["output"]


def test_rows_are_seen_while_the_step_runs(run_code, tmp_path):
    """The step continues only after its first row was seen; a crash keeps its rows."""
    seen, flag = [], tmp_path / "seen"

    def see(rows):
        seen.append(list(rows))
        flag.touch()

    code = f"""
step.add({{'again': list(step.done)}})
while not pathlib.Path({str(flag)!r}).exists(): time.sleep(0.01)
assert 0 < step.seconds_left() <= 1e4
step.add({{'b': 2}})
os._exit(1)
"""
    found = run_code(code, 1e4, [{"a": 1}], see)
    assert seen[0] == [{"a": 1}, {"again": [{"a": 1}]}]
    assert found["rows"] == [*seen[0], {"b": 2}]


def test_a_step_with_rows_whose_time_is_up_was_stopped(run_code, load, monkeypatch):
    """Its time is up as soon as it has sent a row."""
    readings = iter([0.0, 0.0])
    clock = SimpleNamespace(monotonic=lambda: next(readings, 1e9))
    monkeypatch.setattr(load("process"), "time", clock)
    found = run_code(f"step.add({{'a': 1}}); {HANG}")
    assert (found["status"], found["detail"]) == ("stopped", "stopped after 10000 s, with 1 rows")


@pytest.fixture
def start(tmp_path, check_folder):
    """Start a check whose steps are a few lines of code: `start([code, ...], ...)`."""

    def started(codes, *options):
        for number, code in enumerate(codes):
            write_step(tmp_path, f"step{number}", code)
        program = (
            f"import sys; sys.path[:0] = {[str(tmp_path), str(check_folder)]}\nimport command\n"
            "names = range(int(sys.argv.pop(1)))\n"
            "command.PLAN = tuple(command.Planned(str(n), f'step{n}', 60) for n in names)\n"
            "command.main()"
        )
        report = ("--json", str(tmp_path / "report.json"))
        return subprocess.Popen(
            [sys.executable, "-c", program, str(len(codes)), *report, *options],
            # Bytecode would outlive a step that is written again within a second.
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return started


def wait_for(path, step, number):
    while True:
        if path.exists():
            report = json.loads(path.read_text())
            if len(report["steps"]) > step and len(report["steps"][step]["rows"]) == number:
                return report
        time.sleep(0.02)


def test_a_check_that_is_killed_keeps_its_rows_and_is_resumed(start, tmp_path):
    """The second step is done, and the third hangs after three rows, of which two failed.

    Killing the check ends its steps. The report is continued only on the same device; otherwise it
    stays unchanged.
    """
    path = tmp_path / "report.json"
    third = (
        "step.add({'a': os.getpid()}); step.add({'b': 2, 'outcome': 'failed'})\n"
        f"step.add({{'c': 3, 'error': 'why'}})\n{HANG}"
    )
    first = start([LOOK, "end('passed', 'once')", third])
    report = wait_for(path, 2, 3)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    process = report["steps"][2]["rows"][0]["a"]
    while Path(f"/proc/{process}/stat").exists():
        time.sleep(0.02)
    assert [step["status"] for step in report["steps"]] == ["passed", "passed", "running"]
    kept = path.read_bytes()
    other = start([LOOK.replace("GPU", "X"), ""], "--resume")
    assert "belongs to another device; omit --resume" in other.communicate()[1]
    assert other.returncode == 2
    broken = start(["end('failed')", ""], "--resume")
    broken.communicate()
    assert broken.returncode == 1
    assert path.read_bytes() == kept

    again = "step.add({'known': list(step.done)}); end('passed')"
    partly = start([LOOK, "end('passed', 'twice')", again], "--resume", "--only", "1")
    assert "1 stopped" in partly.communicate()[0]
    whole = start([LOOK, "end('passed', 'twice')", again], "--resume")
    whole.communicate()
    assert whole.returncode == 0
    steps = json.loads(path.read_text())["steps"]
    assert steps[1]["detail"] == "once"
    assert steps[2]["rows"] == [{"a": process}, {"known": [{"a": process}]}]


def test_a_terminated_check_reports_its_rows(start, tmp_path):
    check = start([LOOK, f"step.add({{'a': 1}})\n{HANG}", ""])
    wait_for(tmp_path / "report.json", 1, 1)
    check.send_signal(signal.SIGTERM)
    said, _ = check.communicate()
    assert check.returncode == 4
    assert "1 passed, 0 failed, 1 stopped, 0 skipped" in said
    assert f"did not pass again: --resume --json {tmp_path / 'report.json'}" in said
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["status"], report["steps"][1]["detail"]) == ("stopped", "interrupted")


def test_the_budget_is_shared_out_among_what_is_left(start, tmp_path):
    """Each step gets its share and the time that earlier steps left; passed steps need none."""
    left = "step.add({'left': step.seconds_left()}); end('passed')"
    failing = left.replace("passed", "failed")
    start([LOOK, left, failing], "--budget", "9000").communicate()
    first, second = (step["rows"][0]["left"] for step in read_steps(tmp_path)[1:])
    assert 3000 < first <= 6000 < second <= 9000
    start([LOOK, "", left], "--resume", "--budget", "6000").communicate()
    steps = read_steps(tmp_path)
    assert [step["status"] for step in steps] == 3 * ["passed"]
    assert 3000 < steps[2]["rows"][-1]["left"] <= 6000


def read_steps(folder):
    return json.loads((folder / "report.json").read_text())["steps"]


def test_no_step_begins_without_time(start):
    check = start([LOOK], "--budget", "3")
    assert check.communicate()[0].startswith("0: skipped, no time left")
    assert check.returncode == 3


def test_the_limits_are_those_of_the_documents(load, check_folder):
    plan = load("command").PLAN
    for planned in plan:
        assert (check_folder / "steps" / f"{planned.module}.py").exists()
    assert sum(planned.limit for planned in plan) == 15 * 60
    assert sum(planned.quick_limit for planned in plan) == 3 * 60
    first = [planned.module for planned in plan[:5]]
    assert first == ["doctor", "warm_up", "curves", "speed", "kernels"]
    assert sum(planned.limit for planned in plan[:5]) < 10 * 60
