"""Each kind of data set, through `gpunn train`."""

import gzip
import json

import numpy as np
import pytest
from array_files import idx_bytes
from run_folders import evaluation, history, weights

MODEL = 'model.layers = [{name = "dense", units = 3}]\n'
TRAINING = '[training]\nloss = "softmax_cross_entropy"\nepochs = 2\nmetrics = ["accuracy"]\n'


@pytest.fixture
def train(gpunn, tmp_path):
    def run(data: str, *arguments: object, status: int = 0):
        (tmp_path / "a.toml").write_text(f"data = {{{data}}}\n{MODEL}{TRAINING}")
        return gpunn("train", "a.toml", "--output", "run", *arguments, status=status)

    return run


def arrays(rows: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(rows)
    return random.normal(size=(rows, 4)), np.arange(rows) % 3


def save_parts(**parts: int) -> dict[str, np.ndarray]:
    saved = {}
    for name, rows in parts.items():
        saved[f"X{name}"], saved[f"y{name}"] = arrays(rows)
    return saved


def test_npz_without_parts(train, tmp_path):
    np.savez(tmp_path / "a.npz", **save_parts(**{"": 60}))
    result = train('dataset = "npz", path = "a.npz"')
    assert "rows: 60 training\n" in result.stdout
    assert "The data has no test split." in result.stdout
    assert evaluation(tmp_path / "run")["test"] is None


NAMES = np.array(["lily", "aster", "rose"])


@pytest.mark.parametrize("as_saved", [np.asarray, lambda y: y.astype("S")])
@pytest.mark.parametrize("dataset", ["npz", "npy"])
def test_classes_that_are_text(train, gpunn, tmp_path, dataset, as_saved):
    X, y = arrays(60)
    parts = {"X": X, "y": NAMES[y], "X_t": X[:15], "y_t": NAMES[y[:15]]}
    parts |= {name: as_saved(parts[name]) for name in ("y", "y_t")}
    np.savez(tmp_path / "a.npz", **parts)
    for name, array in parts.items():
        np.save(tmp_path / f"{name}.npy", array)
    described = 'dataset = "npz", path = "a.npz", X_test = "X_t", y_test = "y_t"'
    evaluated = ["a.npz"]
    if dataset == "npy":
        described = (
            'dataset = "npy", path = "X.npy", target_path = "y.npy", test_path = "X_t.npy", '
            'test_target_path = "y_t.npy"'
        )
        evaluated = ["X.npy", "--target-path", "y.npy"]
    described += ", validation_fraction = 0.2"
    np.save("rows.npy", X)
    train(described, "--set", "training.class_weight={aster=0.5}")
    assert "accuracy" in gpunn("evaluate", "run").stdout
    evaluation_of_names = gpunn("evaluate", "run", *evaluated).stdout
    written = gpunn("predict", "run", "rows.npy", "--probabilities").stdout
    assert written.startswith("prediction,probability_aster,probability_lily,probability_rose\n")
    gpunn("predict", "run", "rows.npy", "--output", "names.npy")
    of_names = weights(tmp_path / "run")

    # The same rows with numbers for classes, in the same order, train the same network.
    codes = {
        name: np.searchsorted(np.sort(NAMES), parts[name].astype(str)) for name in ("y", "y_t")
    }
    np.savez(tmp_path / "a.npz", **(parts | codes))
    for name, array in codes.items():
        np.save(tmp_path / f"{name}.npy", array)
    train(described, "--set", "training.class_weight={0=0.5}", "--overwrite")
    assert all((of_names[name] == array).all() for name, array in weights(tmp_path / "run").items())
    assert gpunn("evaluate", "run", *evaluated).stdout == evaluation_of_names
    gpunn("predict", "run", "rows.npy", "--output", "codes.npy")
    found = np.load("names.npy")
    assert (found == np.sort(NAMES)[np.load("codes.npy")]).all()
    assert len(set(found)) > 1
    np.savez(tmp_path / "b.npz", X=X, y=NAMES[y])
    refused = gpunn("evaluate", "run", "b.npz", status=2).stderr
    assert "expected numbers, as in the training data; got strings such as 'lily'" in refused


@pytest.mark.parametrize(
    ("y", "y_t", "problem"),
    [
        (NAMES, np.array(["lily", "tulip"]), "array 'y_t' contains 'tulip', which is not a class"),
        (NAMES, np.arange(2), "array 'y_t': expected strings such as"),
        (np.arange(3), NAMES[:2], "array 'y_t': expected numbers, as in the training data"),
        (np.array([*NAMES[:2], ""]), NAMES[:2], "row 2 (counted from 0): the class is missing"),
        (NAMES.astype(object), NAMES[:2], "holds Python objects"),
        (np.array([*NAMES, "tulip"]), NAMES[:2], "the target has 4 classes, but the network has 3"),
    ],
)
def test_classes_that_are_text_in_one_part_only(train, tmp_path, y, y_t, problem):
    rows = np.arange(60) % len(y)
    X, _ = arrays(60)
    np.savez(tmp_path / "a.npz", X=X, y=y[rows], X_t=X[:2], y_t=y_t)
    data = 'dataset = "npz", path = "a.npz", X_test = "X_t", y_test = "y_t"'
    assert problem in train(data, status=2).stderr


def test_the_test_part_must_fit_the_networks_type(train, tmp_path):
    parts = save_parts(_a=60, _b=15)
    parts["X_b"][0] = 1e100
    np.savez(tmp_path / "a.npz", **parts)
    data = 'dataset = "npz", path = "a.npz", X = "X_a", y = "y_a", X_test = "X_b", y_test = "y_b"'
    assert "test X: is too large for float32" in train(data, status=2).stderr
    train(data, "--set", "dtype=float64")


@pytest.mark.parametrize("dataset", ["npz", "npy"])
def test_arrays_with_parts(train, tmp_path, dataset):
    saved = save_parts(_a=60, _b=30, _c=15)
    np.savez(tmp_path / "a.npz", **saved)
    for name, array in saved.items():
        np.save(tmp_path / f"{name}.npy", array)
    parts = {"a": "", "b": "validation", "c": "test"}
    keys = {"path": "a.npz"} if dataset == "npz" else {}
    for part, name in parts.items():
        if dataset == "npz":
            end = name and f"_{name}"
            keys |= {f"X{end}": f"X_{part}", f"y{end}": f"y_{part}"}
        else:
            begin = name and f"{name}_"
            keys |= {f"{begin}path": f"X_{part}.npy", f"{begin}target_path": f"y_{part}.npy"}
    given = ", ".join(f'{key} = "{value}"' for key, value in keys.items())
    result = train(f'dataset = "{dataset}", {given}')
    assert "rows: 60 training, 30 validation, 15 test" in result.stdout


def test_fractions_keep_the_classes_proportions_and_the_test_rows(train, tmp_path):
    np.savez(tmp_path / "a.npz", **save_parts(**{"": 60}))
    data = 'dataset = "npz", path = "a.npz", test_fraction = 0.2, validation_fraction = 0.25'
    assert "rows: 36 training, 12 validation, 12 test" in train(data).stdout
    from gpunn.config import load_config
    from gpunn.experiment.data import load
    from gpunn.losses import SoftmaxCrossEntropy

    def parts(*settings: str):
        config = load_config(tmp_path / "a.toml", settings)
        return load(config).split(config.data, SoftmaxCrossEntropy(), 3)

    first, other_seed, other_split = parts(), parts("seed=1"), parts("data.split_seed=1")
    for part in (first.training, first.validation, first.test):
        assert len(set(np.bincount(part.targets()))) == 1
    together = np.vstack([part.inputs() for part in (first.training, first.validation, first.test)])
    assert np.array_equal(np.unique(together, axis=0), np.unique(arrays(60)[0], axis=0))
    assert np.array_equal(first.test.inputs(), other_seed.test.inputs())
    assert not np.array_equal(first.test.inputs(), other_split.test.inputs())


def test_standardize_flattens_images(train, tmp_path, gpunn):
    X, y = arrays(60)
    np.savez(tmp_path / "a.npz", X=X.reshape(60, 2, 2), y=y)
    result = train('dataset = "npz", path = "a.npz", standardize = true, test_fraction = 0.2')
    assert "flatten_1" in result.stdout
    gpunn("evaluate", "run")


def test_mnist(train, gpunn, tmp_path, monkeypatch):
    folder = tmp_path / "sets" / "mnist"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for part, rows in (("train", 30), ("t10k", 12)):
        images = random.integers(0, 256, (rows, 2, 2), np.uint8)
        labels = (np.arange(rows) % 3).astype(np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            (folder / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(idx_bytes(array)))
    monkeypatch.setenv("GPUNN_DATA", "sets")
    assert "rows: 30 training, 12 test" in train('dataset = "mnist"').stdout
    monkeypatch.delenv("GPUNN_DATA")
    told = json.loads(gpunn("evaluate", "run", "--json").stdout)
    assert told == evaluation(tmp_path / "run")["test"]
    folder_given = ["--data-path", "sets/mnist", "--json"]
    assert json.loads(gpunn("evaluate", "run", *folder_given).stdout) == told


def test_csv_with_parts(gpunn, flowers, tmp_path):
    # The parts' columns are in another order, and one part lacks a class.
    lines = [line.split(",") for line in (tmp_path / "flowers.csv").read_text().splitlines()]
    text = "\n".join(f"{length},{width},{kind}" for width, kind, length in lines)
    (tmp_path / "test.csv").write_text(text + "\n")
    kept = "\n".join(line for line in text.splitlines() if "iris" not in line)
    (tmp_path / "validation.csv").write_text(kept + "\n")
    settings = [
        "data.test_fraction=0",
        "data.test_path=test.csv",
        "data.validation_path=validation.csv",
    ]
    result = gpunn(
        "train", flowers, "--output", "run", *(f"--set={setting}" for setting in settings)
    )
    assert "rows: 90 training, 60 validation, 90 test" in result.stdout
    assert evaluation(tmp_path / "run")["test"]["accuracy"] > 0.9
    assert history(tmp_path / "run")[-1]["val_accuracy"] > 0.9


@pytest.mark.parametrize("weight", ["{rose=5.0}", "{iris=0.0, lily=1.0}", "balanced"])
def test_class_weights_by_name(gpunn, flowers, weight):
    """A class without weight is not learnt."""
    gpunn("train", flowers, "--output", "run", "--set", f"training.class_weight={weight}")
    predicted = gpunn("predict", "run", "flowers.csv").stdout
    assert "rose" in predicted
    assert ("iris" in predicted) == ("iris" not in weight)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ('dataset = "npz", path = "none.npz"', "none.npz"),
        ('dataset = "npz", path = "short.npz"', "training y: expected 6 rows, as many as training"),
        ('dataset = "npz", path = "flat.npz"', "X: expected an array of shape (rows, features)"),
        ('dataset = "npz", path = "test.npz", X_test = "X_t", y_test = "y_t"', "test X: this netw"),
        (
            'dataset = "npz", path = "a.npz", test_fraction = 0.99',
            "data.test_fraction: 0.99 of 6 rows would hold out 6 rows and keep 0",
        ),
        ('dataset = "mnist", path = "."', "lacks train-images-idx3-ubyte"),
    ],
)
def test_bad_data_is_one_line_and_leaves_no_folder(train, tmp_path, data, problem):
    X, y = arrays(6)
    np.savez(tmp_path / "a.npz", X=X, y=y)
    np.savez(tmp_path / "short.npz", X=X, y=y[:5])
    np.savez(tmp_path / "flat.npz", X=X[:, 0], y=y)
    np.savez(tmp_path / "test.npz", X=X, y=y, X_t=X[:, :3], y_t=y)
    result = train(data, status=2)
    message, *picture_of_shapes = result.stderr.splitlines()
    assert problem in message
    assert all(line.startswith("    ") for line in picture_of_shapes)
    assert not (tmp_path / "run").exists()


def test_a_constant_column_is_named_in_training_alone(gpunn, flowers, tmp_path, caplog):
    table = tmp_path / "flowers.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([f"{lines[0]},color", *(f"{line},7" for line in lines[1:])]) + "\n")
    gpunn("train", flowers, "--set", "training.epochs=1")
    messages = [record.getMessage() for record in caplog.records]
    assert (
        f"{table}: column 'color' has the same value in every row, so it carries no information"
        in messages
    )
    caplog.clear()
    gpunn("evaluate", "runs/flowers")
    gpunn("report", "runs/flowers")
    assert not caplog.records


LABELED = """\
data = {{dataset = "csv", path = "a.csv", target = "y"{data}}}
model.layers = [{{name = "dense", units = {units}}}]
[training]
loss = "{loss}"
epochs = 60
batch_size = 8
optimizer = {{name = "adam", learning_rate = 0.05}}
"""


def labeled(tmp_path, labels, units=None, loss="softmax_cross_entropy", data=""):
    random = np.random.default_rng(0)
    lines = ["a,b,y"]
    for row in range(20 * len(labels)):
        place = row % len(labels)
        a, b = random.normal([np.cos(2 * place), np.sin(2 * place)], 0.01)
        lines.append(f"{a:.4f},{b:.4f},{labels[place]}")
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    units = len(labels) if units is None else units
    (tmp_path / "a.toml").write_text(LABELED.format(data=data, units=units, loss=loss))
    return [line.rpartition(",")[2] for line in lines[1:]]


@pytest.mark.parametrize(
    ("labels", "loss"),
    [
        (["1", "2", "3"], "softmax_cross_entropy"),
        (["-1", "1"], "softmax_cross_entropy"),
        (["0.0", "1.0"], "softmax_cross_entropy"),
        (["10", "9", "2"], "softmax_cross_entropy"),
        (["-1", "1"], "binary_cross_entropy"),
    ],
)
def test_numbers_that_name_classes(gpunn, tmp_path, labels, loss):
    units = 1 if loss == "binary_cross_entropy" else None
    truth = labeled(tmp_path, labels, units, loss, ", test_fraction = 0.2")
    gpunn("train", "a.toml", "--output", "run")
    predicted = gpunn("predict", "run", "--input", "a.csv").stdout.splitlines()
    assert predicted == ["prediction", *truth]
    table = gpunn("predict", "run", "--input", "a.csv", "--probabilities").stdout
    columns = [f"probability_{label}" for label in sorted(labels, key=float)]
    assert table.splitlines()[0] == ",".join(["prediction", *columns])
    figures = json.loads(gpunn("evaluate", "run", "--json").stdout)
    assert figures == evaluation(tmp_path / "run")["test"]
    # The same numbers in another spelling are the same classes.
    header, *rows = (tmp_path / "a.csv").read_text().splitlines()
    other = [f"{row}0" if "." in row.rpartition(",")[2] else f"{row}.0" for row in rows]
    (tmp_path / "b.csv").write_text("\n".join([header, *other]) + "\n")
    files = [
        json.loads(gpunn("evaluate", "run", "--data-path", name, "--json").stdout)
        for name in ("a.csv", "b.csv")
    ]
    assert all(found == files[0] for found in files)
    assert files[0]["loss"] < 0.7


def test_numbers_that_name_classes_in_parts(gpunn, tmp_path):
    labeled(tmp_path, ["1", "2", "3"])
    (tmp_path / "b.csv").write_text("a,b,y\n1,0,3\n0,1,1\n")
    settings = ["--set", "data.validation_path=b.csv", "--set", "data.test_path=b.csv"]
    gpunn("train", "a.toml", "--output", "run", *settings)
    (tmp_path / "b.csv").write_text("a,b,y\n1,0,4\n0,1,1\n")
    said = gpunn("train", "a.toml", "--output", "other", *settings, status=2).stderr
    assert "validation y: the target contains '4', which is not a class of the" in said


@pytest.mark.parametrize(
    ("labels", "units", "loss", "problem"),
    [
        (["1", "2", "7"], 2, "softmax_cross_entropy", "3 unique numbers, from 1 to 7"),
        (["a", "b"], 1, "mean_squared_error", "needs numbers, but the target has classes, such"),
        (["a", "b", "c"], 1, "binary_cross_entropy", "is for two classes, but the target has"),
        (["1", "2", "3"], 1, "binary_cross_entropy", "needs targets in [0, 1]"),
    ],
)
def test_targets_that_the_loss_can_not_take(gpunn, tmp_path, labels, units, loss, problem):
    labeled(tmp_path, labels, units, loss)
    said = gpunn("train", "a.toml", status=2).stderr
    assert problem in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("target", ["y", -1])
def test_another_delimiter_is_suspected(gpunn, tmp_path, target):
    labeled(tmp_path, ["u", "v"])
    table = tmp_path / "a.csv"
    table.write_text(table.read_text().replace(",", ";"))
    said = gpunn("train", "a.toml", "--set", f"data.target={target}", status=2).stderr
    assert "there is a single column: is the delimiter right?" in said
