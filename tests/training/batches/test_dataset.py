import numpy as np
import pytest

import gpunn
from gpunn.errors import DataError
from gpunn.training.batches.dataset import DatasetBuilder

X = np.arange(24.0).reshape(8, 3)
LABELS = np.array([0, 1] * 4)


@pytest.fixture
def trainer():
    model = gpunn.Sequential([gpunn.layers.Dense(2)], 3, "numpy", dtype="float64")
    return gpunn.Trainer(model, "softmax_cross_entropy", metrics=["accuracy"])


def builder(trainer, stream=None):
    return DatasetBuilder(trainer.model, trainer.loss, trainer.metrics, stream)


def test_a_split_holds_the_data_once(trainer):
    made = builder(trainer)
    checked = made.check(X, LABELS)
    training, validation = made.split(checked, made.held_out(checked, None, 0.25), None)
    assert training.dataset is validation.dataset
    assert training.dataset.X is X
    assert sorted([*training.indices, *validation.indices]) == list(range(8))
    assert np.bincount(LABELS[validation.indices]).tolist() == [1, 1]


def test_shapes_that_do_not_fit_are_shown_in_a_picture():
    model = gpunn.Sequential([gpunn.layers.Dense(8), gpunn.layers.Dense(3)], 4, "numpy")
    trainer = gpunn.Trainer(model, "softmax_cross_entropy", "sgd")
    picture = [
        "    input    (4,)",
        "    dense_1  (8,)",
        "    dense_2  (3,)",
        "    the loss 'softmax_cross_entropy' compares this output with a row of y ",
    ]
    cases = [
        ((9, 5), (9,), "X: this network expects"),
        ((9, 4), (9, 7), "y: expected integer labels"),
    ]
    for X_shape, y_shape, first in cases:
        with pytest.raises(DataError) as caught:
            trainer.fit(np.zeros(X_shape), np.zeros(y_shape), progress=False)
        lines = str(caught.value).splitlines()
        assert lines[0].startswith(first)
        assert lines[1] == f"    a row of X {X_shape} goes into"
        assert lines[2:] == [*picture[:3], f"{picture[3]}{y_shape}"]
    with pytest.raises(DataError, match=r"y\[4\] is 3 \(wrong labels: 1\)$"):
        trainer.fit(np.zeros((9, 4)), np.arange(9) // 4 + (np.arange(9) == 4) * 2, progress=False)
