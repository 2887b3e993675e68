"""Adjacent operations become one kernel, but only if that cannot change a result."""

import numpy as np
import pytest
from equality import assert_same_bits

import gpunn
from gpunn import activations, layers
from gpunn.backends.cupy import CupyBackend, backend
from gpunn.layers import MemberDense

ROWS, FEATURES = 5, 70
SHAPES = {"scale": (FEATURES,), "shift": (FEATURES,), "bias": (FEATURES,), "inverse": (ROWS, 1)}
NAMES = (*SHAPES, "x", "z", "y", "normal", "gradient")
GELU, RELU = activations.GELU(), activations.ReLU()
MASK = 0.5, 0xDEADBEEF


class OwnGELU(activations.GELU):
    def value(self, xp, z):
        return xp.astype(super().value(xp, xp.astype(z, xp.float64)), z.dtype)


def norm(ops, scale, shift, inverse, x, z, normal, **_):
    ops.layer_norm(x, scale, shift, 1e-5, normal, inverse, z)


def activation(argument="z", result="y", bias=None, f=GELU):
    return lambda ops, **arrays: ops.activate(f, arrays[argument], arrays.get(bias), arrays[result])


activate = activation()


def chain_rule(argument="z", bias=None):
    return lambda ops, y, gradient, **arrays: ops.activation_gradient(
        GELU, arrays[argument], y, gradient, arrays.get(bias)
    )


def norm_gradient(ops, scale, shift, inverse, gradient, normal, bias, **_):
    """Compute gradients; the arrays `shift` and `bias` are results."""
    ops.layer_norm_gradient(gradient, normal, inverse, scale, shift, bias)


def scale(ops, scale, x, z, **_):
    ops.scale(x[:, None, :], scale[None], z[:, None, :])


def rectify(ops, z, bias, **_):
    both = z[:, None, :]
    ops.activate(RELU, both, bias[None], both)


def drop(ops, z, y, passes, **_):
    ops.dropout(z[:, None, :], *MASK, passes, y[:, None, :])


def drop_gradient(ops, x, passes, **_):
    ops.dropout(x, *MASK, passes, x)


def derive(ops, z, y, x, bias, **_):
    x, y, z = (each[:, None, :] for each in (x, y, z))
    ops.activation_gradient(GELU, z, y, x, None if bias is None else bias[None])


def scale_gradient(ops, x, normal, scale, shift, **_):
    in_place = x[:, None, :]
    ops.scale_gradient(normal[:, None, :], scale[None], in_place, shift[None], in_place)


CASES = {
    "norm and activation": ([norm, activate], "layer_norm_gelu"),
    "another activation": ([norm, activation(f=RELU)], "layer_norm_relu"),
    "the activation's argument is another array": ([norm, activation("x")], "layer_norm gelu"),
    "the result overwrites the norm's argument": ([norm, activation("z", "x")], "layer_norm gelu"),
    "the result overwrites a part of what the backward pass reads": (
        [norm, lambda ops, z, normal, **_: ops.activate(GELU, z[:4], None, normal[1:])],
        "layer_norm gelu",
    ),
    "a bias": ([norm, activation(bias="bias")], "layer_norm bias_gelu"),
    "an operation between them": (
        [norm, lambda ops, normal, **_: ops.rescale(normal, 2.0, 0.0, normal), activate],
        "layer_norm rescale gelu",
    ),
    "no kernel for the activation": ([norm, activation(f=OwnGELU())], "layer_norm"),
    "gradients": ([chain_rule(), norm_gradient], "layer_norm_gelu_gradient"),
    "gradients in another order": (
        [norm_gradient, chain_rule()],
        "layer_norm_gradient gelu_gradient",
    ),
    "a gradient of a bias": (
        [chain_rule(bias="bias"), norm_gradient],
        "gelu_gradient_and_sums layer_norm_gradient",
    ),
    "gradients that share an argument": (
        [chain_rule("normal"), norm_gradient],
        "gelu_gradient layer_norm_gradient",
    ),
    "scale and activation": ([scale, rectify], "scaled_bias_relu_in_place"),
    "scale, activation and dropout": (
        [scale, rectify, drop],
        "scaled_bias_relu_in_place_dropout",
    ),
    "activation and dropout": (
        [activate, lambda ops, x, y, passes, **_: ops.dropout(y, *MASK, passes, x)],
        "gelu_dropout",
    ),
    "dropout of a view of another shape": (
        [activate, lambda ops, x, y, passes, **_: drop(ops, y, x, passes)],
        "gelu dropout",
    ),
    "dropout and derivative": ([drop_gradient, derive], "gelu_gradient_and_sums_dropout"),
    "dropout and derivative without a bias": (
        [drop_gradient, lambda ops, bias, **_: derive(ops, bias=None, **_)],
        "gelu_gradient_dropout",
    ),
    "dropout, derivative and factors": (
        [drop_gradient, derive, scale_gradient],
        "gelu_gradient_and_sums_scaled_dropout",
    ),
    "derivative and factors": ([derive, scale_gradient], "gelu_gradient_and_sums_scaled"),
    "a gradient of x that replaces no other": (
        [
            derive,
            lambda ops, x, normal, scale, shift, z, **_: ops.scale_gradient(
                *(normal[:, None, :], scale[None], x[:, None, :], shift[None], None)
            ),
        ],
        "gelu_gradient_and_sums factors_gradient",
    ),
    "dropout into another array": (
        [lambda ops, normal, x, passes, **_: ops.dropout(normal, *MASK, passes, x), derive],
        "dropout gelu_gradient_and_sums",
    ),
}
"""Operations in order, and the kernels of the project that run them."""


@pytest.mark.parametrize("name", CASES)
def test_which_kernels_run(name, emulator):
    operations, expected = CASES[name]
    results = []
    for recorded, graph in ((False, False), (True, False), (True, True)):
        ops, random = CupyBackend(0, graph=graph), np.random.default_rng(0)
        arrays = {
            name: ops.from_host(
                random.uniform(0.5, 1.5, SHAPES.get(name, (ROWS, FEATURES))), "float32"
            )
            for name in NAMES
        } | {"passes": ops.zeros((1,), "int64")}

        def run(ops=ops, arrays=arrays):
            for each in operations:
                each(ops, **arrays)

        with emulator.counters() as counts:
            ops.recorded(run)(1) if recorded else run()
        if recorded:
            kernels = [each.removeprefix("gpunn_") for each in counts.kernels if "gpunn" in each]
            assert kernels == expected.split()
        results.append({name: each.get() for name, each in arrays.items()})
    for other in results[1:]:
        for name, value in results[0].items():
            assert np.array_equal(value, other[name]), name


def members(**options):
    return [
        layers.Members(2),
        *(MemberDense(7, "relu"), layers.Dropout(gpunn.schedules.Cosine(0.5))),
        *(MemberDense(6, "gelu", **options), layers.Dropout(0.3)),
        *(MemberDense(5, "tanh", adapters=False), layers.Dropout(0.1)),
        *(MemberDense(3, separate=True), layers.MeanOverMembers("softmax")),
    ]


def frozen():
    made = members()
    made[3].trainable = False
    return made


ROWS_OF_DATA = 24
TRAININGS = {
    "adapters": {},
    "an adapter less, sample weights": {
        "network": lambda: members(input_adapter=False),
        "sample_weight": np.linspace(0.5, 1, ROWS_OF_DATA),
    },
    "frozen layer, two batches an update": {"network": frozen, "gradient_accumulation": 2},
    "two learning rates, scaled loss": {
        "network": lambda: members(learning_rate_factor=2.0),
        "matmul_precision": "float16",
    },
    "float64": {"dtype": "float64"},
}


def trained(network=members, matmul_precision="float32", dtype="float32", **options):
    ops = CupyBackend(0, matmul_precision=matmul_precision)
    weights = options.pop("sample_weight", None)
    model = gpunn.Sequential(network(), 4, ops, seed=0, dtype=dtype)
    optimizer = gpunn.optimizers.AdamW(max_norm=0.05)
    trainer = gpunn.Trainer(model, "softmax_cross_entropy", optimizer, **options)
    X = np.random.default_rng(0).standard_normal((ROWS_OF_DATA, 4))
    y = np.arange(ROWS_OF_DATA) % 3
    trainer.fit(X, y, epochs=2, batch_size=8, progress=False, sample_weight=weights)
    return {**model.parameters.to_host(), "gradients": model.parameters.gradients.get()}


@pytest.mark.parametrize("name", TRAININGS)
def test_training_has_the_same_bits_without_fusion(name, monkeypatch, emulator):
    fused = trained(**TRAININGS[name])
    monkeypatch.setattr(backend, "fuse", lambda trace, *_: trace)
    with emulator.counters() as counts:
        assert_same_bits(fused, trained(**TRAININGS[name]))
    assert counts.kernels["gpunn_dropout"]
