"""The script that checks a GPU, where there is none: what it says then, and its steps' logic.

Whole steps run as they would on a GPU, in processes of their own, on the emulated device.
"""

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from gpunn.backends.cupy.diagnosis import Finding

SCRIPTS = Path(__file__).parents[2] / "scripts"
SCRIPT = SCRIPTS / "gpu_check.sh"
PINNED = "14.2.0"  # the release of CuPy that the emulated device knows


def cupy_version():
    try:
        return version("cupy-cuda13x")
    except PackageNotFoundError:
        return None


needs_emulator = pytest.mark.skipif(
    cupy_version() != PINNED or shutil.which("g++") is None,
    reason=f"the emulated device needs cupy-cuda13x=={PINNED} and g++",
)


SITE = """\
import os, sys
from importlib.machinery import PathFinder
ABSENT = os.environ["ABSENT"].split()
class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name in ABSENT else super().find_spec(name, path, target)
    @classmethod
    def find_distributions(cls, *context):
        return (each for each in super().find_distributions(*context) if each.name not in ABSENT)
sys.meta_path[sys.meta_path.index(PathFinder)] = Finder
"""
OPTIONAL = (
    *("array_api_strict", "array-api-strict", "hypothesis", "jax", "jinja2", "matplotlib", "numba"),
    *("onnx", "onnxruntime", "optax", "pandas", "PIL", "pillow", "scikit-learn", "scipy"),
    *("sklearn", "tensorboardX", "torch"),
)
"""What a bare machine lacks, as modules and as packages; it has pytest."""


@pytest.fixture
def run(tmp_path):
    """Run the script where these modules and packages are absent."""

    def ended(*arguments, absent=(), **variables):
        (tmp_path / "site").mkdir()
        (tmp_path / "site" / "sitecustomize.py").write_text(SITE)
        left_out = ("GPUNN_TEST_DEVICE", "GPUNN_DATA")
        return subprocess.run(
            [SCRIPT, *arguments],
            cwd=tmp_path,
            env={
                **{name: value for name, value in os.environ.items() if name not in left_out},
                "PYTHON": sys.executable,
                "PYTHONPATH": str(tmp_path / "site"),
                "ABSENT": " ".join(absent),
                **variables,
            },
            capture_output=True,
            text=True,
            check=False,
        )

    return ended


@pytest.fixture
def load(monkeypatch):
    """Import a module of the script, which is no package."""
    monkeypatch.syspath_prepend(str(SCRIPTS / "gpu_check"))
    known = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - known:
        origin = getattr(sys.modules[name], "__file__", None) or ""
        if name == "steps" or str(SCRIPTS) in origin:
            del sys.modules[name]


# -------------------------------------------------------------------------- without a device


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
    assert done.stdout.startswith(f"skipped: no CUDA device: {reason}")
    assert "passed" not in done.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["status"] == "skipped"
    assert report["reason"] in done.stdout
    assert [step["status"] for step in report["steps"]] == ["skipped"]


@pytest.mark.parametrize("absent", [["click"], ["array_api_compat", "tqdm"]])
def test_what_gpunn_needs_is_named(run, absent):
    done = run(absent=absent)
    assert done.returncode == 2
    assert f"does not have: {', '.join(absent)}. To fix it:\n{sys.executable} -m pip install '" in (
        done.stderr
    )


NO_CUPY = Finding("import cupy", "not found", "CuPy is not installed", "install", absent=True)
NO_DRIVER = Finding("NVIDIA driver", "none", "there is no driver", "install", absent=True)
BROKEN = Finding("NVRTC", "missing", "NVRTC can't be loaded", "install")


@pytest.mark.parametrize(
    ("finding", "files", "visible", "status"),
    [
        (NO_CUPY, ["dev/nvidia0"], None, "skipped"),
        (NO_DRIVER, [], None, "skipped"),
        (NO_DRIVER, ["dev/nvidiactl-of-another-kind"], None, "skipped"),
        (NO_DRIVER, ["dev/nvidia0"], None, "failed"),
        (NO_DRIVER, ["dev/nvidia0"], "0", "failed"),
        (NO_DRIVER, ["dev/nvidia0"], "", "skipped"),
        (NO_DRIVER, ["proc/driver/nvidia/version"], None, "failed"),
        (BROKEN, [], None, "failed"),
        (BROKEN, [], "", "failed"),
    ],
)
def test_what_is_here_and_does_not_work_has_failed(
    load, tmp_path, monkeypatch, finding, files, visible, status
):
    """Only a machine without CuPy, or without a trace of a GPU, is skipped."""
    doctor, device = load("steps.doctor"), load("device")
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).touch()
    seen = device.traces(tmp_path)
    monkeypatch.setattr(device, "traces", lambda: seen)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    outcome = doctor.unusable(finding)
    assert outcome.status == status
    assert "device" not in outcome.figures
    assert f"{finding.problem}. To fix it: install" in outcome.detail
    assert ("no CUDA device" in outcome.detail) == (status == "skipped")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "no such step"], "no step matches 'no such step'; there are: doctor, "),
        (["--json", "/no/such/folder/report.json"], "/no/such/folder: no such folder"),
        (["--data", "/no/such/folder"], "does not exist"),
        (["--resume"], "name the report of the earlier check with --json FILE"),
        (["--budget", "0"], "--budget"),
    ],
)
def test_wrong_usage(run, arguments, said):
    done = run(*arguments)
    assert done.returncode == 2
    assert said in done.stderr


@pytest.mark.parametrize(
    ("python", "said"),
    [("no-such-python", "no such command"), ("false", "not Python 3.11 or newer")],
)
def test_an_interpreter_that_can_not_be_used(run, python, said):
    done = run(PYTHON=python)
    assert done.returncode == 2
    assert f"{python}: {said}" in done.stderr


# ------------------------------------------------------------------------ on the emulated device


@needs_emulator
def test_rehearsal(run, tmp_path):
    """On a bare machine every step that can be done is done, the others say why not."""
    done = run(absent=OPTIONAL, GPUNN_TEST_DEVICE="emulated")
    (path,) = tmp_path.glob("gpu_check_*.json")
    report = json.loads(path.read_text())
    outcomes = {step["name"]: step["status"] for step in report["steps"]}
    wrong = {step["name"]: step["detail"] for step in report["steps"] if step["status"] == "failed"}
    assert not wrong
    skipped = {name for name, status in outcomes.items() if status == "skipped"}
    assert skipped == {name for name in outcomes if "sanitizer" in name}
    assert done.returncode == 0
    steps = {step["name"]: step for step in report["steps"]}
    assert steps["kernel sources"]["figures"]["launches"]["8"] == 4  # one of each network
    assert steps["warm-up"]["figures"]["sources"] == len(steps["warm-up"]["rows"]) > 20
    tests = steps["tests on this device"]
    assert {"hypothesis is not installed", "needs scikit-learn, the extra 'sklearn'"} <= set(
        tests["figures"]["skipped"]
    )
    assert sum(row["outcome"] == "passed" for row in tests["rows"]) >= 3
    assert report["emulated"]
    assert len(report["commit"]) >= 40
    assert report["device"]["driver"].startswith("CUDA ")
    assert done.stdout.startswith("REHEARSAL")
    assert done.stdout.rstrip().endswith(f"a rehearsal, not a GPU\nreport: {path.name}")


@needs_emulator
def test_without_pytest_the_operations_are_compared_all_the_same(run, tmp_path):
    path = tmp_path / "report.json"
    absent = ("pytest", *OPTIONAL)
    done = run("--only", "tests", "--json", path, absent=absent, GPUNN_TEST_DEVICE="emulated")
    assert done.returncode == 0
    step = json.loads(path.read_text())["steps"][1]
    assert step["detail"].startswith("pytest is not installed; cases of operations against NumPy: ")
    assert step["figures"]["tests"] == {"passed": len(step["rows"])}
    assert len(step["rows"]) > 2


PLANTED = """
import contextlib, ctypes, types
from unittest.mock import patch
import device
device.prepare()
import cupy
from gpunn import activations as a
from gpunn.backends.cupy.kernels import activations as c
from gpunn.backends.cupy.matmul import choice, cublas, cublaslt as lt
from worker import outcome_of

def fail(*_):
    raise RuntimeError("planted")

class Amended:
    def __init__(self, library, **functions):
        self.__dict__ |= {"library": library, **functions}
    def __getattr__(self, name):
        return getattr(self.library, name)
"""


def planted(code):
    """Run code in a process on the emulated device; return the lines that it has printed."""
    done = subprocess.run(
        [sys.executable, "-c", PLANTED + code],
        cwd=SCRIPTS / "gpu_check",
        env={**os.environ, "GPUNN_TEST_DEVICE": "emulated"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@needs_emulator
@pytest.mark.parametrize(
    ("step", "plant", "said"),
    [
        (
            "tests",
            "c.FORMULAS[a.ReLU] = c.FORMULAS[a.Identity]; "
            "s.obstacle = lambda: 'planted'; s.operations.EVERY = 1; "
            "s.operations.CASES = [k for k in s.operations.CASES if 'activate-relu-' in k.name]",
            "activate-relu",
        ),
        ("curves", "c.FORMULAS[a.ReLU] = c.FORMULAS[a.SiLU]", "digits: differs in loss by"),
        ("sources", "s.tour.run = lambda **_: s.tour.Tour()", "of 0 sources"),
    ],
)
def test_a_step_fails_where_something_is_wrong(step, plant, said):
    """Each step is run with a fault planted."""
    (*_, last) = planted(
        f"from steps import {step} as s\n{plant}\noutcome = outcome_of('{step}.run')\n"
        "print(outcome.status, outcome.detail)"
    )
    assert last.startswith("failed ")
    assert said in last


@needs_emulator
def test_the_doctor_fails_where_something_is_here_and_broken():
    """Whether the other steps can be done at all is said by whether it tells the device."""
    broken = {
        "patch.object(cupy.cuda, 'nvrtc', types.SimpleNamespace(getVersion=fail))": (
            False,
            "NVRTC can't be loaded: RuntimeError: planted",
        ),
        "patch.object(cupy.cuda, 'is_available', fail), "
        "patch.object(cupy.cuda.runtime, 'getDeviceCount', fail)": (
            False,
            "CUDA does not start: RuntimeError: planted",
        ),
        "patch.object(cupy, 'ElementwiseKernel', fail)": (True, "can't be compiled and run"),
        "patch.object(cublas, 'handles', cublas.Handles()), patch.object(choice, 'load_cublas', "
        "lambda: Amended(cublas.load_cublas(), cublasCreate_v2=lambda handle: 1))": (
            True,
            "cuBLAS: cupy.matmul (cuBLAS can't be opened",
        ),
        "patch.object(choice, 'load_cublaslt', fail_to_open)": (True, "cuBLASLt can't be opened"),
        "patch.object(choice.CublasProduct, '__call__', lambda *_: None)": (
            True,
            "the product of two small matrices of integers is wrong",
        ),
        "contextlib.nullcontext()": (True, "passed import cupy"),
    }
    code = "def fail_to_open():\n    raise OSError('planted')\n"
    for plant in broken:
        code += f"with {plant}:\n    o = outcome_of('doctor.run')\n"
        code += "print('device' in o.figures, o.status, o.detail)\n"
    for line, (usable, said) in zip(planted(code), broken.values(), strict=True):
        assert line.startswith(f"{usable} {'passed' if 'passed' in said else 'failed'} ")
        assert said in line


# ------------------------------------------------------------------------------- its parts


@pytest.fixture
def run_code(load, tmp_path, monkeypatch):
    """Run a step that is a few lines of code: `run_code(code, limit)`."""
    runner = load("runner")
    worker = tmp_path / "worker.py"
    worker.write_text(
        f"import sys, time, os, pathlib\nsys.path.insert(0, {str(SCRIPTS / 'gpu_check')!r})\n"
        "import rows\nexec(sys.argv[1])\n"
    )
    monkeypatch.setattr(runner, "WORKER", worker)
    return runner.run


def test_a_step_that_hangs_is_stopped_and_has_failed(run_code):
    outcome = run_code("time.sleep(1e6)", 0.4)
    assert (outcome.status, outcome.detail) == ("failed", "stopped after 0 s")


def test_a_step_that_crashes_has_failed_with_its_output_and_rows(run_code):
    code = "rows.add({'a': 1}); print('last words', flush=True); os._exit(7)"
    outcome = run_code(code, 1e4)
    assert outcome.status == "failed"
    assert "exit status 7" in outcome.detail
    assert "last words" in outcome.figures["output"]
    assert outcome.rows == [{"a": 1}]


def test_rows_are_seen_while_the_step_runs(run_code, tmp_path):
    """The step ends only once its first row was seen."""
    seen, flag = [], tmp_path / "seen"

    def see(found):
        seen.append(list(found))
        flag.touch()

    code = (
        f"rows.add({{'again': rows.done()}})\nwhile not pathlib.Path({str(flag)!r}).exists(): "
        "time.sleep(0.01)\nassert 0 < rows.seconds_left() <= 1e4; rows.add({'b': 2})"
    )
    outcome = run_code(code, 1e4, [{"a": 1}], see)
    assert seen[0] == [{"a": 1}, {"again": [{"a": 1}]}]
    assert outcome.rows == [*seen[0], {"b": 2}]


def test_a_step_with_rows_whose_time_is_up_was_stopped(load):
    runner = load("runner")
    assert runner.stopped(60, []).status == "failed"
    outcome = runner.stopped(60, [{"a": 1}])
    assert (outcome.status, outcome.detail) == ("stopped", "stopped after 60 s, with 1 rows")


@pytest.mark.parametrize("seen", ["step.stdout.readline()", ""], ids=["later", "at once"])
def test_a_step_ends_with_its_check(tmp_path, seen):
    """The check's process starts a step that hangs, and ends, in one case before the step runs;
    were the step not ended, too, reading what it prints would wait for it."""
    (tmp_path / "steps").mkdir()
    (tmp_path / "steps" / "hang.py").write_text(
        "import time\ndef run():\n    print('hangs', flush=True)\n    time.sleep(1e6)\n"
    )
    check = (
        "import os, subprocess, sys\n"
        "step = subprocess.Popen([*sys.argv[1:], str(os.getpid())], stdout=subprocess.PIPE, "
        f"start_new_session=True)\n{seen}"
    )
    worker = SCRIPTS / "gpu_check" / "worker.py"
    step = [sys.executable, worker, "hang.run", tmp_path / "outcome.json"]
    done = subprocess.run(
        [sys.executable, "-c", check, *step],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stderr=subprocess.PIPE,  # the step has it open
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_an_error_is_a_failure_and_a_reason_is_a_skip(load):
    worker = load("worker")
    assert worker.outcome_of("no_such_module.run").status == "failed"
    assert worker.outcome_of("sanitizer.run:memcheck").status == "skipped"


def test_every_step_has_its_function_and_all_fit_in_the_budget(load):
    plan = load("plan")
    for step in (*plan.WHOLE, *plan.QUICK):
        module, _, rest = step.call.partition(".")
        source = (SCRIPTS / "gpu_check" / "steps" / f"{module}.py").read_text()
        assert f"def {rest.partition(':')[0]}(" in source
    assert (plan.budget_of(plan.WHOLE), plan.budget_of(plan.QUICK)) == (15 * 60, 3 * 60)


STUB = """\
import json, os, pathlib, sys, time
sys.path.insert(0, {folder!r})
import rows
def end(status, detail="", **figures):
    outcome = {{"status": status, "detail": detail, "figures": figures}}
    pathlib.Path(sys.argv[2]).write_text(json.dumps(outcome))
parent = int(sys.argv[3])
exec(sys.argv[1])
"""
LOOK = "end('passed', device={'device': 'a GPU'})"
HANG = "while os.getppid() == parent: time.sleep(0.05)"  # it ends with the check


@pytest.fixture
def start(tmp_path):
    """Start a check, `start([code, ...], ...)`, each of whose steps is a few lines of code."""
    folder = str(SCRIPTS / "gpu_check")
    (tmp_path / "worker.py").write_text(STUB.format(folder=folder))

    def started(codes, *options):
        program = (
            f"import sys, pathlib; sys.path.insert(0, {folder!r}); import plan, runner, device\n"
            f"runner.WORKER = pathlib.Path({str(tmp_path / 'worker.py')!r})\n"
            f"plan.WHOLE = tuple(plan.Step(str(n), code, 60) for n, code in enumerate({codes}))\n"
            "from check import main\nmain()"
        )
        return subprocess.Popen(
            [sys.executable, "-c", program, "--json", str(tmp_path / "report.json"), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return started


def wait_for(path, step, number):
    """Wait until the report has so many rows of a step, and return it."""
    while True:
        if path.exists():
            report = json.loads(path.read_text())
            if len(report["steps"]) > step and len(report["steps"][step]["rows"]) == number:
                return report
        time.sleep(0.02)


def test_a_check_that_is_killed_keeps_its_rows_and_is_resumed(start, tmp_path):
    """Its second step is done then, and its third hangs after three rows, two of them bad.

    The report is gone on with only on the same device, and otherwise left as it is.
    """
    path = tmp_path / "report.json"
    third = (
        "rows.add({'a': 1}); rows.add({'b': 2, 'outcome': 'failed'})\n"
        f"rows.add({{'c': 3, 'error': 'why'}})\n{HANG}"
    )
    first = start([LOOK, "end('passed', 'once')", third])
    report = wait_for(path, 2, 3)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert [step["status"] for step in report["steps"]] == ["passed", "passed", "running"]
    kept = path.read_bytes()
    other = start([LOOK.replace("GPU", "X"), ""], "--resume")
    assert "is of another device; name another file" in other.communicate()[1]
    assert other.returncode == 2
    broken = start(["end('failed')", ""], "--resume")
    broken.communicate()
    assert broken.returncode == 1
    assert path.read_bytes() == kept

    again = "rows.add({'known': rows.done()}); end('passed')"
    partly = start([LOOK, "end('passed', 'twice')", again], "--resume", "--only", "1")
    assert "1 stopped" in partly.communicate()[0]
    whole = start([LOOK, "end('passed', 'twice')", again], "--resume")
    whole.communicate()
    assert whole.returncode == 0
    steps = json.loads(path.read_text())["steps"]
    assert steps[1]["detail"] == "once"
    assert steps[2]["rows"] == [{"a": 1}, {"known": [{"a": 1}]}]


def test_the_budget_is_for_what_is_left(start, tmp_path):
    """Of two steps the first has passed, so the second has the whole budget, less the doctor's."""
    left = "rows.add({'left': rows.seconds_left()}); end('passed')"
    start([LOOK, "end('passed')", "end('failed')"]).communicate()
    start([LOOK, "", left], "--resume", "--budget", "9000").communicate()
    steps = json.loads((tmp_path / "report.json").read_text())["steps"]
    assert [step["status"] for step in steps] == 3 * ["passed"]
    assert 6000 < steps[2]["rows"][0]["left"] <= 9000


def test_a_check_that_is_told_to_end_says_what_it_has(start, tmp_path):
    check = start([LOOK, f"rows.add({{'a': 1}})\n{HANG}", ""])
    wait_for(tmp_path / "report.json", 1, 1)
    check.send_signal(signal.SIGTERM)
    said, _ = check.communicate()
    assert check.returncode == 4
    assert "1 passed, 0 failed, 1 stopped, 0 skipped" in said
    assert f"is done again by --resume --json {tmp_path / 'report.json'}" in said
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["status"], report["steps"][1]["detail"]) == ("stopped", "interrupted")


def test_the_budget_is_shared_out(start, tmp_path):
    """Each step has its own share and what earlier ones have left."""
    left = "rows.add({'left': rows.seconds_left()}); end('passed')"
    start([LOOK, left, left], "--budget", "9000").communicate()
    steps = json.loads((tmp_path / "report.json").read_text())["steps"]
    assert 3000 < steps[1]["rows"][0]["left"] <= 6000 < steps[2]["rows"][0]["left"] <= 9000


def test_no_step_begins_without_time(start, tmp_path):
    check = start([LOOK], "--budget", "3")
    assert check.communicate()[0] == "skipped: no time left\n"
    assert check.returncode == 3


@pytest.mark.parametrize(
    ("outcomes", "left", "status", "verdict"),
    [
        (["passed"], 0, 0, "passed"),
        (["passed"], 0, 5, "passed"),  # all the others had passed before
        (["passed", "skipped"], 3, 2, "stopped"),
        (["passed"], 0, 1, "failed"),
        (["passed", "failed"], 3, 2, "failed"),
        (["skipped"], 0, 0, "failed"),  # nothing ran
        ([], 0, 5, "failed"),
    ],
)
def test_outcome_of_the_tests(load, outcomes, left, status, verdict):
    found = [{"test": "t", "outcome": each, "detail": "why"} for each in outcomes]
    assert load("steps.tests").outcome_of("pytest", found, left, status).status == verdict


def test_a_test_that_hangs_ends_the_step_with_its_traceback():
    code = (
        "import os, sys, time\nsys.path[:0] = ['.', '../../tests']\n"
        "import pytest, rows\nfrom steps import tests\n"
        "def hangs(*_): time.sleep(1e6)\npytest.main = hangs\n"
        "os.environ[rows.DEADLINE] = str(time.monotonic() + tests.LAST + 0.3)\ntests.run()"
    )
    folder = SCRIPTS / "gpu_check"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, stderr=subprocess.PIPE, check=False
    )
    assert done.returncode == 1
    assert b"in hangs" in done.stderr


SUITE = """\
import pytest
@pytest.fixture
def broken(): raise ValueError("no fixture")
def test_passes(): pass
def test_fails(): assert 1 == 2
def test_skips(): pytest.skip("not here")
def test_errors(broken): pass
"""


def test_the_plugin_keeps_a_row_for_each_test(tmp_path):
    """In a process of its own, three times: all, without what passed before, and in no time."""
    for name, text in (("a", SUITE), ("b", "import no_such_module")):
        (tmp_path / f"test_{name}.py").write_text(text)
    (tmp_path / "pytest.ini").write_text("[pytest]")
    code = f"""
import json, os, time, pytest, rows
from pytest_rows import Rows
def run():
    plugin = Rows()
    pytest.main(["-p", "no:cacheprovider", "--continue-on-collection-errors", {str(tmp_path)!r}],
                [plugin])
    return plugin
all_of_them = run()
passed = [row for row in all_of_them.rows if row["outcome"] == "passed"]
rows.write(pathlib.Path("done"), passed)
os.environ[rows.DONE] = "done"
again = run()
os.environ[rows.DEADLINE] = str(time.monotonic() + 1)
runs = [all_of_them, again, run()]
pathlib.Path("result").write_text(json.dumps([[run.rows, run.left] for run in runs]))
"""
    done = subprocess.run(
        [sys.executable, "-c", "import pathlib" + code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(SCRIPTS / "gpu_check"), "GPUNN_CHECK_ROWS": "added"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "result").read_text())
    everything = [
        ("test_b.py", "failed", "No module named 'no_such_module'"),
        ("test_a.py::test_passes", "passed", ""),
        ("test_a.py::test_fails", "failed", "assert 1 == 2"),
        ("test_a.py::test_skips", "skipped", "not here"),
        ("test_a.py::test_errors", "failed", "no fixture"),
    ]
    after_the_first = [everything[0], *everything[2:]]
    for expected, unbegun, (kept, left) in zip(
        (everything, after_the_first, after_the_first[:2]), (0, 0, 2), found, strict=True
    ):
        assert left == unbegun
        assert [(row["test"], row["outcome"]) for row in kept] == [each[:2] for each in expected]
        for row, (_, _, said) in zip(kept, expected, strict=True):
            assert said in row["detail"]
    added = [json.loads(line) for line in (tmp_path / "added").read_text().splitlines()]
    assert added == [row for kept, _ in found for row in kept]


CURVE = {"loss": [1.0], "accuracy": [0.5], "val_loss": [2.0], "val_accuracy": [0.5]}


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({}, "passed"),
        ({"loss": [1.0005]}, "passed"),
        ({"loss": [1.002]}, "failed"),
        ({"val_loss": [2.3]}, "failed"),
        ({"accuracy": [0.52]}, "failed"),
        ({"val_accuracy": [0.48]}, "failed"),
        ({"loss": [float("nan")]}, "failed"),
    ],
)
def test_curves_are_compared(load, change, status):
    curves = load("steps.curves")
    both = {"numpy": CURVE, "cupy": {**CURVE, **change}}
    assert curves.judged("data", both, curves.Tolerance(1e-3, 0.1, 0.01)).status == status


def test_the_report_is_written_whole_or_not_at_all(load, tmp_path):
    report = load("report")
    path = tmp_path / "report.json"
    report.write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        report.write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]
