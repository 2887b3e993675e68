"""Epochs that leave out the last rows if they are too few for an update."""

import numpy as np
import pytest
from equality import values
from kills import assert_resumes

import gpunn
from gpunn import layers, optimizers
from gpunn.data import batches
from gpunn.errors import ArgumentError

ROWS = 43
X = np.random.default_rng(0).normal(size=(ROWS, 4))
Y = X @ np.arange(4.0)[:, None]


def trainer(**options):
    model = gpunn.Sequential([layers.Dense(8, "tanh"), layers.Dense(1)], 4, "numpy", seed=2)
    optimizer = optimizers.Adam(gpunn.schedules.Cosine(0.01))
    return gpunn.Trainer(model, "mean_squared_error", optimizer, **options)


def fit(this, x=X, y=Y, **options):
    this.fit(x, y, **{"batch_size": 8, "drop_last": True, "progress": False, **options})
    return this


@pytest.mark.parametrize("batch_size", [8, 43, 100])
def test_rows_as_they_are(batch_size, monkeypatch):
    monkeypatch.setattr(batches, "STREAM_BYTES", 300)
    kept = ROWS - ROWS % 8 if batch_size == 8 else ROWS
    for stream in (False, True):
        options = {"epochs": 2, "shuffle": False, "batch_size": batch_size, "stream": stream}
        found = fit(trainer(), **options)
        expected = fit(trainer(), X[:kept], Y[:kept], drop_last=False, **options)
        assert found.updates == expected.updates == 2 * max(kept // batch_size, 1)
        np.testing.assert_array_equal(values(found), values(expected))
        assert found.history["loss"] == expected.history["loss"]


def test_each_epoch_leaves_out_others():
    order = [gpunn.randomness.permutation(2, epoch, ROWS)[:40] for epoch in range(2)]
    by_hand = trainer()
    found = fit(trainer(), epochs=1)
    fit(by_hand, X[order[0]], Y[order[0]], epochs=1, shuffle=False, drop_last=False)
    np.testing.assert_array_equal(values(found), values(by_hand))
    assert set(order[0]) != set(order[1])


def test_with_accumulated_gradients():
    found = fit(trainer(gradient_accumulation=3))
    assert found.updates == 1
    assert (
        found.history["loss"]
        == fit(
            trainer(gradient_accumulation=3),
            *(part[gpunn.randomness.permutation(2, 0, ROWS)[:24]] for part in (X, Y)),
            shuffle=False,
        ).history["loss"]
    )
    with pytest.raises(ArgumentError, match="an epoch has only 43 rows"):
        fit(trainer(gradient_accumulation=6))


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_resumed_run_is_bitwise_identical(tmp_path, shuffle):
    options = {"epochs": 3, "shuffle": shuffle}
    _, path = assert_resumes(trainer, fit, tmp_path, 7, **options)
    with pytest.raises(ArgumentError, match="without the last partial batch"):
        fit(trainer(), resume_from=path, **{**options, "drop_last": False})
