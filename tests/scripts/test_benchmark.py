"""The benchmark command: its statistics, and small runs without other libraries.

No test depends on speed.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from gpunn.data import load_digits

SCRIPTS = Path(__file__).parents[2] / "scripts"


def test_a_tiny_grid(load, monkeypatch, tmp_path):
    """In processes of libraries; the machine's peak is left out."""
    monkeypatch.setattr(load("session").Session, "fma_peak", lambda self, dtype: 50.0)
    path = tmp_path / "figures.json"
    tiny = ["--sizes", "6-5-3", "--batches", "8", "--seconds", "0.01", "--reps", "1"]
    options = ["--only", "gpunn-numpy", *tiny, "--extra", "0", "--threads", "1", "--json", path]
    assert "| 6-5-3, 8 adam " in run(load, "commands", "grid", *options)
    document = json.loads(path.read_text())
    cells = {(row["cell"], row["competitor"]): row for row in document["modes"]["grid"]}
    names = "gpunn-numpy", "gemm"
    assert set(cells) == {(f"6-5-3, 8 {each}", name) for each in ("sgd", "adam") for name in names}
    for row in cells.values():
        assert (row["turns"], len(row["samples"])) == (1, 1)
        assert 0 < row["minimum"] == min(row["samples"][0]) <= row["median"]
    assert document["failures"] == []
    assert document["machine"]["versions"]["numpy"] == np.__version__


@pytest.fixture
def in_this_process(load, monkeypatch, session, tmp_path):
    def measure(self, cells, names, question):
        def turn(cell, name):
            adapter = load("adapters").load(load("competitors").EVERYBODY[name].adapter)
            job, arguments = question(cell, 0)
            return self.turn(lambda: getattr(load("jobs").Jobs(adapter), job)(**arguments))

        return {(cell, name): [turn(cell, name)] for cell in cells for name in names}

    for name, method in {
        "__enter__": lambda self: self,
        "__exit__": lambda self, *error: None,
        "libraries": lambda self: [],
        "measure": measure,
        "fma_peak": lambda self, dtype: 50.0,
    }.items():
        monkeypatch.setattr(load("session").Session, name, method)
    monkeypatch.setattr(load("options"), "Session", lambda *arguments: session)

    def run(mode, *options):
        path = tmp_path / "figures.json"
        short = ["--only", "gpunn-numpy", "--seconds", "0.01", "--json", str(path)]
        done = CliRunner().invoke(load("commands").command, [mode, *options, *short])
        assert done.exit_code == 0, done.output
        results = json.loads(path.read_text())["modes"][mode]
        return done.output, {(row["cell"], row["competitor"]): row for row in results}

    return run


def test_a_realistic_network(in_this_process):
    said, cells = in_this_process("realistic", "--tasks", "tiny")
    assert set(cells) == {("tiny", "gpunn-numpy"), ("tiny", "gemm")}
    flops = 2 * 64 * (2 * 30 * 64 + 3 * 64 * 64 + 3 * 64 * 2)  # the first layer has two products
    for figure in cells.values():
        assert figure["share"] == pytest.approx(flops / 50e3 / figure["median"])
        assert f" ({100 * figure['share']:.0f} %) |" in said
    assert "| gemm / gpunn-numpy | " in said  # geometric means


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["grid", "--only", "gpumm"], "unknown name 'gpumm'; choose from: gpunn, gpunn-numpy"),
        (["grid", "--sizes", "7"], "expected widths such as 784-128-10"),
        (["grid", "--batches", "0"], "expected a positive integer"),
        (["mnist", "--tasks", "3"], "choose from: 1, 2"),
        (["realistic", "--tasks", "7"], "choose from: table-regression, image-classifier"),
        (["grid", "--json", "/no/such/folder/figures.json"], "/no/such/folder: no such folder"),
        (["mnist", "--only", "gemm"], "MNIST's files are not in"),
    ],
)
def test_wrong_usage(load, arguments, said, tmp_path):
    variables = {"GPUNN_DATA": str(tmp_path)}
    done = CliRunner().invoke(load("commands").command, arguments, env=variables)
    assert done.exit_code == 2
    assert said in " ".join(done.output.replace("│", " ").split())


def test_competitors(load, monkeypatch):
    taking_part, competitor = load("options").competitors, load("competitors").Competitor
    monkeypatch.setattr(competitor, "missing", lambda self: "")
    assert "gemm" in taking_part(None)
    assert taking_part(["gemm", "gpunn"]) == ["gpunn", "gemm"]
    monkeypatch.setattr(competitor, "missing", lambda self: "everything")
    with pytest.raises(Exception, match="no competitor is installed"):
        taking_part(None)


def test_networks_of_images_train_and_convolutions_run(load):
    pytest.importorskip("numba")
    module = load("images")
    layers, _ = module.NETWORKS["LeNet-5"]
    history = module.gpunn_turn(layers, 1, 2)()
    assert len(history["loss"]) == module.EPOCHS
    operations, calls = module.convolutions((7, 7, 3, 3, 4))
    assert operations >= 2 * 25 * 27 * 4
    for call in calls:
        call()


def test_launches_of_a_compiled_program(load):
    program = """
%fused.1 (p: f32[2]) -> f32[2] {
  ROOT %add.1 = f32[2]{0} add(%p, %p)
}

ENTRY %main.2 (x: f32[2]) -> (f32[2]) {
  %x = f32[2]{0} parameter(0), metadata={op_name="tanh(x)"}
  %call.1 = (f32[2]{0}, u8[0]{0}) custom-call(%x), custom_call_target="product (a b)"
  %part = f32[2]{0} get-tuple-element(%call.1), index=0
  %sum.1 = f32[2]{0} fusion(%part), kind=kLoop, calls=%fused.1
  ROOT %all.1 = (f32[2]{0}) tuple(%sum.1)
}
"""
    said = ["parameter", "custom-call", "get-tuple-element", "fusion", "tuple"]
    assert list(load("launches").instructions(program)) == said


def run(load, module, *arguments):
    done = CliRunner().invoke(load(module).command, list(map(str, arguments)))
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.full
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_fit_in_a_new_process_is_the_same_fit(load):
    pytest.importorskip("sklearn.base", reason="needs scikit-learn, the extra 'sklearn'")
    module, options = load("estimators"), {"random_state": 0, "max_iter": 2}
    problem = module.bundled("linnerud")
    for library in ("gpunn", "scikit-learn"):
        warm, cold = (fit(problem, library, **options) for fit in (module.fit, module.cold_fit))
        assert cold["process"] > cold["seconds"] > 0
        assert (cold["score"], cold["epochs"]) == (pytest.approx(warm["score"]), 2)


def test_both_libraries_fit_alike_and_a_long_run_can_be_divided(load, tmp_path):
    pytest.importorskip("sklearn.base", reason="needs scikit-learn, the extra 'sklearn'")
    scores, path = [], tmp_path / "fits.json"
    for first, seeds in ((3, 2), (4, 1)):
        options = ("--first-seed", first, "--seeds", seeds, "--max-iter", 2, "--json", path)
        said = run(load, "estimators", "wine", "linnerud", *options)
        assert "| wine     |        124 × 13 |" in said
        wine, linnerud = json.loads(path.read_text())["rows"]
        for row in (wine, linnerud):
            for one, other in zip(*row["fits"].values(), strict=True):
                assert one["epochs"] == other["epochs"]
                assert one["score"] == pytest.approx(other["score"])
        scores.append([fit["score"] for fit in wine["fits"]["gpunn"]])
    assert scores[0][1:] == scores[1] != scores[0][:1]


def test_searches_are_measured(load, tmp_path, monkeypatch):
    pytest.importorskip("sklearn.base", reason="needs scikit-learn, the extra 'sklearn'")
    monkeypatch.setitem(load("searches").CASES, "scikit-learn, n_jobs=2", lambda *_: None)
    path = tmp_path / "times.json"
    options = ("--values", 1, "--epochs", 1, "--repeats", 2, "--json", path)
    assert "gpunn, together |" in run(load, "searches", "table", *options)
    (row,) = json.loads(path.read_text())["rows"]
    assert all(len(pairs) == 2 for pairs in row["times"].values())
    assert min(row["times"]["gpunn"]) > [0, 0]


def write_table(folder, name, target, of_number):
    random = np.random.default_rng(0)
    columns = random.normal(size=90), random.choice(["a", "b"], 90), ["", "1", "2"] * 30
    rows = [
        f"{number:.3f},{kind},{gap},{of_number(number)}"
        for number, kind, gap in zip(*columns, strict=True)
    ]
    path = folder / f"{name}.csv"
    path.write_text("\n".join([f"number,kind,gap,{target}", *rows]) + "\n")
    return path


def credit_risk(folder):
    return write_table(folder, "credit_risk", "loan_status", lambda number: int(number > 0))


@pytest.mark.full
def test_intervals_of_published_tables(load, tmp_path):
    for module in ("pandas", "sklearn.base"):
        pytest.importorskip(module)
    path = write_table(tmp_path, "diamonds", "price", lambda number: number)
    arguments = "diamonds", str(path), "RealMLP", "", 0, 3000
    result = load("tables").in_a_process("table_coverage", arguments, 1)
    assert 0.5 < result["coverage"] <= 1
    assert result["size"] > 0


@pytest.mark.full
def test_models_for_tables_are_scored_on_unseen_rows(load, tmp_path):
    for module in ("pandas", "sklearn.base"):
        pytest.importorskip(module)
    credit_risk(tmp_path)
    path = tmp_path / "fits.json"
    options = ("--models", "sklearn-hgb,sklearn-mlp", "--seeds", 1, "--splits", "--json", path)
    said = run(load, "tables", tmp_path, *options)
    assert "left out: Ames (ames.tsv is missing)" in said
    fits = json.loads(path.read_text())["fits"]
    assert [one["model"] for one in fits] == ["sklearn-hgb", "sklearn-mlp"]
    for one in fits:
        assert one["test"]["accuracy"] > 0.7
        assert {"accuracy", "calibration_error"} < set(one["validation"])


def test_the_better_network_on_validation_rows_is_ranked_among_peers(load, tmp_path):
    def fits(model, validation, test):
        return [
            {
                "table": "diamonds",
                "model": model,
                "seed": seed,
                "validation": {"rmse": validation[seed]},
                "test": {"rmse": test[seed]},
                "cpu_seconds": 7.0,
            }
            for seed in range(2)
        ]

    own = [*fits("gpunn-tabm", [3, 1], [0.3, 0.1]), *fits("gpunn-realmlp", [2, 2], [0.2, 0.9])]
    peers = [
        *fits("lightgbm", [5, 5], [0.1, 0.1]),
        *fits("catboost", [5, 5], [0.1, 0.2]),
        *fits("catboost-early", [4, 4], [0.1, 0.1]),
        *fits("xgboost", [5, 5], [0.4, 0.4]),
        *fits("sklearn-hgb", [5, 5], [0.5, 0.5]),
        *fits("sklearn-mlp", [5, 5], [0.6, 0.6]),
    ]
    for name, each in (("own", own), ("peers", peers)):
        (tmp_path / name).write_text(json.dumps({"fits": each}))
    words = run(load, "table_ranks", tmp_path / "own", tmp_path / "peers").split()
    said = " ".join(words)
    assert "gpunn-realmlp | 0.5500 ± 0.4950 (2; 7 s)" in said
    # The validation rows select 0.2 of RealMLP and 0.1 of TabM; CatBoost's mean is the same.
    assert "| diamonds | 2.5 | 1 | 4 | 2.5 | 5 | 6 | 0.1500 | 0.1000 | 50.00 % |" in said
    # CatBoost with early stopping is better on them, and equals LightGBM on the test rows.
    assert "| diamonds | 3 | 1.5 | 4 | 1.5 | 5 | 6 | 0.1500 | 0.1000 | 50.00 % |" in said
    (tmp_path / "peers").write_text(json.dumps({"fits": peers[2:]}))
    assert "no fits of LightGBM" in run(load, "table_ranks", tmp_path / "own", tmp_path / "peers")


@pytest.mark.full
def test_memory_of_a_streamed_file(load, tmp_path):
    options = ("--gigabytes", 0.05, "--standardize", "--folder", tmp_path)
    assert "(bound 4096 MiB)" in run(load, "memory", "stream", *options, "--budget", 4096)


def test_custom_classes(load, monkeypatch):
    module = load("custom_classes")
    monkeypatch.setattr(module, "NETWORKS", {"tiny": ((6, 4, 2), 8, 2)})
    done = CliRunner().invoke(module.command, ["--turns", "1"], catch_exceptions=False)
    lines = done.output.splitlines()
    assert len(lines) == len(module.CLASSES) + len(module.LAYERS) + 1
    assert lines[-1].startswith("tiny: geometric mean ")


def test_overhead(load, monkeypatch):
    monkeypatch.setattr(load("overhead"), "CONFIG", SCRIPTS / "configs" / "digits.toml")
    done = CliRunner().invoke(load("overhead").command, ["--epochs", "1"])
    assert done.exit_code in (0, 1)  # depends on the time
    results = json.loads(done.output)["milliseconds"]
    assert {"RunFolder.on_epoch_end", "GoodState.keep"} <= set(results)


def test_the_floor_is_the_products_of_a_step(load, monkeypatch):
    task = load("work").Task((6, 5, 4, 3), 8, "sgd", 0.1)
    expected = [
        (8, 5, 6, "forward"),
        (8, 4, 5, "forward"),
        (8, 3, 4, "forward"),
        (4, 3, 8, "weight gradient"),
        (8, 4, 3, "input gradient"),
        (5, 4, 8, "weight gradient"),
        (8, 5, 4, "input gradient"),
        (6, 5, 8, "weight gradient"),
    ]
    assert task.products() == [product[:3] for product in expected]
    seen = []

    def record(self, a, b, out):
        transposed = a.flags.f_contiguous, b.flags.f_contiguous
        kinds = {(False, False): "forward", (True, False): "weight gradient"}
        assert (a @ b).shape == out.shape
        seen.append((*out.shape, a.shape[1], kinds.get(transposed, "input gradient")))
        return lambda: None

    products = load("adapters.with_gemm").NumpyProducts
    monkeypatch.setattr(products, "call", record)
    products().step(task)
    assert seen == expected


LIBRARIES = [
    ("with_gpunn.Gpunn", "gpunn", 0),
    ("with_jax.Scan", "optax", 2e-3),
    ("with_torch.Eager", "torch", 2e-3),
    ("with_sklearn.Sklearn", "sklearn", 2e-3),
    ("with_keras.Keras", "keras", 2e-3),
]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize(("name", "module", "tolerance"), LIBRARIES)
def test_a_library_does_this_work(load, monkeypatch, name, module, tolerance, optimizer):
    """After one step on all rows, predictions equal those of a step written in NumPy."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    pytest.importorskip(module)
    work = load("work")
    X, y, X_test, _ = load_digits()
    X, y = (X[:64] / np.float32(16)).astype(np.float32), y[:64]
    y[:10] = np.arange(10)
    task = work.Task((64, 32, 10), 64, optimizer, 0.5 if optimizer == "sgd" else 0.05)
    predicted = []

    def after_epoch(epoch):
        predicted.append(epoch.predict((X_test / 16).astype(np.float32)))
        return True

    load("adapters").load(name).train(task, work.Rows(X, y), 3, after_epoch)
    logits = after_one_step(work.initial_weights(task, 3), X, y, task, X_test / 16)
    first, second = np.sort(logits, axis=1)[:, :-3:-1].T
    clear = first - second > tolerance * np.abs(logits).max()
    assert clear.mean() > 0.9
    assert len(predicted) == 1
    np.testing.assert_array_equal(np.asarray(predicted[0])[clear], logits.argmax(1)[clear])


def after_one_step(weights, X, y, task, X_test):
    W1, W2 = (array.astype(np.float64) for array in weights)
    hidden = np.maximum(X @ W1, 0)
    scores = np.exp(hidden @ W2)
    slopes = (scores / scores.sum(1, keepdims=True) - np.eye(10)[y]) / len(X)
    back = slopes @ W2.T * (hidden > 0)
    gradients = [X.T @ back, back.sum(0), hidden.T @ slopes, slopes.sum(0)]
    if task.optimizer == "adam":  # after correction, the moments are g and g squared
        gradients = [g / (np.abs(g) + 1e-8) for g in gradients]
    W1, b1, W2, b2 = (
        value - task.learning_rate * g
        for value, g in zip([W1, np.zeros(32), W2, np.zeros(10)], gradients, strict=True)
    )
    return np.maximum(X_test @ W1 + b1, 0) @ W2 + b2


def test_training_ends_after_the_epochs_with_the_accuracy(load, monkeypatch):
    arrays = [np.zeros((21, 4), np.float32), np.zeros(21, int), np.zeros((10, 4)), np.arange(10)]
    monkeypatch.setattr(load("jobs"), "kept_mnist", lambda folder: arrays)

    class Learner:
        def train(self, task, rows, seed, after_epoch):
            epoch = load("adapters").Epoch(1.0, {}, lambda rows: np.arange(10) % 6)
            assert [len(rows.X), after_epoch(epoch), after_epoch(epoch)] == [16, False, True]

    task = load("work").Task((4, 10), 8, "sgd", 0.1)
    answer = load("jobs").Jobs(Learner()).mnist(task, "", 0, epochs=2)
    assert answer == {"seconds": [1.0, 1.0], "accuracy": 0.6}


def test_a_process_with_only_numpy_has_no_kernels(load):
    seconds = load("footprint").import_seconds
    alone = "from gpunn.backends.numpy.compiled.library import library; assert library() is None"
    assert seconds("gpunn-numpy", alone, 1)["seconds"] > 0
    with pytest.raises(load("session").FailedError, match="ModuleNotFoundError"):
        seconds("gpunn-numpy", "import no_such_module", 1)


def test_installed_size_includes_requirements(load):
    size = load("machine").installed_bytes
    assert 1e6 < size(["numpy"]) == size(["numpy", "NumPy"]) < size(["gpunn"])
    assert size(["no-such-distribution"]) == 0


@pytest.mark.full
def test_first_and_later_processes_and_the_memory_of_an_epoch(load, tmp_path, monkeypatch):
    wheel = load("wheel")
    monkeypatch.setattr(wheel, "MNIST_TASKS", {"1": load("work").Task((4, 3), 8, "sgd", 0.1)})
    for name in ("X", "X_test"):
        np.save(tmp_path / f"{name}.npy", np.zeros((16, 4), np.float32))
    for name in ("y", "y_test"):
        np.save(tmp_path / f"{name}.npy", np.arange(16) % 3)
    results = wheel.measure("gpunn-numpy", sys.executable, tmp_path, 1, str(tmp_path))
    first, later, peak = results.values()
    assert min(first, later) > 0
    assert peak > 10


@pytest.fixture
def session(load, monkeypatch):
    """A session without processes; `speeds` are the speeds of its reference products."""
    module = load("session")
    new_session = module.Session(threads=1, repetitions=2, extra=2, references=[100.0])

    def look(self):
        self.references.append(self.speeds.pop(0) if self.speeds else 100.0)
        return self.references[-1]

    monkeypatch.setattr(module.Session, "look", look)
    new_session.speeds = []
    return new_session


def test_a_turn_needs_a_fast_reference_on_both_sides(session):
    session.speeds = [98, 60, 97, 99]
    turns = [session.turn(dict) for _ in range(4)]
    assert [turn.reference for turn in turns] == [98, 60, 60, 97]
    assert [turn.quiet for turn in turns] == [True, False, False, True]
    assert session.summary().startswith(
        "2 of 4 turns were undisturbed. Reference product: 60 to 100"
    )
    session.speeds = [150]
    session.turn(dict)
    assert not turns[0].quiet  # the best speed may come last


def test_turns_are_interleaved_and_repeated_if_disturbed_and_failures_are_left_out(load, session):
    order, failed = [], load("session").FailedError

    def prepare(cell, name, number):
        order.append((number, cell, name))
        if (cell, name) == ("x", "c"):
            raise failed("c: no")
        session.speeds = [10.0] if number < 2 and name == "b" else [100.0]
        session.references[-1] = 100.0
        return dict

    measured = session.rotate(["x", "y"], ["a", "b", "c"], prepare)
    both = [(cell, name) for cell in ("x", "y") for name in ("a", "b", "c")]
    again = [key for key in both if key != ("x", "c")]
    assert order == [
        *((0, *key) for key in both),
        *((1, *key) for key in again),
        *((2, cell, "b") for cell in ("x", "y")),
    ]
    assert {key: len(turns) for key, turns in measured.items()} == {
        key: {"a": 2, "b": 3, "c": 0 if key[0] == "x" else 2}[key[1]] for key in both
    }
    assert session.failures == ["x: c: no"]


def test_a_process_continues_after_an_error_of_a_library(load):
    module = load("session")
    worker = module.Worker("gemm", 1)
    try:
        with pytest.raises(module.FailedError, match="gemm: FileNotFoundError: "):
            worker.ask("predict", task=None, folder="/no/such/folder")
        assert worker.ask("reference")["gflops"] > 0
        worker.process.kill()
        with pytest.raises(module.FailedError, match="its process ended"):
            worker.ask("ready")
    finally:
        worker.close()


@pytest.fixture
def figures(load, session):
    """Figures of turns, each given as (quiet, samples)."""
    turn = load("session").Turn

    def build(measured):
        turns = {
            key: [turn({"s": samples}, 100.0 * quiet, session) for quiet, samples in each]
            for key, each in measured.items()
        }
        return load("figures").figures(turns, lambda answer: answer["s"])

    return build


def test_only_undisturbed_turns_count_unless_there_is_none(figures):
    mixed, none = figures(
        {
            ("x", "gpunn"): [(1, [5, 4, 6]), (0, [1, 1, 1]), (1, [8, 9, 7])],
            ("x", "torch"): [(0, [5]), (0, [7])],
            ("y", "torch"): [],
        }
    )
    assert (mixed.median, mixed.minimum, mixed.turns, mixed.quiet) == (6.5, 4, 3, 2)
    assert mixed.spread == pytest.approx(8 / 5 - 1)
    assert mixed.samples == [[5, 4, 6], [1, 1, 1], [8, 9, 7]]
    assert (none.median, none.quiet) == (6, 0)


def test_ratios_are_of_the_best_peer_and_of_the_products_alone(load, figures):
    module = load("figures")
    times = {"gpunn": (0, [2.0, 1.0, 3.0]), "torch": (1, [4.0]), "torch-tuned": (1, [3.0])}
    times |= {"jax-scan": (1, [8.0]), "gemm": (1, [1.0])}
    results = figures({("5-4-3, 8 sgd", name): [turn] for name, turn in times.items()})
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in module.comparison(results).splitlines()
    ]
    ratios = ["best peer / gpunn", "gemm / gpunn"]
    assert lines[0] == ["", "gpunn", "jax-scan", "torch", "torch-tuned", "gemm", *ratios]
    numbers = ["~2.00", "8.00", "4.00", "3.00", "1.00", "~1.50x", "~0.50x"]
    assert lines[2] == ["5-4-3, 8 sgd", *numbers]
    assert "| PyTorch / gpunn   | 1.50x | 1.50x | 1.50x | 5-4-3, 8 sgd |" in module.means(results)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_fma_peak_counts_multiply_adds_that_were_computed(load, dtype):
    pytest.importorskip("llvmlite")
    fma = load("fma")
    multiply_add = fma.kernel(dtype)
    # From 0: one more each time, and 1, 3, 7.
    assert multiply_add(1000, 1.0, 1.0) == 1000 * multiply_add.numbers
    assert multiply_add(3, 2.0, 1.0) == 7 * multiply_add.numbers


def test_the_fma_peak_is_of_all_threads(load, monkeypatch):
    fma, calls = load("fma"), []

    class OneSecondEach:
        numbers = 500

        def __call__(self, count, factor, term):
            calls.append(count)

    monkeypatch.setattr(fma, "kernel", lambda dtype: OneSecondEach())
    monkeypatch.setattr(fma, "seconds", lambda call: (call(), 1.0)[1])
    assert fma.peak(3) == pytest.approx(2 * 3 * 500 * 1000 / 1e9)
    assert calls == [1000] * (1 + 3 * fma.REPETITIONS)


def test_numbers_have_three_digits(load):
    values = {0: "0", 0.0123456: "0.0123", 0.999: "0.999", 13.24: "13.2", 167839.4: "167839"}
    assert {value: load("figures").number(value) for value in values} == values
