"""The script that checks a GPU, where there is none: what it says then, and its steps' logic.

Whole steps run as they would on a GPU, in processes of their own, on the emulated device.
"""

import importlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from click.testing import CliRunner

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


def run(*arguments, **variables):
    inherited = {
        k: v for k, v in os.environ.items() if k not in ("GPUNN_TEST_DEVICE", "GPUNN_DATA")
    }
    environment = {**inherited, "PYTHON": sys.executable, **variables}
    return subprocess.run(
        [SCRIPT, *arguments], env=environment, capture_output=True, text=True, check=False
    )


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


def test_without_a_device_it_is_skipped_and_never_passes(tmp_path):
    done = run("--json", tmp_path / "report.json", CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 3
    assert done.stdout.startswith("skipped: no CUDA device")
    assert "passed" not in done.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["status"] == "skipped"
    assert report["reason"] in done.stdout
    assert report["steps"] == []


def test_a_device_that_fails_is_a_failure_with_a_report(load, tmp_path, monkeypatch):
    device = load("device")
    place = SCRIPTS / "gpu_check" / "__main__.py"
    spec = importlib.util.spec_from_file_location("gpu_check_main", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def fail():
        raise RuntimeError("cublasCreate: status 1\nand more")

    monkeypatch.setattr(device, "prepare", lambda: None)
    monkeypatch.setattr(device, "missing", fail)
    path = tmp_path / "report.json"
    done = CliRunner().invoke(module.main, ["--json", str(path)])
    assert done.exit_code == 1
    assert done.output == "failed: RuntimeError: cublasCreate: status 1\n"
    written = json.loads(path.read_text())
    assert (written["status"], written["steps"]) == ("failed", [])
    assert written["reason"] == "RuntimeError: cublasCreate: status 1"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "no such step"], "no step matches 'no such step'; there are: doctor, "),
        (["--json", "/no/such/folder/report.json"], "/no/such/folder: no such folder"),
        (["--data", "/no/such/folder"], "does not exist"),
    ],
)
def test_wrong_usage(arguments, said):
    done = run(*arguments)
    assert done.returncode == 2
    assert said in done.stderr


def test_an_interpreter_that_is_not_there():
    done = run(PYTHON="no-such-python")
    assert done.returncode == 2
    assert "PYTHON=no-such-python: no such command" in done.stderr


# ------------------------------------------------------------------------ on the emulated device


@needs_emulator
def test_rehearsal(tmp_path):
    """Every step that the emulated device can do is done, the others say why not."""
    path = tmp_path / "report.json"
    done = run("--json", path, GPUNN_TEST_DEVICE="emulated")
    report = json.loads(path.read_text())
    outcomes = {step["name"]: step["status"] for step in report["steps"]}
    wrong = {step["name"]: step["detail"] for step in report["steps"] if step["status"] == "failed"}
    assert not wrong
    skipped = {name for name, status in outcomes.items() if status == "skipped"}
    assert skipped == {name for name in outcomes if "sanitizer" in name or "Torch" in name} | {
        "speed: JAX"
    }
    assert done.returncode == 0
    figures = {step["name"]: step["figures"] for step in report["steps"]}
    assert figures["kernel sources"]["launches"]["8"] == 4  # one of each network
    assert set(figures["fused products"]["refused"].values()) == {""}
    assert report["emulated"]
    assert done.stdout.startswith("REHEARSAL")
    assert done.stdout.rstrip().endswith("a rehearsal, not a GPU")


@needs_emulator
@pytest.mark.parametrize(
    ("step", "plant", "said"),
    [
        (
            "operations",
            "c.FORMULAS[a.ReLU] = c.FORMULAS[a.Identity]; s.REHEARSED = 1; "
            "s.CASES = [case for case in s.CASES if 'activate-relu-' in case.name]",
            "cases fail: activate-relu",
        ),
        ("curves", "c.FORMULAS[a.ReLU] = c.FORMULAS[a.SiLU]", "digits: differs in loss by"),
        ("sources", "s.tour.run = s.tour.Tour", "of 0 sources"),
        (
            "sources",
            "from gpunn.backends.cupy.matmul import cublaslt as lt; "
            "lt.load_cublaslt().cublasLtMatmul = lambda *_: 15",
            "; fused products: cuBLASLt, which refused: (",
        ),
        ("precision", "s.ROUNDING['tf32'] = 0.0", "tf32 128x8x512"),
        ("fused", "s.precision.ROUNDING['tf32'] = 0.0", "tf32, bias, 128x8x512"),
        (
            "fused",
            "from gpunn.backends.cupy.matmul import cublaslt as lt; "
            "lt.load_cublaslt().cublasLtMatmul = lambda *_: 7",
            "float32, bias, 128x8x512: refused (status 7, invalid value)",
        ),
        (
            "graph",
            "from gpunn.backends.cupy import graph as g; "
            "g.Recording._record_larger = lambda self: None",
            "no graph of one step or of 8",
        ),
    ],
)
def test_a_step_fails_where_something_is_wrong(step, plant, said, tmp_path):
    """Each step is run with a fault planted."""
    code = f"""
import device
device.prepare()
from gpunn import activations as a
from gpunn.backends.cupy.kernels import activations as c
from steps import {step} as s
{plant}
from worker import outcome_of
outcome = outcome_of("{step}.run")
print(outcome.status, outcome.detail)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=SCRIPTS / "gpu_check",
        env={**os.environ, "GPUNN_TEST_DEVICE": "emulated"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1].startswith("failed ")
    assert said in done.stdout


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


def test_an_error_is_a_failure_and_a_reason_is_a_skip(load):
    worker = load("worker")
    assert worker.outcome_of("no_such_module.run").status == "failed"
    assert worker.outcome_of("sanitizer.run:memcheck").status == "skipped"


def test_every_step_has_its_function(load):
    plan = load("plan")
    for step in plan.STEPS:
        module, _, rest = step.call.partition(".")
        source = (SCRIPTS / "gpu_check" / "steps" / f"{module}.py").read_text()
        assert f"def {rest.partition(':')[0]}(" in source
        assert step.limit < plan.BUDGET


LISTING = (
    '<testsuites><testsuite><testcase classname="a" name="b">{}</testcase></testsuite></testsuites>'
)


@pytest.mark.parametrize(
    ("listing", "status", "outcome"),
    [
        (LISTING.format(""), 0, "passed"),
        (LISTING.format(""), 1, "failed"),
        (LISTING.format("<failure/>"), 0, "failed"),
        (LISTING.format("<error/>"), 0, "failed"),
        (LISTING.format("<skipped/>"), 0, "failed"),  # nothing ran
        ("<testsuites/>", 0, "failed"),
    ],
)
def test_outcome_of_the_tests(load, tmp_path, listing, status, outcome):
    path = tmp_path / "tests.xml"
    path.write_text(listing)
    assert load("steps.tests").outcome_of(path, status).status == outcome


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


def test_timing_leaves_out_the_first_epoch(load):
    speed = load("steps.speed")
    epochs = [speed.Epoch(s, s / 2, 1.0, a) for s, a in [(9, 0.1), (1, 0.5), (2, 0.9), (3, 0.99)]]
    timed = speed.timing(epochs, steps=100, target=0.9)
    assert timed["steps per second"] == 50
    assert timed["device microseconds a step"] == 10_000
    assert timed["epochs to target"] == 3
    assert timed["seconds to target"] == 6
    assert speed.timing(epochs, 100, 1.0)["seconds to target"] is None


@pytest.mark.parametrize(("module", "place"), [("torch", ("eager", "cpu")), ("jax", ())])
def test_other_libraries_learn_the_same_work(load, module, place, monkeypatch):
    """On a CPU, where they are installed: the loss falls as gpunn's own."""
    pytest.importorskip(module)
    work, peer = load("steps.work"), load(f"steps.speed_{module}")
    data = work.digits()
    run = peer.epochs(data, 128, *place)
    losses = [next(run).loss for _ in range(3)]
    trainer = work.trainer(work.network(data, "numpy"))
    own = trainer.fit(*data.cut(128), epochs=3, batch_size=128, progress=False)
    assert losses == pytest.approx(own["loss"], rel=0.2)


def test_the_report_is_written_whole_or_not_at_all(load, tmp_path):
    report = load("report")
    path = tmp_path / "report.json"
    report.write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        report.write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]
