"""The measurements of the script that checks a GPU: on the emulated device, and their logic."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

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


@pytest.fixture
def load(monkeypatch):
    """Import a module of the script, which is no package."""
    monkeypatch.syspath_prepend(str(CHECK))
    monkeypatch.delenv("GPUNN_DATA", raising=False)
    known = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - known:
        origin = getattr(sys.modules[name], "__file__", None) or ""
        if name == "steps" or str(SCRIPTS) in origin:
            del sys.modules[name]


# ----------------------------------------------------------------------- other libraries


def losses_of(train, epochs):
    """Train so many epochs, one a stretch, and return their losses and the last predictions."""
    losses, last = [], None

    def ask(done):
        nonlocal last
        if done is not None:
            losses.extend(done.losses)
            last = done
        return int(len(losses) < epochs)

    train(ask)
    return losses, last


@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("module", "mode", "place"),
    [("torch", "eager", ("cpu",)), ("torch", "compiled", ("cpu",)), ("jax", "scan", ())],
)
def test_other_libraries_do_the_same_work(
    load, module, mode, place, optimizer, precision, monkeypatch
):
    """On a CPU, where they are installed: the same losses as gpunn's, epoch for epoch."""
    pytest.importorskip(module)
    work, peer, cells = load("steps.work"), load(f"steps.speed_{module}"), load("steps.cells")
    monkeypatch.setattr(work, "ROWS", 1280)
    cell = cells.Cell((64, 48, 32, 10), 128, optimizer, precision)
    X, y = work.whole_batches(cell)
    trainer = work.trainer(work.relu_network(cell.sizes, "numpy"), optimizer=optimizer)
    own = trainer.fit(X, y, epochs=4, batch_size=128, progress=False)["loss"]
    losses, last = losses_of(lambda ask: peer.train(mode, cell, ask, *place), 4)
    assert losses == pytest.approx(own, rel=1e-5 if precision == "float32" else 0.01)
    agreement = np.mean(last.predict(X) == trainer.model.predict(X).argmax(1))
    assert agreement > (0.999 if precision == "float32" else 0.9)


@pytest.mark.parametrize(
    ("module", "mode", "plant", "said"),
    [
        ("torch", "eager", {"torch": None}, "PyTorch is not installed"),
        ("torch", "eager", {"torch": False}, "this PyTorch, 1.2, finds no CUDA device"),
        (
            *("torch", "compiled graph", {"torch": True, "triton": None}),
            "torch.compile needs Triton, which is not installed",
        ),
        (
            *("torch", "compiled", {"torch": True, "triton": True}),
            "torch.compile needs a C compiler, and there is none on PATH",
        ),
        ("jax", "scan", {"jax": None}, "JAX is not installed"),
        ("jax", "scan", {"jax": False}, "this JAX, 1.2, finds no CUDA device"),
    ],
)
def test_what_is_missing_is_skipped_with_its_reason(load, monkeypatch, module, mode, plant, said):
    """Planted: a library that is not there, None, or that sees a device or doesn't."""

    def fake(name, sees_device):
        made = ModuleType(name)
        made.__version__, made.__spec__ = "1.2", ModuleSpec(name, None)
        made.cuda = SimpleNamespace(is_available=lambda: sees_device)
        made.default_backend = lambda: "gpu" if sees_device else "cpu"
        return made

    peer = load(f"steps.speed_{module}")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    for name, sees_device in plant.items():
        made = None if sees_device is None else fake(name, sees_device)
        monkeypatch.setitem(sys.modules, name, made)
    with pytest.raises(load("outcome").SkipStepError) as skip:
        peer.start(mode)
    assert str(skip.value) == said


# ------------------------------------------------------------------------ on the emulated device


def emulated(tmp_path, code, done=()):
    """Run code beside the script's modules; return what it printed and the rows that it kept."""
    rows, known = tmp_path / "rows", tmp_path / "done"
    known.write_text("".join(json.dumps(row) + "\n" for row in done))
    variables = {
        "GPUNN_TEST_DEVICE": "emulated",
        "GPUNN_CHECK_ROWS": str(rows),
        "GPUNN_CHECK_DONE": str(known),
    }
    ran = subprocess.run(
        [sys.executable, "-c", f"import device; device.prepare()\n{code}"],
        cwd=CHECK,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    lines = rows.read_text().splitlines() if rows.exists() else []
    return ran.stdout, [json.loads(line) for line in lines]


@needs_emulator
def test_speed_is_rehearsed_and_resumed(tmp_path, load):
    """What an earlier check has timed is left out; the rest is timed side by side.

    Those rows' losses, which are other ones, show that they are compared.
    """
    cell = "64-16-10, batch 16, adam, float32"
    timed = {"microseconds a step": 1.5, "device microseconds a step": None}
    timed |= {"first losses": [9.0], "last losses": [8.0], "precision": "float32", "clocks": "then"}
    kept = {"cell": cell, "form": "gpunn", **timed}
    broken = {"cell": cell, "form": "gpunn, one by one", "error": "of an earlier check"}
    code = """
from steps import speed
outcome = speed.run("quick")
print(outcome.status, outcome.detail, outcome.text, sep="\\n")
"""
    printed, rows = emulated(tmp_path, code, [kept, broken])
    timed = [(row["cell"].split(", ")[2], row["form"]) for row in rows]
    own = [form for form in load("steps.forms").FORMS if form.startswith("gpunn")]
    assert timed == [*(("adam", form) for form in own[1:]), *(("sgd", form) for form in own)]
    for row in rows:
        assert row["microseconds a step"] >= row["device microseconds a step"] > 0
        assert row["steps of a stretch"] == 10
        assert len(row["all microseconds"]) == 2
        assert row["peak bytes"] > 0
    same = [row["first losses"] for row in rows if row["optimizer"] == "sgd"]
    assert same[0] == pytest.approx(same[-1])  # by a graph and by single launches
    assert printed.startswith("failed\n")
    assert f"{cell}: gpunn, one by one has a loss of 2." in printed
    assert "\n64-16-10, batch 16, adam, float32  1.5 / -  " in printed
    assert "\nthen\n" in printed
    assert "\nnot timed: JAX, scan: a rehearsal: it can't use the emulated device\n" in printed


@needs_emulator
def test_each_operation_of_a_step_is_timed_beside_its_cost(tmp_path):
    code = """
import json
from steps import kernels
row = kernels.timed_step(*kernels.STEPS[0])
print(json.dumps(row))
print(kernels.table({"step": "a step", **row}))
"""
    printed, _ = emulated(tmp_path, code)
    line, *table = printed.splitlines()
    row = json.loads(line)
    names = [each["operation"] for each in row["operations"]]
    layers = [*2 * ["dense"], "loss", *2 * ["dense_gradient"]]
    assert names == ["next_batch", *layers, "counted_update"]
    for each in row["operations"]:
        assert each["microseconds"] > each["least microseconds"] > 0
        assert each["bytes"] > 0
        assert bool(each["operations"]) == ("dense" in each["operation"])
    assert row["sum"] == pytest.approx(sum(e["microseconds"] for e in row["operations"]))
    assert row["whole step"] > 0
    assert len(table) == 3 + len(names) + 2
    assert table[0] == "a step"


@needs_emulator
def test_without_cublaslt_measured_products_are_not_timed(tmp_path):
    """The doctor fails there; what can be timed is timed all the same."""
    code = """
from gpunn.backends.cupy.matmul import choice
from outcome import SkipStepError
from steps import kernels, speed_gpunn
def fail(): raise OSError("planted")
choice.load_cublaslt = fail
try:
    speed_gpunn.start("measured")
except SkipStepError as reason:
    print(reason)
kernels.STEPS = kernels.STEPS[1:]
print(kernels.run().text)
print(speed_gpunn.start("graph"))
"""
    printed, rows = emulated(tmp_path, code)
    skipped, *_, table, own = printed.splitlines()
    assert "cuBLASLt can't be opened: planted" in skipped
    assert table == f"not timed: {skipped}"
    assert own.startswith("gpunn ")
    assert not rows


@needs_emulator
def test_sources_are_the_same_where_cublaslt_refuses(tmp_path):
    """Products that cuBLASLt refuses take other kernels, which says nothing about a source."""
    code = """
from gpunn.backends.cupy.matmul import cublaslt
cublaslt.load_cublaslt().cublasLtMatmul = lambda *_: 15
from worker import outcome_of
outcome = outcome_of("sources.run")
print(outcome.status, outcome.detail)
"""
    printed, _ = emulated(tmp_path, code)
    assert printed.startswith("passed ")
    assert printed.endswith("sources, the same text as on the emulated device\n")


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


# ------------------------------------------------------------------------------- processes


FORM = """
import json, os, sys
mode = sys.argv[2]
def answer(**said): print(json.dumps(said), flush=True)
if mode == "skip":
    answer(skip="is not here")
    sys.exit()
if mode == "ends": os._exit(3)
answer(library="fake")
for line in sys.stdin:
    question = json.loads(line)
    if "cell" in question:
        cell, asked = question["cell"], 0
        continue
    asked += 1
    if question["epochs"] == 0:
        answer(ended=True)
    elif mode == "error" and cell["batch"] == 1024:
        answer(error="ValueError: of mine")
    elif mode == "dies" and asked == 3:
        os._exit(7)
    elif mode == "hangs":
        sys.stdin.read()  # to the test's end
    else:
        taken = 0.01 * question["epochs"]
        loss = 1.2 if mode == "wrong" else 1.0
        answer(seconds=taken * (asked == 3 or 2), device_seconds=taken, losses=[loss],
               accuracy=0.1 if question["accuracy"] else None, peak_bytes=None)
"""


@pytest.fixture
def speed(load, tmp_path, monkeypatch):
    """The module, with processes of the test's own; data that need no time."""
    module, work = load("steps.speed"), load("steps.work")
    program = tmp_path / "form.py"
    program.write_text(FORM)
    monkeypatch.setattr(load("steps.forms"), "PROGRAM", program)
    monkeypatch.setattr(work, "ROWS", 10_240)
    monkeypatch.setattr(load("device"), "REHEARSAL", False)
    return module


def run_forms(speed, monkeypatch, **modes):
    """Time gpunn and others, each of which does as its mode says."""
    forms = {name: f"module {mode}" for name, mode in modes.items()}
    for module in (speed, sys.modules["steps.forms"]):
        monkeypatch.setattr(module, "FORMS", forms)
    kept = []
    monkeypatch.setattr(speed.rows, "add", kept.append)
    return speed.run("quick"), {(row["batch"], row["form"]): row for row in kept}


def test_stretches_are_calibrated_and_the_first_ones_left_out(speed, monkeypatch):
    outcome, rows = run_forms(speed, monkeypatch, gpunn="well", other="well")
    assert outcome.status == "passed"
    assert list(rows) == [(b, form) for b in (128, 1024) for form in ("gpunn", "other")]
    row = rows[128, "gpunn"]
    assert row["steps of a stretch"] == 6 * 80  # of 0.02 s an epoch, 6 are 0.12 s
    assert row["microseconds a step"] == pytest.approx(0.02e6 / 80)
    assert len(row["all microseconds"]) == 5
    assert row["device microseconds a step"] == pytest.approx(0.01e6 / 80)
    assert row["library"] == "fake"
    assert row["accuracies"] == [0.1]
    assert "250.0 / 125.0" in outcome.text


@pytest.mark.parametrize(
    ("mode", "status", "failed", "said"),
    [
        ("skip", "passed", None, "other: is not here"),
        ("error", "passed", [1024], "other: ValueError: of mine (784-512-512-10, batch 1024"),
        ("dies", "passed", [128, 1024], "other: the process ended with exit status 7 (784"),
        ("ends", "passed", None, "other: failed: the process ended with exit status 3"),
        ("wrong", "failed", [], "batch 128, adam, float32: other has a loss of 1.2000, not 1.0000"),
    ],
)
def test_another_library_that_fails_is_one_column(speed, monkeypatch, mode, status, failed, said):
    """gpunn's rows are there all the same; only a wrong loss is a failure."""
    outcome, rows = run_forms(speed, monkeypatch, gpunn="well", other=mode)
    assert outcome.status == status
    assert said in f"{outcome.text}\n{outcome.detail}"
    assert all("error" not in rows[batch, "gpunn"] for batch in (128, 1024))
    if failed is None:
        assert len(rows) == 2
    else:
        assert [b for b in (128, 1024) if "error" in rows[b, "other"]] == failed


def test_a_library_that_hangs_is_given_up(speed, monkeypatch):
    """At its first answer or a later one, as the machine may be slow."""
    monkeypatch.setattr(sys.modules["steps.forms"], "ANSWER", 1.0)
    outcome, _ = run_forms(speed, monkeypatch, gpunn="hangs")
    assert outcome.status == "failed"
    assert "no answer within 1 s" in outcome.detail


def test_gpunn_that_fails_is_a_failure(speed, monkeypatch):
    outcome, _ = run_forms(speed, monkeypatch, gpunn="error")
    assert outcome.status == "failed"
    assert "batch 1024, adam, float32: gpunn: ValueError: of mine" in outcome.detail


def test_no_cell_begins_without_time(speed, monkeypatch):
    monkeypatch.setattr(speed.rows, "seconds_left", lambda: speed.FEWEST_LEFT - 1)
    outcome, rows = run_forms(speed, monkeypatch, gpunn="well")
    assert (outcome.status, outcome.detail, rows) == ("failed", "nothing was timed", {})


def test_cells_without_time_are_left_for_later(speed, monkeypatch):
    """There is time for the first cell, and then for none that has to be compiled."""
    left = iter([speed.COMPILING, speed.COMPILING - 1, speed.FEWEST_LEFT])
    monkeypatch.setattr(speed.rows, "seconds_left", lambda: next(left))
    first, second = sys.modules["steps.cells"].in_order(False)
    turns = [(first, ["gpunn"]), (first, ["compiled"]), (second, ["gpunn"])]
    monkeypatch.setattr(speed, "in_turn", lambda whole: turns)
    outcome, rows = run_forms(speed, monkeypatch, gpunn="well", compiled="well")
    assert list(rows) == [(128, "gpunn"), (1024, "gpunn")]
    assert outcome.status == "stopped"
    assert outcome.detail.endswith("; no time for 1 more")


def test_the_cells_worth_most_come_first(load, monkeypatch):
    monkeypatch.setattr(load("device"), "REHEARSAL", False)
    cells = load("steps.cells")
    whole = cells.in_order(True)
    assert cells.in_order(False) == whole[:2]
    assert [cell.batch for cell in whole[:2]] == [128, 1024]
    assert len(set(whole)) == len(whole) == 4 * 3 * 2 * 3
    assert {(cell.optimizer, cell.precision) for cell in whole[:12]} == {("adam", "float32")}
    speed = load("steps.speed")
    assert [cell for cell, _ in speed.in_turn(False)] == whole[:2]
    turns = speed.in_turn(True)
    compiled = [cell for cell, forms in turns if "PyTorch, compiled" in forms]
    assert compiled == whole[:2]
    assert [cell for cell, forms in turns if "gpunn" in forms] == whole


@pytest.mark.parametrize(
    ("accuracies", "reached"), [([0.9, 0.97, 0.981], 3), ([0.99], 1), ([0.9, 0.97], None)]
)
def test_epochs_to_the_target(load, accuracies, reached):
    speed = load("steps.speed")
    stretch = {"seconds": 2.0, "device_seconds": None, "losses": [1.0], "peak_bytes": None}
    early = [stretch | {"accuracy": each, "epochs": 1} for each in accuracies]
    later = [stretch | {"accuracy": None, "epochs": 1}] * speed.ROUNDS
    drawn = speed.Drawn(early)
    assert drawn.short_of(speed.TARGET) == (reached is None)
    found = speed.Drawn([*early, *later]).figures(steps=10)
    assert found["epochs to target"] == reached
    assert found["seconds to target"] == (reached and reached * 2.0)
    assert found["device microseconds a step"] is None


# ------------------------------------------------------------------------------- sanitizer


SANITIZER = """#!/bin/sh
printf '%s ' "$@" >> {log}; echo >> {log}
case "$*" in
  --help) echo "  --kernel-name arg  --report-api-errors arg" ;;
  *tour_alone.py\\ *check) {planted} ;;
  *) {clean} ;;
esac
"""
FINDS = "echo '========= ERROR SUMMARY: 1 error'; exit 9"
CLEAN = "echo 'kernels of gpunn: 38'; echo '========= {} SUMMARY: 0 errors'"


@pytest.mark.parametrize(
    ("tool", "planted", "clean", "status", "said"),
    [
        ("memcheck", FINDS, CLEAN.format("ERROR"), "passed", "no findings in 38 kernels"),
        (
            *("racecheck", "echo '========= RACECHECK SUMMARY: 1 hazard displayed'; exit 9"),
            *(CLEAN.format("RACECHECK"), "passed", "no findings in 38 kernels"),
        ),
        ("memcheck", "echo nothing", CLEAN.format("ERROR"), "failed", "does not find an error"),
        ("memcheck", "echo 'ERROR SUMMARY: 0 errors'", "", "failed", "does not find an error"),
        ("memcheck", FINDS, FINDS, "failed", "memcheck: 1 findings"),
        ("memcheck", FINDS, "exit 1", "failed", "memcheck: exit status 1"),
        ("memcheck", FINDS, "echo 'kernels of gpunn: 38'", "failed", "without the sanitizer's"),
        ("memcheck", FINDS, "echo 'ERROR SUMMARY: 0 errors'", "failed", "no kernel of gpunn"),
    ],
)
def test_the_sanitizer(load, tmp_path, monkeypatch, tool, planted, clean, status, said):
    """A program that prints what the sanitizer would; none is passed that has checked nothing."""
    monkeypatch.setattr(load("device"), "REHEARSAL", False)
    log, program = tmp_path / "log", tmp_path / "compute-sanitizer"
    program.write_text(SANITIZER.format(log=log, planted=planted, clean=clean))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    outcome = load("steps.sanitizer").run(tool)
    assert outcome.status == status
    assert said in outcome.detail
    asked = log.read_text().splitlines()[1]
    for option in ("--report-api-errors no", "--kernel-name kns=gpunn", f"--tool {tool}"):
        assert option in asked


def test_without_a_sanitizer_it_is_skipped(load, tmp_path, monkeypatch):
    monkeypatch.setattr(load("device"), "REHEARSAL", False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(load("outcome").SkipStepError, match="compute-sanitizer is not on PATH"):
        load("steps.sanitizer").run("memcheck")


@needs_emulator
@pytest.mark.parametrize(("tool", "found"), [("memcheck", True), ("racecheck", False)])
def test_the_planted_kernels_build(tmp_path, tool, found):
    """The emulated device finds the access out of bounds; races it doesn't look for."""
    done = subprocess.run(
        [sys.executable, "tour_alone.py", tool],
        cwd=CHECK,
        env={**os.environ, "GPUNN_TEST_DEVICE": "emulated"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode != 0) == found
    assert ("wrote past the end of 4 bytes" in done.stderr) == found
