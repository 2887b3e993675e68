"""The paper count of a step's kernels against what the emulated device counts."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

import gpunn

REPOSITORY = Path(__file__).parents[2]
SCRIPTS = REPOSITORY / "scripts"
PINNED = "14.2.0"  # the release of CuPy that the emulated device knows


@pytest.fixture
def load(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    names = ("gpu_cost", "step_cost")
    yield importlib.import_module
    for name in names:
        sys.modules.pop(name, None)


def has_emulator():
    try:
        return version("cupy-cuda13x") == PINNED and shutil.which("g++") is not None
    except PackageNotFoundError:
        return False


COUNT = """
import json
import emulated_cuda
emulated_cuda.install(devices=1)
import gpunn
import step_cost

for optimizer in ("adam", "sgd"):
    backend = gpunn.get_backend("cupy", graph=False)
    step = step_cost.Rehearsed(backend, (6, 5, 4, 3), 8, optimizer, times=3)
    kernels = [kernel for call in step.calls() for kernel in step_cost.kernels_of(call)]
    with emulated_cuda.counters() as counts:
        step.step.update(8)
    found = [[each.operation, each.bytes, each.operations] for each in kernels]
    print(json.dumps([found, counts.kernels.total(), counts.matmuls.total()]))
"""


@pytest.mark.skipif(not has_emulator(), reason=f"needs cupy-cuda13x=={PINNED} and g++")
def test_the_kernels_are_those_of_the_cuda_backend(load):
    """As many launches as are counted, of the same operations on as large arrays."""
    paths = REPOSITORY, REPOSITORY / "tests", SCRIPTS
    done = subprocess.run(
        [sys.executable, "-c", COUNT],
        env={**os.environ, "PYTHONPATH": ":".join(map(str, paths))},
        capture_output=True,
        text=True,
        check=True,
    )
    for optimizer, line in zip(("adam", "sgd"), done.stdout.splitlines(), strict=True):
        found, kernels, products = json.loads(line)
        counted = load("step_cost").kernels_of_a_step((6, 5, 4, 3), 8, optimizer)
        assert [[each.operation, each.bytes, each.operations] for each in counted] == found
        assert sum(each.shape is not None for each in counted) == products
        assert len(counted) == kernels + products


def test_bytes_and_arithmetic_of_products(load):
    products = [k for k in load("step_cost").kernels_of_a_step((6, 5, 3), 8) if k.shape]
    forward, weights_side = products[0], products[-1]
    assert forward.bytes == 4 * (8 * 6 + 6 * 5 + 8 * 5 + 5)  # the bias is in the product
    assert forward.operations == weights_side.operations == 2 * 8 * 6 * 5
    assert (forward.shape, weights_side.shape) == ((8, 5, 6), (6, 5, 8))
    assert len(products) == 2 + 2 + 1  # forward, weights' gradients, inputs' gradient of one layer


@pytest.mark.parametrize(("optimizer", "passes"), [("adam", 7), ("sgd", 3)])
def test_the_update_passes_over_the_parameters(load, optimizer, passes):
    """Adam reads a gradient, reads and writes a value and two averages; SGD has no averages."""
    kernels = load("step_cost").kernels_of_a_step((6, 5, 3), 8, optimizer)
    (update,) = (k for k in kernels if k.operation == "counted_update")
    layers = [gpunn.layers.Dense(5), gpunn.layers.Dense(3)]
    parameters = gpunn.Sequential(layers, 6, "numpy").parameters.values
    assert 0 <= update.bytes - passes * parameters.nbytes <= 64  # and a few single numbers


def test_an_operation_without_a_cost_is_an_error(load):
    step_cost = load("step_cost")
    with pytest.raises(LookupError, match="no cost is known of 'metric'; add it to "):
        step_cost.kernels_of(step_cost.Call("metric", {}, print))


RATE = 60e12 / 132  # of one multiprocessor


@pytest.mark.parametrize(
    ("shape", "seconds"),
    [
        ((128 * 132, 128, 100), 2 * 128 * 128 * 100 / RATE),  # one whole wave
        ((128 * 132 + 1, 128, 100), 2 * 128 * 128 * 100 * 1.25 / RATE),  # 5 of quarters are best
        ((64, 10, 100), 2 * 64 * 16 * 100 / RATE),  # a tile is narrow where the matrix is
        ((128, 64, 6400), 2 * 64 * 64 * 97 / RATE + 1e-6),  # 66 share the terms of each half
    ],
)
def test_products_are_done_in_whole_tiles_and_waves(load, shape, seconds):
    step_cost = load("step_cost")
    assert step_cost.product_seconds(shape) == pytest.approx(seconds)
    assert step_cost.product_seconds(shape, "tf32") < step_cost.product_seconds(shape)


def test_no_kernel_of_a_graph_is_free(load):
    step_cost = load("step_cost")
    assert step_cost.Kernel("", 0).least_seconds() == 1e-6
    assert step_cost.Kernel("", 3300).least_seconds() == pytest.approx(1e-6 + 1e-9)


def test_the_documented_table_is_current(load):
    documents = [path.read_text(encoding="utf-8") for path in (REPOSITORY / "docs").glob("*.md")]
    table = load("gpu_cost").table()
    assert any(table in text for text in documents), "write it anew: scripts/gpu_cost.py"
