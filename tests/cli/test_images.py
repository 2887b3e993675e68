"""Images: a folder with a subfolder for each class, and arrays of them, through the command."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from array_files import idx_bytes
from run_folders import assert_same_run, evaluation, same_weights

Image = pytest.importorskip("PIL.Image", reason="the extra images is not installed")

FEW = ("--set", "training.epochs=2", "--set", "model.layers.1.filters=4")


def paint(folder: Path, rows: int, seed: int = 0, size: tuple[int, int] = (6, 8)) -> None:
    """Save gray-green photos of a light upper half, and of a light lower half."""
    random = np.random.default_rng(seed)
    for index, name in enumerate(("down", "up")):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for row in range(rows):
            pixels = random.integers(0, 80, (*size, 3), np.uint8)
            pixels[: size[0] // 2, :, 1 - index] += 120
            Image.fromarray(pixels).save(folder / name / f"{row}.png")


@pytest.fixture(scope="module")
def painted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("painted")
    paint(folder / "photos", 20)
    return folder / "photos"


@pytest.fixture
def photos(painted, tmp_path):
    return Path(shutil.copytree(painted, tmp_path / "photos")).relative_to(tmp_path)


def test_train_evaluate_predict(gpunn, photos):
    result = gpunn("train", photos, *FEW)
    assert "rescaling_1               rescaling               (6, 8, 3) " in result.stdout
    assert "rows: 25 training, 7 validation, 8 test" in result.stdout
    recorded = json.loads(Path("runs/photos/config.json").read_text())
    assert (recorded["data"]["size"], recorded["data"]["color"]) == ([6, 8], "color")
    tested = evaluation(Path("runs/photos"))["test"]
    assert json.loads(gpunn("evaluate", "runs/photos", "--json").stdout) == {"rows": 8, **tested}
    assert json.loads(gpunn("evaluate", "runs/photos", photos, "--json").stdout)["rows"] == 40
    files = [photos / "up" / "1.png", photos / "down"]
    lines = gpunn("predict", "runs/photos", *files).stdout.splitlines()
    assert lines[0] == "file,prediction,probability"
    names = sorted(str(path) for path in files[1].iterdir())
    assert [line.split(",")[0] for line in lines[1:]] == [str(files[0]), *names]
    alone = gpunn("predict", "runs/photos/final.safetensors", "--input", files[0]).stdout
    assert alone.splitlines() == lines[:2]  # whatever other files there are
    options = "--probabilities", "--to", "jsonl"
    row = json.loads(gpunn("predict", "runs/photos", files[0], *options).stdout)
    assert list(row) == ["file", "prediction", "probability", "probability_down", "probability_up"]
    assert row["probability"] == max(row["probability_down"], row["probability_up"])
    assert row["probability"] == row[f"probability_{row['prediction']}"]
    gpunn("predict", "runs/photos", *files, "--output", "a.npy")
    assert np.load("a.npy").shape == (21,)


def test_a_run_can_be_resumed_and_repeated(gpunn, photos):
    rate = ("--set", "training.optimizer.learning_rate={name='constant', rate=0.001}")
    gpunn("train", photos, *FEW, *rate, "--output", "whole")
    gpunn("train", photos, *FEW, *rate, "--set", "training.epochs=1", "--output", "parts")
    gpunn("train", photos, *FEW, *rate, "--output", "parts", "--resume")
    gpunn("train", "whole", "--output", "copy")
    assert_same_run(Path("parts"), Path("whole"))
    assert_same_run(Path("copy"), Path("whole"))


def test_folders_of_splits(gpunn, tmp_path):
    for seed, (name, rows) in enumerate({"train": 9, "val": 3, "test": 4}.items()):
        paint(tmp_path / "photos" / name, rows, seed)
    result = gpunn("train", "photos", *FEW)
    assert "rows: 18 training, 6 validation, 8 test" in result.stdout
    assert "(8 rows)" in gpunn("evaluate", "runs/photos", "photos").stdout
    result = gpunn("train", "photos", "--set", "data.test_fraction=0.2", "--output", "x", status=2)
    assert "data.test_fraction: " in result.stderr
    shutil.rmtree(tmp_path / "photos" / "val")
    assert (
        "rows: 14 training, 4 validation, 8" in gpunn("train", "photos", *FEW, "--overwrite").stdout
    )


def spoil(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


def make_gray(path: Path) -> None:
    Image.fromarray(np.zeros((6, 8), np.uint8)).save(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (spoil, "1.png: the image is damaged"),
        (make_gray, "1.png: the image is gray, but the network was trained only on images in col"),
        (Path.unlink, "1.png: there is no such file"),
    ],
)
def test_files_that_cannot_be_predicted(gpunn, photos, change, message):
    gpunn("train", photos, *FEW)
    change(photos / "up" / "1.png")
    for command in ("predict", "evaluate"):
        given = photos if command == "evaluate" else photos / "up" / "1.png"
        status = 0 if (command, change) == ("evaluate", Path.unlink) else 2
        assert status == 0 or message in gpunn(command, "runs/photos", given, status=2).stderr


@pytest.mark.skipif(os.sep != "/", reason="names are always UTF-16")
def test_a_path_that_is_not_utf_8(gpunn, photos):
    gpunn("train", photos, *FEW)
    path = Path(os.fsdecode(b"\xff.png"))
    shutil.copy(photos / "up" / "1.png", path)
    assert "the name is not UTF-8" in gpunn("predict", "runs/photos", path, status=2).stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "photos/up"], "photos/up: expected at least 2 subfolders of images, one"),
        (["train", "photos", "--set", "data.standardize=true"], "data.standardize flattens images"),
        (["train", "photos", "--set", "data.size=[1,2,3]"], "data.size: expected an integer or"),
        (["train", "photos", "--set", "data.color=gry"], "data.color: there is no color 'gry'"),
        (["predict", "run", "a.csv", "b.csv"], "b.csv: several INPUTs are allowed only for images"),
        (["predict", "run", "photos"], "photos: the network expects rows of shape"),
    ],
)
def test_mistakes(gpunn, photos, digits, arguments, message):
    if arguments[0] == "predict":
        gpunn("train", digits, "--output", "run")
    assert message in gpunn(*arguments, status=2).stderr


CONFIGURATION = """\
[data]
{data}
[model]
layers = [
    {{ name = "conv_2d", filters = 2, kernel_size = 3, activation = "relu" }},
    "flatten",
    {{ name = "dense", units = 10 }},
]
[training]
loss = "softmax_cross_entropy"
epochs = 1
metrics = ["accuracy"]
augment = [{{ name = "shift", pixels = 1 }}]
"""


def test_arrays_of_images(gpunn, tmp_path, caplog):
    from gpunn.data import load_digits

    X, y, X_test, y_test = load_digits(flatten=False)
    np.savez(tmp_path / "a.npz", X=X, y=y, X_test=X_test, y_test=y_test)
    for name, array in {
        "train-images-idx3": X,
        "train-labels-idx1": y,
        "t10k-images-idx3": X_test,
        "t10k-labels-idx1": y_test,
    }.items():
        (tmp_path / f"{name}-ubyte").write_bytes(idx_bytes(array.astype(np.uint8)))
    data = {
        "digits": 'dataset = "digits"\nshape = "images"',
        "idx": 'dataset = "mnist"\npath = "."\nshape = "images"',
        "npz": 'dataset = "npz"\npath = "a.npz"\nX_test = "X_test"\ny_test = "y_test"',
    }
    for name, described in data.items():
        (tmp_path / f"{name}.toml").write_text(CONFIGURATION.format(data=described))
        gpunn("train", f"{name}.toml")
    digits, idx, npz = (Path("runs") / name for name in data)
    for run in (idx, npz):
        assert same_weights(run, digits)
        assert evaluation(run) == evaluation(digits)
    Image.fromarray(X[0, ..., 0]).save("0.png")
    gpunn("predict", idx, "0.png")
    assert "gpunn uses pixels from 0 to 255" in caplog.text
    assert gpunn("evaluate", idx, ".").stdout == gpunn("evaluate", npz).stdout
