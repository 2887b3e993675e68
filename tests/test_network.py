import copy
import dataclasses
import pickle
from dataclasses import dataclass

import array_api_strict
import numerical
import numpy as np
import pytest
from equality import assert_arrays

import gpunn
from gpunn import layers
from gpunn.backends import Backend
from gpunn.errors import ArgumentError, ArgumentTypeError, DataError
from gpunn.training.evaluation import Evaluator
from gpunn.workspace import Workspace


def network(*parts, input_shape=(3,), **options):
    return gpunn.Sequential(
        list(parts) or [layers.Dense(4, "relu"), layers.Dense(2)],
        input_shape,
        **{"backend": "numpy", **options},
    )


def everything(backend="numpy", dtype="float64"):
    return network(
        layers.Flatten(),
        layers.Standardization(),
        layers.Dense(5, "gelu"),
        layers.BatchNorm(),
        layers.Dropout(0.5),
        layers.Rescaling(0.5),
        layers.LayerNorm(),
        layers.Activation("tanh"),
        layers.Dense(2, bias=False),
        input_shape=(2, 2),
        backend=backend,
        dtype=dtype,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": []}, "layers: expected a list of at least one layer; got"),
        ({"layers": "dense"}, "layers: expected a list of at least one layer; got 'dense'"),
        ({"layers": 3}, "layers: expected a list of at least one layer; got 3"),
        ({"layers": ["dens"]}, r"layers\[0\]: there is no layer 'dens'; did you mean 'dense'"),
        ({"layers": [{"name": "dense"}]}, r"layers\[0\].units: 'dense' needs this parameter"),
        ({"dtype": "float16"}, "dtype: expected 'float32' or 'float64'; got 'float16'"),
        ({"dtype": None}, "dtype: expected 'float32' or 'float64'; got None"),
        ({"input_shape": ()}, "input_shape: expected at least one size"),
        ({"input_shape": (3, 0)}, "input_shape: expected an integer >= 1; got 0"),
        ({"seed": -1}, "seed: expected an integer >= 0; got -1"),
        ({"input_shape": (2, 3)}, r"layer 'dense_1': dense: expected rows of shape \(features"),
        ({"layers": [layers.Dense(3)] * 2}, "layers: the same layer object occurs twice"),
        (
            {"layers": [layers.Dense(2, label="a"), layers.Dense(2, label="a")]},
            "layers: two layers have the label 'a'",
        ),
        (
            {"layers": [layers.Dense(2, label="dense_2"), layers.Dense(2)]},
            "layers: two layers have the label 'dense_2'",
        ),
        (
            {"layers": [layers.Dense(2, label="a.b")]},
            "layers: a label can't contain a dot; got 'a.b'",
        ),
        (
            {"layers": [layers.Dense(3), layers.Standardization()]},
            "layer 'standardization_1': learns from the network's inputs, so only",
        ),
    ],
)
def test_construction_rejects(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        gpunn.Sequential(
            **{"layers": [layers.Dense(2)], "input_shape": (3,), "backend": "numpy", **arguments}
        )


@pytest.mark.parametrize("input_shape", [2.5, "3", (3, "a"), None])
def test_input_shape_of_a_wrong_type(input_shape):
    with pytest.raises(ArgumentTypeError, match="input_shape: expected an integer"):
        network(input_shape=input_shape)


@pytest.mark.parametrize("layer", [layers.Dense(3), layers.Dropout(0.5)])
def test_a_layer_belongs_to_one_network(layer):
    first = network(layer)
    before = first.predict(np.ones((1, 3)))
    with pytest.raises(ArgumentError, match=r"layers\[0\].* already belongs to a network"):
        network(layer, seed=1)
    np.testing.assert_array_equal(first.predict(np.ones((1, 3))), before)
    network(dataclasses.replace(layer))


def test_a_layer_takes_no_part_in_a_network_that_failed():
    layer = layers.Dense(3)
    with pytest.raises(ArgumentError):
        network(layer, layers.Dense(2, label="a"), layers.Dense(2, label="a"))
    network(layer)


def test_labels_and_shapes():
    model = network(layers.Dense(4), layers.Dropout(0.1), layers.Dense(2, label="head"))
    assert model.labels == ["dense_1", "dropout_1", "head"]
    assert list(model.parameters) == [
        "dense_1.weights",
        "dense_1.biases",
        "head.weights",
        "head.biases",
    ]
    assert (model.shapes, model.output_shape) == ([(4,), (4,), (2,)], (2,))
    assert network(input_shape=7).input_shape == (7,)
    assert repr(model) == "<Sequential (3,) -> (4,) -> (4,) -> (2,) on numpy>"


def test_summary_counts_what_is_trained():
    model = network(layers.BatchNorm(), layers.Dense(1000))
    lines = [line.split() for line in model.summary().splitlines()]
    assert lines[1:] == [
        ["batch_norm_1", "batch_norm", "(3,)", "6"],
        ["dense_1", "dense", "(1000,)", "4,000"],
        ["total", "4,006"],
    ]


def test_configuration_makes_the_same_network():
    model = everything()
    again = gpunn.Sequential(**model.config(), backend="numpy")
    assert again.config() == model.config()
    assert_arrays(again.parameters.to_host(), model.parameters.to_host())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dense_1.weights": None}, "values: 'dense_1.weights' is missing"),
        ({"other": np.zeros(2)}, "values: 'other' is not part of the network"),
        ({"dense_1.biases": np.zeros(3)}, r"values: 'dense_1.biases' has shape \(3,\); expected"),
        ({"dense_1.biases": ["a"] * 4}, "values: 'dense_1.biases' has dtype <U1; expected real"),
        (
            {"dense_1.biases": None, "dense_2.biases": np.zeros(1)},
            "'dense_1.biases' is missing; 'dense_2.biases' has shape",
        ),
    ],
)
def test_values_that_do_not_fit(change, message):
    values = {**network().parameters.to_host(), **change}
    values = {name: value for name, value in values.items() if value is not None}
    with pytest.raises(ArgumentError, match=message):
        network(values=values)


def test_values_of_another_type():
    with pytest.raises(ArgumentTypeError, match=r"values: .* 'dense_1\.weights' to arrays; got 3"):
        network(values=3)


def test_backward_is_the_derivative_of_forward():
    """By central differences, for every parameter of a network with every kind of layer."""
    model = everything()
    random = np.random.default_rng(0)
    x, direction = random.normal(size=(6, 2, 2)), random.normal(size=(6, 2))
    workspace = Workspace(model.backend, "float64", 6, training=True)

    def projected():
        return float(np.sum(direction * model.forward(x, workspace)[-1]))

    outputs = model.forward(x, workspace)
    model.backward(outputs, direction.copy(), workspace)
    for name, spec in model.parameters.specs.items():
        if spec.trainable:
            found = model.parameters.gradient(name).copy()
            expected = numerical.gradient(projected, model.parameters[name], 1e-6)
            np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8, err_msg=name)
            assert np.abs(expected).max() > 1e-4, name


def test_backward_stops_below_the_first_trained_layer():
    asked = []

    @dataclass(eq=False)
    class Watched(layers.Rescaling):
        def backward(self, *arguments):
            asked.append("rescaling")
            return super().backward(*arguments)

    @dataclass(eq=False)
    class WatchedDense(layers.Dense):
        def backward(self, x, y, gradient, workspace, wants_input_gradient):
            asked.append(wants_input_gradient)
            return super().backward(x, y, gradient, workspace, wants_input_gradient)

    model = network(Watched(), WatchedDense(4), WatchedDense(2))
    workspace = Workspace(model.backend, "float32", 5, training=True)
    outputs = model.forward(np.ones((5, 3), np.float32), workspace)
    model.backward(outputs, np.ones((5, 2), np.float32), workspace)
    assert asked == [True, False]


@pytest.mark.parametrize("batch_size", [1, 3, 8, 9, 4096])
def test_predictions_do_not_depend_on_chunks(batch_size):
    model = everything()
    X = np.random.default_rng(0).normal(size=(9, 2, 2))
    expected = np.concatenate([model.predict(x[None]) for x in X])
    np.testing.assert_allclose(model.predict(X, batch_size), expected, rtol=1e-13)


@pytest.mark.parametrize("X", [np.zeros((0, 3)), [[1, 2, 3]]], ids=["no rows", "a list"])
def test_prediction_has_a_row_for_each_of_the_inputs(X):
    assert network().predict(X).shape == (len(X), 2)


def test_prediction_is_a_host_array_of_its_own():
    model = network(layers.Dropout(0.5))
    X = np.ones((2, 3), np.float32)
    result = model.predict(X)
    assert type(result) is np.ndarray
    assert result.dtype == np.float32
    result[:] = 7
    assert X.max() == 1
    again = model.predict(X)
    model.predict(2 * X)
    assert again.max() == 1


def test_prediction_leaves_inputs_alone():
    model = network(layers.Activation("relu"), layers.LayerNorm(), layers.Dense(2))
    X = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    before = X.copy()
    model.predict(X)
    np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros((2, 4)), r"X: this network expects shape \(rows, 3\)"),
        (np.zeros(3), r"for a single row use X\[None\]"),
        ([[0, np.nan, 0]], r"X\[0, 1\] is nan"),
        ([[0, 1e39, 0]], "X: is too large for float32"),
        ([["a", "b", "c"]], "X: expected real numbers"),
    ],
)
def test_prediction_rejects(X, message):
    with pytest.raises(DataError, match=message):
        network().predict(X)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_prediction_rejects_batch_size(batch_size):
    with pytest.raises(ArgumentError, match="batch_size: expected an integer >= 1"):
        network().predict(np.zeros((1, 3)), batch_size)


@pytest.mark.parametrize(
    ("parts", "dtype", "expected"),
    [
        ([layers.Rescaling()], "uint8", "uint8"),
        ([layers.Rescaling()], "int16", "int16"),
        ([layers.Rescaling()], "int32", "float32"),
        ([layers.Rescaling()], "bool", "float32"),
        ([layers.Rescaling()], "float64", "float32"),
        ([layers.Flatten(), layers.Rescaling()], "uint8", "uint8"),
        ([layers.Flatten()], "uint8", "float32"),
        ([layers.Dropout(0.5), layers.Rescaling()], "uint8", "float32"),
    ],
)
def test_type_of_inputs_on_the_device(parts, dtype, expected):
    model = network(*map(dataclasses.replace, parts), layers.Dense(2))
    assert model.input_dtype(np.dtype(dtype)) == expected
    X = np.arange(12).reshape(4, 3)
    np.testing.assert_allclose(
        model.predict(X.astype(dtype)),
        model.predict(X.astype(dtype).astype("float32")),
        rtol=1e-5,
        atol=1e-6,
    )


def test_big_endian_pixels():
    model = network(layers.Rescaling(), layers.Dense(2))
    X = np.arange(12).reshape(4, 3)
    np.testing.assert_array_equal(model.predict(X.astype(">u2")), model.predict(X.astype("u2")))


def test_adapt_that_fails_changes_nothing():
    model = network(layers.Standardization(), layers.Dense(2), dtype="float64")
    before = model.parameters.to_host()
    with pytest.raises(DataError, match="too large"):
        model.adapt(np.array([[0, 0, 1e300], [0, 0, -1e300]]))
    assert not model.adapted
    assert_arrays(model.parameters.to_host(), before)


COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "to": lambda model: model.to("numpy"),
}


@pytest.mark.parametrize("way", COPIES)
def test_copy_is_equal_and_separate(way):
    model = everything()
    model.adapt(np.random.default_rng(0).normal(5, 3, size=(10, 2, 2)))
    model.metadata["classes"] = ["a", "b"]
    model.note = {"by": "user"}
    X = np.random.default_rng(1).normal(size=(4, 2, 2))
    expected = model.predict(X)
    duplicate = COPIES[way](model)
    assert type(duplicate) is gpunn.Sequential
    assert duplicate.adapted
    assert duplicate.note == {"by": "user"}
    assert duplicate.config() == model.config()
    assert [layer.key for layer in duplicate.layers] == [layer.key for layer in model.layers]
    np.testing.assert_array_equal(duplicate.predict(X), expected)

    duplicate.metadata["classes"].append("c")
    assert model.metadata == {"classes": ["a", "b"]}
    duplicate.parameters.values[...] = 0.25
    assert duplicate.layers[2].values["weights"].max() == 0.25, "views share memory"
    assert not np.array_equal(duplicate.predict(X), expected)
    np.testing.assert_array_equal(model.predict(X), expected)


@pytest.mark.parametrize("way", COPIES)
def test_copy_does_not_draw_weights_again(way, monkeypatch):
    model = network()
    monkeypatch.setattr("gpunn.initializers.He.sample", None)
    COPIES[way](model)


def test_copy_of_a_subclass():
    class Named(gpunn.Sequential):
        def __init__(self, title):
            super().__init__([layers.Dense(2)], 3, "numpy")
            self.title = title

    duplicate = copy.deepcopy(Named("x"))
    assert (type(duplicate), duplicate.title) == (Named, "x")


@pytest.mark.parametrize("device", ["CPU_DEVICE", "device1", "no_float64"])
def test_to_another_backend_and_back(device):
    model = everything(dtype="float32")
    X = np.random.default_rng(1).normal(size=(4, 2, 2))
    backend = Backend(array_api_strict, array_api_strict.Device(device), "strict")
    other = model.to(backend)
    assert other.backend is backend
    np.testing.assert_allclose(other.predict(X), model.predict(X), rtol=1e-4, atol=1e-6)
    back = other.to("numpy")
    assert_arrays(back.parameters.to_host(), model.parameters.to_host())
    assert copy.deepcopy(other).backend is backend


@pytest.mark.parametrize("units", [10**15, 2**62])
def test_a_layer_too_large_for_memory_is_named(units):
    with pytest.raises(ArgumentError, match=r"layer 'dense_2': out of memory.*Choose fewer units"):
        network(layers.Dense(4), layers.Dense(units))


def test_html():
    layers = [gpunn.layers.Dense(4, "relu", label="<first>"), gpunn.layers.Dense(2)]
    text = gpunn.Sequential(layers, (3,), "numpy")._repr_html_()
    assert "<caption>Sequential (3,) -&gt; (4,) -&gt; (2,) on numpy</caption>" in text
    assert ">&lt;first&gt;</th>" in text
    assert text.count("<tr>") == 1 + 2 + 1
    assert text.endswith(">26</td></tr></tbody></table>")


def test_layers_that_do_not_fit_are_shown_in_a_picture():
    parts = [layers.Flatten(), layers.Dense(3), layers.Standardization()]
    with pytest.raises(ArgumentError) as caught:
        gpunn.Sequential([layers.Rescaling(), *parts[:2], picky("odd"), layers.Dense(2)], (4, 4))
    assert str(caught.value).splitlines() == [
        "layer 'odd': expected an even number of inputs; got (3,)",
        "    input        (4, 4)",
        "    rescaling_1  (4, 4)",
        "    flatten_1    (16,)",
        "    dense_1      (3,)",
        "    odd          ?  <- here",
    ]


def picky(label):
    @dataclass(eq=False)
    class Picky(layers.Dropout):
        def output_shape(self, input_shape):
            if input_shape[0] % 2:
                raise ArgumentError(f"expected an even number of inputs; got {input_shape}")
            return input_shape

    return Picky(label=label)


def test_of_many_layers_the_last_are_shown():
    parts = [layers.Activation() for _ in range(50)]
    with pytest.raises(ArgumentError) as caught:
        gpunn.Sequential([*parts, picky("odd")], (3,), "numpy")
    lines = str(caught.value).splitlines()
    assert len(lines) == 14
    assert lines[1] == "    ...            40 more"


def test_many_layers_take_no_time():
    """Names and shapes are found in one pass; this would take minutes if each looked at all."""
    model = gpunn.Sequential([layers.Flatten() for _ in range(3000)], (2,), "numpy")
    assert model.labels[-1] == "flatten_3000"


def test_rows_of_large_activations_are_computed_few_at_a_time(monkeypatch):
    """Otherwise, evaluating images would take far more memory than training on them."""
    found = []
    prepared = Evaluator.prepared
    monkeypatch.setattr(
        Evaluator,
        "prepared",
        lambda self, settings, size: found.append(size) or prepared(self, settings, size),
    )
    model, X = network(), np.random.default_rng(0).normal(size=(5, 3))
    trainer = gpunn.Trainer(model, "mean_squared_error")
    outputs, loss = model.predict(X), trainer.evaluate(X, X[:, :2])["loss"]
    model = copy.deepcopy(model)
    monkeypatch.setattr(gpunn.network, "MEMORY", 80)
    assert (model.bytes_per_row, model.rows_per_pass) == (36, 2)
    np.testing.assert_allclose(model.predict(X), outputs, atol=1e-6)
    assert model._inference.capacity == 2
    assert trainer.evaluate(X, X[:, :2])["loss"] == pytest.approx(loss)
    assert found == [5, 2]
    monkeypatch.setattr(gpunn.network, "MEMORY", 1)
    assert model.rows_per_pass == 1
