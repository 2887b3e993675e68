"""What is exported, by the command, and what a runtime makes of it."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from run_folders import evaluation

from gpunn import load_model
from gpunn.data import load_digits

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")


def session_of(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("data", ["digits", "flowers"])
def test_a_runtime_gives_the_same(gpunn, digits, flowers, data):
    gpunn("train", f"{data}.toml", "--output", "run")
    result = gpunn("export", "run", "--onnx", "a.onnx")
    model = load_model("run/final.safetensors", "numpy")
    assert result.stdout == f"a.onnx: {model.parameters.count:,} parameters\n"
    X = load_digits()[2] if data == "digits" else np.random.default_rng(0).normal(100, 90, (50, 2))
    session = session_of("a.onnx")
    (y,) = session.run(["output"], {"input": X.astype(np.float32)})
    np.testing.assert_allclose(y, model.predict(X.astype(np.float32)), 0, 1e-5)
    if data == "digits":
        found = np.mean(y.argmax(axis=1) == load_digits()[3])
        assert found == pytest.approx(evaluation(Path("run"))["test"]["accuracy"])
    else:
        described = session.get_modelmeta().custom_metadata_map
        assert json.loads(described["classes"]) == ["iris", "lily", "rose"]
        assert json.loads(described["features"]) == ["width", "length"]


def test_probabilities_of_pixels(gpunn, run):
    options = ["--probabilities", "--input-dtype", "uint8", "--best"]
    gpunn("export", "run", "--onnx", "a.onnx", *options)
    session = session_of("a.onnx")
    X = load_digits()[2].astype(np.uint8)
    (p,) = session.run(["probabilities"], {"input": X})
    np.save("X.npy", X)
    arguments = ["--input", "X.npy", "--output", "p.npy", "--probabilities", "--best"]
    gpunn("predict", "run", *arguments)
    np.testing.assert_allclose(p, np.load("p.npy"), atol=1e-5)


def test_a_header_in_c_is_named_after_its_file(gpunn, flowers):
    gpunn("train", flowers, "--output", "run", "--set", "training.epochs=1")
    result = gpunn("export", "run", "--c", "flowers.h")
    count = load_model("run/final.safetensors").parameters.count
    assert result.stdout == f"flowers.h: {count:,} parameters\n"
    text = Path("flowers.h").read_text()
    gpunn("export", "run/final.safetensors", "--c", "flowers.h")
    assert Path("flowers.h").read_text() == text
    assert "void flowers_predict(const float *input, float *output)" in text
    assert "int flowers_class(const float *output)" in text
    assert '"lily"' in text


def test_a_header_of_integers_tells_its_accuracy(gpunn, run):
    result = gpunn("export", "run", "--c", "digits.h", "--int8")
    metrics, written = result.stdout.splitlines()
    loss, accuracy = r"loss 0\.\d+", r"accuracy 0\.9\d*"
    numbers = f"{loss}, {accuracy}"
    assert re.fullmatch(f"validation rows: {numbers}; with 8-bit integers: {numbers}", metrics)
    assert written.startswith("digits.h: ")
    assert "static const signed char digits_array_dense_1_weights" in Path("digits.h").read_text()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["run"], "name the file to write: use --onnx, --python or --c"),
        (["run", "--onnx", "a.onnx", "--pure"], "--pure: works only with --python"),
        (["run", "--c", "a-b.h"], "prefix: expected a letter, then letters, digits"),
        (
            ["run", "--python", "a.py", "--input-dtype", "uint8"],
            "--input-dtype: works only with --onnx",
        ),
        (["run", "--python", "a.py", "--int8"], "--int8: works only with --c; add --c PATH"),
        (["run", "--c", "a.h", "--labels"], "--labels: works only with --onnx"),
        (["run", "--onnx", "a.onnx", "--encoded"], "--encoded: needs a network for a table"),
        (["run/final.safetensors", "--c", "a.h", "--int8"], "--int8: needs training rows, so name"),
        (["run/final.safetensors", "--onnx", "a.onnx", "--best"], "--best: needs a run folder"),
        (["none", "--onnx", "a.onnx"], "none: expected a folder that gpunn train wrote"),
        (["run", "--onnx", "none/a.onnx"], "there is no such folder"),
        (["run", "--onnx", "a.onnx", "--input-dtype", "uint9"], "did you mean 'uint8'"),
        (["numbers", "--onnx", "a.onnx", "--probabilities"], "predicts no probabilities"),
    ],
)
def test_what_cannot_be_exported(gpunn, digits, run, arguments, problem):
    if "numbers" in arguments:
        np.savez("a.npz", X=np.ones((9, 2)), y=np.ones(9))
        settings = ["data={dataset='npz', path='a.npz'}", "model.layers=[{name='dense',units=1}]"]
        settings += ["training={loss='mean_squared_error', epochs=1}"]
        given = [f"--set={setting}" for setting in settings]
        gpunn("train", digits, "--output", "numbers", *given)
    assert problem in gpunn("export", *arguments, status=2).stderr
    assert not Path("a.onnx").exists()


FAST = ["--set=model.parameters.hidden_layer_sizes=[8]", "--set=training.epochs=2"]


@pytest.mark.filterwarnings("ignore::gpunn.errors.GpunnWarning")
def test_columns_of_a_table_go_in_as_they_are(gpunn):
    gpunn("example", "loans.csv")
    gpunn("train", "loans.csv", "--target=loan_status", *FAST, "--output", "run")
    gpunn("export", "run", "--onnx", "a.onnx", "--probabilities", "--labels")
    frame = pd.read_csv("loans.csv").drop(columns="loan_status")
    frame.loc[:9, "loan_grade"] = "?"
    frame.loc[5:14, ["person_age", "loan_intent"]] = None
    frame.to_csv("rows.csv", index=False)
    session = session_of("a.onnx")
    inputs = {
        given.name: frame[[given.name]].fillna("").astype(str).to_numpy(object)
        if given.type == "tensor(string)"
        else frame[[given.name]].to_numpy(np.float64)
        for given in session.get_inputs()
    }
    assert set(inputs) == set(frame)
    p, label = session.run(["probabilities", "label"], inputs)
    gpunn("predict", "run", "rows.csv", "--output", "y.csv", "--probabilities")
    expected = pd.read_csv("y.csv", dtype={"prediction": str})
    assert label.tolist() == expected["prediction"].tolist()
    np.testing.assert_allclose(p, expected.iloc[:, -p.shape[1] :], atol=1e-5)


def test_encoded_rows_of_a_table(gpunn):
    Path("a.csv").write_text("a,b,y\n" + "".join(f"{k % 7},{'uv'[k % 2]},{k}\n" for k in range(30)))
    gpunn("train", "a.csv", "--target=y", *FAST, "--output", "run")
    gpunn("export", "run", "--onnx", "a.onnx", "--encoded")
    session = session_of("a.onnx")
    model = load_model("run")
    assert session.get_inputs()[0].shape == ["batch", model.schema.width]
    rows = {"a": [1, 6], "b": ["v", "u"]}
    (y,) = session.run(["output"], {"input": model.schema.encode(rows)})
    np.testing.assert_allclose(y, model.predict(rows), 1e-5)
    problem = gpunn("export", "run", "--onnx", "b.onnx", "--labels", status=2).stderr
    assert "labels: a network with output shape (1,)" in problem
    problem = gpunn("export", "run", "--onnx", "b.onnx", "--input-dtype=uint8", status=2).stderr
    assert "set encoded=True (--encoded)" in problem
    assert not Path("b.onnx").exists()
