"""In the steady state, NumPy's operations allocate nothing but views and Python numbers."""

import tracemalloc
from collections import defaultdict
from functools import partial

import numpy as np
import pytest
from parity.operations import AS_DEFINED, CASES, Same, flatten, inputs, place

from gpunn import metrics
from gpunn.backends.numpy import NumpyBackend
from gpunn.backends.recording import Operation

# Above what Python's objects take; far below the least of the arrays, 64 KiB.
ALLOWED = 8192
LARGE = 16384

NOT_NEEDED = {"unscale", "update_if_finite"}
"""Operations of loss scaling, which is for products in float16, so that NumPy has the base's."""

COMPOSED = {"next_batch", "counted_update"}
"""Made of other operations, which are here."""

# The area under the curve is counted in an array as large as its summary.
AS_DEFINED_NAMES = tuple(f"metric-{cls.name}-" for cls in (*AS_DEFINED, metrics.AUC))
GROUPS = defaultdict(list)
for case in CASES:
    # R2's summary, three times as long as a row of the outputs, is combined plainly.
    sizes = [array.size for _, array in flatten(inputs(case, "float32"))]
    of_r2 = case.name.startswith("metric-r2-") and case.name.endswith("-rows-3x5462")
    needed = case.operation not in NOT_NEEDED | COMPOSED and not of_r2
    needed &= not case.name.startswith(AS_DEFINED_NAMES)
    if max(sizes) >= LARGE and needed:
        GROUPS["-".join(case.name.split("-")[:2])].append(case)


@pytest.fixture(autouse=True)
def small_buffers():
    """Shrink the buffers that NumPy's ufuncs make for broadcasting, whatever the arrays' size."""
    previous = np.setbufsize(16)
    yield
    np.setbufsize(previous)


def growth(operation):
    """Return the most bytes that a call took in addition, after it was warmed up."""
    for _ in range(3):
        operation()
    tracemalloc.start()
    try:
        operation()
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        operation()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("group", GROUPS)
def test_operation_allocates_nothing(group):
    backend = NumpyBackend()
    for case in GROUPS[group]:
        placed = place(backend, inputs(case, "float32"), "float32", "contiguous")
        arguments = {
            name: placed[value.argument] if isinstance(value, Same) else value
            for name, value in placed.items()
        }
        repeat = backend.lower([Operation(case.operation, (), arguments)])
        with np.errstate(all="ignore"):  # calls repeated on their own results may overflow
            taken = growth(partial(repeat, 1))
        assert taken < ALLOWED, f"{case.name} took {taken} bytes"


def test_an_array_would_be_seen():
    x = np.ones(LARGE, np.float32)
    assert growth(lambda: x + 1) > ALLOWED
