"""Networks that start with the weights of another network."""

import numpy as np
import pytest
from calls import Calls
from equality import assert_arrays

import gpunn
from gpunn.errors import ArgumentError, ModelFileError, SettingError
from gpunn.initializers import UnitVariance
from gpunn.layers import BatchNorm, Dense, Standardization, TargetScaling
from gpunn.tables import Schema

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(3, 2, size=(40, 4)).astype(np.float32)
Y = RANDOM.integers(0, 3, 40)
OPTIONS = {"batch_size": 8, "progress": False}


def network(outputs=3, hidden=8, seed=0, **options):
    layers = [Standardization(), Dense(hidden, "relu"), BatchNorm(), Dense(outputs)]
    return gpunn.Sequential(layers, 4, "numpy", seed=seed, **options)


def learned(outputs=3, **options):
    model = network(outputs, **options)
    gpunn.Trainer(model, "softmax_cross_entropy").fit(X, Y % outputs, **OPTIONS)
    return model


def same(one, other, label):
    return all(
        np.array_equal(one.parameters[name], other.parameters[name])
        for name in one.parameters
        if name.startswith(f"{label}.")
    )


@pytest.mark.parametrize("kind", ["network", "file", "folder", "checkpoint"])
def test_all_of_a_network_that_is_alike(tmp_path, kind):
    first, second = learned(), network(seed=1)
    trainer = gpunn.Trainer(first, "softmax_cross_entropy")
    if kind == "checkpoint":
        trainer.fit(X, Y, **OPTIONS)
        trainer.save_checkpoint(tmp_path / "final.safetensors")
    else:
        first.save(tmp_path / "final.safetensors")
    file = tmp_path / "final.safetensors"
    source = {"network": first, "folder": tmp_path}.get(kind, file)
    report = second.load_weights(source)
    assert report.copied == tuple(first.labels)
    assert not report.reinitialized
    assert not report.unused
    assert second.adapted
    np.testing.assert_array_equal(second.predict(X), first.predict(X))
    assert str(report) == "copied: standardization_1, dense_1, batch_norm_1, dense_2"


@pytest.mark.parametrize(("old", "new"), [("taken", "copied"), ("anew", "reinitialized")])
def test_old_names_of_the_report(old, new):
    report = network(2).load_weights(network(3))
    with pytest.warns(DeprecationWarning, match=rf"WeightsReport.{old} is now called {new};"):
        assert getattr(report, old) is getattr(report, new)


def test_the_last_layer_is_reinitialized_if_it_has_another_size():
    first, second = learned(3), network(2, seed=1)
    before = second.parameters.to_host()
    report = second.load_weights(first)
    assert report.copied == ("standardization_1", "dense_1", "batch_norm_1")
    assert report.reinitialized == {
        "dense_2": "weights has shape (8, 3) in the other network, but (8, 2) here"
    }
    assert all(same(first, second, label) for label in report.copied)
    np.testing.assert_array_equal(second.parameters["dense_2.weights"], before["dense_2.weights"])
    # The features come from the old data, so the inputs have its scale.
    other = gpunn.Trainer(second, "softmax_cross_entropy")
    other.fit(10 * X, Y % 2, **OPTIONS)
    assert same(first, second, "standardization_1")
    assert not same(first, second, "batch_norm_1")


def test_the_last_layer_is_reinitialized_for_other_classes():
    first, second = learned(3), network(3, seed=1)
    first.classes, second.classes = ["a", "b", "c"], ["a", "b", "d"]
    report = second.load_weights(first)
    assert report.reinitialized == {"dense_2": "the other network has other classes"}
    second.classes = ["a", "b", "c"]
    assert not second.load_weights(first).reinitialized


def test_layers_that_only_one_of_them_has():
    first = learned()
    layers = [
        Standardization(),
        Dense(8, "relu"),
        BatchNorm(),
        Dense(8, "relu", label="new"),
        Dense(3, label="head"),
    ]
    second = gpunn.Sequential(layers, 4, "numpy", seed=1)
    report = second.load_weights(first)
    assert report.copied == ("standardization_1", "dense_1", "batch_norm_1")
    assert list(report.reinitialized) == ["new", "head"]
    assert report.unused == ("dense_2",)
    assert str(report).splitlines()[1:] == [
        "reinitialized: new (the other network has no layer with this label)",
        "reinitialized: head (the other network has no layer with this label)",
        "not used: dense_2",
    ]


def test_another_layer_of_another_shape_is_an_error_and_changes_nothing():
    first, second = learned(), network(hidden=6, seed=1)
    before = second.parameters.to_host()
    problem = (
        r"layer 'dense_1': weights has shape \(4, 8\) in the other network, but \(4, 6\) here\. "
        "Give this layer the same shape, or another label to reinitialize the layer; only the "
        "last layer, "
        "'dense_2', may have another shape"
    )
    with pytest.raises(ArgumentError, match=problem):
        second.load_weights(first)
    assert_arrays(second.parameters.to_host(), before)
    assert not second.adapted


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            [Dense(8, bias=False), Dense(3)],
            "'dense_1': the layer has weights, biases in the other network, but weights here",
        ),
        (
            [BatchNorm(label="dense_1"), Dense(3, label="dense_2")],
            "'dense_1': the layer has weights, biases in the other network, but scale, shift, "
            "running",
        ),
        (
            [Dense(8, label="a"), Dense(3, label="b")],
            "no label of a layer is in both networks: the other network has the labels dense_1, "
            "dense_2; this network has a, b",
        ),
    ],
)
def test_a_mismatch_raises_an_error(layers, message):
    first = gpunn.Sequential([Dense(8), Dense(3)], 4, "numpy")
    with pytest.raises(ArgumentError, match=message):
        gpunn.Sequential(layers, 4, "numpy").load_weights(first)


def test_other_columns_are_an_error():
    first, second = learned(), network()
    first.feature_names, second.feature_names = list("abcd"), list("abce")
    with pytest.raises(ArgumentError, match="was trained on; missing: 'd'; unknown: 'e'"):
        second.load_weights(first)
    second.feature_names = list("abdc")
    with pytest.raises(ArgumentError, match="was trained on; their order differs"):
        second.load_weights(first)


def test_columns_in_another_order_go_to_the_weights_that_they_went_to():
    pandas = pytest.importorskip("pandas")
    first, second = network(), network(seed=1)
    frame = pandas.DataFrame(X, columns=list("abcd"))
    gpunn.Trainer(first, "softmax_cross_entropy").fit(frame, Y, **OPTIONS)
    second.load_weights(first)
    given = frame[list("dbac")]
    np.testing.assert_array_equal(second.predict(given), first.predict(frame))
    gpunn.Trainer(second, "softmax_cross_entropy").fit(given, Y, **OPTIONS)
    assert second.feature_names == list("abcd")


def table(**columns):
    given = {"size": [1.0, 2.0, 4.0, 3.0], "kind": ["x", "y", "x", "y"], **columns}
    return Schema.fit({name: values for name, values in given.items() if values is not None})


def of_table(schema):
    model = gpunn.Sequential([Dense(8), Dense(2)], schema.width, "numpy")
    model.schema = schema
    return model


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"size": None, "age": [1.0, 2.0, 5.0, 4.0]}, "that schema has no column 'age'"),
        ({"age": [1.0, 2.0, 5.0, 4.0]}, "that schema has no column 'age'"),
        ({"size": ["1 m", "2 m", "1 m", "2 m"]}, "column 'size' is a number in that schema"),
        ({"kind": ["x", "z", "x", "z"]}, "column 'kind' has a category 'y' in that schema"),
        ({"size": [1.0, 2.0, 4.0, 9.0]}, "column 'size' has a different scale in that schema"),
        ({"size": [1.0, 2.0, float("nan"), 3.0]}, r"column 'size' has no feature 'size .m"),
    ],
)
def test_another_schema_is_an_error_that_names_the_column(columns, message):
    first = of_table(table())
    with pytest.raises(
        ArgumentError, match=f"schema: the schema of the other network differs: {message}"
    ):
        of_table(table(**columns)).load_weights(first)
    with pytest.raises(ArgumentError, match="schema: the other network has a schema, but this"):
        gpunn.Sequential([Dense(8)], first.input_shape, "numpy").load_weights(first)
    assert of_table(table()).load_weights(first).copied == ("dense_1", "dense_2")


def test_target_scaling_is_reinitialized_with_the_last_layer():
    def regression(outputs):
        layers = [Standardization(), Dense(8, "relu"), Dense(outputs), TargetScaling()]
        return gpunn.Sequential(layers, 4, "numpy")

    first, second, third = regression(1), regression(2), regression(1)
    gpunn.Trainer(first, "mean_squared_error").fit(X, X[:, :1], **OPTIONS)
    report = second.load_weights(first)
    reason = "it changes the outputs of dense_2, which is reinitialized"
    assert report.reinitialized["target_scaling_1"] == reason
    assert not second.adapted
    gpunn.Trainer(second, "mean_squared_error").fit(2 * X, 100 * X[:, :2], **OPTIONS)
    assert same(first, second, "standardization_1")
    mean = second.parameters["target_scaling_1.mean"]
    np.testing.assert_allclose(mean, 100 * X[:, :2].mean(axis=0), rtol=1e-5)
    assert not third.load_weights(first).reinitialized
    assert third.adapted


def test_initial_values_from_data_are_for_reinitialized_layers():
    def network(outputs):
        layers = [Dense(8, "relu", initializer=UnitVariance()), Dense(outputs, label="head")]
        layers[1] = Dense(outputs, label="head", initializer=UnitVariance())
        return gpunn.Sequential(layers, 4, "numpy")

    first, second = network(3), network(2)
    gpunn.Trainer(first, "softmax_cross_entropy").fit(X, Y, **OPTIONS)
    second.load_weights(first)
    assert not second.started
    before = second.parameters.to_host()["head.weights"]
    second.layers[0].trainable = False
    gpunn.Trainer(second, "softmax_cross_entropy").fit(X, Y % 2, epochs=0, **OPTIONS)
    assert second.started
    assert same(first, second, "dense_1")
    assert not np.array_equal(second.parameters["head.weights"], before)


def test_copied_layers_do_not_learn_from_data_again():
    """The layers of a trained network, and layers that an earlier call copied."""

    def network(first, *others):
        made = [Dense(3, label=each, initializer=UnitVariance()) for each in others]
        return gpunn.Sequential([Standardization(label=first), *made], 4, "numpy", seed=0)

    model, other, third = network("a", "b", "c"), network("x", "b"), network("a", "y")
    for each, rows in ((model, X), (other, 5 * X), (third, 9 * X)):
        gpunn.Trainer(each, "softmax_cross_entropy").fit(rows, Y, **OPTIONS)
    before = model.parameters.to_host()
    model.load_weights(other)
    again = network("a", "b", "c")
    again.load_weights(other)
    assert not again.adapted
    again.load_weights(third)
    assert again.adapted
    for each in (model, again):
        gpunn.Trainer(each, "softmax_cross_entropy").fit(7 * X, Y, epochs=0, **OPTIONS)
        assert same(each, other, "b")
    assert same(again, third, "a")
    for name in ("a.mean", "c.weights"):
        np.testing.assert_array_equal(model.parameters[name], before[name])


def test_it_fits_other_places_and_types(backend):
    first = learned()
    for second in (network(seed=1).to(backend), network(dtype="float64", seed=1)):
        second.load_weights(first)
        np.testing.assert_allclose(second.predict(X), first.predict(X), rtol=1e-4, atol=1e-5)


def test_mistakes(tmp_path):
    model = network()
    with pytest.raises(ModelFileError, match="there is no such file"):
        model.load_weights(tmp_path)
    (tmp_path / "final.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelFileError):
        model.load_weights(tmp_path)
    load = Calls(on_epoch_end=lambda trainer, logs: trainer.model.load_weights(learned()))
    with pytest.raises(SettingError, match="load_weights: the network is being trained"):
        gpunn.Trainer(model, "softmax_cross_entropy").fit(X, Y, callbacks=[load], **OPTIONS)
