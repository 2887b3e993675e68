"""Libraries that the GPU check compares: their adapters and processes."""

import shutil
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

NETWORKS = {
    "64-48-32-10": [(rule, to) for rule in ("adam", "sgd") for to in ("float32", "bfloat16")],
    "100-256x3-1, layer norm, GELU": [("adam", "float32")],
    "embedding of 100,000 categories": [("adam", "float32")],
    "custom layer and loss": [("adam", "float32")],
    "images of 28x28, 5x5 to 8 and 16": [("adam", "float32")],
    "TabM-mini, 8 members, 3 x 192": [("adamw", "float32")],
    "like RealMLP, 3 x 256": [("adam", "float32")],
}
LIBRARIES = [
    *(("torch", "eager", ("cpu",)), ("torch", "defaults", ("cpu",))),
    *(("torch", "compiled", ("cpu",)), ("jax", "scan", ()), ("jax", "defaults", ())),
]


@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize(
    ("network", "rule", "precision"),
    [(network, *each) for network, all_of_it in NETWORKS.items() for each in all_of_it],
)
@pytest.mark.parametrize(("module", "mode", "place"), LIBRARIES)
def test_other_libraries_do_the_same_work(
    load, module, mode, place, network, rule, precision, monkeypatch
):
    """On a CPU, if they are installed, losses of each epoch equal gpunn's.

    Networks are as small as in a rehearsal, and without dropout, whose masks differ.
    """
    pytest.importorskip(module)
    monkeypatch.setattr(load("device"), "REHEARSAL", True)
    monkeypatch.setattr(load("networks"), "DROPOUT", 0.0)
    training, adapter = load("training"), load(f"adapters.with_{module}")
    monkeypatch.setattr(training, "ROWS", 1280)
    cell = training.Cell(network, 128, rule, precision)
    task = training.network(cell)
    trainer = task.trainer("numpy")
    own = trainer.fit(task.X, task.y, epochs=4, batch_size=128, progress=False)["loss"]
    stretches = []

    def ask(done):
        stretches.append(done)
        return int(len(stretches) <= 4)

    adapter.train(mode, cell, ask, *place)
    losses = [loss for stretch in stretches[1:] for loss in stretch.losses]
    assert losses == pytest.approx(own, rel=1e-5 if precision == "float32" else 0.01)
    if task.y.ndim == 1:  # classes
        agreement = np.mean(
            stretches[-1].predict(task.X) == trainer.model.predict(task.X).argmax(1)
        )
        assert agreement > (0.999 if precision == "float32" else 0.9)


def test_every_timed_network_is_compared(load):
    assert {*load("networks").TIMED} < {*NETWORKS}


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
            "torch.compile needs a C compiler, but PATH has none",
        ),
        ("jax", "scan", {"jax": None}, "JAX is not installed"),
        ("jax", "scan", {"jax": False}, "this JAX, 1.2, finds no CUDA device"),
    ],
)
def test_what_is_missing_is_skipped_with_its_reason(load, monkeypatch, module, mode, plant, said):
    """`plant` has fake libraries: None is missing, otherwise whether it sees a device."""

    def fake(name, sees_device):
        made = ModuleType(name)
        made.__version__, made.__spec__ = "1.2", ModuleSpec(name, None)
        made.cuda = SimpleNamespace(is_available=lambda: sees_device)
        made.default_backend = lambda: "gpu" if sees_device else "cpu"
        made.numpy = None
        return made

    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setitem(sys.modules, "jax.numpy", ModuleType("jax.numpy"))
    for name, sees_device in plant.items():
        made = None if sees_device is None else fake(name, sees_device)
        monkeypatch.setitem(sys.modules, name, made)
    with pytest.raises(load("process").SkipError) as skip:
        load(f"adapters.with_{module}").start(mode)
    assert str(skip.value) == said


ADAPTER = """
import os, time
from libraries import Stretch
from process import SkipError

def start(mode):
    if mode == "skip":
        raise SkipError("is not here")
    if mode == "ends":
        os._exit(3)
    return "fake"

def train(mode, cell, ask):
    asked, done = 0, None
    while epochs := ask(done):
        asked += 1
        if mode == "error" and cell.batch == 1024:
            raise ValueError("of mine")
        if mode == "dies" and asked == 3:
            os._exit(7)
        if mode == "hangs":
            time.sleep(1e6)
        taken = 0.01 * epochs
        loss = 1.2 if mode == "wrong" else 1.0
        # The third stretch, which is not timed, takes half of the time.
        done = Stretch(taken * (2 - (asked == 3)), taken, [loss], lambda X: X[:, 0] < 0)
"""


@pytest.fixture
def time_libraries(load, run_step, tmp_path, monkeypatch):
    """Time libraries that behave as their modes say; return the outcome, rows and output."""
    speed, training, process = load("steps.speed"), load("training"), load("process")
    (tmp_path / "adapters").mkdir()
    (tmp_path / "adapters" / "fake.py").write_text(ADAPTER)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(training, "ROWS", 10_240)

    def timed(capsys, done=(), seconds=1e6, turns=None, **modes):
        forms = {name.replace("_", ", "): ("fake", mode) for name, mode in modes.items()}
        monkeypatch.setattr(speed, "VARIANTS", forms)
        cells = [training.Cell("64-32-10", batch, "adam", "float32") for batch in (128, 1024)]
        first = turns or [(cell, [*forms]) for cell in cells]
        monkeypatch.setattr(speed, "first_turns", lambda: first)
        left = iter(seconds if isinstance(seconds, list) else [])
        monkeypatch.setattr(process.Step, "seconds_left", lambda step: next(left, seconds))
        status, detail, rows = run_step("speed", done=done)
        return status, detail, {(r["batch"], r["form"]): r for r in rows}, capsys.readouterr().out

    return timed


def test_a_device_for_one_process_is_not_timed(load, run_step, monkeypatch):
    modes = "Default\nExclusive_Process"
    monkeypatch.setattr(load("process"), "printed_by", lambda *command: modes)
    with pytest.raises(load("process").SkipError, match="--compute-mode=DEFAULT"):
        run_step("speed")


def test_stretches_are_calibrated_and_the_first_ones_left_out(time_libraries, capsys):
    status, _, rows, printed = time_libraries(capsys, gpunn="well", other="well")
    assert status == "passed"
    assert list(rows) == [(b, form) for b in (128, 1024) for form in ("gpunn", "other")]
    row = rows[128, "gpunn"]
    assert row["steps of a stretch"] == 6 * 80  # of 0.02 s an epoch, 6 are 0.12 s
    assert row["microseconds a step"] == pytest.approx(0.02e6 / 80)
    assert len(row["all microseconds"]) == 5
    assert row["device microseconds a step"] == pytest.approx(0.01e6 / 80)
    assert row["library"] == "fake"
    assert "250.0 / 125.0" in printed


def test_another_library_that_fails_is_one_column(time_libraries, capsys):
    """gpunn's rows are complete; only a wrong loss is a failure."""
    others = {name: name for name in ("skip", "error", "dies", "ends", "wrong")}
    status, detail, rows, printed = time_libraries(capsys, gpunn="well", **others)
    assert status == "failed"
    batches = [f"64-32-10, batch {batch}, adam, float32: wrong" for batch in (128, 1024)]
    assert detail == "; ".join(f"{batch} has a loss of 1.2000, not 1.0000" for batch in batches)
    for said in (
        "skip: is not here",
        "batch 1024, adam, float32: error: ValueError: of mine",
        "dies: the process ended with exit status 7",
        "ends: failed: the process ended with exit status 3",
    ):
        assert said in printed
    assert [key for key, row in rows.items() if "error" in row] == [(128, "dies"), (1024, "error")]
    forms = [form for _, form in rows]
    counts = {name: forms.count(name) for name in ("gpunn", *others)}
    assert counts == {"gpunn": 2, "skip": 0, "error": 2, "dies": 1, "ends": 0, "wrong": 2}


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("error", "batch 1024, adam, float32: gpunn: ValueError: of mine"),
        ("hangs", "batch 128, adam, float32: gpunn: no answer within 1 s"),
        ("ends", "gpunn: failed: the process ended with exit status 3"),
    ],
)
def test_gpunn_that_fails_is_a_failure(time_libraries, load, monkeypatch, capsys, mode, said):
    if mode == "hangs":
        library = load("libraries").Library
        introduce, libraries = library.introduce, sys.modules["libraries"]

        def patient(self):  # the machine may be slow to start the process
            introduce(self)
            monkeypatch.setattr(libraries, "ANSWER", 1.0)

        monkeypatch.setattr(library, "introduce", patient)
    status, detail, _, _ = time_libraries(capsys, gpunn=mode)
    assert status == "failed"
    assert said in detail


def test_cells_without_time_are_left_for_later(time_libraries, load, capsys):
    """Time is left for the first cell, and then for no compiled cell."""
    speed = load("steps.speed")
    first, second = (load("training").Cell("64-9-10", n, "adam", "float32") for n in (128, 1024))
    turns = [(first, ["gpunn"]), (first, ["compiled"]), (second, ["gpunn"])]
    left = [speed.COMPILING, speed.COMPILING - 1, speed.FEWEST_LEFT]
    modes = {"gpunn": "well", "compiled": "well"}
    status, detail, rows, _ = time_libraries(capsys, seconds=left, turns=turns, **modes)
    assert list(rows) == [(128, "gpunn"), (1024, "gpunn")]
    assert status == "stopped"
    assert detail.endswith("; no time for 1 more")
    # What was timed is left out when the check is gone on with; its losses are compared.
    done = [row | {"first loss": 9.0} for row in rows.values()]
    status, detail, rows, _ = time_libraries(capsys, done=done, turns=turns, **modes)
    assert list(rows) == [(128, "compiled")]
    assert status == "failed"
    assert "compiled has a loss of 1.0000, not 9.0000" in detail
    assert time_libraries(capsys, seconds=speed.FEWEST_LEFT - 1, turns=turns[:1], **modes)[:2] == (
        *("failed", "nothing was timed"),
    )


def test_the_cells_worth_most_come_first(load):
    """Three networks, then each other one; compiled variants come before the grid."""
    speed = load("steps.speed")
    first, rest = speed.first_turns(), speed.further_turns()
    assert [cell.network[:6] for cell, _ in first] == ["784-51", "100-25", "TabM-m"]
    assert all({"JAX, scan", "JAX, scan, defaults (TF32)"} <= {*forms} for _, forms in first)
    assert {cell.network for cell, _ in [*first, *rest[:5]]} == {speed.NETWORKS[0], *speed.TIMED}
    compiled = [cell for cell, forms in rest if "PyTorch, compiled" in forms]
    assert compiled == [cell for cell, _ in rest[5:7]] == [cell for cell, _ in first[:2]]
    whole = [cell for cell, forms in [*first, *rest] if "gpunn" in forms]
    assert len(set(whole)) == len(whole) == 4 * 3 * 2 * 3 + 6
    assert not any("defaults" in name for name in speed.variants(whole[-1]))


@pytest.mark.parametrize(
    ("accuracies", "reached"), [([0.9, 0.97, 0.981], 3), ([0.99], 1), (15 * [0.97], None)]
)
def test_epochs_to_the_target(load, monkeypatch, accuracies, reached):
    """With MNIST, the first cell trains until it reaches the target, or for 15 epochs."""
    speed, training = load("steps.speed"), load("training")
    stretch = {"seconds": 2.0, "device_seconds": None, "losses": [1.0]}
    given = iter(accuracies)
    asked = []

    class Fake:
        name = "fake"

        def tell(self, what):
            pass

        def ask(self, epochs, accuracy):
            asked.append(accuracy)
            return stretch | ({"accuracy": next(given)} if accuracy else {})

    monkeypatch.setattr(training, "ROWS", 60)
    cell = training.Cell("64-32-10", 30, "adam", "float32")
    (row,) = speed.timed_cell({"gpunn": Fake()}, cell, to_target=True)
    assert sum(asked) == len(accuracies)
    assert row["epochs to target"] == reached
    assert row["seconds to target"] == (reached and reached * 2.0)
    assert row["device microseconds a step"] is None
