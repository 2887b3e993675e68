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
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from gpunn.backends.cupy.diagnosis import Finding

SCRIPTS = Path(__file__).parents[2] / "scripts"
CHECK = SCRIPTS / "gpu_check"
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
            [SCRIPTS / "gpu_check.sh", *arguments],
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
    monkeypatch.syspath_prepend(str(CHECK))
    known = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - known:
        origin = getattr(sys.modules[name], "__file__", None) or ""
        if name == "steps" or str(CHECK) in origin:
            del sys.modules[name]


class Kept(list):
    """Rows of a step that runs in this process, in place of its connection."""

    send = list.append


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
    assert done.stdout.startswith(f"doctor: skipped, no CUDA device: {reason}")
    assert "0 passed" in done.stdout
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
    monkeypatch.setattr(doctor.diagnosis, "findings", lambda: [finding])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    rows = Kept()
    outcome, detail = doctor.run(load("process").Step(False, (), 0.0, rows))
    assert (outcome, rows) == (status, [])
    assert f"{finding.problem}. To fix it: install" in detail
    assert ("no CUDA device" in detail) == (status == "skipped")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "no such step"], "no step matches 'no such step'; there are: doctor, "),
        (["--json", "/no/such/folder/report.json"], "/no/such/folder: no such folder"),
        (["--data", "/no/such/folder"], "does not exist"),
        (["--resume"], "name the report of the earlier check with --json FILE"),
        (["--resume", "--json", "/"], "is a directory"),
        (["--resume", "--json", __file__], f"{__file__} is no report"),
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
    assert {
        step["name"]: step["detail"] for step in report["steps"] if step["status"] != "passed"
    } == {"compute-sanitizer": "a rehearsal: there is no GPU code to look at"}
    assert done.returncode == 0
    steps = {step["name"]: step for step in report["steps"]}
    rows = {name: step["rows"] for name, step in steps.items()}
    assert len(rows["warm-up"]) > 20
    assert [row["data"] for row in rows["training on both backends"]] == ["digits"]
    assert sum(row["outcome"] == "passed" for row in rows["tests on this device"]) >= 3
    reasons = {row["detail"] for row in rows["tests on this device"] if row["outcome"] == "skipped"}
    assert {"hypothesis is not installed", "needs scikit-learn, the extra 'sklearn'"} <= reasons
    for row in rows["speed"]:
        assert row["microseconds a step"] >= row["device microseconds a step"] > 0
        assert row["steps of a stretch"] == 10
    losses = [row["first loss"] for row in rows["speed"]]
    assert len(losses) == 2 * 3
    assert losses == pytest.approx(3 * [losses[0]] + 3 * [losses[3]])  # in graphs, and one by one
    assert "not timed: JAX, scan: a rehearsal: it can't use the emulated device" in done.stdout
    names = [each["operation"] for each in rows["kernels of a step"][0]["operations"]]
    layers = [*2 * ["dense"], "loss", *2 * ["dense_gradient"]]
    assert names == ["next_batch", *layers, "counted_update", "sum", "the whole step"]
    for each in rows["kernels of a step"][0]["operations"]:
        assert each["microseconds"] > each["least microseconds"] > 0
    assert report["emulated"]
    assert len(report["commit"]) >= 40
    assert report["device"]["driver"].startswith("CUDA ")
    assert done.stdout.rstrip().endswith(
        f": a rehearsal, which says nothing about a GPU\nreport: {path.name}"
    )


PLANTED = """
import contextlib, ctypes, io, types
from unittest.mock import patch
import device
device.prepare()
import cupy, importlib
from gpunn import activations as a
from gpunn.backends.cupy.kernels import activations as c
from gpunn.backends.cupy.matmul import choice, cublas, cublaslt as lt
from process import SkipError, Step, outcome_of

class Rows(list):
    send = list.append

def show(module):
    rows, printed = Rows(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
        status, detail = outcome_of(module, Step(False, (), float("inf"), rows))
    print(status, detail, [*rows, printed.getvalue()])

def fail(*_):
    raise RuntimeError("planted")

def fail_to_open():
    raise OSError('planted')

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
        cwd=CHECK,
        env={**os.environ, "GPUNN_TEST_DEVICE": "emulated"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


WITHOUT_PYTEST = "patch.object(importlib.util, 'find_spec', lambda name: None)"


@needs_emulator
def test_a_wrong_kernel_is_found():
    """By a training beside NumPy's, and by the operations, which are compared without pytest."""
    curves, operations = planted(
        f"""
c.FORMULAS[a.ReLU] = c.FORMULAS[a.SiLU]
show("curves")
from steps import tests
from parity import operations
tests.EVERY = 1
operations.CASES[:] = [case for case in operations.CASES if "activate-relu-" in case.name]
with {WITHOUT_PYTEST}:
    show("tests")
"""
    )
    assert curves.startswith("failed digits: differs in loss by")
    assert operations.startswith("failed pytest is not installed; operations against NumPy: ")
    assert "failed; activate-relu" in operations


NO_DEVICE = ("NVRTC can't be loaded: RuntimeError: planted", "CUDA does not start: RuntimeError")
NO_CUBLASLT = "patch.object(choice, 'load_cublaslt', fail_to_open)"
BROKEN = [
    # Products that cuBLASLt refuses take other kernels, which says nothing about a source. It comes
    # first, for what a process has compiled isn't asked for again.
    (
        *("sources", "patch.object(lt.load_cublaslt(), 'cublasLtMatmul', lambda *_: 15)"),
        *("passed", "sources, the same text as on the emulated device"),
    ),
    (
        *("doctor", "patch.object(cupy.cuda, 'nvrtc', types.SimpleNamespace(getVersion=fail))"),
        *("failed", NO_DEVICE[0]),
    ),
    (
        "doctor",
        "patch.object(cupy.cuda, 'is_available', fail), "
        "patch.object(cupy.cuda.runtime, 'getDeviceCount', fail)",
        *("failed", NO_DEVICE[1]),
    ),
    (
        *("doctor", "patch.object(cupy, 'ElementwiseKernel', fail)"),
        *("failed", "can't be compiled and run"),
    ),
    (
        "doctor",
        "patch.object(cublas, 'handles', cublas.Handles()), patch.object(choice, "
        "'load_cublas', lambda: Amended(cublas.load_cublas(), cublasCreate_v2=lambda _: 1))",
        *("failed", "cuBLAS: cupy.matmul (cuBLAS can't be opened"),
    ),
    ("doctor", NO_CUBLASLT, "failed", "cuBLASLt can't be opened"),
    (
        *("doctor", "patch.object(choice.CublasProduct, '__call__', lambda *_: None)"),
        *("failed", "the product of two small matrices of integers is wrong"),
    ),
    ("doctor", "contextlib.nullcontext()", "passed", "import cupy"),
    ("tests", WITHOUT_PYTEST, "passed", "pytest is not installed; operations against NumPy: "),
    ("sources", "patch('tour.run', lambda **_: None)", "failed", "of 0 sources"),
]


@needs_emulator
def test_what_is_here_and_broken_is_found():
    """Each step is run with a fault planted; the doctor tells a device wherever there is one."""
    lines = planted(
        "import tour\nfrom adapters import with_gpunn\n"
        + "".join(f"with {plant}:\n    show({step!r})\n" for step, plant, *_ in BROKEN)
        + f"with {NO_CUBLASLT}:\n    try: with_gpunn.start('measured')\n"
        "    except SkipError as reason: print(reason)"
    )
    assert "cuBLASLt can't be opened: planted" in lines.pop()
    for (step, _, status, said), line in zip(BROKEN, lines, strict=True):
        assert line.startswith(f"{status} ")
        assert said in line
        assert step != "doctor" or ("{'device': {" in line) == (said not in NO_DEVICE)


@pytest.mark.skipif(cupy_version() is None, reason="needs CuPy")
def test_sources_are_generated_without_cub():
    code = """
import sys
sys.path[:0] = sys.argv[1:]
from steps import sources
from cupy import _core
print(_core.get_routine_accelerators(), _core.get_reduction_accelerators())
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(SCRIPTS.parent), str(SCRIPTS.parent / "tests")],
        cwd=CHECK,
        env={**os.environ, "CUPY_ACCELERATORS": "cub", "GPUNN_TEST_DEVICE": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[] []\n"


# ---------------------------------------------------------------- steps' processes and the report


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
    """Run a step that is a few lines of code: `run_code(code, limit)`."""
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
    """The step goes on only once its first row was seen; a crash keeps its rows."""
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
    """Its time is up as soon as its row is there."""
    readings = iter([0.0, 0.0])
    clock = SimpleNamespace(monotonic=lambda: next(readings, 1e9))
    monkeypatch.setattr(load("process"), "time", clock)
    found = run_code(f"step.add({{'a': 1}}); {HANG}")
    assert (found["status"], found["detail"]) == ("stopped", "stopped after 10000 s, with 1 rows")


@pytest.fixture
def start(tmp_path):
    """Start a check, `start([code, ...], ...)`, each of whose steps is a few lines of code."""

    def started(codes, *options):
        for number, code in enumerate(codes):
            write_step(tmp_path, f"step{number}", code)
        program = (
            f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(CHECK)!r}]\nimport command\n"
            "names = range(int(sys.argv.pop(1)))\n"
            "command.PLAN = tuple(command.Planned(str(n), f'step{n}', 60) for n in names)\n"
            "command.main()"
        )
        report = ("--json", str(tmp_path / "report.json"))
        return subprocess.Popen(
            [sys.executable, "-c", program, str(len(codes)), *report, *options],
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

    Its steps end with it. The report is gone on with only on the same device, and otherwise left as
    it is.
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
    assert "is of another device; name another file" in other.communicate()[1]
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


def test_a_check_that_is_told_to_end_says_what_it_has(start, tmp_path):
    check = start([LOOK, f"step.add({{'a': 1}})\n{HANG}", ""])
    wait_for(tmp_path / "report.json", 1, 1)
    check.send_signal(signal.SIGTERM)
    said, _ = check.communicate()
    assert check.returncode == 4
    assert "1 passed, 0 failed, 1 stopped, 0 skipped" in said
    assert f"is done again by --resume --json {tmp_path / 'report.json'}" in said
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["status"], report["steps"][1]["detail"]) == ("stopped", "interrupted")


def test_the_budget_is_shared_out_among_what_is_left(start, tmp_path):
    """Each step has its own share and what earlier ones have left; what passed needs none."""
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


def test_the_limits_are_those_of_the_documents(load):
    plan = load("command").PLAN
    for planned in plan:
        assert (CHECK / "steps" / f"{planned.module}.py").exists()
    assert sum(planned.limit for planned in plan) == 15 * 60
    assert sum(planned.quick_limit for planned in plan) == 3 * 60


# ------------------------------------------------------------------------------------- steps


SUITE = """\
import pytest
pytestmark = pytest.mark.device
@pytest.fixture
def broken(): raise ValueError("no fixture")
def test_passes(): pass
def test_fails(): assert 1 == 2
def test_skips(): pytest.skip("not here")
def test_errors(broken): pass
"""
PASSES, FAILS, SKIPS, ERRORS = (
    ("test_a.py::test_passes", "passed", ""),
    ("test_a.py::test_fails", "failed", "assert 1 == 2"),
    ("test_a.py::test_skips", "skipped", "not here"),
    ("test_a.py::test_errors", "failed", "no fixture"),
)
UNREADABLE = ("test_b.py", "failed", "No module named 'no_such_module'")
RUNS = [
    # selection, tests that passed before, seconds left; outcome and new rows
    (["test_a.py"], [], 1e6, "failed", [PASSES, FAILS, SKIPS, ERRORS]),
    (["test_a.py"], ["passes"], 1e6, "failed", [FAILS, SKIPS, ERRORS]),
    (["test_a.py"], ["passes"], 6, "failed", [FAILS]),
    (["test_b.py"], [], 1e6, "failed", [UNREADABLE]),
    (["test_a.py", "-k", "passes or skips"], [], 1e6, "passed", [PASSES, SKIPS]),
    (["test_a.py", "-k", "passes or skips"], [], 6, "stopped", [PASSES]),
    (["test_a.py", "-k", "passes"], ["passes"], 1e6, "passed", []),
    (["test_a.py", "-k", "skips"], [], 1e6, "failed", [SKIPS]),
    (["test_a.py", "-k", "nothing"], [], 1e6, "failed", []),
    (["no_such_file.py"], ["passes"], 1e6, "failed", []),
]


def test_each_test_is_a_row(tmp_path):
    """Each run of pytest is given what passed before, and so many seconds."""
    for name, text in (("a", SUITE), ("b", "import no_such_module")):
        (tmp_path / f"test_{name}.py").write_text(text)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = device")
    code = f"""
import json, pathlib, sys, time
import device
device.REPOSITORY = pathlib.Path({str(tmp_path)!r})
from process import Step
from steps import tests
class Rows(list):
    send = list.append
results = []
for selected, passed, left, *_ in {RUNS}:
    rows, tests.SELECTED = Rows(), selected
    done = [{{"test": f"test_a.py::test_{{name}}", "outcome": "passed"}} for name in passed]
    outcome = tests.run(Step(False, done, time.monotonic() + left, rows))
    results.append([outcome, rows])
pathlib.Path({str(tmp_path / "result")!r}).write_text(json.dumps(results))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECK, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "result").read_text())
    for (*_, status, expected), (outcome, rows) in zip(RUNS, results, strict=True):
        assert outcome[0] == status
        assert [(row["test"], row["outcome"]) for row in rows] == [each[:2] for each in expected]
        for row, (_, _, said) in zip(rows, expected, strict=True):
            assert said in row["detail"]


def test_a_test_that_hangs_ends_the_step_with_its_traceback():
    code = (
        "import sys, time\nsys.path[:0] = ['.', '../../tests']\n"
        "import pytest\nfrom process import Step\nfrom steps import tests\n"
        "def hangs(*_): time.sleep(1e6)\npytest.main = hangs\n"
        "tests.run(Step(False, (), time.monotonic() + tests.LAST + 0.3, None))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECK, stderr=subprocess.PIPE, check=False
    )
    assert done.returncode == 1
    assert b"in hangs" in done.stderr


LOGS = {name: 3 * [0.5] for name in ("loss", "accuracy", "val_loss", "val_accuracy")}


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({}, "passed"),
        ({"loss": [0.5, 0.5, 0.5 + 4e-6]}, "passed"),
        ({"loss": [0.5, 0.5, 0.5 + 6e-6]}, "failed"),
        ({"val_loss": [0.5, 0.5 - 6e-6, 0.5]}, "failed"),
        ({"accuracy": [0.503, 0.5, 0.5]}, "failed"),
        ({"val_accuracy": [0.497, 0.5, 0.5]}, "failed"),
        ({"loss": [0.5, 0.5, float("nan")]}, "failed"),
    ],
)
def test_curves_are_compared(load, monkeypatch, change, status):
    curves = load("steps.curves")
    logs = {"numpy": LOGS, "cupy": LOGS | change}
    monkeypatch.setattr(curves, "trained", lambda data, backend: logs[backend])
    rows = Kept()
    assert curves.run(load("process").Step(True, (), 0.0, rows))[0] == status
    assert [row["logs"] for row in rows] == [logs]
