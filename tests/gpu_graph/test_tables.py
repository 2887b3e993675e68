"""A step of a tabular model, or of blocks, is one graph, like a step of a dense network."""

import math

import cupy
import numpy as np
import pytest
from parity.runs import RUNS, assert_same_bits

from gpunn.backends import get_backend
from gpunn.backends.cupy import CupyBackend, capture
from gpunn.metrics import AUC


@pytest.mark.parametrize("name", ["tables", "blocks"])
def test_all_operations_are_kernels_in_one_graph(name, monkeypatch):
    executors = []

    class Watched(capture.GraphExecutor):
        def __init__(self, calls, scratch):
            super().__init__(calls, scratch)
            executors.append(self)

    monkeypatch.setattr("gpunn.backends.cupy.backend.GraphExecutor", Watched)
    run = RUNS[name]
    in_graphs, one_by_one = (
        run.results(run.fit(run.make(CupyBackend(0, graph=graph), "float32"), epochs=1))
        for graph in (True, False)
    )
    assert_same_bits(in_graphs, one_by_one)
    step = max(executors, key=lambda each: len(each._calls))
    defined = {
        call._function.func.__name__ for call in step._calls if isinstance(call, capture.Definition)
    }
    assert defined == {"accumulate"}  # one of CuPy's kernels
    assert step._graph is not None


@pytest.fixture
def threads(monkeypatch):
    """Return a list; kernels add the number of their threads to its last number."""
    from emulated_cuda.kernels import Kernel

    counts, run = [], Kernel.run

    def counted(self, arguments, grid, block, *rest):
        counts[-1] += math.prod(grid) * math.prod(block)
        run(self, arguments, grid, block, *rest)

    monkeypatch.setattr(Kernel, "run", counted)
    return counts


@pytest.mark.emulated
def test_an_embeddings_gradient_takes_no_more_threads_with_a_larger_table(threads):
    backend, rng = CupyBackend(0), np.random.default_rng(0)
    for size in (10, 10**5):
        threads.append(0)
        sizes, rows, dimension = [size, 7], 300, 5
        codes = rng.integers(-1, size + 1, (rows, 2)).astype("float32")
        gradient = rng.standard_normal((rows, 2 * dimension)).astype("float32")
        out = backend.from_host(np.full((sum(sizes), dimension), np.nan, "float32"))
        given = backend.from_host(codes), sizes, backend.from_host(gradient), out
        backend.embed_gradient(*given)
        expected = np.zeros((sum(sizes), dimension), "float32")
        known = np.where((codes >= 0) & (codes < sizes), codes, 0).astype(int)
        known[:, 1] += size
        for row, column in np.ndindex(codes.shape):  # in the order of the batch, for identical bits
            own = gradient[row, column * dimension : (column + 1) * dimension]
            expected[known[row, column]] += own
        np.testing.assert_array_equal(cupy.asnumpy(out), expected)
    assert threads[0] == threads[1] > 0


@pytest.mark.emulated
def test_a_metric_takes_no_more_threads_with_more_bins(threads):
    rng, rows = np.random.default_rng(0), 300
    predictions = rng.standard_normal((rows, 2)).astype("float32")
    weights, labels = rng.random(rows).astype("float32"), rng.integers(0, 2, rows)
    for bins in (16, 4096):
        threads.append(0)
        metric, summaries = AUC(bins), []
        for backend in (CupyBackend(0), get_backend("numpy")):
            given = [backend.from_host(each) for each in (predictions, labels, weights)]
            summary = backend.zeros((metric.size(2),), "float32")
            backend.metric(metric, *given, summary)
            summaries.append(backend.to_host(summary))
        np.testing.assert_allclose(*summaries, rtol=1e-5)
        assert np.count_nonzero(summaries[0]) > bins / 16
    assert threads[0] == threads[1] > 0
