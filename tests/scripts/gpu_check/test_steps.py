"""The steps of the GPU check, on the emulated device and separately."""

import importlib.util
import json

import pytest
from mpi import needs_mpi
from processes import run_python

from gpunn.backends.cupy.diagnosis import Finding

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
    load, run_step, tmp_path, monkeypatch, finding, files, visible, status
):
    """The check is skipped only without CuPy or without any sign of a GPU."""
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
    outcome, detail, rows = run_step("doctor")
    assert (outcome, rows) == (status, [])
    assert f"{finding.problem}. To fix it: install" in detail
    assert ("no CUDA device" in detail) == (status == "skipped")


NETWORKS = (
    *("100-256x3-1, layer norm, GELU", "embedding of 100,000 categories", "custom layer and loss"),
    *("images of 28x28, 5x5 to 8 and 16", "TabM, 8 members, 3 x 192", "RealMLP, 3 x 256"),
)
OPERATIONS = {
    *("accumulate", "convolution_weights", "embed", "embed_gradient"),
    *("layer_norm_activation_gradient", "max_pool_gradient"),
    *("mean_over_members", "one_hot", "periodic_gradient"),
    *("parametric_activation_gradient", "piecewise_linear", "scale_gradient"),
}
KERNELS = (
    *("col2im", "copy_columns", "embed_gradient", "factors_gradient", "im2col"),
    *("max_pool_gradient", "mean_over_members", "moving_dropout"),
    *("one_hot", "parametric_mish_gradient", "periodic_gradient", "piecewise_linear", "scale"),
)


STEPS = "training on both backends", "kernels of a step"


def trainings_and_kernels(trainings, steps):
    assert [row["data"] for row in trainings] == ["digits", *NETWORKS]
    names = [each["operation"] for each in steps[0]["operations"]]
    # The gradients of a layer with ReLU are separate operations.
    layers = [*2 * ["dense"], "loss", "dense_gradient", "activation_gradient", "matmul"]
    assert names == ["next_batch", *layers, "counted_update", "sum", "the whole step"]
    for each in steps[0]["operations"]:
        assert each["microseconds"] > each["least microseconds"] > 0
    others = [each for row in steps[1:7] for each in row["operations"]]
    assert {each["operation"] for each in others} >= OPERATIONS
    assert all(each["microseconds"] > 0 for each in others)


@pytest.mark.parametrize(
    "only",
    [
        # Other tests run the other steps, their programs, or what they share with others.
        pytest.param("^(doctor|warm-up|speed|tests|networks)", id="in part"),
        pytest.param("", id="whole", marks=pytest.mark.full),
    ],
)
def test_rehearsal(emulator, optional, run, tmp_path, only):
    """On a machine without optional packages, possible steps run, and the others have a reason."""
    done = run("--only", only, absent=optional, GPUNN_TEST_DEVICE="emulated")
    (path,) = tmp_path.glob("gpu_check_*.json")
    report = json.loads(path.read_text())
    left_out = (
        {}
        if only
        else {
            "compute-sanitizer": "a rehearsal has no GPU code to check",
            "kernels in Nsight Compute": "a rehearsal has no GPU code to time",
        }
    )
    if not only and importlib.util.find_spec("mpi4py") is None:
        left_out["several devices"] = "mpi4py is not installed"
    assert {
        step["name"]: step["detail"] for step in report["steps"] if step["status"] != "passed"
    } == left_out
    assert done.returncode == 0
    rows = {step["name"]: step["rows"] for step in report["steps"]}
    assert len(rows["warm-up"]) > 20
    assert sum(row["outcome"] == "passed" for row in rows["tests on this device"]) >= 3
    reasons = {row["detail"] for row in rows["tests on this device"] if row["outcome"] == "skipped"}
    assert {"hypothesis is not installed", "needs scikit-learn, the extra 'sklearn'"} <= reasons
    for row in rows["speed"]:
        assert row["microseconds a step"] >= row["device microseconds a step"] > 0
        assert row["steps of a stretch"] == 10
    losses = [row["first loss"] for row in rows["speed"]]
    assert losses == pytest.approx(2 * [losses[0]] + 2 * [losses[2]])  # in graphs, and one by one
    assert [row["threads"] for row in rows["networks at the same time"]] == 2 * [0, 1, 3]
    if not only:
        assert len(rows["further speed"]) == 2
        trainings_and_kernels(*(rows[name] for name in STEPS))
    assert "not timed: JAX, scan: a rehearsal: it can't use the emulated device" in done.stdout
    compiled = " ".join(row["kernels"] for row in rows["warm-up"])
    assert [name for name in KERNELS if f"gpunn_{name}" not in compiled] == []
    assert report["emulated"]
    assert len(report["commit"]) >= 40
    assert report["device"]["driver"].startswith("CUDA ")
    assert done.stdout.rstrip().endswith(
        f": a rehearsal, which proves nothing about a GPU\nreport: {path.name}"
    )


PLANTED = """
import contextlib, ctypes, io, json, types
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import patch
import device
device.prepare()
import cupy, importlib
from gpunn import activations as a
from gpunn.backends.cupy.kernels import activations as c
from gpunn.backends.cupy.matmul import choice, cublas, cublaslt as lt
from process import SkipError, Step, outcome_of

def show(module):
    rows, printed = [], io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
        status, detail = outcome_of(module, Step(False, (), float("inf"), rows.append))
    print(status, detail, [*rows, printed.getvalue()])
    return rows

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


@pytest.fixture(scope="module")
def planted(run_emulated):
    def ran(code):
        done = run_emulated("-c", PLANTED + code)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return ran


WITHOUT_PYTEST = "patch.object(importlib.util, 'find_spec', lambda name: None)"


def test_a_wrong_kernel_is_found(planted):
    """A training compared with NumPy finds them, and so do operations compared without pytest."""
    curves, operations = planted(
        f"""
c.FORMULAS[a.ReLU] = c.FORMULAS[a.SiLU]
with patch("steps.curves.INSPECTED", {{}}):
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
    # It comes first, because it imports and compiles what the others then replace.
    ("doctor", "contextlib.nullcontext()", "passed", "import cupy"),
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
        "patch.object(cublas, 'handles', cublas.Handles(cublas.Handle)), patch.object(choice, "
        "'load_cublas', lambda: Amended(cublas.load_cublas(), cublasCreate_v2=lambda _: 1))",
        *("failed", "cuBLAS: cupy.matmul (cuBLAS can't be opened"),
    ),
    ("doctor", NO_CUBLASLT, "failed", "cuBLASLt can't be opened"),
    (
        *("doctor", "patch.object(choice.CublasProduct, '__call__', lambda *_: None)"),
        *("failed", "the product of two small matrices of integers is wrong"),
    ),
    ("tests", WITHOUT_PYTEST, "passed", "pytest is not installed; operations against NumPy: "),
    (
        "sources",
        "patch('tour.run', lambda **_: None), "
        "patch('steps.sources.ProcessPoolExecutor', lambda *_: ThreadPoolExecutor(1))",
        *("failed", "of 0 sources"),
    ),
]


SEVERAL = """
import cupy.cuda.nccl
from steps import several
seen, train = {}, several.trained
def train_once(step, number, *how):
    if number not in seen:
        seen[number] = train(step, number, *how)
    return seen[number]
with patch("steps.several.trained", train_once):
    show("several")
    with patch("steps.several.LIMIT", 1e-12):
        show("several")
with patch("steps.several.importlib.util.find_spec", lambda name: None):
    show("several")
with patch.object(cupy.cuda.runtime, "getDeviceCount", lambda: 1):
    show("several")
"""


@pytest.fixture(scope="module")
def lines(planted):
    """What a process says: the lines of each test below, by names."""
    parts = {
        "broken": "import tour\nfrom adapters import with_gpunn\n"
        + "".join(f"with {plant}:\n    show({step!r})\n" for step, plant, *_ in BROKEN)
        + f"with {NO_CUBLASLT}:\n    try: with_gpunn.start('measured')\n"
        "    except SkipError as reason: print(reason)",
        "a step": "import step_alone; step_alone.BATCH = 16; "
        "print(step_alone.once('custom layer and loss'))",
        "several": SEVERAL,
        "rows": "print(json.dumps([show(step) for step in ('curves', 'kernels')]))",
        "racecheck": "import sys; sys.argv[1:] = ['racecheck']; import tour_alone",
    }
    said = planted("".join(f"\nprint({f'== {name}'!r})\n{code}\n" for name, code in parts.items()))
    marks = [said.index(f"== {name}") for name in parts]
    ends = [*marks[1:], len(said)]
    return {
        name: said[start + 1 : end] for name, start, end in zip(parts, marks, ends, strict=True)
    }


def test_what_is_here_and_broken_is_found(lines):
    """Each step runs with a planted fault; the doctor describes the device if there is one."""
    *found, refused = lines["broken"]
    assert "cuBLASLt can't be opened: planted" in refused
    for (step, _, status, said), line in zip(BROKEN, found, strict=True):
        assert line.startswith(f"{status} ")
        assert said in line
        assert step != "doctor" or ("{'device': {" in line) == (said not in NO_DEVICE)


def test_a_step_runs_alone(lines):
    assert int(*lines["a step"]) >= 10


def test_trainings_and_kernels(lines):
    *steps, rows = lines["rows"]
    assert all(line.startswith("passed ") for line in steps), steps
    trainings_and_kernels(*json.loads(rows))


@pytest.mark.full
def test_products_that_are_refused_say_nothing_about_a_source(planted):
    """They take other kernels."""
    refused = "patch.object(lt.load_cublaslt(), 'cublasLtMatmul', lambda *_: 15)"
    (line,) = planted(f"with {refused}:\n    show('sources')")
    assert line.startswith("passed ")
    assert "sources, equal to the sources on the emulated device" in line


@needs_mpi
def test_several_devices_are_compared_with_one(lines):
    same, differ, absent, alone = lines["several"]
    assert same.startswith("passed losses within ")
    assert "'devices': 1, 'exchange': 'none'" in same
    assert "'devices': 2, 'exchange': 'nccl'" in same
    assert differ.startswith("failed losses differ by ")
    assert absent.startswith("skipped mpi4py is not installed")
    assert alone.startswith("skipped needs several CUDA devices")


def test_sources_are_generated_without_cub(run_emulated):
    code = """
import os, sys
os.environ["CUPY_ACCELERATORS"] = "cub"
sys.path[:0] = ["../..", "../../tests"]
from steps import sources
from cupy import _core
print(_core.get_routine_accelerators(), _core.get_reduction_accelerators())
"""
    assert run_emulated("-c", code).stdout == "[] []\n"


def test_the_planted_kernels_build(run_emulated, lines):
    """The emulated device finds the access out of bounds, but does not look for races."""
    done = run_emulated("tour_alone.py", "memcheck")
    assert done.returncode != 0
    assert "wrote past the end of 256 bytes" in done.stderr
    assert lines["racecheck"] == []


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
    ([".", "-k", "passes"], [], 1e6, "passed", [PASSES]),  # only one process can use the device
]


def test_each_test_is_a_row(tmp_path, check_folder):
    """Each run of pytest gets the earlier rows and a time limit."""
    for name, text in (("a", SUITE), ("b", "import no_such_module")):
        (tmp_path / f"test_{name}.py").write_text(text)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = device")
    code = f"""
import json, pathlib, sys, time
import device
device.REPOSITORY = pathlib.Path({str(tmp_path)!r})
from process import Step
from steps import tests
results = []
tests.SEVERAL = ["test_b.py"]
for selected, passed, left, *_ in {RUNS}:
    rows, tests.SELECTED = [], selected
    tests.exclusive = lambda: "." in selected
    done = [{{"test": f"test_a.py::test_{{name}}", "outcome": "passed"}} for name in passed]
    outcome = tests.run(Step(False, done, time.monotonic() + left, rows.append))
    results.append([outcome, rows])
pathlib.Path({str(tmp_path / "result")!r}).write_text(json.dumps(results))
"""
    run_python("-c", code, cwd=check_folder)
    results = json.loads((tmp_path / "result").read_text())
    for (*_, status, expected), (outcome, rows) in zip(RUNS, results, strict=True):
        assert outcome[0] == status
        assert [(row["test"], row["outcome"]) for row in rows] == [each[:2] for each in expected]
        for row, (_, _, said) in zip(rows, expected, strict=True):
            assert said in row["detail"]


def test_a_test_that_hangs_ends_the_step_with_its_traceback(check_folder):
    code = (
        "import sys, time\nsys.path[:0] = ['.', '../../tests']\n"
        "import pytest\nfrom process import Step\nfrom steps import tests\n"
        "def hangs(*_): time.sleep(1e6)\npytest.main = hangs\n"
        "tests.run(Step(False, (), time.monotonic() + tests.LAST + 0.3, None))"
    )
    assert "in hangs" in run_python("-c", code, cwd=check_folder, status=1).stderr


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
def test_curves_are_compared(load, run_step, monkeypatch, change, status):
    curves = load("steps.curves")
    logs = {"numpy": LOGS, "cupy": LOGS | change}
    monkeypatch.setattr(curves, "trained", lambda data, backend: logs[backend])
    monkeypatch.setattr(curves, "INSPECTED", {})
    found, _, rows = run_step("curves", quick=True)
    assert found == status
    assert [row["logs"] for row in rows] == [logs]


SANITIZER = """#!/bin/sh
printf '%s ' "$@" >> {log}; echo >> {log}
case "$*" in
  --help) echo "  --kernel-name arg  --report-api-errors arg" ;;
  *tour_alone.py\\ *check) {planted} ;;
  *) {clean} ;;
esac
"""
FINDS = "echo '========= ERROR SUMMARY: 1 error'; exit 9"
CLEAN = "echo 'kernels of gpunn: 38'; echo '========= RACECHECK SUMMARY: 0 errors'"


@pytest.mark.parametrize(
    ("planted", "clean", "status", "said"),
    [
        (FINDS, CLEAN, "passed", "no findings in 38 kernels"),
        ("echo nothing", CLEAN, "failed", "did not find an error"),
        ("echo 'ERROR SUMMARY: 0 errors'", "", "failed", "did not find an error"),
        (FINDS, FINDS, "failed", "memcheck: 1 findings"),
        (FINDS, "exit 1", "failed", "memcheck: exit status 1"),
        (FINDS, "echo 'kernels of gpunn: 38'", "failed", "without the sanitizer's"),
        (FINDS, "echo 'ERROR SUMMARY: 0 errors'", "failed", "no kernel of gpunn"),
        (None, None, "skipped", "compute-sanitizer is not on PATH"),
    ],
)
def test_the_sanitizer(load, run_step, tmp_path, monkeypatch, planted, clean, status, said):
    """A fake program prints the sanitizer's output; a check without kernels does not pass."""
    log, program = tmp_path / "log", tmp_path / "compute-sanitizer"
    if planted is not None:
        program.write_text(SANITIZER.format(log=log, planted=planted, clean=clean))
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    if planted is None:
        with pytest.raises(load("process").SkipError, match=said):
            run_step("sanitizer")
        return
    found, detail, rows = run_step("sanitizer")
    assert found == status
    assert said in detail
    asked = log.read_text().splitlines()
    for option in ("--report-api-errors no", "--kernel-name kns=gpunn", "--tool memcheck"):
        assert option in asked[1]
    if status == "passed":
        assert "--tool racecheck" in asked[-1]
        log.unlink()
        run_step("sanitizer", done=rows[:2])
        assert "memcheck" not in log.read_text()


NCU = """#!/bin/sh
echo "$@" >> {log}
echo '==PROF== Connected to process 1'
{then}
"""
TABLE = """/bin/cat <<'END'
"ID","Kernel Name","Metric Name","Metric Unit","Metric Value"
"0","gpunn_dense(float *, int)","gpu__time_duration.sum","ns","1,536"
"1","splitKreduce_kernel","gpu__time_duration.sum","ns","992"
END
"""


@pytest.mark.parametrize(
    ("then", "status", "said"),
    [
        (TABLE, "passed", "6 steps, with the time of each kernel"),
        ("exit 1", "failed", "100-256x3-1, layer norm, GELU: exit status 1, 0 kernels"),
        ("", "failed", "exit status 0, 0 kernels"),
        ("echo '==ERROR== ERR_NVGPUCTRPERM - no permission'", "skipped", "counters"),
        (None, "skipped", "ncu is not on PATH"),
    ],
)
def test_nsight_compute(load, run_step, tmp_path, monkeypatch, capsys, then, status, said):
    log, program = tmp_path / "log", tmp_path / "ncu"
    if then is not None:
        program.write_text(NCU.format(log=log, then=then))
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(load("process").Step, "seconds_left", lambda step: 1e6)
    if status == "skipped":
        with pytest.raises(load("process").SkipError, match=said):
            run_step("ncu")
        return
    found, detail, rows = run_step("ncu")
    assert (found, said in detail) == (status, True)
    assert "--graph-profiling node" in log.read_text()
    if status == "passed":
        kernels = [("gpunn_dense(float *, int)", 1.536), ("splitKreduce_kernel", 0.992)]
        assert [tuple(each.values()) for each in rows[0]["kernels"]] == kernels
        assert [row["network"] for row in rows] == list(NETWORKS)
        assert "sum                        2.53" in capsys.readouterr().out
        monkeypatch.setattr(load("process").Step, "seconds_left", lambda step: 0.0)
        assert run_step("ncu", done=rows[:2])[0] == "stopped"
