"""Test training with kernels and without, and which classes are recorded."""

import os
import subprocess
import sys

import numpy as np
import pytest
from training_steps import recorded_step

import gpunn
from gpunn import layers, losses
from gpunn.backends.numpy.blas import controller
from gpunn.backends.numpy.compiled import CompiledBackend
from gpunn.backends.numpy.compiled.library import library
from gpunn.backends.numpy.compiled.lowerings import CompiledLowerings
from gpunn.backends.numpy.compiled.program import Instruction, Program
from gpunn.backends.recording import expand_composites
from gpunn.layers import BatchNorm, Dense, Dropout, LayerNorm
from gpunn.metrics import AUC, F1, R2, Accuracy, LogLoss, MeanAbsoluteError
from gpunn.optimizers import AdamW
from gpunn.schedules import Cosine
from gpunn.training.epoch_blocks import MIN_EPOCHS


def trained(backend, hidden=(), rows=60):
    model = gpunn.Sequential(
        [*hidden, Dense(32, "relu"), Dense(3)], input_shape=(20,), backend=backend, seed=1
    )
    trainer = gpunn.Trainer(model, "softmax_cross_entropy", gpunn.optimizers.Adam(1e-2))
    random = np.random.default_rng(0)
    X, y = random.normal(size=(rows, 20)).astype(np.float32), random.integers(0, 3, rows)
    trainer.fit(X, y, epochs=3, batch_size=16, progress=False)
    return trainer, X


def test_describes_the_kernels_it_computes_with():
    described = CompiledBackend().describe()
    assert described["library"] == f"numpy {np.__version__}, kernels for {library().target.name}"
    assert described["device"].startswith("cpu (")


def test_without_kernels_numpy_computes_and_is_described(numpy_alone, caplog):
    backend = CompiledBackend()
    assert "kernels" not in backend.describe()["library"]
    trainer, X = trained(backend)
    assert trainer.history["loss"][-1] < trainer.history["loss"][0]
    assert trainer.model.predict(X).shape == (60, 3)
    assert not caplog.text  # as requested


def test_of_what_is_composed_the_parts_are_recorded():
    backend = CompiledBackend()
    model = gpunn.Sequential([Dense(5, "relu"), Dense(3)], 6, backend)
    trainer = gpunn.Trainer(model, "softmax_cross_entropy")
    recorded = recorded_step(trainer, np.zeros((8, 6), np.float32), np.arange(8) % 3)
    trace = expand_composites(recorded, backend, lambda one: hasattr(CompiledLowerings, one.name))
    assert [one.name for one in trace] == [
        *("gather_rows", "gather_rows", "count_pass", "dense", "dense", "loss"),
        *("dense_gradient", "dense_gradient", "count_update", "update"),
    ]


@pytest.fixture
def made(monkeypatch):
    pytest.importorskip("numba")
    made = []

    class Noted(Program):
        def __init__(self, operations, *rest):
            super().__init__(operations, *rest)
            made.append(operations)

    monkeypatch.setattr("gpunn.backends.numpy.compiled.program.Program", Noted)
    monkeypatch.setattr("gpunn.training.epoch_blocks.MAX_SECONDS", np.inf)  # also on a busy machine
    return made


RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(70, 5)).astype(np.float32)
LABELS = RANDOM.integers(0, 3, 70)
BINARY = RANDOM.integers(0, 2, (70, 3))
PIXELS = RANDOM.integers(0, 256, (70, 6, 8, 1)).astype(np.uint8)


def normed(outputs):
    return [LayerNorm(), Dense(8, "gelu"), BatchNorm(), Dropout(0.1), Dense(outputs)]


def moving(*last):
    """Return layers with factors of parameters and a scheduled rate."""
    return [
        Dense(8, "mish", learning_rate_factor={"biases": 0.1}, weight_decay_factor=0.5),
        Dropout(Cosine(0.2)),
        Dense(3, learning_rate_factor=6.0),
        *last,
    ]


def images(last):
    same = {"padding": "same", "bias": False}
    return [
        layers.Rescaling(),
        *(layers.Conv2D(4, 3, activation="relu", **same), layers.MaxPool2D()),
        *(layers.SpatialDropout(0.2), layers.UpSampling2D()),
        *(layers.Conv2D(4, 3, groups=4, **same), BatchNorm(), Dropout(0.2)),
        *(layers.Activation("silu"), layers.AveragePool2D(3, 2, "same")),
        *(layers.Conv2D(6, 2, groups=2), LayerNorm(), last(), Dense(3)),
    ]


def members(of):
    hidden = [layers.Members(4), layers.MemberDense(8, "relu")]
    return [*hidden, layers.MemberDense(3, separate=True), layers.MeanOverMembers(of)]


SOFTMAX, SQUARES = "softmax_cross_entropy", "mean_squared_error"
OF_NORMED = {
    "optimizer": AdamW(Cosine(1e-3), max_norm=1.0, l2_penalty=1e-3),
    "gradient_accumulation": 2,
}
OF_MOVING = {"optimizer": AdamW(Cosine(1e-3), weight_decay=Cosine(0.1))}
TRAININGS = {
    "classes": (normed(3), losses.SoftmaxCrossEntropy(0.1), [Accuracy(), F1("macro")], OF_NORMED),
    "two classes": (normed(1), losses.BinaryCrossEntropy(), [LogLoss(), AUC()], OF_NORMED),
    "numbers": (normed(3), losses.Huber(), [MeanAbsoluteError(), R2()], OF_NORMED),
    "moving": (moving(), losses.SoftmaxCrossEntropy(Cosine(0.2)), [Accuracy()], OF_MOVING),
    "scaled targets": (moving(layers.TargetScaling()), SQUARES, [R2()], OF_MOVING),
    "images": (images(layers.GlobalAveragePool2D), SOFTMAX, [], {}),
    "flattened images": (images(layers.Flatten), SOFTMAX, [], {}),
    "members": (members("identity"), SQUARES, [R2()], {"optimizer": "adam"}),
    "members, classes": (members("softmax"), SOFTMAX, [Accuracy()], {"optimizer": "adam"}),
    "members, labels": (members("sigmoid"), "binary_cross_entropy", [R2()], {"optimizer": "adam"}),
}
TARGETS = {"two classes": BINARY[:, :1], "members, labels": 1.0 * BINARY}
TARGETS |= dict.fromkeys(("numbers", "scaled targets", "members"), 5 * X[:, :3])
"""Targets that are not labels."""


@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_is_one_table_of_instructions(made, name):
    parts, loss, metrics, settings = TRAININGS[name]
    rows, y = PIXELS if "images" in name else X, TARGETS.get(name, LABELS)
    described = [part.config() for part in parts]
    model = gpunn.Sequential(described, rows.shape[1:], CompiledBackend(), seed=1)
    gpunn.Trainer(model, loss, metrics=metrics, **settings).fit(
        *(rows, y),
        epochs=MIN_EPOCHS + 1,
        batch_size=16,
        sample_weight=np.random.default_rng(1).random(70),
        class_weight={0: 1.0, 1: 2.0, 2: 0.5} if name == "classes" else None,
        validation_data=(rows[:20], y[:20]),
        progress=False,
    )
    # Full batches and the last one, in training and validation; logs and states of a block.
    assert len(made) == 4 + 3
    assert all(type(one) is Instruction for operations in made for one in operations)


def test_with_frozen_layers_it_is_shorter(made):
    def instructions(frozen):
        parts = [
            Dense(8, "relu"),
            Dense(8, "gelu", trainable=not frozen),
            BatchNorm(trainable=not frozen),
            Dense(3),
        ]
        parts[0].trainable = frozen != "below"
        model = gpunn.Sequential(parts, 5, CompiledBackend(), seed=1)
        trainer = gpunn.Trainer(model, SOFTMAX)
        del made[:]
        trainer.fit(X[:32], LABELS[:32], batch_size=16, progress=False)
        (program,) = made
        assert all(type(one) is Instruction for one in program)
        return len(program)

    whole, between, below = (instructions(frozen) for frozen in ("", "between", "below"))
    assert whole - between >= 4  # gradients of weights, biases, scale and shift
    assert between - below >= 4  # input gradients of the three layers


class Shared(CompiledBackend):
    """A backend whose threads share all work, even in small steps."""

    def _team_size(self, trace):
        return self.threads


def normalized():
    """Return layers with sums over rows, to which each thread contributes."""
    return [Dense(40), LayerNorm(), Dense(40), BatchNorm(), Dropout(0.1)]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_equal_numbers_of_threads_are_bitwise_identical(threads):
    first, X = trained(Shared(threads), normalized(), rows=100)
    second, _ = trained(Shared(threads), normalized(), rows=100)
    np.testing.assert_array_equal(first.model.parameters.values, second.model.parameters.values)
    np.testing.assert_array_equal(first.model.predict(X), second.model.predict(X))


def test_the_threads_are_an_option():
    backend = gpunn.get_backend("numpy", threads=3)
    assert backend.threads == 3
    assert backend.options == {"threads": 3}
    with pytest.raises(gpunn.errors.ArgumentError, match="threads: expected"):
        gpunn.get_backend("numpy", threads=0)
    with pytest.raises(gpunn.errors.ArgumentError, match="threads"):
        gpunn.get_backend(backend, threads=2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_process_predicts_with_its_own_threads():
    pytest.importorskip("numba")
    script = (
        "import os, numpy as np, gpunn\n"
        "layers = [gpunn.layers.Dense(1024, 'relu'), gpunn.layers.Dense(1024)]\n"
        "backend = gpunn.get_backend('numpy', threads=2)\n"
        "model = gpunn.Sequential(layers, input_shape=(1024,), backend=backend)\n"
        "X = np.ones((256, 1024), np.float32)\n"
        "expected = model.predict(X)\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    same = np.array_equal(model.predict(X), expected)\n"
        "    model.parameters.values[...] = 0\n"
        "    os._exit(0 if same else 1)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "assert np.array_equal(model.predict(X), expected)\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, timeout=1200)


def blas_threads():
    return max(library.get_num_threads() for library in controller().lib_controllers)


class Counting(gpunn.layers.Layer):
    name = "test_counting"

    def forward(self, x, workspace):
        self.threads = blas_threads()
        return x


@pytest.mark.skipif(not controller().lib_controllers, reason="NumPy's BLAS is unknown")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.usefixtures("two_blas_threads")
def test_products_of_custom_code_get_all_threads(threads):
    counting = Counting()
    layers = [gpunn.layers.Dense(1024), counting, gpunn.layers.Dense(1024)]
    model = gpunn.Sequential(layers, 512, CompiledBackend(threads))
    model.predict(np.zeros((512, 512)))
    assert counting.threads == threads
