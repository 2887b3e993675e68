"""Test that operations of custom classes share instructions only if their arguments are equal."""

from dataclasses import dataclass

import numpy as np
import pytest

pytest.importorskip("numba")

from gpunn import activations
from gpunn.backends.numpy.compiled.library import library
from gpunn.backends.numpy.compiled.lowerings import CompiledLowerings
from gpunn.backends.numpy.compiled.product_plans import ProductPlans
from gpunn.backends.numpy.compiled.program import Program
from gpunn.backends.recording import Arguments
from gpunn.expressions.tracing import shared_traces

X = np.arange(12, dtype=np.float32).reshape(4, 3)


@dataclass
class Shifted(activations.Activation):
    shift: float
    name = "shifted"

    def value(self, xp, z):
        TRACED.append(self.shift)
        return z + self.shift


TRACED = []


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    ("others", "traces"),
    [
        ({}, 1),
        ({"f": Shifted(2.0)}, 2),
        ({"f": Shifted(1)}, 2),
        ({"f": [Shifted(1.0)]}, 2),
        ({"x": np.ones((3, 3), np.float32)}, 2),
        ({"out": None}, 2),
    ],
)
def test_operations_with_equal_arguments_share_a_trace(others, traces, threads):
    """Arguments are equal if attributes and shapes are, and if the same arguments are one array."""

    def definition(backend, f, x, out, total, of):
        f = f[0] if isinstance(f, list) else f
        total += backend.xp.sum(x, axis=0)
        out[...] = f.value(backend.xp, x) + 0.0

    def arguments(x, out, **others):
        total = np.ones(3, np.float32)
        return Arguments(x=x, out=x if out is None else out, total=total, of=Shifted(0.0), **others)

    first = arguments(X.copy(), X.copy(), f=Shifted(1.0))
    given = {"f": Shifted(1.0), "x": X + 1, **others}
    second = arguments(**{"out": np.empty_like(given["x"]), **given})
    lowerings = CompiledLowerings(threads, ProductPlans(threads, 1 << 16, library().vectors))
    TRACED.clear()
    with shared_traces():
        steps = [lowerings.traced(definition, each) for each in (first, second)]
    assert len(TRACED) == 2 * traces
    for each, own in zip((first, second), steps, strict=True):
        f = each.f[0] if isinstance(each.f, list) else each.f
        expected, total = each.x + f.shift, 1 + each.x.sum(axis=0)
        Program(own, threads)(1)
        assert np.array_equal(each.out, expected)
        assert np.array_equal(each.total, total)
