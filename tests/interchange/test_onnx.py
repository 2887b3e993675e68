"""ONNX files give the predictions of the network, in a runtime without gpunn."""

import sys

import exported_networks
import numpy as np
import onnx
import pytest

import gpunn
from gpunn.errors import ArgumentError, ExportError, MissingPackageError
from gpunn.initializers import Normal
from gpunn.interchange import save_onnx, to_onnx
from gpunn.layers import (
    Activation,
    BatchNorm,
    Block,
    Conv1D,
    Conv2D,
    Dense,
    Flatten,
    MaxPool2D,
    MeanOverMembers,
    MemberDense,
    Members,
    Rescaling,
    Residual,
    Standardization,
    UpSampling2D,
)
from gpunn.parameters import ParameterSpec

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


def run(made, X: np.ndarray, *outputs: str) -> list[np.ndarray]:
    return exported_networks.onnx_session(made).run(list(outputs) or ["output"], {"input": X})


def check(model: gpunn.Sequential, X: np.ndarray, **options) -> None:
    """Any number of rows gives the result of `predict`, relative to the outputs' size."""
    made = to_onnx(model, **options)
    for rows in (len(X), 1, 0):
        (y,) = run(made, X[:rows])
        expected = model.predict(X[:rows])
        assert (y.dtype, y.shape) == (expected.dtype, expected.shape)
        assert [each.domain for each in made.opset_import] == [""]
        if rows:
            scale = max(1.0, float(np.abs(expected).max()))
            assert np.abs(y - expected).max() <= TOLERANCE[model.dtype] * scale


@pytest.fixture(params=["float32", "float64"])
def dtype(request) -> str:
    return request.param


@pytest.mark.parametrize("name", exported_networks.NETWORKS)
def test_networks(name, dtype):
    model = exported_networks.made(name, dtype)
    made, X = to_onnx(model), exported_networks.rows_for(name, dtype)
    for rows in (7, 1, 0):
        (y,) = run(made, X[:rows])
        assert (y.dtype, y.shape) == (dtype, (rows, *model.output_shape))
        if rows:
            exported_networks.assert_same_outputs(y, name, dtype, TOLERANCE[dtype])
    kinds = {each.type for node in made.graph.node for each in node.attribute}
    if dtype == "float64":  # attributes with numbers are float32
        assert not kinds & {onnx.AttributeProto.FLOAT, onnx.AttributeProto.FLOATS}
    used = {each for node in made.graph.node for each in node.input}
    assert {each.name for each in made.graph.initializer} <= used  # runtimes warn about others


@pytest.mark.parametrize(
    ("layers", "slow"),
    [
        ([Activation("elu")], "Where"),
        ([Activation("selu")], "Where"),
        ([Members(2), MeanOverMembers(of="softmax")], "ReduceSum"),
    ],
    ids=["elu", "selu", "softmax"],
)
def test_operators_that_are_fast_in_float64(layers, slow):
    graph = to_onnx(gpunn.Sequential(layers, 3, "numpy", dtype="float64")).graph
    assert slow not in [node.op_type for node in graph.node]


@pytest.mark.parametrize("activation", ["relu", "exact_gelu", "silu"])
def test_images_are_transposed_only_at_the_ends(activation):
    """Also between branches; a formula that is not elementwise needs channels last."""

    class Brighter(Block):
        name = "test_brighter"

        def forward(self, xp, x):
            return xp.maximum(x, xp.mean(x, axis=-1, keepdims=True))

    def convolution() -> Conv2D:
        return Conv2D(4, 3, padding="same", activation=activation)

    for more, count in ([], 2), ([Brighter(), convolution()], 4):
        layers = [convolution(), MaxPool2D(), Residual([BatchNorm(), convolution()])]
        layers += [UpSampling2D(), *more, Flatten(), Dense(2)]
        model = gpunn.Sequential(layers, (6, 5, 3), "numpy", seed=0)
        check(model, np.random.default_rng(0).normal(size=(7, 6, 5, 3)).astype("float32"))
        assert [node.op_type for node in to_onnx(model).graph.node].count("Transpose") == count


def test_softmax_of_an_image_with_one_channel():
    model = gpunn.Sequential([Conv1D(1, 2), MeanOverMembers(of="softmax")], (5, 3), "numpy")
    check(model, np.random.default_rng(0).normal(size=(7, 5, 3)).astype("float32"))


def test_outputs_that_are_not_vectors(dtype):
    layers = [Members(3), MemberDense(4, "relu"), Members(3)]
    model = gpunn.Sequential(layers, 5, "numpy", dtype=dtype)
    check(model, np.random.default_rng(0).normal(size=(7, 5)).astype(dtype))


def test_names_of_arrays_and_of_results_differ():
    class Products(Block):
        name = "test_products"

        def own_parameters(self, input_shape):
            return [ParameterSpec("weights", (4, 4), Normal(0.5))]

        def forward(self, xp, x):
            for count in range(5):
                for _ in range(count):
                    x = xp.sin(x)
                x = x @ self.values["weights"]
            return x

    to_onnx(gpunn.Sequential([Products()], 4, "numpy"))  # checks that each name occurs once


def test_raw_images():
    layers = [Flatten(), Rescaling(), Dense(6, "relu"), Dense(3)]
    model = gpunn.Sequential(layers, (4, 5, 3), "numpy")
    pixels = np.random.default_rng(0).integers(0, 128, (7, 4, 5, 3))
    for integers in ("uint8", "int8", "uint16"):
        check(model, pixels.astype(integers), input_dtype=integers)
    check(model, pixels.astype("float32"))


def test_metadata_of_the_file(tmp_path):
    model = gpunn.Sequential([Dense(2)], (5,), "numpy")
    model.metadata = {"classes": ["a", "b"]}
    save_onnx(model, tmp_path / "a.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    (given,), (output,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.shape, given.type) == ("input", ["batch", 5], "tensor(float)")
    assert (output.name, output.shape) == ("output", ["batch", 2])
    described = session.get_modelmeta().custom_metadata_map
    assert described == {"gpunn": gpunn.__version__, "classes": '["a", "b"]'}
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]


def test_a_network_from_any_backend(backend, tmp_path):
    X = np.random.default_rng(0).normal(size=(40, 5)).astype("float32")
    layers = [Standardization(), Dense(6, "tanh"), BatchNorm(), Dense(2)]
    model = gpunn.Sequential(layers, (5,), backend)
    gpunn.Trainer(model, "mean_squared_error").fit(X, X[:, :2], progress=False)
    check(model, X)
    model.save(tmp_path / "model.safetensors")
    loaded = gpunn.load_model(tmp_path / "model.safetensors", "numpy")
    np.testing.assert_allclose(loaded.predict(X), model.predict(X), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"input_dtype": "uint8"}, "requires a Rescaling as the network's first layer"),
        ({"input_dtype": "float16"}, "input_dtype: this network does not support 'float16'"),
        ({"input_dtype": "float64"}, "input_dtype: this network does not support 'float64'"),
        ({"probabilities": "softmx"}, "did you mean 'softmax'?"),
    ],
)
def test_options_that_cannot_work(options, problem):
    model = gpunn.Sequential([Dense(4)], (5,), "numpy")
    with pytest.raises(ArgumentError) as raised:
        to_onnx(model, **options)
    assert problem in str(raised.value)


def test_a_network_too_large_for_a_file(monkeypatch):
    monkeypatch.setattr("gpunn.interchange.onnx.MAX_BYTES", 95)
    model = gpunn.Sequential([Dense(4)], (5,), "numpy")
    with pytest.raises(ExportError, match="96 bytes; an ONNX file holds less than 2 GiB"):
        to_onnx(model)


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    model = gpunn.Sequential([Dense(4)], (5,), "numpy")
    with pytest.raises(MissingPackageError, match=r"pip install '.\[onnx\]'"):
        to_onnx(model)
