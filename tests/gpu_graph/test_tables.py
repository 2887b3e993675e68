"""A step of a network for tables is one graph, as that of a dense network is."""

from __future__ import annotations

from parity.runs import RUNS, assert_same_bits

from gpunn.backends.cupy import CupyBackend, capture


def test_all_operations_are_kernels_in_one_graph(monkeypatch):
    executors = []

    class Watched(capture.GraphExecutor):
        def __init__(self, calls, scratch):
            super().__init__(calls, scratch)
            executors.append(self)

    monkeypatch.setattr("gpunn.backends.cupy.backend.GraphExecutor", Watched)
    run = RUNS["tables"]
    in_graphs, one_by_one = (
        run.results(run.fit(run.make(CupyBackend(0, graph=graph), "float32")))
        for graph in (True, False)
    )
    assert_same_bits(in_graphs, one_by_one)
    step = max(executors, key=lambda each: len(each._calls))
    defined = {
        call._function.func.__name__ for call in step._calls if isinstance(call, capture.Definition)
    }
    assert defined == {"accumulate"}  # which is one kernel of CuPy's own
    assert step._graph is not None
