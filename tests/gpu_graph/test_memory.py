"""Errors for too little device memory, and memory that is freed."""

import gc
import re
from contextlib import nullcontext

import cupy
import numpy as np
import pytest

import gpunn
from gpunn import layers
from gpunn.backends.cupy import CupyBackend
from gpunn.data.batches import Dataset
from gpunn.errors import DeviceMemoryError, DivergenceError, GpunnError

ROWS = 3 << 14
X = np.random.default_rng(0).random((ROWS, 256), "float32")
Y = np.arange(ROWS) % 3
# 48 MiB: more than CuPy's pool may have left in a partly used allocation.
assert X.nbytes == 3 << 24


@pytest.fixture
def limit():
    pool = cupy.get_default_memory_pool()
    before = pool.get_limit()

    def set_limit(more):
        gc.collect()  # errors keep references to their frames
        pool.free_all_blocks()
        pool.set_limit(pool.total_bytes() + more)
        return pool.get_limit()

    yield set_limit
    pool.set_limit(before)


def network():
    backend = CupyBackend(0, graph=False)
    backend.matmul(*(cupy.zeros((2, 2), "float32") for _ in range(3)))  # allocates its workspace
    return gpunn.Sequential([layers.Dense(4), layers.Dense(3)], 256, backend=backend)


def fit(trainer, **options):
    trainer.fit(X, Y, batch_size=ROWS, progress=False, **options)


def test_the_error_for_too_little_memory_names_settings(limit):
    trainer = gpunn.Trainer(network(), "softmax_cross_entropy")
    limited = limit(1 << 20)
    with pytest.raises(DeviceMemoryError) as caught:
        fit(trainer)
    message = str(caught.value)
    assert message.startswith("cupy:0: out of memory: 50,331,648 bytes were requested, and ")
    free = re.search(r"and ([\d,]+) are free", message)
    assert 0 < int(free[1].replace(",", "")) < X.nbytes
    assert f"limited to {limited:,} bytes" in message
    for setting in ("batch_size", "gradient_accumulation", "stream=True"):
        assert setting in message
    assert isinstance(caught.value, GpunnError)
    assert isinstance(caught.value, MemoryError)
    assert trainer.stop_reason == trainer.history.stopped == f"DeviceMemoryError: {message}"


def test_training_continues_once_memory_is_free(limit):
    trainer = gpunn.Trainer(network(), "softmax_cross_entropy")
    limit(0)
    with pytest.raises(DeviceMemoryError):
        fit(trainer)
    limit(1 << 27)
    trainer.fit(X[:64], Y[:64], epochs=2, progress=False)
    assert trainer.epoch == 2


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(lambda trainer: trainer.evaluate(X, Y), id="evaluate"),
        pytest.param(lambda trainer: trainer.model.predict(X, batch_size=ROWS), id="predict"),
        pytest.param(
            lambda trainer: gpunn.Sequential(
                [layers.Dense(50_000)], 256, backend=trainer.model.backend
            ),
            id="network",
        ),
    ],
)
def test_other_uses_raise_the_same_error(use, limit):
    trainer = gpunn.Trainer(network(), "softmax_cross_entropy")
    limit(0)
    with pytest.raises(DeviceMemoryError, match="out of memory"):
        use(trainer)


@pytest.mark.parametrize("stream", [False, True])
def test_the_memory_of_a_data_set_is_freed(limit, stream):
    pool, backend = cupy.get_default_memory_pool(), CupyBackend(0)
    limit(1 << 27)  # collects objects of other tests
    before = pool.total_bytes()
    source = Dataset(backend, X, Y, None, ("float32", "float32"), stream)
    (chunk,) = source.chunks(None, 64)
    assert pool.total_bytes() >= before + X.nbytes
    del chunk
    source.unload()
    backend.release_memory()
    assert pool.total_bytes() < before + X.nbytes
    assert cupy.get_default_pinned_memory_pool().n_free_blocks() == 0


@pytest.mark.parametrize("fails", [False, True])
def test_the_end_of_training_frees_memory(monkeypatch, fails):
    sources, ended = [], []
    made = Dataset.__init__

    def noticed(self, *arguments):
        made(self, *arguments)
        sources.append(self)

    def release(self):
        ended.append([source._resident for source in sources])

    monkeypatch.setattr(Dataset, "__init__", noticed)
    monkeypatch.setattr(CupyBackend, "release_memory", release)
    model = gpunn.Sequential([layers.Dense(3)], 256, backend=CupyBackend(0))
    trainer = gpunn.Trainer(model, "softmax_cross_entropy")
    data = X[:64] if not fails else np.full((64, 256), 3e38, "float32")
    with pytest.raises(DivergenceError) if fails else nullcontext():
        trainer.fit(data, Y[:64], validation_data=(X[:64], Y[:64]), progress=False)
    assert ended == [[None, None]]
    assert trainer.device_state.step.data is None
