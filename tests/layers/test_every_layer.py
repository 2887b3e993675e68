"""Every layer: its chain rule, its configuration, and the arguments that it refuses."""

import pytest
from layers.checking import check_chain_rule
from layers.test_passes import Residual

from gpunn.activations import Activation
from gpunn.configurable import known, resolve
from gpunn.errors import ArgumentError, ArgumentTypeError
from gpunn.layers import Activation as ActivationLayer
from gpunn.layers import (
    BatchNorm,
    Chain,
    ColumnGroups,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    Layer,
    LayerNorm,
    MemberDense,
    Members,
    OneHot,
    ParametricActivation,
    PeriodicEmbedding,
    PiecewiseLinearEmbedding,
    Rescaling,
    Scale,
    Standardization,
)

FUNCTIONS = [cls.name for cls in known(Activation).values() if cls.__module__.startswith("gpunn.")]
EDGES = [[-2.0, -0.7, 0.1, 2.5], [-1.0, 1.0], [-1.0, 0.3, 1.0], [-3.0, -2.0, 0.0, 0.5]]


def groups() -> ColumnGroups:
    return ColumnGroups(
        [
            {"columns": [3, 4], "layers": [Dense(2, "tanh"), Dropout(0.3)]},
            {"columns": [0, 2]},
            {"columns": [4, 6], "layers": [PeriodicEmbedding(5, 2, 0.3)], "label": "waves"},
        ]
    )


LAYERS = {
    "scale": (lambda: Scale(), (5,)),
    "scale of members": (lambda: Scale(), (2, 3)),
    "embedding": (lambda: Embedding([3, 5, 2], 4), (3,)),
    "pbld": (lambda: PeriodicEmbedding(5, 3, 0.3), (4,)),
    "pl": (lambda: PeriodicEmbedding(5, 3, 0.3, kind="pl"), (4,)),
    "plr": (lambda: PeriodicEmbedding(5, 3, 0.3, kind="plr"), (4,)),
    "plr-lite": (lambda: PeriodicEmbedding(5, 3, 0.3, kind="plr", lite=True), (4,)),
    "piecewise A": (lambda: PiecewiseLinearEmbedding(EDGES, 3, "A", "relu"), (4,)),
    "piecewise A, gelu": (lambda: PiecewiseLinearEmbedding(EDGES, 3, "A", "gelu"), (4,)),
    "piecewise B": (lambda: PiecewiseLinearEmbedding(EDGES, 3), (4,)),
    "piecewise B, gelu": (lambda: PiecewiseLinearEmbedding(EDGES, 3, "B", "gelu"), (4,)),
    "members": (lambda: Members(3), (4,)),
    "members of their own rows": (lambda: Members(3, "normal", [1, 3]), (3, 4)),
    "members, fixed": (lambda: Members(3, "fixed"), (4,)),
    "groups": (groups, (7,)),
    "groups of groups": (
        lambda: ColumnGroups([{"columns": [1, 8], "layers": [groups(), Members(2)]}]),
        (9,),
    ),
    **{
        f"activation {f}, {shape}": (lambda f=f: ActivationLayer(f), shape)
        for f in FUNCTIONS
        for shape in ((5,), (2, 3))
    },
    **{
        f"dense {f}, {bias}": (lambda f=f, bias=bias: Dense(3, f, bias), (4,))
        for f in FUNCTIONS
        for bias in (True, False)
    },
    **{f"parametric {f}": (lambda f=f: ParametricActivation(f), (5,)) for f in FUNCTIONS},
    **{
        f"ntp {f}": (lambda f=f: Dense(3, f, parametrization="ntp"), (4,))
        for f in ("identity", "selu", "mish")
    },
    "rescaling": (lambda: Rescaling(0.3, offset=2.0), (2, 3)),
    "flatten": (lambda: Flatten(), (2, 3, 2)),
    "batch norm": (lambda: BatchNorm(), (5,)),
    "batch norm, epsilon": (lambda: BatchNorm(epsilon=0.5), (5,)),
    "layer norm": (lambda: LayerNorm(), (5,)),
    "standardization": (lambda: Standardization(), (5,)),
    "chain": (lambda: Chain([Dense(5, "tanh"), Dense(3)]), (4,)),
    "custom layer of layers": (lambda: Residual([Dense(5, "gelu"), Dense(4)]), (4,)),
    "chain of all": (lambda: Chain([BatchNorm(), Chain([Dense(3, "gelu")]), Dropout(0.4)]), (4,)),
    **{
        f"{kind}, {f}": (lambda options=options, f=f: MemberDense(4, f, **options), (3, 5))
        for f in ("identity", "relu", "gelu")
        for kind, options in {
            "adapters": {},
            "adapters but the first": {"input_adapter": False},
            "shared": {"adapters": False},
            "separate": {"separate": True},
        }.items()
    },
}


@pytest.mark.parametrize("name", LAYERS)
def test_chain_rule(host_backend, name):
    make, shape = LAYERS[name]
    check_chain_rule(make(), shape, host_backend)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("rate", [0.0, 0.3, 0.9])
def test_chain_rule_of_dropout(host_backend, rate, training):
    check_chain_rule(Dropout(rate), (7,), host_backend, training=training)


@pytest.mark.parametrize("name", LAYERS)
def test_config_rebuilds_the_layer(name):
    make, shape = LAYERS[name]
    layer = make()
    again = resolve(Layer, layer.config(), "layer")
    assert again.config() == layer.config()
    assert [(spec.name, spec.initializer) for spec in again.parameters(shape)] == [
        (spec.name, spec.initializer) for spec in layer.parameters(shape)
    ]


IMPOSSIBLE = {
    ArgumentError: [
        (lambda: Dropout(1.0), "rate: expected a number >= 0 and < 1; got 1.0"),
        (lambda: Dropout(-0.1), "rate"),
        (lambda: Rescaling(float("inf")), "scale: expected a finite number"),
        (lambda: ActivationLayer("none"), "activation: there is no activation 'none'"),
        (lambda: BatchNorm(momentum=1.0), "momentum: expected a number >= 0 and < 1"),
        (lambda: BatchNorm(epsilon=0), "epsilon: expected a number > 0"),
        (lambda: LayerNorm(epsilon=-1), "epsilon: expected a number > 0"),
        (lambda: Dense(0), "units: expected an integer >= 1; got 0"),
        (lambda: Dense(2, "rleu"), "activation: there is no activation 'rleu'; did"),
        (lambda: Dense(2, initializer="hee"), "initializer: there is no initializer"),
        (lambda: Dense(3, learning_rate_factor=-1), "learning_rate_factor: expected a number >="),
        (lambda: OneHot([]), "sizes: expected the numbers of codes"),
        (lambda: OneHot([3, 1]), r"sizes\[1\]: expected an integer >= 2; got 1"),
        (lambda: OneHot([3, 4], on=[1.0]), "on: .* each of the 4 outputs; got 1"),
        (lambda: Embedding([2**24 + 1]), r"expected at most 2\^24"),
        (lambda: Embedding([4], 0), "dimension: expected an integer >= 1"),
        (lambda: PeriodicEmbedding(kind="pblr"), "there is no kind 'pblr'; did you"),
        (lambda: PeriodicEmbedding(lite=True), "lite: only for kind='plr'"),
        (lambda: PeriodicEmbedding(sigma=0), "sigma: expected a number > 0"),
        (lambda: PiecewiseLinearEmbedding([[1.0]]), r"edges\[0\]: .* at least two"),
        (
            lambda: PiecewiseLinearEmbedding([[0, 1], [0, 2, 2]]),
            r"edges\[1\]\[2\]: edges must ascend; got 2.0 after 2.0",
        ),
        (lambda: PiecewiseLinearEmbedding([[0, 1]], version="C"), "version: there"),
        (lambda: Members(3, "sign"), "there is no start 'sign'; did you mean"),
        (lambda: Dense(3, parametrization="ntk"), "no parametrization 'ntk'"),
        (lambda: ColumnGroups([]), "groups: expected a list of at least one group"),
        (
            lambda: ColumnGroups([{"columns": [0, 1], "layer": []}]),
            r"groups\[0\].layer: unknown key; a group has",
        ),
        (
            lambda: ColumnGroups([{"columns": [2, 2]}]),
            r"groups\[0\].columns\[1\]: expected an integer >= 3; got 2",
        ),
        (
            lambda: ColumnGroups([{"columns": [2, 4]}, {"columns": [0, 3]}]),
            "column 2 is in two groups, 'group_2' and 'group_1'",
        ),
        (
            lambda: ColumnGroups([{"columns": [0, 1], "layers": ["embeding"]}]),
            r"groups\[0\].layers\[0\]: there is no layer 'embeding'; did you mean",
        ),
    ],
    ArgumentTypeError: [
        (lambda: Dense(2.5), "units: expected an integer; got 2.5"),
        (lambda: Dense(2, "relu", "no"), "bias: expected True or False; got 'no'"),
        (lambda: Dense(2, bias_initializer=3), "bias_initializer: expected a nam"),
        (lambda: Dense(3, learning_rate_factor=None), "learning_rate_factor: expected a num"),
        (lambda: Dense(3, weight_decay_factor={"biases": "1"}), r"weight_decay_factor\['bi"),
        (lambda: OneHot("34"), "sizes: expected a list of integers"),
        (lambda: PiecewiseLinearEmbedding([]), "edges: expected a list of"),
        (lambda: MemberDense(3, separate=1), "separate: expected True or False"),
        (lambda: ColumnGroups([{}]), r"groups\[0\]: expected a mapping with"),
    ],
}


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [(make, error, message) for error, rows in IMPOSSIBLE.items() for make, message in rows],
)
def test_impossible_parameters(make, error, message):
    with pytest.raises(error, match=message):
        make()
