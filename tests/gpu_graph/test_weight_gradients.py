"""Gradients of weights run in a second branch of a graph, with bitwise identical results."""

from collections.abc import Callable
from contextlib import nullcontext

import cupy
import numpy as np
import pytest
from equality import assert_same_bits
from gpu.launches import step_of

import gpunn
from gpunn import activations, layers
from gpunn.backends.cupy import CupyBackend, backend, weight_gradients
from gpunn.backends.cupy.branches import Branch, JoinedBranch
from gpunn.backends.cupy.scratch import Scratch
from gpunn.backends.cupy.weight_gradients import WeightGradient
from gpunn.layers import Dense

ROWS, FEATURES, CLASSES = 32, 6, 3
LABELS = np.arange(ROWS) % CLASSES
INPUTS = np.random.default_rng(0).standard_normal((ROWS, FEATURES)).astype("f4")


def three(**options) -> list[layers.Layer]:
    return [Dense(units, "relu", **options) for units in (8, 7)] + [Dense(CLASSES, **options)]


def frozen() -> list[layers.Layer]:
    made = three()
    made[0].trainable = False
    return made


def normalized() -> list[layers.Layer]:
    return [
        *(Dense(8), layers.LayerNorm(), layers.Activation("gelu"), layers.Dropout(0.1)),
        *(Dense(7), layers.BatchNorm(), layers.Activation("silu"), Dense(CLASSES)),
    ]


def members() -> list[layers.Layer]:
    hidden = [layers.MemberDense(8, "relu"), layers.MemberDense(7, "relu", adapters=False)]
    output = layers.MemberDense(CLASSES, separate=True)
    return [layers.Members(4), *hidden, output, layers.MeanOverMembers("softmax")]


def blocks() -> list[layers.Layer]:
    return [Dense(8, "relu"), layers.Residual([Dense(8, "silu"), Dense(8)]), Dense(CLASSES)]


def convolutions() -> list[layers.Layer]:
    first, second = (layers.Conv2D(4, 2, padding="same", activation="relu") for _ in range(2))
    depthwise = layers.Conv2D(4, 2, padding="same", groups=4)
    return [first, layers.MaxPool2D(2, 1), second, depthwise, layers.Flatten(), Dense(CLASSES)]


NETWORKS: dict[str, tuple[Callable[[], list[layers.Layer]], tuple[int, int, int]]] = {
    "one layer": (lambda: [Dense(CLASSES)], (0, 1, 0)),
    "three layers": (three, (2, 1, 1)),
    "a frozen layer": (frozen, (1, 1, 1)),
    "with norms and dropout": (normalized, (2, 1, 1)),
    "members": (members, (3, 0, 1)),
    "convolutions": (convolutions, (3, 1, 1)),
    "a residual block": (blocks, (3, 1, 1)),
    "gradients that are rescaled": (lambda: three(parametrization="ntp"), (4, 1, 1)),
}
"""For each network, the numbers of calls in branches, of gradients outside them, and of joins."""


def step(network=three, **options):
    shape = (3, 2, 1) if network is convolutions else (FEATURES,)
    model = gpunn.Sequential(network(), shape, CupyBackend(0, **options), seed=0)
    trainer = gpunn.Trainer(model, "softmax_cross_entropy", gpunn.optimizers.Adam(max_norm=1.0))
    return step_of(trainer, INPUTS.reshape(ROWS, *shape), LABELS)


@pytest.mark.parametrize("name", NETWORKS)
def test_what_runs_in_the_branch(name, monkeypatch):
    network, expected = NETWORKS[name]
    arranged = []

    def watched(*arguments):
        arranged.append(weight_gradients.with_branch(*arguments))
        return arranged[-1]

    monkeypatch.setattr(backend, "with_branch", watched)
    step(network).update(8)
    (calls,) = arranged
    kinds = Branch, WeightGradient, JoinedBranch
    assert tuple(sum(isinstance(call, kind) for call in calls) for kind in kinds) == expected


def planted_late_join(patch):
    patch.setattr(weight_gradients, "independent", lambda one, *_: one is not None)


def planted_shared_scratch(patch):
    patch.setattr(Scratch, "of_lane", lambda *_: nullcontext())


PLANTED = {"late join": planted_late_join, "shared scratch memory": planted_shared_scratch}
FOUND = {"late join": "gpunn_sum_of_squares", "shared scratch memory": "workspace"}


@pytest.mark.emulated
@pytest.mark.parametrize("network", [three, convolutions])
@pytest.mark.parametrize("name", PLANTED)
def test_a_missing_order_is_found(name, network, monkeypatch, emulator):
    step(network).update(8, 3)
    PLANTED[name](monkeypatch)
    with pytest.raises(emulator.RaceError, match=FOUND[name]):
        step(network).update(8, 3)


def planted_shared_sums(patch):
    own = Scratch._at_least

    def shared(self, size, name, *rest, **options):
        lane = self._lane
        self._lane = lane if name == "cublas" else None
        try:
            return own(self, size, name, *rest, **options)
        finally:
            self._lane = lane

    patch.setattr(Scratch, "_at_least", shared)


@pytest.mark.emulated
def test_each_branch_has_partial_sums_and_tickets(emulator, monkeypatch):
    """If cuBLASLt refuses to sum a bias's gradient, a kernel sums it in several blocks."""

    def trained(graph):
        fused = layers.LayerNorm(), layers.Activation("gelu")
        network = [Dense(8), *fused, Dense(7), layers.LayerNorm(), Dense(CLASSES)]
        model = gpunn.Sequential(network, (FEATURES,), CupyBackend(0, graph=graph), seed=0)
        trainer = gpunn.Trainer(model, "softmax_cross_entropy")
        this = step_of(trainer, np.tile(INPUTS, (27, 1)), np.tile(LABELS, 27), 9 * ROWS)
        for _ in range(3):
            this.update(9 * ROWS)
        return model.parameters.to_host()

    with emulator.refusals(1), emulator.counters() as counts:
        assert_same_bits(trained(True), trained(False))
        assert counts.replayed["gpunn_identity_gradient_and_sums"]
        planted_shared_sums(monkeypatch)
        with pytest.raises(emulator.RaceError, match=r"_and_sums|layer_norm"):
            trained(True)


@pytest.mark.parametrize("changed", ["x", "gradient", "input_gradient"])
def test_operands_are_changed_only_after_the_product(changed, caplog):
    """Custom layers may use one array for several purposes."""
    results = []
    for graph in (True, False):
        ops = CupyBackend(0, graph=graph)
        random = np.random.default_rng(0)
        x, W, gradient, dW = (
            ops.from_host(random.standard_normal(shape).astype("f4"))
            for shape in ((4, 5), (5, 5), (4, 5), (5, 5))
        )
        dx = x if changed == "input_gradient" else cupy.zeros_like(x)

        def backward(ops=ops, x=x, W=W, gradient=gradient, dW=dW, dx=dx):
            ops.dense_gradient(x, W, activations.ReLU(), x, x, gradient, dW, None, dx)
            if changed != "input_gradient":
                target = x if changed == "x" else gradient
                ops.activation_gradient(activations.Tanh(), dx, dx, target, None)

        recorded = ops.recorded(backward)
        for _ in range(3):
            recorded(1)
        results.append([each.get() for each in (x, gradient, dW, dx)])
    assert not caplog.records
    for replayed, expected in zip(*results, strict=True):
        assert np.array_equal(replayed, expected)
