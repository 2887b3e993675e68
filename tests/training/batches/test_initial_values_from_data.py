"""Initial values that depend on training data, and when they are computed."""

import numpy as np
import pytest
from equality import assert_arrays
from kills import assert_resumes

import gpunn
from gpunn import initializers, layers, optimizers
from gpunn.errors import ArgumentError, DataError
from gpunn.layers import Dense
from gpunn.training.batches import initial_values_from_data

ROWS, FEATURES = 200, 5
_random = np.random.default_rng(0)
X = _random.normal(3, 2, (ROWS, FEATURES))
Y = X[:, :1] - 1.0

DATA = {"initializer": "unit_variance", "bias_initializer": "hull"}


def network(*parts, backend="numpy", dtype="float64", seed=3):
    return gpunn.Sequential(parts, FEATURES, backend, seed, dtype)


def ntp(units, activation="identity"):
    return Dense(units, activation, parametrization="ntp", **DATA)


def begun(model, x=X, y=Y, **options):
    """Return the network after a training that changes nothing."""
    this = gpunn.Trainer(model, "mean_squared_error", optimizers.SGD(0.0))
    this.fit(x, y, **{"progress": False, "epochs": 1, "batch_size": 64, **options})
    return model


def linear(model, index, x=X):
    """Return the outputs of layer `index` before its biases and activation, by definition."""
    for layer in model.layers[:index]:
        z = x @ layer.values["weights"] * layer.weight_factor(x.shape[1]) + layer.values["biases"]
        x = layer.f.value(np, z)
    layer = model.layers[index]
    return x @ layer.values["weights"] * layer.weight_factor(x.shape[1])


def test_every_unit_has_variance_one():
    model = begun(network(ntp(16, "selu"), ntp(8, "mish"), Dense(1, **DATA)))
    for index in range(3):
        np.testing.assert_allclose(linear(model, index).std(axis=0), 1.0, rtol=1e-12)


def test_biases_are_those_of_points_in_the_hull():
    model = begun(network(ntp(16, "selu"), ntp(8, "mish"), ntp(1)))
    for index in range(3):
        z, b = linear(model, index), model.layers[index].values["biases"]
        assert (z.min(axis=0) <= -b).all()
        assert (-b <= z.max(axis=0)).all()
        # Means of five numbers scatter by less than these do.
        if len(b) > 1:
            scatter = (-b - z.mean(axis=0)).std()
            assert 0.2 < scatter < 0.9


@pytest.mark.parametrize(
    ("option", "name", "message"),
    [
        ("initializer", "hull", "initializer: 'hull' computes biases; use it as bias_initializer"),
        ("bias_initializer", "unit_variance", "'unit_variance' computes weights; set the par"),
    ],
)
def test_an_initializer_of_the_other_parameter(option, name, message):
    with pytest.raises(ArgumentError, match=message):
        begun(network(Dense(1, **{option: name})))


def test_the_formulas():
    g = np.random.default_rng(1)
    z, W = g.normal(2, 3, (50, 4)), g.normal(size=(6, 4))
    found = initializers.UnitVariance().from_data(g, W, z)
    np.testing.assert_allclose(found, W / z.std(axis=0))
    found = initializers.Hull(5).from_data(np.random.default_rng(7), np.zeros(4), z)
    same = np.random.default_rng(7)
    rows, shares = same.integers(50, size=(5, 4)), same.exponential(size=(5, 4))
    expected = [
        -sum(shares[m, j] / shares[:, j].sum() * z[rows[m, j], j] for m in range(5))
        for j in range(4)
    ]
    np.testing.assert_allclose(found, expected)
    rounded = np.ones((50, 4))
    rounded[::2] = np.nextafter(1.0, 2.0)
    for constant in (np.ones((50, 4)), rounded):
        np.testing.assert_array_equal(initializers.UnitVariance().from_data(g, W, constant), W)


def test_the_same_on_every_engine(backend):
    parts = [
        layers.Standardization(),
        layers.Chain([ntp(16, "selu"), layers.Dropout(0.5)]),
        layers.ColumnGroups([{"columns": [0, 4], "layers": [ntp(3)]}, {"columns": [4, 16]}]),
        Dense(1, **DATA),
    ]
    found = begun(
        network(*[p.config() for p in parts], backend=backend, dtype="float32"), shuffle=False
    ).parameters.to_host()
    expected = begun(network(*parts)).parameters.to_host()
    assert_arrays(found, expected, rtol=1e-4, atol=1e-4)


def test_members_share_or_have_their_own():
    parts = [
        layers.Members(3),
        layers.MemberDense(6, "tanh", adapters=False, **DATA),
        layers.MemberDense(4, separate=True, **DATA),
        layers.MeanOverMembers(),
        layers.TargetScaling(),
    ]
    model = begun(network(*parts), y=X[:, :4])
    x = X[:, None, :] * model.layers[0].values["factors"]
    shared, own = model.layers[1].values, model.layers[2].values
    z = x @ shared["weights"]
    np.testing.assert_allclose(z.std(axis=(0, 1)), 1.0)
    h = np.tanh(z + shared["biases"])
    np.testing.assert_allclose(np.einsum("nmi,miu->nmu", h, own["weights"]).std(axis=0), 1.0)
    assert len(np.unique(own["biases"])) == 12


def test_adapted_members_have_biases_of_their_own():
    parts = [layers.Members(3), layers.MemberDense(6, "tanh", **DATA)]
    parts += [layers.MemberDense(1, separate=True), layers.MeanOverMembers()]
    model = begun(network(*parts))
    x = X[:, None, :] * model.layers[0].values["factors"]
    z, biases = x @ model.layers[1].values["weights"], model.layers[1].values["biases"]
    np.testing.assert_allclose(z.std(axis=(0, 1)), 1.0)
    assert len(np.unique(biases)) == 18
    assert (z.min(axis=0) <= -biases).all()
    assert (-biases <= z.max(axis=0)).all()


def test_only_once_and_from_the_training_rows_of_the_first_fit():
    model = network(ntp(4), ntp(1))
    assert not model.started
    x = np.concatenate([X, 1e6 + X])
    validation = X, Y
    begun(model, x[:ROWS], validation_data=validation)
    assert model.started
    kept = model.parameters.to_host()
    begun(model, 100 * X)
    assert_arrays(model.parameters.to_host(), kept)
    other = begun(network(ntp(4), ntp(1)))
    assert_arrays(other.parameters.to_host(), kept)
    another = begun(network(ntp(4), ntp(1), seed=4)).parameters.to_host()
    assert (another["dense_1.biases"] != kept["dense_1.biases"]).all()


def test_a_part_of_many_rows(monkeypatch):
    monkeypatch.setattr(initial_values_from_data, "MAX_ROWS", 50)
    monkeypatch.setattr(initial_values_from_data, "BATCH", 20)
    model = begun(network(ntp(4), ntp(1)))
    stds = linear(model, 0).std(axis=0)
    assert (stds != 1).all()
    np.testing.assert_allclose(stds, 1.0, atol=0.3)


def trainer():
    model = network(layers.Standardization(), ntp(8, "selu"), ntp(1), dtype="float32")
    return gpunn.Trainer(model, "mean_squared_error", optimizers.Adam(0.01))


@pytest.mark.parametrize("at", [1, 3])
def test_a_resumed_run_goes_on_from_its_own(tmp_path, at):
    def train(this, **options):
        this.fit(X, Y, epochs=2, batch_size=64, progress=False, **options)

    assert_resumes(trainer, train, tmp_path, at)


def test_values_that_were_given_or_loaded_stay(tmp_path):
    model = begun(network(ntp(4), ntp(1)))
    model.save(tmp_path / "model.safetensors")
    values = model.parameters.to_host()
    given = gpunn.Sequential([ntp(4), ntp(1)], FEATURES, "numpy", 9, "float64", values)
    loaded = gpunn.load_model(tmp_path / "model.safetensors")
    copied = model.to("numpy")
    for each in (given, loaded, copied):
        assert each.started
        begun(each, 7 * X)
        assert_arrays(each.parameters.to_host(), values)


def test_a_network_saved_before_its_training_starts_later(tmp_path):
    model = network(ntp(4), ntp(1))
    model.save(tmp_path / "model.safetensors")
    loaded, expected = gpunn.load_model(tmp_path / "model.safetensors"), begun(model)
    begun(loaded)
    assert_arrays(loaded.parameters.to_host(), expected.parameters.to_host())


def test_layers_without_a_linear_part():
    with pytest.raises(ArgumentError, match="embedding: this layer does not support initial"):
        begun(network(layers.Embedding([3] * 5, initializer="unit_variance"), Dense(1)))


def test_initial_values_that_overflow():
    """x W of finite rows is infinite in float32, and so would be the biases."""
    parts = [Dense(2, initializer=initializers.Normal(1e30)), ntp(2)]
    with pytest.raises(DataError, match=r"layer 'dense_2': 'biases', learned from training data, "):
        begun(network(*parts, dtype="float32"), 1e9 * X, Y[:, [0, 0]])


def test_a_layer_that_learns_what_is_not_finite():
    class Reciprocal(layers.Standardization):
        name = "reciprocal"

        def adapt(self, X, indices=None, dtype="float32"):
            return {"mean": np.zeros(FEATURES), "deviation": np.full(FEATURES, 1e300)}

    model = network(Reciprocal(), Dense(1), dtype="float32")
    before = model.parameters.to_host()
    for learn in (model.adapt, lambda X: begun(model, X)):
        with pytest.raises(DataError, match=r"'reciprocal_1': 'deviation', learned .* in float32"):
            learn(X)
    assert_arrays(before, model.parameters.to_host())
    assert not model.adapted
