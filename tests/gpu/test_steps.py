"""A step launches, waits, copies and allocates no more than docs/project/gpu_testing.md states."""

import dataclasses
import os
import re
from pathlib import Path

import numpy as np
import pytest
from documented import table_in
from gpu.predictions import CARDS, seconds
from gpu.steps import (
    BATCH,
    IMAGES,
    REALISTIC,
    STEPS,
    WRITTEN,
    Steps,
    count,
    hidden,
    numbers,
    perceptron,
)
from gpu.traffic import Launch
from processes import run_python

import gpunn
from gpunn import layers, optimizers
from gpunn.layers import Dense

pytestmark = [pytest.mark.emulated, pytest.mark.tier(5)]

TESTS = Path(__file__).parents[1]
MORE = (
    *("one dense layer, SGD", "64-32-16-10, ReLU, SGD", "64-32-16-10, ReLU, Adam"),
    *("the same with accuracy", "the same with dropout"),
    *("LeNet-5", "two 3x3 convolutions, batch norm, ReLU"),
)
"""Steps only for the full test run, because other steps have the same kernels and products."""

HOW = "GPUNN_TEST_DEVICE=emulated PYTHONPATH=tests python -m gpu.steps"


@pytest.mark.parametrize(
    "graph",
    [
        pytest.param(True, marks=pytest.mark.full, id="recorded"),
        pytest.param(False, id="one by one"),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.full)])
@pytest.mark.parametrize(
    "steps",
    [
        pytest.param(steps, marks=[pytest.mark.full] * (steps in REALISTIC or steps.name in MORE))
        for steps in (*STEPS, *REALISTIC, *IMAGES)
    ],
    ids=lambda steps: steps.name,
)
def test_a_step_neither_waits_nor_copies_nor_allocates(proved, steps, dtype, graph):
    counted = dataclasses.asdict(count(steps, dtype, graph))
    nothing = ["syncs", "host_to_device", "device_to_host", "cuda_mallocs", "pool_mallocs"]
    assert {name: counted[name] for name in nothing} == dict.fromkeys(nothing, 0)
    assert counted["kernels"] > 0
    assert counted["products"] > 0
    proved("kinds of steps make the host wait for nothing, copy nothing and allocate nothing")


@pytest.mark.parametrize(("frozen", "kernels", "products"), [((0,), 4, 6), ((1,), 5, 7)])
def test_a_step_with_frozen_layers_is_shorter(frozen, kernels, products):
    """Three dense layers: gradients that frozen layers do not need are not computed."""

    def network():
        made = perceptron()
        for index in frozen:
            made[index].trainable = False
        return made

    counted = count(Steps("frozen", network), graph=False)
    assert (counted.kernels, counted.products) == (kernels, products)


def test_a_step_with_layer_norm_has_few_nodes():
    """Layer norm and the activation after it have one kernel forward, and one backward."""

    def network():
        return [each for _ in range(3) for each in hidden(8, "gelu", layers.LayerNorm)] + [Dense(1)]

    steps = Steps("layer norm", network, loss="mean_squared_error", targets=numbers)
    counted = count(steps, graph=False)
    assert (counted.kernels, counted.products) == (9, 11)


def test_a_step_of_tabm_has_few_nodes():
    """Clipping, dropout, and the factors of TabM-full are parts of other kernels."""

    def network():
        made = [layers.Members(8)]
        for number in range(3):
            made += [layers.MemberDense(8, "relu", input_adapter=number > 0), layers.Dropout(0.1)]
        return [*made, layers.MemberDense(1, separate=True), layers.MeanOverMembers()]

    steps = Steps(
        *("TabM", network, lambda: optimizers.Adam(max_norm=1.0), "mean_squared_error"),
        targets=numbers,
    )
    counted = count(steps, graph=False)
    assert (counted.kernels, counted.products) == (19, 12)


@pytest.mark.full
def test_the_documented_tables_are_current(proved):
    path = os.pathsep.join(map(str, (TESTS.parent, TESTS)))
    shown = run_python("-m", "gpu.steps", "--show", env={**os.environ, "PYTHONPATH": path})
    tables = "\n\n".join(table_in(document, name) for document, name in WRITTEN)
    assert tables == shown.stdout.strip(), f"to write them: {HOW}"
    rows = len(re.findall(r"^\| (?!training|network|predicted)", tables, re.MULTILINE))
    proved("rows of the tables of kernels, launches and predicted times are current", rows)


@pytest.mark.parametrize(
    ("bytes", "operations", "microseconds"),
    [(0, 0, (2, 3)), (33_500_000, 0, (10, 20)), (0, 1, (5, 8)), (0, 670 * 10**6, (10, 20))],
)
def test_a_predicted_time_is_the_minimum_or_that_of_a_short_launch(bytes, operations, microseconds):
    launch, card = Launch("kernel or product", bytes, operations), CARDS[0]
    predicted = [seconds(launch, card, pessimistic) for pessimistic in (False, True)]
    assert predicted == pytest.approx([1e-6 * each for each in microseconds])


@pytest.mark.parametrize("precision", [pytest.param("float32", marks=pytest.mark.full), "float16"])
def test_the_host_waits_once_a_logging_step(precision):
    import emulated_cuda

    from gpunn.backends.cupy import CupyBackend

    X, y = np.random.default_rng(0).standard_normal((8 * BATCH, 64)), np.arange(8 * BATCH) % 10
    waits = {}
    for every in (1, 4):
        backend = CupyBackend(1, matmul_precision=precision)
        model = gpunn.Sequential([Dense(10)], 64, backend, seed=0)
        trainer = gpunn.Trainer(model, "softmax_cross_entropy", log_every=every)
        trainer.fit(X, y, epochs=2, batch_size=BATCH, progress=False)
        with emulated_cuda.counters() as counts:
            trainer.fit(X, y, epochs=1, batch_size=BATCH, progress=False)
        waits[every] = counts.copies["device_to_host"]
    assert waits == {1: 8, 4: 2}
