"""Networks of images and of signals are stored, resumed and divided among ranks like others."""

import numpy as np
import pytest
from worlds import difference, values

import gpunn
from gpunn.distributed import run_threads
from gpunn.layers import (
    AveragePool1D,
    BatchNorm,
    Concatenate,
    Conv1D,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePool2D,
    LayerNorm,
    MaxPool2D,
    MeanOverMembers,
    MemberDense,
    Members,
    Rescaling,
    Residual,
    SpatialDropout,
    UpSampling2D,
)

RANDOM = np.random.default_rng(0)
Y = RANDOM.integers(0, 3, 41)


def branches():
    """Return layers that combine images: their sum, and their channels next to each other."""
    inner = [Conv2D(2, 3, padding="same", activation="tanh"), BatchNorm(), Conv2D(3, 1)]
    return [
        Rescaling(),
        Residual(inner),
        Concatenate([[Conv2D(2, 3, padding="same")], [BatchNorm()]]),
        SpatialDropout(0.2),
        GlobalAveragePool2D(),
        Dense(3),
    ]


def frozen():
    return [
        Conv2D(4, 3, 2, "same", activation="relu", trainable=False),
        BatchNorm(trainable=False),
        UpSampling2D(),
        MaxPool2D(2),
        Flatten(),
        Dense(3),
    ]


def signals():
    return [
        Conv1D(6, 3, groups=3, activation="relu"),
        LayerNorm(),
        Dropout(0.2),
        AveragePool1D(2),
        Flatten(),
        Members(2),
        MemberDense(3),
        MeanOverMembers("softmax"),
    ]


IMAGES = RANDOM.integers(0, 256, (41, 6, 5, 3)).astype(np.uint8)
CASES = {
    "branches": (branches, IMAGES, {"class_weight": "balanced"}),
    "branches, batches of one row": (branches, IMAGES[:4], {"batch_size": 1}),
    "frozen": (frozen, IMAGES / 255, {"sample_weight": RANDOM.uniform(0.5, 2, 41)}),
    "signals": (signals, RANDOM.normal(size=(41, 9, 3)), {"stream": True}),
}


def trained(case, dtype, epochs, X=None, start=None, communicator=None):
    """Return a trainer after some epochs."""
    layers, rows, options = CASES[case]
    model = gpunn.Sequential(layers(), rows.shape[1:], "numpy", 1, dtype)
    optimizer = gpunn.optimizers.SGD(0.05, momentum=0.9)
    trainer = gpunn.Trainer(model, "softmax_cross_entropy", optimizer, communicator=communicator)
    if start is not None:
        trainer.load_checkpoint(start)
    options = {"batch_size": 8, "progress": False, **options}
    X = rows if X is None else X
    trainer.fit(X, Y[: len(X)], epochs=epochs, **options)
    return trainer


@pytest.mark.parametrize("case", CASES)
def test_resumed_on_a_memory_map_and_loaded(case, tmp_path):
    whole, X = trained(case, "float32", 3), CASES[case][1]
    trained(case, "float32", 1).save_checkpoint(tmp_path / "start")
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    resumed = trained(case, "float32", 2, mapped, tmp_path / "start")
    np.testing.assert_array_equal(values(resumed), values(whole))
    whole.model.save(tmp_path / "model.safetensors")
    loaded = gpunn.load_model(tmp_path / "model.safetensors", backend="numpy")
    np.testing.assert_array_equal(loaded.predict(X), whole.model.predict(X))
    again = gpunn.Sequential(CASES[case][0](), X.shape[1:], "numpy")
    assert not again.load_weights(tmp_path / "model.safetensors").reinitialized
    np.testing.assert_array_equal(again.predict(X), whole.model.predict(X))


@pytest.mark.parametrize("case", CASES)
def test_ranks_train_what_one_process_trains(case):
    one = trained(case, "float64", 2)
    ranks = run_threads(2, lambda each: trained(case, "float64", 2, communicator=each))
    for rank in ranks:
        assert difference(values(rank), values(one)) <= 1e-13
