"""Streamed chunks: pinned memory, two buffers in turn, and the order of waits."""

import gc
from functools import partial

import cupy
import numpy as np
import pytest

import gpunn
from gpunn import layers
from gpunn.backends.cupy import CupyBackend
from gpunn.backends.cupy.staging import PinnedStager
from gpunn.data import batches


@pytest.fixture
def backend():
    return CupyBackend(cupy.cuda.runtime.getDeviceCount() - 1)


def put(stager, values, capacity, dtype="float32"):
    stager.begin()
    array = stager.put("X", np.asarray(values), capacity, dtype)
    stager.ready()
    return array


def test_chunks_use_two_buffers_in_turn(backend):
    stager = backend.stager()
    assert type(stager) is PinnedStager
    first = put(stager, [1, 2, 3], 4)
    second = put(stager, [4.5, 5, 6], 4)
    assert first.get().tolist() == [1, 2, 3, 0]
    assert second.get().tolist() == [4.5, 5, 6, 0]
    third = put(stager, [7], 4)
    assert third is first
    assert first.get().tolist() == [7, 2, 3, 0]
    assert first.dtype == np.float32


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8"])
def test_values_are_converted(backend, dtype):
    values = np.array([[1, 2], [3, 250]], np.uint8)
    array = put(backend.stager(), values, 2, dtype)
    assert array.dtype == dtype
    assert array.get().tolist() == values.tolist()


@pytest.mark.emulated
def test_random_numbers_for_a_batch_come_from_pinned_memory(emulator):
    """For pageable memory a driver may wait for the device, in each update."""

    def copies(updates):
        model = gpunn.Sequential([layers.Dense(2)], 3, "cupy", seed=0)
        trainer = gpunn.Trainer(model, "mean_squared_error", "sgd")
        X, y = np.ones((8 * updates, 3)), np.ones((8 * updates, 2))
        with emulator.counters() as counts:
            trainer.fit(X, y, batch_size=8, augment=noise, progress=False)
        return counts.copies["host_to_device"], counts.pageable_copies["host_to_device"]

    def noise(X, y, random):
        return X + random.normal(X.shape)

    (few, few_pageable), (many, many_pageable) = copies(4), copies(12)
    assert (many - few, many_pageable - few_pageable) == (8, 0)


def test_a_buffer_grows(backend):
    stager = backend.stager()
    small = put(stager, [1], 1)
    put(stager, [2], 1)
    large = put(stager, [1, 2, 3], 3)
    assert large is not small
    assert large.get().tolist() == [1, 2, 3]


@pytest.mark.emulated
def test_transfers_are_asynchronous_and_the_host_waits_only_for_copies(backend, emulator):
    stager = backend.stager()
    for _ in range(2):
        put(stager, [0.0] * 8, 8)
    with emulator.counters() as counts:
        for number in range(6):
            put(stager, [number] * 8, 8)
    assert counts.copies == {"host_to_device": 6}
    assert counts.syncs == {"event": 6}, "before pinned memory is written to again"
    assert counts.pool_mallocs == 0


class Recorder:
    """Replaces a stream or an event, and records the order of its uses."""

    def __init__(self, log, name):
        self.log, self.name = log, name

    def record(self, event=None):
        self.log.append(("record", self.name, getattr(event, "name", None)))
        return event or Recorder(self.log, "new")

    def wait_event(self, event):
        self.log.append(("wait", self.name, getattr(event, "name", None)))

    def synchronize(self):
        self.log.append(("host waits", self.name))


def test_the_order_of_waits(backend, monkeypatch):
    """The emulator runs all work immediately, so this test checks the submitted events."""
    stager = backend.stager()
    for _ in range(2):
        put(stager, [0.0], 1)
    log = []
    side, compute = Recorder(log, "side"), Recorder(log, "compute")
    for number, buffer in enumerate(stager._buffers):
        buffer.read, buffer.copied = (
            Recorder(log, f"read {number}"),
            Recorder(log, f"copied {number}"),
        )
    now = stager._current
    then = 1 - now
    real, stager._stream = stager._stream, side
    monkeypatch.setattr(cupy.cuda, "get_current_stream", lambda: compute)
    stager.begin()
    assert log == [
        ("record", "compute", f"read {now}"),
        ("wait", "side", f"read {then}"),
        ("host waits", f"copied {then}"),
    ]
    log.clear()
    stager._stream = real
    stager.ready()
    assert log == [("wait", "compute", f"copied {then}")]


def test_the_host_waits_for_a_copy_of_an_interrupted_chunk(backend, monkeypatch):
    """The host waits even if an error or Ctrl-C interrupts the submission of the copy."""
    stager = backend.stager()
    log = []
    stager.begin()
    buffer = stager._buffers[stager._current]
    buffer.copied = Recorder(log, "copied")
    monkeypatch.setattr(stager, "_stream", Recorder(log, "side"))
    with pytest.raises(AttributeError):  # the array needs a real stream
        stager.put("X", np.zeros((1, 1)), 1, "float32")
    assert log[-1] == ("record", "side", "copied")
    log.clear()
    for _ in range(2):
        stager.begin()
    assert ("host waits", "copied") in log


@pytest.mark.emulated
def test_a_transfer_waits_for_what_used_the_memory_before(backend):
    with cupy.cuda.using_allocator(cupy.cuda.MemoryPool().malloc):
        x = backend.zeros(1000, "float32")
        address = x.data.ptr
        x += 1
        del x
        assert put(backend.stager(), np.ones(1000), 1000).data.ptr == address


@pytest.mark.emulated
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
@pytest.mark.parametrize("use", ["fit", "evaluate"])
def test_memory_is_not_reused_while_an_interrupted_chunk_is_copied(
    use, error, backend, monkeypatch
):
    monkeypatch.setattr(batches, "STREAM_BYTES", 1000)
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((70, 6)), rng.integers(0, 3, 70)
    model = gpunn.Sequential([layers.Dense(3)], 6, backend=backend)
    trainer = gpunn.Trainer(model, "softmax_cross_entropy")
    options = {"progress": False} if use == "fit" else {}
    ready = PinnedStager.ready
    chunks = []

    def interrupted(self):
        chunks.append(self)
        if len(chunks) == 2:
            chunks.clear()
            raise error("in between")
        ready(self)

    with cupy.cuda.using_allocator(cupy.cuda.MemoryPool().malloc):
        run = partial(getattr(trainer, use), X, y, batch_size=8, stream=True, **options)
        monkeypatch.setattr(PinnedStager, "ready", interrupted)
        with pytest.raises(error, match="in between"):
            run()
        monkeypatch.undo()
        gc.collect()
        run()
