"""A step that a CUDA graph replays is bitwise identical to kernels launched one by one."""

import functools
import gc
import itertools
import logging
import threading
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import cupy
import devices
import numpy as np
import pytest
from calls import Calls
from documented import GPU_EXPLAINED, table_in
from equality import assert_same_bits
from gpu.launches import launches_of_graphs, step_of, unhurried
from parity import runs
from parity.runs import every_layer, images

import gpunn
from gpunn import activations, layers, losses, metrics, optimizers, schedules
from gpunn.backends import collection, tracing
from gpunn.backends.cupy import CupyBackend, capture
from gpunn.backends.cupy.matmul.fallback import CupyProduct
from gpunn.callbacks import EarlyStopping
from gpunn.data import batches
from gpunn.training import epoch
from gpunn.training.callbacks import Callback

ROWS, FEATURES, CLASSES, EPOCHS = 50, 6, 3, 3
_random = np.random.default_rng(0)
LABELS = _random.integers(0, CLASSES, ROWS)
INPUTS = (_random.normal(size=(ROWS, FEATURES)) + np.eye(CLASSES, FEATURES)[LABELS]).astype("f4")
PIXELS = _random.integers(0, 256, (ROWS, FEATURES), np.uint8)
NUMBERS = INPUTS[:, :CLASSES]
WEIGHTS = _random.random(ROWS)


def repeated_call(function: Callable[[], object]) -> Callable[[int], None]:
    backend = CupyBackend(0)
    return backend.recorded(lambda: backend.call(function))


def plain() -> list[layers.Layer]:
    return [layers.Dense(8, "relu"), layers.Dropout(0.2), layers.Dense(CLASSES)]


@dataclass(frozen=True)
class Run(runs.Run):
    """A training run; the last of several calls of `fit` uses another batch size."""

    network: Callable[[], list[layers.Layer]] = plain
    optimizer: Callable[[], Any] = lambda: optimizers.Adam(
        schedules.WarmUp(schedules.Cosine(3e-2), 1), max_norm=1.0
    )
    metrics: Sequence[Any] = ("accuracy",)
    X: np.ndarray = field(default_factory=lambda: INPUTS)
    y: np.ndarray = field(default_factory=lambda: LABELS)
    log_every: int = 100
    sizes: tuple[int, ...] = (8,)
    callbacks: tuple[Callable[[], Callback], ...] = ()
    dtype: str = "float32"

    def __call__(self, backend: CupyBackend) -> dict[str, np.ndarray]:
        trainer = self.make(backend, self.dtype)
        trainer.log_every = self.log_every
        options = {"epochs": EPOCHS, "validation_split": 0.0, **self.options}
        for size in self.sizes:
            callbacks = [make() for make in self.callbacks]
            self.fit(trainer, **options | {"batch_size": size, "callbacks": callbacks})
        logs = [n for n in trainer.history if n not in ("seconds", "samples_per_second")]
        history = {name: np.array(trainer.history[name]) for name in logs}
        return {**history, **trainer.state(), **trainer.model.parameters.to_host()}


@dataclass(frozen=True)
class Square(activations.Activation):
    name = "square_of_test_graph"

    def value(self, xp, z):
        return z * z

    def derivative(self, xp, z, output):
        return 2 * z


class Copied(losses.MeanSquaredError):
    name = "copied_of_test_graph"


class Noticed(metrics.Accuracy):
    """A class that can't be traced, so that its definition runs."""

    name = "noticed_of_test_graph"


tracing.named.add(Noticed)  # a test expects no warning


class Descent(optimizers.SGD):
    name = "descent_of_test_graph"


@dataclass(eq=False)
class Masked(layers.Layer):
    """A layer that keeps a temporary array from its forward pass to its backward pass."""

    name = "masked_of_test_graph"

    def forward(self, x, workspace):
        self.mask = x > -1.0
        return workspace.backend.xp.where(self.mask, x, -1.0)

    def backward(self, x, y, gradient, workspace, wants_input_gradient):
        return gradient * self.mask


def custom_layers() -> list[layers.Layer]:
    return [layers.Dense(8, Square()), Masked(), layers.Dense(CLASSES)]


def with_noise(X, y, random):
    return X + random.normal(X.shape, deviation=0.1)


TABLE = [
    Run("plain"),
    Run("float64", dtype="float64"),
    Run("every_layer", every_layer, optimizer=lambda: optimizers.AdamW(1e-2)),
    Run("whole_batches_only", sizes=(10,)),
    Run("one_batch", sizes=(50,)),
    Run("changed_batch_size", sizes=(8, 16, 8)),
    Run("accumulation", accumulation=3),
    Run("report_points", log_every=2),
    Run("streamed_weights", options={"stream": True, "sample_weight": WEIGHTS}),
    Run("images", images, X=_random.normal(size=(ROWS, 6, 5, 2)).astype("f4")),
    Run("pixels", lambda: [layers.Rescaling(), *plain()], X=PIXELS),
    Run("r2", loss="huber", y=NUMBERS, metrics=("r2", "mean_absolute_error")),
    Run(
        "custom_classes",
        custom_layers,
        Copied(),
        lambda: Descent(1e-2, momentum=0.5),
        (Noticed(),),
        y=np.eye(CLASSES)[LABELS],
    ),
    Run("augmented", options={"augment": with_noise}),
    Run("called_between", callbacks=(lambda: Calls(every_updates=2),)),
    Run(
        "classes",
        metrics=(
            *({"name": "auc", "bins": 16}, {"name": "f1", "average": "macro"}),
            *("log_loss", "brier_score"),
        ),
    ),
    Run("class_weights", options={"sample_weight": WEIGHTS, "class_weight": "balanced"}),
    Run(
        "early_stopping",
        optimizer=lambda: optimizers.SGD(2.0),
        options={"validation_split": 0.3},
        callbacks=(lambda: EarlyStopping(patience=1),),
        sizes=(8, 8),
    ),
]

if devices.DEVICE == "cuda":
    # Wide enough for cuBLAS to split the sums of products among blocks, as the emulated one can't.
    TABLE.append(
        Run(
            "wide",
            lambda: [*every_layer()[:-1], *(layers.Dense(256, "relu") for _ in "12"), *plain()],
            X=np.repeat(INPUTS, 20, axis=0),
            y=np.repeat(LABELS, 20),
            sizes=(128,),
        )
    )

RUNS = {run.name: run for run in TABLE}
CONTAINED = {"whole_batches_only"}
"""Trainings only for the full test run, because "changed_batch_size" does the same and more."""

ALSO_SEVERAL = {
    *("every_layer", "float64", "images", "pixels", "r2", "classes", "class_weights"),
    *("custom_classes", "early_stopping"),
}
"""Runs with several updates a launch, whose replay of single updates is for the full run."""


def cases(full: Container[str]) -> list[Any]:
    return [pytest.param(name, marks=[pytest.mark.full] * (name in full)) for name in RUNS]


@functools.cache
def one_by_one(name: str) -> dict[str, np.ndarray]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "STREAM_BYTES", 600)  # several chunks
        return RUNS[name](CupyBackend(0, graph=False))


@pytest.fixture
def several_a_launch() -> Iterator[int]:
    """Launch three updates in one graph if three or more are requested."""
    with unhurried(3):
        yield 3


@pytest.mark.parametrize("name", cases(CONTAINED | ALSO_SEVERAL))
def test_replayed_training_has_the_same_bits(name, monkeypatch, caplog):
    monkeypatch.setattr(batches, "STREAM_BYTES", 600)
    device = 1 if cupy.cuda.runtime.getDeviceCount() > 1 else 0
    with launches_of_graphs() as launched:
        replayed = RUNS[name](CupyBackend(device))
    assert launched[1]
    assert_same_bits(replayed, one_by_one(name))
    assert not caplog.records
    assert len(replayed["loss"]) > 0


FEW = "fewer than eight whole batches"
REPORTED = "logs or calls a callback after fewer than eight updates"
ONE_A_LAUNCH = {
    "accumulation": FEW,
    "one_batch": FEW,
    "streamed_weights": FEW,
    "report_points": REPORTED,
    "called_between": REPORTED,
    "augmented": "augment",
}
"""Runs whose updates are launched one by one, and the words of docs/explanation/gpu.md for them.
Here three updates in a request are enough for a launch, instead of eight."""


@pytest.mark.parametrize("name", cases(CONTAINED | ONE_A_LAUNCH.keys()))
def test_several_updates_a_launch_have_the_same_bits(name, monkeypatch, several_a_launch):
    monkeypatch.setattr(batches, "STREAM_BYTES", 600)
    with launches_of_graphs() as launched:
        replayed = RUNS[name](CupyBackend(0))
    assert bool(launched[several_a_launch]) == (name not in ONE_A_LAUNCH)
    assert_same_bits(replayed, one_by_one(name))


def test_the_documented_list_has_the_reason_of_each_such_run():
    rows = [row.split(" | ") for row in table_in(GPU_EXPLAINED, "launches").splitlines()[2:]]
    trainings = [name for name, updates, _ in rows if updates == "1"]
    for words in set(ONE_A_LAUNCH.values()):
        assert sum(words in training for training in trainings) == 1


@pytest.mark.parametrize("times", [1, 2, 3, 7, 64])
def test_operations_run_as_often_as_requested(times, several_a_launch):
    x = cupy.zeros(1, "int64")
    repeated = repeated_call(lambda: x.__iadd__(1))
    with launches_of_graphs() as launched:
        for calls in range(1, 5):
            repeated(times)
            assert x.get() == calls * times
    assert launched[several_a_launch] == (3 * (times // several_a_launch) if times > 2 else 0)


@pytest.mark.parametrize(
    ("times", "several", "single"),
    [(7, 0, 12 * 7 - 1), (8, 5, 7 * 8 - 1), (20, 9 * 2, 3 * 20 - 1 + 9 * 4)],
)
def test_the_larger_graph_is_recorded_after_enough_requests(times, several, single):
    """After 64 repetitions in total, and never for fewer than 8 in one call."""
    x = cupy.zeros(1, "int64")
    repeated = repeated_call(lambda: x.__iadd__(1))
    with launches_of_graphs() as launched:
        for _ in range(12):
            repeated(times)
    assert x.get() == 12 * times
    assert (launched[8], launched[1]) == (several, single)


@pytest.mark.emulated
@pytest.mark.parametrize(
    ("updates", "launches"),
    [
        (5, [5 - 1, 5, 5, 5, 5, 5]),  # fewer than in one launch
        (20, [20 - 1, 20, 20, 2 + 4, 2 + 4, 2 + 4]),
        (100, [63 - 1 + 4 + 5, 12 + 4, 12 + 4, 12 + 4, 12 + 4, 12 + 4]),
    ],
)
@pytest.mark.parametrize("precision", ["float32", pytest.param("float16", marks=pytest.mark.full)])
def test_launches_of_a_default_trainer(updates, launches, precision, emulator, monkeypatch):
    """docs/project/gpu_testing.md has these numbers, for default settings and a fast device."""
    ticks = itertools.count()
    monkeypatch.setattr(epoch.time, "perf_counter", lambda: 1e-6 * next(ticks))
    rows = np.arange(8 * updates) % ROWS
    backend = CupyBackend(0, matmul_precision=precision)
    model = gpunn.Sequential([layers.Dense(CLASSES)], (FEATURES,), backend, seed=0)
    trainer = gpunn.Trainer(model, "softmax_cross_entropy")
    with emulator.counters() as counts:
        sums = [(0, 0)]

        def count(trainer, logs):
            sums.append((counts.graph_launches, counts.host_syncs - counts.syncs["copy"]))

        calls = Calls(on_epoch_end=count)
        options = {"epochs": 6, "batch_size": 8, "progress": False, "callbacks": [calls]}
        trainer.fit(INPUTS[rows], LABELS[rows], **options)
        assert counts.copies["device_to_host"] == 6  # only each epoch's statistics
    launched, waits = np.diff(sums, axis=0).T.tolist()
    assert launched == launches
    # The host waits while it measures the speed of updates, and then only for statistics.
    assert waits[0] > 0
    assert waits[3:] == [0, 0, 0]


def test_a_graph_keeps_an_array_that_its_repetition_has_not_deleted(several_a_launch):
    """A custom class may create such an array, a constant, even while a graph is captured."""
    x, kept, expected = cupy.zeros(4, "float32"), [], 0

    def operations():
        if not kept and cupy.cuda.get_current_stream().is_capturing():
            kept.append(cupy.full(4, 2, "float32"))
        x[...] = (x + 1) * (kept[0] if kept else 2)

    repeated = repeated_call(operations)
    with launches_of_graphs() as launched:
        for _ in range(3):
            repeated(4)
    for _ in range(12):
        expected = 2 * (expected + 1)
    assert x.get().tolist() == [expected] * 4
    assert launched[several_a_launch]


def test_without_memory_for_several_updates_a_launch_has_one(monkeypatch, several_a_launch):
    captured = capture.GraphExecutor._captured

    def refuse(self, times):
        if times > 1:
            raise cupy.cuda.memory.OutOfMemoryError(1, 1)
        return captured(self, times)

    monkeypatch.setattr(capture.GraphExecutor, "_captured", refuse)
    x = cupy.zeros(1, "int64")
    repeated = repeated_call(lambda: x.__iadd__(1))
    with launches_of_graphs() as launched:
        for _ in range(3):
            repeated(4)
    assert x.get() == 12
    assert launched == {1: 11}


@pytest.mark.emulated
@pytest.mark.parametrize(("name", "shapes"), [("plain", 2), ("whole_batches_only", 1)])
def test_a_steady_epoch_is_replayed(name, shapes, emulator):
    run = RUNS[name]
    with emulator.counters() as counts:
        run(CupyBackend(0))
    updates = EPOCHS * -(-ROWS // run.sizes[0])
    # Each shape of batch runs plainly once, and is recorded and launched the second time.
    assert counts.graph_launches == updates - shapes
    assert counts.captured["gpunn_adam_clipped"] == shapes
    assert counts.kernels["gpunn_adam_clipped"] == shapes
    assert counts.replayed["gpunn_adam_clipped"] == updates - shapes
    assert counts.captured_mallocs == 0
    assert not counts.captured_copies
    assert not counts.float64


def steady_step(backend, build=plain, metrics=("accuracy",), **options):
    model = gpunn.Sequential(build(), (FEATURES,), backend=backend, seed=0)
    trainer = gpunn.Trainer(model, "softmax_cross_entropy", "adam", metrics)
    return step_of(trainer, INPUTS, LABELS)


@pytest.mark.emulated
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_replayed_step_is_one_launch_without_waits_copies_or_allocations(emulator, precision):
    step = steady_step(CupyBackend(0, matmul_precision=precision))
    for _ in range(2):
        step.update(8)
    with emulator.counters() as counts:
        for _ in range(3):
            step.update(8)
    assert counts.graph_launches == 3
    assert counts.launches == 0
    assert counts.host_syncs == counts.pool_mallocs == counts.cuda_mallocs == 0
    assert not counts.copies
    assert counts.replayed_matmuls == {precision: 3 * 5}
    assert not counts.float64


def test_a_longer_table_of_learning_rates_is_recorded_again():
    results = []
    for graph_or_not in (True, False):
        step = steady_step(CupyBackend(0, graph=graph_or_not))
        for rates in (np.full(4, 1e-3), np.linspace(1, 2, 9)):
            step.load(step.data)
            step.load_settings(rates[:, None])
            for _ in range(4):
                step.update(8)
        results.append(step.model.parameters.to_host())
    assert_same_bits(*results)


RELU_RELU = [("relu", 16), ("relu", 16), ("identity", CLASSES)]


@pytest.mark.emulated
def test_launches_of_an_eager_step(emulator):
    def build():
        return [layers.Dense(units, activation) for activation, units in RELU_RELU]

    step = steady_step(CupyBackend(0, graph=False), build, metrics=())
    step.update(8)
    with emulator.counters() as counts:
        step.update(8)
    assert counts.matmuls.total() == 8
    assert counts.fused_matmuls == 4
    assert dict(counts.kernels) == {
        "gpunn_next_batch": 1,
        "gpunn_softmax_cross_entropy_loss": 1,
        "gpunn_relu_gradient_and_sums": 2,
        "gpunn_adam": 1,
    }


@dataclass(eq=False)
class Curious(layers.Layer):
    """A layer that reads its input on the host, which no graph can contain."""

    name = "curious_of_test_graph"

    def forward(self, x, workspace):
        y = workspace.rows(self, "output", x.shape[0], x.shape[1:])
        y[...] = x * (2.0 if float(x[0, 0]) > 0 else 1.0)
        return y

    def backward(self, x, y, gradient, workspace, wants_input_gradient):
        return gradient


def test_steps_that_cannot_be_recorded_run_plainly_and_warn_once(caplog):
    capture.say_once.cache_clear()
    run = Run("curious", lambda: [layers.Dense(6, "relu"), Curious(), *plain()], sizes=(8, 8))
    with caplog.at_level(logging.WARNING, "gpunn"), launches_of_graphs() as launched:
        replayed = run(CupyBackend(0))
    assert launched[1]  # for operations before and after the layer
    (record,) = caplog.records
    assert "can't be recorded as a CUDA graph" in record.getMessage()
    assert "captur" in record.getMessage()
    assert_same_bits(replayed, run(CupyBackend(0, graph=False)))


def test_without_a_capturable_product_steps_run_plainly_and_warn(caplog):
    capture.say_once.cache_clear()
    backend = CupyBackend(0)
    backend._product = CupyProduct("as a test wants it")
    with caplog.at_level(logging.WARNING, "gpunn"):
        RUNS["plain"](backend)
    (record,) = caplog.records
    assert "cupy.matmul (as a test wants it)" in record.getMessage()


def test_an_error_of_the_operations_stays_that_error():
    operations = Mock(side_effect=ZeroDivisionError("of the user's own"))
    with pytest.raises(ZeroDivisionError, match="of the user's own"):
        repeated_call(operations)(1)


def test_capturing_ends_if_an_operation_fails(monkeypatch):
    calls, streams = [], []
    x = cupy.zeros(1, "float32")
    make = cupy.cuda.Stream

    def made(**options):
        streams.append(make(**options))
        return streams[-1]

    def operations():
        calls.append(1)
        x.__iadd__(1)
        if cupy.cuda.get_current_stream().ptr:
            raise ValueError("not now")

    capture.say_once.cache_clear()
    repeated = repeated_call(operations)
    monkeypatch.setattr(cupy.cuda, "Stream", made)
    for _ in range(4):
        repeated(1)
    assert x.get() == 4
    assert len(calls) == 5
    (stream,) = streams
    assert not stream.is_capturing()
    assert gc.isenabled()


class Waiting:
    """Part of a cycle; waits for the device when deleted, like a cuBLAS handle."""

    def __init__(self):
        self.cycle = self

    def __del__(self):
        with suppress(cupy.cuda.runtime.CUDARuntimeError):
            cupy.cuda.Device(0).synchronize()


@pytest.fixture(params=[True, False])
def collecting(request):
    before = gc.isenabled()
    (gc.enable if request.param else gc.disable)()
    yield request.param
    (gc.enable if before else gc.disable)()


@pytest.mark.emulated
def test_no_garbage_is_collected_while_capturing(collecting, caplog):
    """The emulated device collects garbage at the first operation of each capture."""
    x = cupy.zeros(1, "float32")

    def operations():
        Waiting()
        x.__iadd__(1)

    with launches_of_graphs() as launched:
        repeated_call(operations)(3)
    assert launched[1] == 2
    assert gc.isenabled() == collecting
    assert not caplog.records


def test_ctrl_c_restores_garbage_collection(collecting, monkeypatch):
    def interrupted():
        gc.disable()
        raise KeyboardInterrupt

    stand_in = SimpleNamespace(isenabled=gc.isenabled, enable=gc.enable, disable=interrupted)
    monkeypatch.setattr(collection, "gc", stand_in)
    x = cupy.zeros(1, "float32")
    with pytest.raises(KeyboardInterrupt):
        repeated_call(lambda: x.__iadd__(1))(2)
    assert gc.isenabled() == collecting


WAITS = {
    "synchronize": lambda backend: backend.synchronize(),
    "release_memory": lambda backend: backend.release_memory(),
    "handles that are destroyed with their thread": lambda backend: backend.matmul(
        *(cupy.ones((2, 2), "float32") for _ in range(3))
    ),
}


@pytest.mark.parametrize("wait", WAITS)
def test_other_threads_do_not_wait_for_the_device_while_one_captures(wait, caplog):
    """CUDA would end both with an error, although the device works."""
    capture.say_once.cache_clear()
    backend, x, threads, failed = CupyBackend(0), cupy.zeros(1, "float32"), [], []

    def other():
        try:
            with backend.device_errors():
                WAITS[wait](backend)
        except Exception as error:
            failed.append(error)

    def operations():
        if cupy.cuda.get_current_stream().is_capturing():
            threads.append(threading.Thread(target=other))
            threads[-1].start()
            threads[-1].join(0.2)  # enough time to fail, if it does not wait
        x.__iadd__(1)

    with launches_of_graphs() as launched:
        backend.recorded(lambda: backend.call(operations))(3)
    (thread,) = threads
    thread.join()
    assert not failed
    assert launched[1] == 2
    assert x.get().tolist() == [3.0]
    assert not caplog.records


def halve_the_dropout(trainer, logs):
    """Change a number that a graph would not notice."""
    for layer in trainer.model.layers:
        if isinstance(layer, layers.Dropout):
            layer.rate /= 2


def test_numbers_that_a_callback_changes_are_recorded_again():
    run = Run("weaker", callbacks=(lambda: Calls(on_epoch_end=halve_the_dropout),))
    changed = run(CupyBackend(0))
    assert_same_bits(changed, run(CupyBackend(0, graph=False)))
    assert changed["loss"].tobytes() != RUNS["plain"](CupyBackend(0))["loss"].tobytes()


def test_graphs_and_their_memory_are_freed_after_training():
    backend = CupyBackend(0)
    model = gpunn.Sequential(plain(), (FEATURES,), backend=backend, seed=3)
    trainer = gpunn.Trainer(model, "softmax_cross_entropy")
    used = []
    gc.collect()  # objects of other tests could be deleted at any time
    for _ in range(3):
        trainer.fit(INPUTS, LABELS, epochs=3, batch_size=8, progress=False)
        used.append(cupy.get_default_memory_pool().used_bytes())
    assert used[1] == used[2]
