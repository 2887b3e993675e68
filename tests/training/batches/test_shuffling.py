"""Members that each visit the rows in a separate order."""

import numpy as np
import pytest
from equality import assert_arrays
from kills import assert_resumes

import gpunn
from gpunn import layers, optimizers
from gpunn.data import batches
from gpunn.errors import ArgumentError
from gpunn.layers import Dense, MeanOverMembers, MemberDense, Members, TargetScaling
from gpunn.randomness import permutation, permutations

ROWS, FEATURES, COUNT = 37, 4, 3
_random = np.random.default_rng(0)
X = _random.normal(size=(ROWS, FEATURES))
Y = X[:, :2] + 0.1 * _random.normal(size=(ROWS, 2))
WEIGHTS = _random.random(ROWS)


def separate():
    """Return a network of members that share nothing."""
    return [
        Members(COUNT, "fixed"),
        MemberDense(5, "tanh", separate=True),
        MemberDense(2, separate=True),
        MeanOverMembers(),
    ]


def shared():
    return [
        layers.ColumnGroups(
            [{"columns": [0, 2], "layers": [Dense(6, "selu")]}, {"columns": [2, 4]}]
        ),
        layers.Dropout(0.2),
        Members(COUNT),
        MemberDense(6, "relu"),
        MemberDense(2, separate=True),
        MeanOverMembers(),
        TargetScaling(),
    ]


def trainer(parts, backend="numpy", dtype="float64", optimizer=None, metrics=(), **more):
    model = gpunn.Sequential(parts, FEATURES, backend, seed=5, dtype=dtype)
    chosen = optimizer or optimizers.SGD(0.1, momentum=0.9)
    return gpunn.Trainer(model, "mean_squared_error", chosen, metrics, **more)


def fit(this, **options):
    standard = {"epochs": 2, "batch_size": 8, "progress": False, "shuffle_members": True}
    this.fit(X, Y, **{**standard, **options})
    return this


def values(this):
    return this.model.parameters.to_host()


@pytest.mark.parametrize(("drop_last", "stream"), [(False, True), (True, False)])
def test_members_that_share_nothing_learn_as_networks_alone(drop_last, stream, monkeypatch):
    monkeypatch.setattr(batches, "STREAM_BYTES", 2000)
    this = trainer(separate())
    start = values(this)
    this.optimizer = optimizers.SGD(0.1 * COUNT)  # of the mean of so many losses
    fit(this, epochs=1, drop_last=drop_last, stream=stream)
    order = permutations(5, 0, ROWS, COUNT)
    for member in range(COUNT):
        own = [Dense(5, "tanh"), Dense(2)]
        alone = trainer(own, optimizer=optimizers.SGD(0.1))
        for index in (1, 2):
            for name in ("weights", "biases"):
                given = start[f"member_dense_{index}.{name}"][member]
                alone.model.parameters[f"dense_{index}.{name}"] = given
        rows = order[:, member]
        alone.fit(
            *(X[rows], Y[rows]), batch_size=8, shuffle=False, progress=False, drop_last=drop_last
        )
        for index in (1, 2):
            for name in ("weights", "biases"):
                np.testing.assert_allclose(
                    values(this)[f"member_dense_{index}.{name}"][member],
                    values(alone)[f"dense_{index}.{name}"],
                    atol=1e-12,
                )


def test_the_orders():
    found = permutations(7, 2, 20, 4)
    assert found.shape == (20, 4)
    np.testing.assert_array_equal(found[:, 0], permutation(7, 2, 20))
    np.testing.assert_array_equal(np.sort(found, axis=0), np.arange(20)[:, None].repeat(4, axis=1))
    assert len({tuple(column) for column in found.T}) == 4
    assert (permutations(7, 3, 20, 4) != found).any()


def test_all_engines_agree(backend):
    metrics = ("root_mean_squared_error",)
    options = {"sample_weight": WEIGHTS, "validation_split": 0.2}
    found = fit(trainer(shared(), backend, "float32", metrics=metrics), **options)
    expected = fit(trainer(shared(), metrics=metrics), **options)
    assert_arrays(values(found), values(expected), rtol=0, atol=2e-3)
    for name in ("loss", "val_loss", *(f"val_{metric}" for metric in metrics), *metrics):
        np.testing.assert_allclose(found.history[name], expected.history[name], rtol=2e-3)


def test_accumulated_gradients_are_those_of_one_batch():
    parts = lambda: [part for part in shared() if part.name != "dropout"]  # noqa: E731
    whole, pieces = trainer(parts()), trainer(parts(), gradient_accumulation=3)
    fit(whole, batch_size=15, sample_weight=WEIGHTS)
    fit(pieces, batch_size=5, sample_weight=WEIGHTS)
    assert_arrays(values(pieces), values(whole), atol=1e-10)


def test_class_weights_leave_metrics_alone():
    labels = (X[:, 0] > 0).astype(int)
    model = gpunn.Sequential(
        [Members(3), MemberDense(3, separate=True), MeanOverMembers("softmax")], 4, "numpy"
    )
    this = gpunn.Trainer(model, "softmax_cross_entropy", optimizers.SGD(0.0), ["accuracy"])
    options = {"class_weight": {0: 3.0}, "shuffle_members": True, "progress": False}
    this.fit(X, labels, **options)
    outputs = model.forward(
        X.astype(np.float32), gpunn.workspace.Workspace(model.backend, "float32", ROWS)
    )
    expected = (outputs[-2].argmax(axis=2) == labels[:, None]).mean()
    np.testing.assert_allclose(this.history["accuracy"][-1], expected, rtol=1e-6)


@pytest.mark.parametrize("at", [3, 7])
def test_a_resumed_run_is_bitwise_identical(tmp_path, at):
    def make():
        return trainer(shared(), dtype="float32")

    _, path = assert_resumes(make, fit, tmp_path, at)
    with pytest.raises(ArgumentError, match="shuffled for each of 3 members"):
        fit(make(), resume_from=path, shuffle_members=False)


def test_a_divergence_is_explained():
    this = trainer(shared(), optimizer=optimizers.SGD(1e200))
    with pytest.raises(gpunn.errors.DivergenceError, match="not a finite number at step 2"):
        fit(this)


@pytest.mark.parametrize(
    ("parts", "options", "message"),
    [
        ([Dense(2)], {}, "shuffle_members: needs a network with vectors as inputs, one layer"),
        (shared(), {"shuffle": False}, "shuffle_members: can't be combined with shuffle"),
    ],
)
def test_what_can_not_be(parts, options, message):
    with pytest.raises(ArgumentError, match=message):
        fit(trainer([part.config() for part in parts]), **options)
