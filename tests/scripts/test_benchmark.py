"""The CPU benchmark: what it does with measurements, and a run of it without the other libraries.

Nothing here depends on how fast anything is.
"""

import functools
import importlib
import json
import math
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from gpunn.data import load_digits

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def load(monkeypatch):
    """Import a module of the script, which is not installed."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    yield lambda name: importlib.import_module(f"benchmarks.{name}")
    for name in [name for name in sys.modules if name.partition(".")[0] == "benchmarks"]:
        del sys.modules[name]


# ------------------------------------------------------------------------------- a whole run


def run(*arguments):
    return subprocess.run(
        [sys.executable, SCRIPTS / "benchmark.py", *arguments],
        env={**os.environ, "PYTHONPATH": str(SCRIPTS.parent)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_tiny_grid(tmp_path):
    path = tmp_path / "figures.json"
    tiny = ["--sizes", "6-5-3", "--batches", "8", "--seconds", "0.01", "--reps", "1"]
    done = run("grid", "gemm", "--only", "gpunn-numpy,gemm", *tiny, "--extra", "0", "--json", path)
    assert done.returncode == 0, done.stderr
    assert "| 6-5-3, 8 adam |" in done.stdout
    assert "| weight gradient (6, 8) x (8, 5) " in done.stdout
    document = json.loads(path.read_text())
    cells = {(row["cell"], row["competitor"]): row for row in document["modes"]["grid"]}
    assert set(cells) == {
        (f"6-5-3, 8 {optimizer}", name)
        for optimizer in ("sgd", "adam")
        for name in ("gpunn-numpy", "gemm")
    }
    for row in cells.values():
        assert row["turns"] == 1
        assert 0 < row["minimum"] <= row["median"]
    assert document["quietness"]["turns"] == len(cells) + len(document["modes"]["gemm"])
    assert document["failures"] == []
    assert document["machine"]["versions"]["numpy"] == np.__version__


def test_subnormal_numbers_by_both_engines(tmp_path):
    path = tmp_path / "figures.json"
    short = ["--seconds", "0.01", "--reps", "1", "--extra", "0"]
    done = run("subnormals", "--only", "gpunn-numpy,gpunn", *short, "--json", path)
    assert done.returncode == 0, done.stderr
    assert "| very negative " in done.stdout
    rows = json.loads(path.read_text())["modes"]["subnormals"]
    assert [row["pre_activations"] for row in rows] == ["near 0", "near 0"] + ["very negative"] * 2
    assert {row["competitor"] for row in rows} == {"gpunn", "gpunn-numpy"}
    assert all(row["median"] > 0 for row in rows)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Missing argument"),
        (["grid", "--only", "gpumm"], "there is no 'gpumm'; there are: gpunn, gpunn-numpy"),
        (["grid", "--sizes", "7"], "expected widths such as 784-128-10"),
        (["grid", "--batches", "0"], "expected a number above 0"),
        (["mnist", "--tasks", "3"], "there are 1 to 2"),
        (["mnist", "--tasks", "0"], "expected a number above 0"),
        (["grid", "--json", "/no/such/folder/figures.json"], "/no/such/folder: no such folder"),
        (["mnist"], "MNIST's files are not in"),
    ],
)
def test_wrong_usage(load, arguments, said, tmp_path):
    variables = {"GPUNN_DATA": str(tmp_path)}
    done = CliRunner().invoke(load("command").main, arguments, env=variables)
    assert done.exit_code == 2
    assert said in " ".join(done.output.replace("│", " ").split())


def test_who_takes_part(load, monkeypatch):
    command = load("command")
    catalogue = load("catalogue")
    monkeypatch.setattr(catalogue.Competitor, "missing", lambda self: "")
    assert "gemm-torch" not in command.competitors(None)
    assert command.competitors(("gemm", "gpunn")) == ["gpunn", "gemm"]
    monkeypatch.setattr(catalogue.Competitor, "missing", lambda self: "everything")
    with pytest.raises(Exception, match="nobody is left"):
        command.competitors(None)


# ------------------------------------------------------------------- the work that everybody does


def test_products_of_a_step(load):
    task = load("work").Task((6, 5, 4, 3), 8, "sgd", 0.1)
    assert [tuple(product) for product in task.products()] == [
        (8, 5, 6, "forward"),
        (8, 4, 5, "forward"),
        (8, 3, 4, "forward"),
        (4, 3, 8, "weight gradient"),
        (8, 4, 3, "input gradient"),
        (5, 4, 8, "weight gradient"),
        (8, 5, 4, "input gradient"),
        (6, 5, 8, "weight gradient"),
    ]


def test_the_floor_is_those_products(load, monkeypatch):
    task = load("work").Task((6, 5, 4, 3), 8, "sgd", 0.1)
    seen = []

    def record(self, a, b, out):
        transposed = a.flags.f_contiguous, b.flags.f_contiguous
        kinds = {(False, False): "forward", (True, False): "weight gradient"}
        kind = kinds.get(transposed, "input gradient")
        assert (a @ b).shape == out.shape
        seen.append((*out.shape, a.shape[1], kind))
        return lambda: None

    products = load("adapters.with_gemm").NumpyProducts
    monkeypatch.setattr(products, "call", record)
    products().step(task)
    for product in task.products():
        products().product(product)
    assert seen == [tuple(product) for product in task.products()] * 2


def test_epochs_of_the_grid_have_a_bounded_size(load):
    work = load("work")
    for sizes in work.GRID_SIZES:
        for batch in work.GRID_BATCHES:
            steps = work.epoch_steps(work.grid_task(sizes, batch, "sgd"), 0.1)
            assert steps >= 8
            assert steps * batch <= work.EPOCH_ROWS


def test_synthetic_rows_have_every_class(load):
    X, y = load("work").synthetic(4, 3, 50)
    assert X.shape == (50, 4)
    assert (X.dtype, y.dtype) == (np.float32, np.int64)
    assert set(y.tolist()) == {0, 1, 2}


LIBRARIES = [
    ("with_gpunn.Gpunn", "gpunn", 0),
    ("with_jax.Scan", "optax", 2e-3),
    ("with_jax.Loop", "optax", 2e-3),
    ("with_torch.Eager", "torch", 2e-3),
    ("with_sklearn.Sklearn", "sklearn", 2e-3),
    ("with_keras.Keras", "keras", 2e-3),
]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize(("name", "module", "tolerance"), LIBRARIES)
def test_a_library_does_this_work(load, monkeypatch, name, module, tolerance, optimizer):
    """One step on all rows, where no shuffle matters, predicts what NumPy's own step predicts."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    pytest.importorskip(module)
    work = load("work")
    X, y, X_test, _ = load_digits()
    X, y = (X[:64] / np.float32(16)).astype(np.float32), y[:64]
    y[:10] = np.arange(10)
    task = work.Task((64, 32, 10), 64, optimizer, 0.5 if optimizer == "sgd" else 0.05)
    predicted, seconds = [], []

    def after_epoch(taken, predict):
        seconds.append(taken)
        predicted.append(predict((X_test / 16).astype(np.float32)))
        return True

    load("adapters").load(name).train(task, X, y, 3, after_epoch)
    logits = after_one_step(work.initial_weights(task.sizes, 3), X, y, task, X_test / 16)
    first, second = np.sort(logits, axis=1)[:, :-3:-1].T
    clear = first - second > tolerance * np.abs(logits).max()
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(np.asarray(predicted[0])[clear], logits.argmax(1)[clear])
    assert len(seconds) == 1


def after_one_step(weights, X, y, task, X_test):
    """The logits of a network with one hidden layer after one update, in float64."""
    W1, W2 = (array.astype(np.float64) for array in weights)
    hidden = np.maximum(X @ W1, 0)
    scores = np.exp(hidden @ W2)
    slopes = (scores / scores.sum(1, keepdims=True) - np.eye(10)[y]) / len(X)
    back = slopes @ W2.T * (hidden > 0)
    gradients = [X.T @ back, back.sum(0), hidden.T @ slopes, slopes.sum(0)]
    if task.optimizer == "adam":  # both moments are g and g squared once corrected
        gradients = [g / (np.abs(g) + 1e-8) for g in gradients]
    W1, b1, W2, b2 = (
        value - task.learning_rate * g
        for value, g in zip([W1, np.zeros(32), W2, np.zeros(10)], gradients, strict=True)
    )
    return np.maximum(X_test @ W1 + b1, 0) @ W2 + b2


def test_the_adapters_files_are_there(load):
    for competitor in load("catalogue").EVERYBODY.values():
        module, _, cls = competitor.adapter.partition(".")
        source = (SCRIPTS / "benchmarks" / "adapters" / f"{module}.py").read_text()
        assert f"class {cls}" in source


class Learner:
    """An adapter whose accuracy on the test rows rises from epoch to epoch."""

    def __init__(self, y_test):
        self.y_test = y_test
        self.epochs = 0

    def train(self, task, X, y, seed, after_epoch):
        self.rows = len(X)
        while True:
            self.epochs += 1
            right = np.arange(len(self.y_test)) < 3 * self.epochs
            if after_epoch(1.0, lambda rows, r=right: np.where(r, self.y_test, -1)):
                return


@pytest.mark.parametrize(
    ("epochs", "target", "accuracies"),
    [(2, None, [0.6]), (5, 0.8, [0.3, 0.6, 0.9]), (2, 0.8, [0.3, 0.6])],
)
def test_training_ends_at_the_target_or_after_the_epochs(
    load, monkeypatch, epochs, target, accuracies
):
    jobs = load("jobs")
    y_test = np.arange(10)
    arrays = [np.zeros((21, 4), np.float32), np.zeros(21, int), np.zeros((10, 4)), y_test]
    monkeypatch.setattr(jobs, "kept_mnist", lambda folder: arrays)
    learner = Learner(y_test)
    task = {"sizes": [4, 10], "batch_size": 8, "optimizer": "sgd", "learning_rate": 0.1}
    answer = jobs.Jobs(learner, 0.25).mnist(task, "", 0, epochs, target)
    assert answer["accuracies"] == pytest.approx(accuracies)
    assert learner.rows == 16  # whole batches
    assert answer["cold"] > 0.25


def test_without_numba_means_that_it_is_not_found(load, monkeypatch):
    hidden = load("catalogue").COMPETITORS["gpunn-numpy"].hidden
    for name in hidden:
        monkeypatch.setitem(sys.modules, name, None)
    assert importlib.util.find_spec("numba") is None


# -------------------------------------------------------------------------------- quiet turns


@pytest.fixture
def watch(load, monkeypatch):
    """A watch over a machine of the test's own: its speeds, and its processor time."""
    quietness = load("quietness")
    monkeypatch.setattr(quietness, "SETTLING", 0.0)
    clock = iter(range(1000))
    monkeypatch.setattr(quietness.time, "perf_counter", lambda: 2.0 * next(clock))

    def build(speeds, busy=()):
        spent = iter(busy)
        return quietness.Watch(
            functools.partial(next, iter(speeds)), lambda: next(spent, 0.0), looks=1
        )

    return build


def test_a_turn_needs_a_fast_reference_on_both_sides(watch):
    found = watch([100, 98, 60, 97, 99])
    turns = [found.turn(dict, lambda: 0.0) for _ in range(4)]
    assert [turn.reference for turn in turns] == [98, 60, 60, 97]
    assert [found.quiet(turn) for turn in turns] == [True, False, False, True]
    assert found.summary()["quiet_turns"] == 2


def test_the_best_speed_may_come_last(watch):
    found = watch([100, 100, 150])
    first = found.turn(dict, lambda: 0.0)
    assert found.quiet(first)
    found.turn(dict, lambda: 0.0)
    assert not found.quiet(first)


def test_a_turn_beside_other_work_is_not_quiet(watch):
    own = iter([0.0, 1.9, 1.9, 3.8])
    found = watch([100] * 3, busy=[0.0, 2.0, 2.0, 4.4])
    alone, beside = (found.turn(dict, lambda: next(own)) for _ in range(2))
    assert (found.quiet(alone), found.quiet(beside)) == (True, False)
    assert beside.others == pytest.approx(0.235)  # half a second of two, less the uncertain part


@pytest.fixture
def figures(load):
    turn = load("quietness").Turn

    def build(samples, quiet):
        turns = [turn({"s": s}, q, 0.0) for s, q in zip(samples, quiet, strict=True)]
        return load("figures").figure(turns, lambda t: bool(t.reference), lambda a: a["s"])

    return build


def test_only_quiet_turns_count(figures):
    found = figures([[5, 4, 6], [1, 1, 1], [8, 9, 7]], [1, 0, 1])
    assert (found.median, found.minimum) == (6.5, 4)
    assert found.spread == pytest.approx(8 / 5 - 1)
    assert (found.turns, found.quiet, found.mark) == (3, 2, "")


def test_without_a_quiet_turn_all_count_and_are_marked(load, figures):
    found = figures([[5], [7]], [0, 0])
    assert (found.median, found.quiet, found.mark) == (6, 0, "~")
    assert load("table").shown(found) == "~6.00"
    assert figures([], []) is None


@pytest.fixture
def session(load):
    """A session without processes: turns of the test's own, quiet from a round on."""
    module = load("session")
    quietness = load("quietness")
    found = object.__new__(module.Session)
    found.rounds = module.Rounds(2, 2)
    found.failures = []

    class Judge:
        def quiet(self, turn):
            return turn.reference > 0

    found.watch = Judge()
    return found, module, quietness.Turn


def test_turns_are_interleaved_and_the_unquiet_get_more(session):
    found, _, turn = session
    order = []

    def take(cell, name, number):
        order.append((number, cell, name))
        return turn({}, 1.0 if name == "a" or number == 2 else 0.0, 0.0)

    measured = found.rotate(["x", "y"], ["a", "b"], take)
    both = [(cell, name) for cell in ("x", "y") for name in ("a", "b")]
    assert order == [
        *((0, *key) for key in both),
        *((1, *key) for key in both),
        (2, "x", "b"),
        (2, "y", "b"),
    ]
    assert {key: len(turns) for key, turns in measured.items()} == {
        key: 2 if key[1] == "a" else 3 for key in both
    }


def test_who_fails_in_a_cell_is_left_out_of_it(session):
    found, module, turn = session
    asked = []

    def take(cell, name, number):
        asked.append((cell, name))
        if (cell, name) == ("x", "b"):
            raise module.FailedError("b: no")
        return turn({}, 1.0, 0.0)

    measured = found.rotate(["x", "y"], ["a", "b"], take)
    assert measured["x", "b"] == []
    assert len(measured["y", "b"]) == 2
    assert asked.count(("x", "b")) == 1
    assert found.failures == ["x: b: no"]


def test_an_error_of_a_library_is_an_answer_and_its_process_goes_on(load):
    process = load("process")
    worker = process.Worker("gemm", 1)
    try:
        with pytest.raises(process.FailedError, match="gemm: TypeError: "):
            worker.ask("product", product=[2, 2, 2, "forward"], seconds=None)
        assert worker.ask("product", product=[2, 2, 2, "forward"], seconds=0.01)["seconds"] > 0
        worker.process.kill()
        with pytest.raises(process.FailedError, match="its process ended"):
            worker.ask("ready")
        assert not worker.alive
    finally:
        worker.close()


# ---------------------------------------------------------------------- ratios, means and tables


CELLS = {
    "small": {"gpunn": 2.0, "jax-scan": 1.0, "torch": 8.0, "torch-tuned": 6.0, "gemm": 1.0},
    "large": {"gpunn": 10.0, "jax-scan": 40.0, "torch": 60.0, "sklearn": 90.0, "gemm": 10.0},
}


def test_the_best_peer_is_neither_our_own_nor_a_floor(load):
    verdict = load("verdict")
    assert verdict.best_peer(CELLS["small"]) == "jax-scan"
    assert verdict.best_peer({"gpunn": 1.0, "gpunn-numpy": 0.5, "gemm": 0.1}) is None
    assert verdict.rivals(CELLS["small"]) == {
        "best peer": 1.0,
        "JAX": 1.0,
        "PyTorch": 6.0,
        "GEMM floor": 1.0,
    }


def test_geometric_means_of_ratios(load):
    found = load("verdict").means(CELLS, "gpunn", ["small", "large"])
    assert found["JAX"].mean == pytest.approx(math.sqrt(0.5 * 4))
    assert (found["JAX"].least, found["JAX"].where, found["JAX"].cells) == (0.5, "small", 2)
    assert found["PyTorch"].mean == pytest.approx(math.sqrt(3 * 6))
    assert (found["scikit-learn"].mean, found["scikit-learn"].cells) == (pytest.approx(9), 1)
    assert load("verdict").means(CELLS, "gpunn", ["small"])["JAX"].mean == pytest.approx(0.5)
    assert load("verdict").means(CELLS, "gpunn-numpy", ["small", "large"]) == {}


def test_the_table_of_the_grid(load):
    grid, work, figure = load("modes.grid"), load("work"), load("figures").Figure
    task = work.grid_task((64, 32, 10), 32, "sgd")
    cell = {name: figure(t, t / 2, 0.1, 3, 3) for name, t in CELLS["small"].items()}
    cell["gpunn"] = figure(2.0, 0.5, 0.1, 3, 0)
    names = list(cell)
    first, second = (row(grid.steps_table({task: cell}, names, s)) for s in ("median", "minimum"))
    best = ["jax-scan"]
    assert first == [str(task), "~2.00", "1.00", "8.00", "6.00", "1.00", *best, "~0.50x", "~0.50x"]
    minima = ["~0.500", "0.500", "4.00", "3.00", "0.500"]
    assert second == [str(task), *minima, *best, "~1.00x", "~1.00x"]
    assert "In 1 of 1 cells somebody had no quiet turn" in grid.caution({task: cell})
    assert grid.caution({task: {"gemm": cell["gemm"]}}) == ""
    means = grid.means_table({task: cell}, names, ("median", "minimum"))
    expected = ["0.50x", "1.00x", "0.50x", "1.00x", "0.50x"]
    assert row(means) == ["gpunn", "best peer", *expected, str(task)]


def row(text, number=0):
    """The cells of one row of a table."""
    return [cell.strip() for cell in text.splitlines()[2 + number].strip("|").split("|")]


def test_the_first_epoch_is_apart(load):
    grid = load("modes.grid")
    answer = {"seconds": [9.0, 2.0, 4.0, 3.0], "steps": 1000}
    assert grid.step_microseconds(answer) == [2000.0, 4000.0, 3000.0]
    assert grid.warm_up_seconds(answer) == 6.0


def test_the_way_to_the_target(load):
    mode, turn = load("modes.time_to_98"), load("quietness").Turn
    answers = [
        {"seconds": [2.0, 1.0], "accuracies": [0.97, 0.981], "cold": 4.0},
        {"seconds": [2.0, 1.0, 1.0], "accuracies": [0.96, 0.97, 0.984], "cold": 5.0},
        {"seconds": [2.0] * 9, "accuracies": [0.97] * 9, "cold": 30.0},
    ]
    found = mode.reached([turn(answer, 1.0, 0.0) for answer in answers], 0.98)
    assert found == {
        "runs": 3,
        "reached": 2,
        "best": 0.984,
        "epochs": 2.5,
        "as_run": 3.5,
        "cold": 4.5,
    }
    assert mode.reached([turn(answers[2], 1.0, 0.0)], 0.98)["epochs"] is None


def test_a_listing_compares_within_its_group(load):
    listing = load("modes.listing")
    rows = [
        {"cell": cell, "competitor": name, "seconds": seconds, "quiet": name == "gpunn"}
        for cell, name, seconds in [
            ("A", "gpunn", 2.0),
            ("A", "torch", 5.0),
            ("B", "torch", 7.0),
            ("B", "sklearn", None),
        ]
    ]
    columns = [("s", listing.marked("seconds"))]
    text = listing.listing(rows, columns, [("time", "seconds")])
    assert [row(text, number) for number in range(4)] == [
        ["A", "gpunn", "2.00", "1.00x"],
        ["", "torch", "~5.00", "2.50x"],
        ["B", "torch", "~7.00", "-"],
        ["", "sklearn", "-", "-"],
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0, "0"),
        (0.0123456, "0.0123"),
        (0.999, "0.999"),
        (13.24, "13.2"),
        (167839.4, "167839"),
    ],
)
def test_numbers_have_three_digits(load, value, text):
    assert load("table").number(value) == text


def test_a_table_is_markdown(load):
    lines = load("table").table(["", "a"], [["long name", "1"], ["x", "12.5"]]).splitlines()
    assert lines[1] == "| --------- | ---: |"
    assert lines[2] == "| long name |    1 |"
    assert all(len(a) == len(b) for a, b in pairwise(lines))


# ------------------------------------------------------------------------------------ footprint


def test_installed_size_counts_what_is_required(load):
    size = load("installed").installed_bytes
    alone, whole = size(["numpy"]), size(["gpunn"])
    assert alone > 1e6
    assert whole > alone
    assert size(["numpy", "NumPy"]) == alone
    assert size(["no-such-distribution"]) == 0


def test_peak_memory_is_the_processs_own(load, tmp_path):
    for name in load("work").MNIST_ARRAYS:
        np.save(tmp_path / f"{name}.npy", np.zeros(8))
    ballast = np.ones(400_000_000, np.uint8)  # would be in the ru_maxrss of what starts now
    worker = load("process").Worker("gemm", 1)
    try:
        answer = worker.ask("peak_memory", folder=str(tmp_path), task=None)
    finally:
        worker.close()
    assert 1e6 < answer["bytes"] < ballast.nbytes


def test_imports_are_timed_in_a_new_process(load):
    footprint, catalogue = load("modes.footprint"), load("catalogue")
    gpunn = catalogue.EVERYBODY["gpunn-numpy"]
    assert footprint.whole(gpunn).startswith("import gpunn; gpunn.Sequential")
    assert footprint.import_seconds(gpunn, footprint.whole(gpunn), 1)["seconds"] > 0
    with pytest.raises(load("process").FailedError, match="ModuleNotFoundError"):
        footprint.import_seconds(gpunn, "import numba", 1)
