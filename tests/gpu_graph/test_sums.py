"""Sums over several blocks are bitwise identical, whichever block is last."""

import re

import numpy as np
import pytest
from parity import operations

import gpunn

CASES = {case.name: case for case in operations.CASES}
LONG, TALL = max(operations.WIDTHS), "x".join(map(str, operations.TALL[-1]))
SPLIT = ["sum-5000", f"clip-{LONG}-0.5", f"l2_penalty-{LONG}-8.0", f"batch_norm-{TALL}"]
SPLIT += [name for name in CASES if "gradient" in name and name.endswith(f"-{TALL}")]
SPLIT += ["next_batch-pixels_and_weights-700"]
NUMBERED = (rf"counted_update-adam-\d+-{LONG}-1", r"metric-accuracy-\d+-labels-4097x10")
NUMBERED += (r"loss-softmax_cross_entropy-\d+-labels-4097x10-gradient",)
SPLIT += [name for each in NUMBERED for name in CASES if re.fullmatch(each, name)]


@pytest.mark.emulated
@pytest.mark.parametrize("name", SPLIT)
def test_the_order_of_blocks_does_not_change_a_bit(name, emulator):
    backend, host = gpunn.get_backend("cupy"), operations.inputs(CASES[name], "float32")
    first = operations.execute(backend, "float32", CASES[name], host)
    with emulator.reversed_threads():
        backwards = operations.execute(backend, "float32", CASES[name], host)
    for array, value in first.items():
        np.testing.assert_array_equal(backwards[array], value, array)


def test_a_recorded_sum_finds_its_ticket_unchanged_at_each_launch():
    backend, numbers = gpunn.get_backend("cupy"), np.random.default_rng(0).random(5000, "f4")
    weights = backend.from_host(numbers)
    plain, recorded = (backend.zeros((1,), "float32") for _ in range(2))
    backend.sum(weights, plain)
    run = backend.recorded(lambda: backend.sum(weights, recorded))
    for times in (1, 1, 1, 70, 1):  # without a graph, recorded, and several times in a graph
        backend.fill(recorded, 0.0)
        run(times)
        np.testing.assert_array_equal(backend.to_host(recorded), backend.to_host(plain))
