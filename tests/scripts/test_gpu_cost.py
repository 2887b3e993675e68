"""The paper count of a step's kernels against what the emulated device counts."""

import importlib.util
import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

import gpunn

REPOSITORY = Path(__file__).parents[2]
SCRIPT = REPOSITORY / "scripts" / "gpu_cost.py"
PINNED = "14.2.0"  # the release of CuPy that the emulated device knows


@pytest.fixture(scope="module")
def cost():
    spec = importlib.util.spec_from_file_location("gpu_cost", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["gpu_cost"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["gpu_cost"]


def has_emulator():
    try:
        return version("cupy-cuda13x") == PINNED and shutil.which("g++") is not None
    except PackageNotFoundError:
        return False


COUNT = """
import sys
import emulated_cuda
emulated_cuda.install(devices=1)
import gpunn
import numpy as np
from gpunn.layers import Dense

def launches(batches):
    backend = gpunn.get_backend("cupy", graph=False)
    model = gpunn.Sequential([Dense(5, "relu"), Dense(4, "relu"), Dense(3)], 6, backend)
    trainer = gpunn.Trainer(model, "softmax_cross_entropy", "adam")
    X, y = np.ones((8 * batches, 6), "float32"), np.zeros(8 * batches, int)
    with emulated_cuda.counters() as counts:
        trainer.fit(X, y, batch_size=8, progress=False)
    return np.array([counts.kernels.total(), counts.matmuls.total()])

launches(2)
print(*(launches(7) - launches(2)) // 5)
"""


@pytest.mark.skipif(not has_emulator(), reason=f"needs cupy-cuda13x=={PINNED} and g++")
def test_the_kernels_are_those_of_the_cuda_backend(cost):
    done = subprocess.run(
        [sys.executable, "-c", COUNT],
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}"},
        capture_output=True,
        text=True,
        check=True,
    )
    kernels, products = map(int, done.stdout.split())
    counted = cost.kernels_of_a_step((6, 5, 4, 3), 8)
    assert sum(kernel.operation == "matmul" for kernel in counted) == products
    assert len(counted) == kernels + products


def test_bytes_and_arithmetic_of_products(cost):
    products = [k for k in cost.kernels_of_a_step((6, 5, 3), 8) if k.operation == "matmul"]
    forward, loss_side = products[0], products[-1]
    assert forward.bytes == 4 * (8 * 6 + 6 * 5 + 8 * 5 + 5)  # the bias is in the product
    assert forward.operations == loss_side.operations == 2 * 8 * 6 * 5
    assert len(products) == 2 + 2 + 1  # forward, weights' gradients, inputs' gradient of one layer


def test_the_update_passes_seven_times_over_the_parameters(cost):
    (update,) = (k for k in cost.kernels_of_a_step((6, 5, 3), 8) if k.operation == "update")
    layers = [gpunn.layers.Dense(5), gpunn.layers.Dense(3)]
    parameters = gpunn.Sequential(layers, 6, "numpy").parameters.values
    assert update.bytes == 7 * parameters.nbytes


def test_the_documented_table_is_current(cost):
    documents = [path.read_text(encoding="utf-8") for path in (REPOSITORY / "docs").glob("*.md")]
    assert any(cost.table() in text for text in documents), "write it anew: scripts/gpu_cost.py"
