"""Test training with kernels and without, and which classes are recorded."""

import os
import subprocess
import sys

import numpy as np
import pytest
from training_steps import step_of

import gpunn
from gpunn import losses
from gpunn.backends.numpy.blas import controller
from gpunn.backends.numpy.compiled import CompiledBackend
from gpunn.backends.numpy.compiled.library import library
from gpunn.backends.numpy.compiled.lowerings import CompiledLowerings
from gpunn.backends.numpy.compiled.program import Instruction, Program
from gpunn.backends.recording import expand_composites, record
from gpunn.data.batches import DeviceRows
from gpunn.layers import BatchNorm, Dense, Dropout, LayerNorm
from gpunn.metrics import AUC, F1, R2, Accuracy, LogLoss, MeanAbsoluteError
from gpunn.schedules import Cosine
from gpunn.training.epoch_blocks import MIN_EPOCHS


def trained(backend, layers=(), rows=60, threads=None):
    model = gpunn.Sequential(
        [*layers, Dense(32, "relu"), Dense(3)], input_shape=(20,), backend=backend, seed=1
    )
    trainer = gpunn.Trainer(model, "softmax_cross_entropy", gpunn.optimizers.Adam(1e-2))
    random = np.random.default_rng(0)
    X, y = random.normal(size=(rows, 20)).astype(np.float32), random.integers(0, 3, rows)
    trainer.fit(X, y, epochs=3, batch_size=16, progress=False)
    return trainer, X


def test_describes_the_kernels_it_computes_with():
    described = CompiledBackend().describe()["library"]
    assert described.endswith(f", kernels for {library().target.name}")


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
    step = step_of(gpunn.Trainer(model, "softmax_cross_entropy"))
    order = np.arange(8)
    step.load(DeviceRows(np.zeros((8, 6), np.float32), order % 3, None, order, 8))
    recorded = record(lambda: step._update(8))
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


def fit_with_everything(trainer, X, y, **options):
    trainer.fit(
        *(X, y),
        **options,
        epochs=MIN_EPOCHS + 1,
        batch_size=16,
        sample_weight=np.random.default_rng(1).random(70),
        validation_data=(X[:20], y[:20]),
        progress=False,
    )


@pytest.mark.parametrize(
    ("loss", "metrics", "outputs"),
    [
        (losses.SoftmaxCrossEntropy(0.1), [Accuracy(), F1("macro")], 3),
        (losses.BinaryCrossEntropy(), [LogLoss(), AUC()], 1),
        (losses.Huber(), [MeanAbsoluteError(), R2()], 2),
    ],
    ids=lambda options: getattr(options, "name", ""),
)
def test_a_training_is_one_table_of_instructions(made, loss, metrics, outputs):
    layers = [LayerNorm(), Dense(8, "gelu"), BatchNorm(), Dropout(0.1), Dense(outputs)]
    model = gpunn.Sequential(layers, input_shape=(5,), backend=CompiledBackend(), seed=1)
    optimizer = gpunn.optimizers.AdamW(Cosine(1e-3), max_norm=1.0, l2_penalty=1e-3)
    trainer = gpunn.Trainer(model, loss, optimizer, metrics, gradient_accumulation=2)
    g = np.random.default_rng(0)
    X = g.normal(size=(70, 5)).astype(np.float32)
    softmax = isinstance(loss, losses.SoftmaxCrossEntropy)
    y = g.integers(0, 3, 70) if softmax else g.integers(0, 2, (70, outputs))
    options = {"class_weight": {0: 1.0, 1: 2.0, 2: 0.5}} if softmax else {}
    fit_with_everything(trainer, X, y, **options)
    # Full batches and the last one, in training and validation; logs and states of a block.
    assert len(made) == 4 + 3
    assert all(type(one) is Instruction for operations in made for one in operations)


@pytest.mark.parametrize("classes", [True, False])
def test_so_is_one_with_moving_settings_factors_and_scaled_targets(made, classes):
    layers = [
        Dense(8, "mish", learning_rate_factor={"biases": 0.1}, weight_decay_factor=0.5),
        Dropout(Cosine(0.2)),
        Dense(3, learning_rate_factor=6.0),
    ]
    layers += [] if classes else [gpunn.layers.TargetScaling()]
    model = gpunn.Sequential(layers, input_shape=(5,), backend=CompiledBackend(), seed=1)
    optimizer = gpunn.optimizers.AdamW(Cosine(1e-3), weight_decay=Cosine(0.1))
    loss = losses.SoftmaxCrossEntropy(Cosine(0.2)) if classes else "mean_squared_error"
    trainer = gpunn.Trainer(model, loss, optimizer, [Accuracy() if classes else R2()])
    g = np.random.default_rng(0)
    X = g.normal(size=(70, 5)).astype(np.float32)
    fit_with_everything(trainer, X, g.integers(0, 3, 70) if classes else 5 * X[:, :3])
    assert len(made) == 4 + 3
    assert all(type(one) is Instruction for operations in made for one in operations)


def test_so_is_one_with_frozen_layers_and_it_is_shorter(made):
    def instructions(frozen):
        layers = [
            Dense(8, "relu"),
            Dense(8, "gelu", trainable=not frozen),
            BatchNorm(trainable=not frozen),
            Dense(3),
        ]
        layers[0].trainable = frozen != "below"
        model = gpunn.Sequential(layers, input_shape=(5,), backend=CompiledBackend(), seed=1)
        trainer = gpunn.Trainer(model, "softmax_cross_entropy", gpunn.optimizers.Adam())
        g = np.random.default_rng(0)
        del made[:]
        trainer.fit(g.normal(size=(32, 5)), g.integers(0, 3, 32), batch_size=16, progress=False)
        (program,) = made
        assert all(type(one) is Instruction for one in program)
        return len(program)

    whole, between, below = (instructions(frozen) for frozen in ("", "between", "below"))
    assert whole - between >= 4  # gradients of weights, biases, scale and shift
    assert between - below >= 4  # input gradients of the three layers


@pytest.mark.parametrize("last", [gpunn.layers.GlobalAveragePool2D, gpunn.layers.Flatten])
def test_so_is_one_of_images(made, last):
    same = {"padding": "same", "bias": False}
    layers = [
        gpunn.layers.Rescaling(),
        *(gpunn.layers.Conv2D(4, 3, activation="relu", **same), gpunn.layers.MaxPool2D()),
        *(gpunn.layers.SpatialDropout(0.2), gpunn.layers.UpSampling2D()),
        *(gpunn.layers.Conv2D(4, 3, groups=4, **same), BatchNorm(), Dropout(0.2)),
        *(gpunn.layers.Activation("silu"), gpunn.layers.AveragePool2D(3, 2, "same")),
        *(gpunn.layers.Conv2D(6, 2, groups=2), LayerNorm(), last(), Dense(3)),
    ]
    model = gpunn.Sequential(layers, (6, 8, 1), CompiledBackend(), seed=1)
    g = np.random.default_rng(0)
    X, y = g.integers(0, 256, (70, 6, 8, 1)).astype(np.uint8), g.integers(0, 3, 70)
    fit_with_everything(gpunn.Trainer(model, "softmax_cross_entropy"), X, y)
    assert len(made) == 4 + 3
    assert all(type(one) is Instruction for operations in made for one in operations)


@pytest.mark.parametrize("of", ["identity", "softmax", "sigmoid"])
def test_so_is_one_of_members_with_metrics(made, of):
    layers = [
        gpunn.layers.Members(4),
        gpunn.layers.MemberDense(8, "relu"),
        gpunn.layers.MemberDense(3, separate=True),
        gpunn.layers.MeanOverMembers(of),
    ]
    model = gpunn.Sequential(layers, input_shape=(5,), backend=CompiledBackend(), seed=1)
    g = np.random.default_rng(0)
    X = g.normal(size=(70, 5)).astype(np.float32)
    loss, metric, y = {
        "identity": ("mean_squared_error", R2(), X[:, :3]),
        "softmax": ("softmax_cross_entropy", Accuracy(), g.integers(0, 3, 70)),
        "sigmoid": ("binary_cross_entropy", R2(), (X[:, :3] > 0).astype(float)),
    }[of]
    fit_with_everything(gpunn.Trainer(model, loss, "adam", [metric]), X, y)
    assert len(made) == 4 + 3
    assert all(type(one) is Instruction for operations in made for one in operations)


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
