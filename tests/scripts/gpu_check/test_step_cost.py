"""The minimum cost of a step's operations, compared with counts of the emulated device."""

import json

import numpy as np
import pytest

import gpunn


@pytest.fixture
def step_cost(load):
    return load("step_cost")


COUNT = """
import json
import device
device.prepare()
import emulated_cuda
from gpu import traffic
traffic.watch()
import numpy as np
import gpunn, step_cost
from gpunn.layers import Dense

X, y = np.ones((192, 64), np.float32), np.arange(192) % 10

def launches(trainer, rows):
    with emulated_cuda.counters() as counts:
        trainer.fit(X[:rows], y[:rows], epochs=1, batch_size=64, progress=False)
    return counts.launches

for optimizer in ("adam", "sgd"):
    backend = gpunn.get_backend("cupy", graph=False)
    model = gpunn.Sequential([Dense(48, "relu"), Dense(32, "relu"), Dense(10)], 64, backend, seed=0)
    trainer = gpunn.Trainer(model, "softmax_cross_entropy", optimizer)
    calls = step_cost.calls_of_an_update(backend, lambda: launches(trainer, 128))
    found = []
    for call in calls:
        call.rewind(backend)
        moved = traffic.MOVED.total()
        with emulated_cuda.counters() as counts:
            backend.perform(call.operation)
        found.append([call.operation.name, *call.cost, traffic.MOVED.total() - moved,
                      counts.matmuls.total(), counts.launches])
    print(json.dumps([found, launches(trainer, 192) - launches(trainer, 128)]))
"""


def test_costs_are_those_of_a_real_step(run_emulated):
    """The operations cover all launches of a step, and the ledger has the bytes of kernels."""
    done = run_emulated("-c", COUNT)
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        calls, launches = json.loads(line)
        assert [call[0] for call in calls] == [
            *("next_batch", "dense", "dense", "dense", "loss"),
            *("dense_gradient", "activation_gradient", "matmul", "matmul"),
            *("activation_gradient", "matmul", "counted_update"),
        ]
        assert sum(call[-1] for call in calls) == launches
        layers = [64 * 48, 48 * 32, 32 * 10]  # weights of each
        backward = [layers[2], 0, layers[1], layers[1], 0, layers[0]]
        weights = [0, *layers, 0, *backward, 0]
        for (_, least, operations, moved, products, launched), size in zip(
            calls, weights, strict=True
        ):
            assert operations == products * 2 * 64 * size
            if not size:
                assert launched == 1
                assert least <= moved <= least + 128  # its own counters and partial sums


@pytest.fixture
def calls(step_cost):
    """The calls of an update of 6-5-3 with 8 rows and Adam."""
    backend = gpunn.backends.Backend(np)
    layers = [gpunn.layers.Dense(5, "relu"), gpunn.layers.Dense(3)]
    model = gpunn.Sequential(layers, 6, backend, seed=0)
    trainer = gpunn.Trainer(model, "softmax_cross_entropy", "adam")
    X, y = np.ones((16, 6), np.float32), np.arange(16) % 3
    return step_cost.calls_of_an_update(
        backend, lambda: trainer.fit(X, y, epochs=1, batch_size=8, progress=False)
    )


def test_bytes_and_arithmetic(calls):
    """Costs of layers; each array counts once."""
    _, hidden, output, _, output_gradient, hidden_gradient, _ = calls
    assert hidden.cost == (4 * (8 * 6 + 6 * 5 + 5 + 8 * 5), 2 * 8 * 6 * 5)
    assert output.cost == (4 * (8 * 5 + 5 * 3 + 3 + 8 * 3), 2 * 8 * 5 * 3)
    assert output_gradient.cost == (4 * 2 * (8 * 5 + 5 * 3) + 4 * (8 * 3 + 3), 2 * 2 * 8 * 5 * 3)
    assert hidden_gradient.cost == (4 * (8 * 6 + 2 * 8 * 5 + 6 * 5 + 5), 2 * 8 * 6 * 5)


def test_least_times(step_cost):
    """The longer time of bytes and arithmetic on an H100."""
    assert step_cost.Cost(3300, 0).minimum_seconds() == pytest.approx(1e-9)
    product = step_cost.Cost(3300, 60 * 10**6)
    assert product.minimum_seconds() == pytest.approx(1e-6)
    assert 1e-9 < product.minimum_seconds("tf32") < 0.2e-6
