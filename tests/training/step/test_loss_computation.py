"""Networks with layers after the loss: scaled targets and members."""

import array_api_compat.numpy as xp
import numpy as np
import pytest
from equality import assert_arrays

import gpunn
from gpunn import layers, losses, optimizers
from gpunn.backends.recording import current_trace
from gpunn.errors import ArgumentError, DataError, DivergenceError, GpunnWarning
from gpunn.layers import Dense, MeanOverMembers, MemberDense, Members, TargetScaling
from gpunn.workspace import Workspace

ROWS, FEATURES = 60, 4
_random = np.random.default_rng(0)
X = _random.normal(size=(ROWS, FEATURES))
Y = 1000 + 50 * (X[:, :2] + 0.3 * _random.normal(size=(ROWS, 2)))
LABELS = _random.integers(0, 3, ROWS)


def trainer(parts, loss="mean_squared_error", metrics=(), backend="numpy", dtype="float64", **more):
    model = gpunn.Sequential(parts, FEATURES, backend, seed=1, dtype=dtype)
    return gpunn.Trainer(model, loss, optimizers.Adam(0.01), metrics, **more)


def fit(this, y=Y, **options):
    this.fit(X, y, **{"epochs": 3, "batch_size": 8, "progress": False, **options})
    return this


def values(this):
    return {name: a for name, a in this.model.parameters.to_host().items() if "scaling" not in name}


def standardized(y=Y):
    return (y - y.mean(axis=0)) / y.std(axis=0)


@pytest.mark.parametrize(
    ("loss", "metrics"),
    [("mean_squared_error", ("r2",)), (losses.Quantile(0.3), ())],
)
def test_training_is_that_on_standardized_targets(loss, metrics, backend):
    inner = [Dense(8, "tanh"), Dense(2)]
    with_layer = fit(trainer([*inner, TargetScaling()], loss, metrics, backend, "float32"))
    by_hand = trainer([Dense(8, "tanh"), Dense(2)], loss, metrics, backend, "float32")
    fit(by_hand, standardized())
    np.testing.assert_allclose(with_layer.history["loss"], by_hand.history["loss"], rtol=1e-5)
    assert_arrays(values(with_layer), values(by_hand), atol=1e-5)
    inside = np.clip(
        by_hand.model.predict(X) * Y.std(axis=0) + Y.mean(axis=0), Y.min(axis=0), Y.max(axis=0)
    )
    np.testing.assert_allclose(with_layer.model.predict(X), inside, rtol=1e-5)


def test_training_is_that_on_standardized_logarithms(backend):
    logs = Y / np.abs(Y).max()
    y = np.exp(logs)
    inner, options = [Dense(8, "tanh"), Dense(2)], {"backend": backend, "dtype": "float32"}
    with_layer = trainer([*inner, TargetScaling(log=True)], **options)
    plain = trainer([Dense(8, "tanh"), Dense(2), TargetScaling()], **options)
    fit(with_layer, y, validation_data=(X, y))
    fit(plain, logs, validation_data=(X, logs))
    for name in ("loss", "val_loss"):
        np.testing.assert_allclose(with_layer.history[name], plain.history[name], rtol=1e-5)
    predictions = with_layer.model.predict(X)
    np.testing.assert_allclose(predictions, np.exp(plain.model.predict(X)), rtol=1e-5)
    more = np.vstack([y, np.zeros((1, 2))])
    with pytest.raises(DataError, match="y: logarithms need positive targets; the minimum is 0"):
        with_layer.model.adapt(np.vstack([X, X[:1]]), more)


def test_metrics_speak_the_unit_of_the_targets():
    this = fit(trainer([Dense(2), TargetScaling()], metrics=["root_mean_squared_error"]), epochs=9)
    found = this.evaluate(X, Y)
    prediction = this.model.predict(X)
    error = np.sqrt(((prediction - Y) ** 2).mean())
    np.testing.assert_allclose(found["root_mean_squared_error"], error)
    unclipped = (X @ this.model.parameters["dense_1.weights"]) + this.model.parameters[
        "dense_1.biases"
    ]
    np.testing.assert_allclose(found["loss"], ((unclipped - standardized()) ** 2).mean())
    assert this.history["root_mean_squared_error"][-1] > 1 > this.history["loss"][-1]


@pytest.mark.parametrize("clip", [True, False])
def test_predictions_stay_within_the_training_targets_where_they_are_clipped(clip):
    this = fit(trainer([Dense(2), TargetScaling(clip)]), epochs=1)
    found = this.model.predict(100 * X)
    assert (found.min(axis=0) == Y.min(axis=0)).all() == clip
    assert (found.max(axis=0) == Y.max(axis=0)).all() == clip


def test_statistics_are_those_of_the_training_rows_of_the_first_fit():
    this = trainer([Dense(1), TargetScaling()])
    y = Y[:, 0].copy()
    y[40:] = 7e6
    this.fit(X[:40], y[:40], progress=False, validation_data=(X[40:], y[40:]))
    fit(this, y)
    kept = this.model.parameters
    for name, expected in {
        "mean": y[:40].mean(),
        "deviation": y[:40].std(),
        "least": y[:40].min(),
        "largest": y[:40].max(),
    }.items():
        np.testing.assert_allclose(kept[f"target_scaling_1.{name}"], [expected], rtol=1e-12)


def test_adapting_needs_targets():
    model = gpunn.Sequential([Dense(1), TargetScaling()], FEATURES, "numpy")
    assert not model.adapted
    with pytest.raises(ArgumentError, match="'target_scaling_1': learns from targets; give"):
        model.adapt(X)
    model.adapt(X, Y[:, 0])
    assert model.adapted
    np.testing.assert_allclose(model.parameters["target_scaling_1.mean"], Y[:, :1].mean(), 1e-6)


def test_a_constant_target_and_one_of_another_scale():
    y = np.stack([np.full(ROWS, 5.0), 1e-3 * Y[:, 0]], axis=1)
    this = fit(trainer([Dense(2), TargetScaling()]), y, epochs=5)
    np.testing.assert_array_equal(this.model.predict(X)[:, 0], 5.0)
    tiny = trainer([Dense(1), TargetScaling()], dtype="float32")
    with pytest.raises(DataError, match=r"y: column 0 .* too small to be standardized in float32"):
        fit(tiny, 1e-43 * X[:, 0])


def test_targets_that_float32_does_not_tell_apart_are_named(recwarn):
    y = 0.1 * np.arange(8.0)[:, None]
    for dtype, offset in (("float64", 1e9), ("float32", 1e4), ("float32", 1e6)):
        model = gpunn.Sequential([Dense(1), TargetScaling()], 2, "numpy", dtype=dtype)
        model.adapt(np.ones((8, 2)), y=offset + y)
    (warning,) = recwarn
    assert issubclass(warning.category, GpunnWarning)
    assert "y: column 0 has a mean of 1000000." in str(warning.message)
    assert "dtype='float64'" in str(warning.message)


def test_targets_that_are_all_the_same_are_named(caplog):
    model = gpunn.Sequential([Dense(1), TargetScaling()], 2, backend="numpy")
    model.adapt(np.eye(2), y=np.array([[7.0], [7.0]]))
    (record,) = caplog.records
    assert record.getMessage().startswith("y: 1 of 1 columns are constant")
    with pytest.raises(DataError, match=r"y: NaN, infinity or values too .* in 1 of 1 column;"):
        model.adapt(np.eye(2), y=np.array([[1e300], [-1e300]]))


def members(of="identity", outputs=2, *more):
    parts = [Members(3), MemberDense(6, "tanh"), MemberDense(outputs, separate=True)]
    return [*parts, MeanOverMembers(of), *more]


LOSSES = {
    "identity": ("mean_squared_error", standardized()),
    "softmax": (losses.SoftmaxCrossEntropy(0.1), LABELS),
    "sigmoid": ("binary_cross_entropy", (Y > 1000).astype(float)),
}


def loss_of_members(this, y):
    """Return the mean of the members' losses over the rows, from definitions."""
    backend = this.model.backend
    workspace = Workspace(backend, this.model.dtype, ROWS)
    outputs = this.model.forward(backend.from_host(X, this.model.dtype), workspace)
    at_loss = backend.to_host(outputs[this.model.trained_layers])
    return np.mean(
        [this.loss.values(xp, at_loss[:, m], y) for m in range(at_loss.shape[1])], axis=0
    )


@pytest.mark.parametrize("of", LOSSES)
@pytest.mark.parametrize("weights", [None, np.linspace(0, 1, ROWS)], ids=["plain", "weighted"])
def test_the_gradient_is_that_of_the_mean_of_the_members_losses(of, weights):
    loss, y = LOSSES[of]
    outputs = 3 if of == "softmax" else 2
    this = trainer(members(of, outputs), loss)
    this.optimizer = optimizers.SGD(0.5)
    before = this.model.parameters.to_host()
    w = np.ones(ROWS) if weights is None else weights

    def cost():
        return float(np.sum(w * loss_of_members(this, y)) / w.sum())

    start = cost()
    fit(this, y, epochs=1, batch_size=ROWS, sample_weight=weights)
    np.testing.assert_allclose(this.history["loss"][-1], start, rtol=1e-12)
    after = this.model.parameters.to_host()
    random = np.random.default_rng(2)
    for name, value in before.items():
        gradient = (value - after[name]) / 0.5
        for other, kept in before.items():
            this.model.parameters[other] = kept
        direction, step = random.normal(size=value.shape), 1e-6
        sides = []
        for sign in (1, -1):
            this.model.parameters[name] = value + sign * step * direction
            sides.append(cost())
        slope = (sides[0] - sides[1]) / (2 * step)
        np.testing.assert_allclose(slope, (gradient * direction).sum(), rtol=1e-5, atol=1e-9)


def test_predictions_are_those_of_the_mean():
    this = fit(trainer(members("softmax", 3), "softmax_cross_entropy", ["log_loss"]), LABELS)
    inner = gpunn.Sequential(
        [layer.config() for layer in this.model.layers[:-1]],
        FEATURES,
        "numpy",
        dtype="float64",
        values=this.model.parameters.to_host(),
    )
    logits = inner.predict(X)
    e = np.exp(logits - logits.max(axis=2, keepdims=True))
    expected = (e / e.sum(axis=2, keepdims=True)).mean(axis=1)
    found = this.model.predict_proba(X)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    log_loss = -np.log(expected[np.arange(ROWS), LABELS]).mean()
    evaluation = this.evaluate(X, LABELS)
    np.testing.assert_allclose(evaluation["log_loss"], log_loss)
    assert evaluation["loss"] > log_loss  # the mean of the members' own


def test_members_on_scaled_targets():
    this = fit(trainer(members("identity", 2, TargetScaling()), metrics=["r2"]), epochs=60)
    assert this.evaluate(X, Y)["r2"] > 0.7
    assert this.model.predict(X).shape == (ROWS, 2)


@pytest.mark.parametrize("metrics", [(), ("r2",)])
def test_accumulated_gradients_are_those_of_one_batch(metrics):
    whole = trainer(members("identity", 2, TargetScaling()), metrics=metrics)
    parts = trainer(
        members("identity", 2, TargetScaling()), metrics=metrics, gradient_accumulation=3
    )
    fit(whole, batch_size=30)
    fit(parts, batch_size=10)
    assert_arrays(values(parts), values(whole), atol=1e-9)


@pytest.mark.parametrize(
    ("parts", "loss", "y", "message"),
    [
        ([Dense(3), TargetScaling()], "softmax_cross_entropy", LABELS, "'target_scaling_1': does"),
        ([Dense(2), TargetScaling()], "poisson", Y, "loss 'poisson', whose output activation"),
        (members("identity", 3), "softmax_cross_entropy", LABELS, r"'mean_over_.*set of='softmax'"),
        (members("identity", 2), "poisson", Y, "'mean_over_.*; choose a loss for 'identity'"),
    ],
)
def test_losses_that_do_not_fit(parts, loss, y, message):
    with pytest.raises(ArgumentError, match=message):
        fit(trainer([layer.config() for layer in parts], loss), y)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([TargetScaling(), Dense(2)], "'dense_1': can't come after layers such as"),
        ([layers.Chain([Dense(2), TargetScaling()])], r"'chain_1\..*': works after the loss, so"),
        ([Dense(2), MeanOverMembers()], "'mean_over_members_1': mean_over_members: expected rows"),
    ],
)
def test_places_where_they_can_not_be(parts, message):
    with pytest.raises(ArgumentError, match=message):
        gpunn.Sequential(parts, FEATURES, "numpy")


def test_members_without_their_mean():
    with pytest.raises(ArgumentError, match=r"\(3, 2\)\. Add gpunn\.layers\.MeanOverMembers\(\)$"):
        trainer(members()[:-1])


def test_nothing_goes_back_through_them():
    with pytest.raises(ArgumentError, match="target_scaling: comes after the loss"):
        TargetScaling().backward(None, None, None, None, True)


def test_a_network_with_a_forward_of_its_own_is_refused():
    class Own(gpunn.Sequential):
        def forward(self, x, workspace):
            assert current_trace() is None
            return super().forward(x, workspace)

    model = Own([Dense(2), TargetScaling()], FEATURES, "numpy")
    this = gpunn.Trainer(model, "mean_squared_error")
    with pytest.raises(ArgumentError, match=r"'target_scaling_1': comes after the loss, but"):
        fit(this)


def test_a_divergence_is_explained_before_the_loss():
    this = trainer([Dense(2), TargetScaling()])
    this.optimizer = optimizers.SGD(1e200)
    with pytest.raises(DivergenceError, match="network's outputs are up to"):
        fit(this)
