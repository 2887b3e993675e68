"""Every layer: its chain rule, its configuration, and the arguments that it refuses."""

import re

import pytest
from layers.blocks import BLOCKS
from layers.checking import check_chain_rule
from layers.test_passes import Residual

from gpunn import layers
from gpunn.activations import Activation
from gpunn.configurable import known, resolve
from gpunn.errors import ArgumentError, ArgumentTypeError

FUNCTIONS = [cls.name for cls in known(Activation).values() if cls.__module__.startswith("gpunn.")]
EDGES = [[-2.0, -0.7, 0.1, 2.5], [-1.0, 1.0], [-1.0, 0.3, 1.0], [-3.0, -2.0, 0.0, 0.5]]


def groups() -> layers.ColumnGroups:
    return layers.ColumnGroups(
        [
            {"columns": [3, 4], "layers": [layers.Dense(2, "tanh"), layers.Dropout(0.3)]},
            {"columns": [0, 2]},
            {"columns": [4, 6], "layers": [layers.PeriodicEmbedding(5, 2, 0.3)], "label": "waves"},
        ]
    )


IMAGE_LAYERS = {
    **{
        f"convolution {f}": (lambda f=f: layers.Conv2D(3, 2, activation=f), (3, 3, 2))
        for f in FUNCTIONS
    },
    "convolution without bias": (lambda: layers.Conv2D(4, (2, 3), bias=False), (4, 5, 2)),
    "convolution, same": (lambda: layers.Conv2D(2, (3, 4), padding="same"), (4, 5, 3)),
    "convolution, strides": (lambda: layers.Conv2D(3, 3, (2, 3), "same", 1, 1, "tanh"), (5, 6, 2)),
    "convolution, dilation": (lambda: layers.Conv2D(2, 2, dilation_rate=(3, 2)), (5, 4, 2)),
    "convolution, groups": (lambda: layers.Conv2D(6, 2, groups=2, activation="gelu"), (3, 4, 4)),
    "depthwise convolution": (lambda: layers.Conv2D(3, 3, padding="same", groups=3), (4, 4, 3)),
    "convolution of signals": (lambda: layers.Conv1D(3, 4, 2, "same", activation="elu"), (7, 2)),
    "max pool": (lambda: layers.MaxPool2D(), (4, 5, 2)),
    "max pool, overlapping": (lambda: layers.MaxPool2D((3, 2), 1, "same"), (4, 3, 2)),
    "max pool of signals": (lambda: layers.MaxPool1D(3, 2), (8, 2)),
    "average pool": (lambda: layers.AveragePool2D(2), (5, 4, 2)),
    "average pool, same": (lambda: layers.AveragePool2D(3, 2, "same"), (4, 5, 2)),
    "average pool of signals": (lambda: layers.AveragePool1D(2, 1), (4, 3)),
    "global average pool": (lambda: layers.GlobalAveragePool2D(), (3, 2, 4)),
    "global average pool of signals": (lambda: layers.GlobalAveragePool1D(), (3, 4)),
    "up-sampling": (lambda: layers.UpSampling2D((2, 3)), (2, 3, 2)),
    "spatial dropout": (lambda: layers.SpatialDropout(0.4), (2, 3, 4)),
    "spatial dropout of signals": (lambda: layers.SpatialDropout(0.4), (3, 4)),
}

LAYERS = {
    **BLOCKS,
    "scale": (lambda: layers.Scale(), (5,)),
    "scale of members": (lambda: layers.Scale(), (2, 3)),
    "embedding": (lambda: layers.Embedding([3, 5, 2], 4), (3,)),
    "pbld": (lambda: layers.PeriodicEmbedding(5, 3, 0.3), (4,)),
    "pl": (lambda: layers.PeriodicEmbedding(5, 3, 0.3, kind="pl"), (4,)),
    "plr": (lambda: layers.PeriodicEmbedding(5, 3, 0.3, kind="plr"), (4,)),
    "plr-lite": (lambda: layers.PeriodicEmbedding(5, 3, 0.3, kind="plr", lite=True), (4,)),
    "piecewise A": (lambda: layers.PiecewiseLinearEmbedding(EDGES, 3, "A", "relu"), (4,)),
    "piecewise A, gelu": (lambda: layers.PiecewiseLinearEmbedding(EDGES, 3, "A", "gelu"), (4,)),
    "piecewise B": (lambda: layers.PiecewiseLinearEmbedding(EDGES, 3), (4,)),
    "piecewise B, gelu": (lambda: layers.PiecewiseLinearEmbedding(EDGES, 3, "B", "gelu"), (4,)),
    "members": (lambda: layers.Members(3), (4,)),
    "members of their own rows": (lambda: layers.Members(3, "normal", [1, 3]), (3, 4)),
    "members, fixed": (lambda: layers.Members(3, "fixed"), (4,)),
    "groups": (groups, (7,)),
    "groups of groups": (
        lambda: layers.ColumnGroups([{"columns": [1, 8], "layers": [groups(), layers.Members(2)]}]),
        (9,),
    ),
    **{
        f"activation {f}, {shape}": (lambda f=f: layers.Activation(f), shape)
        for f in FUNCTIONS
        for shape in ((5,), (2, 3))
    },
    **{
        f"dense {f}, {bias}": (lambda f=f, bias=bias: layers.Dense(3, f, bias), (4,))
        for f in FUNCTIONS
        for bias in (True, False)
    },
    "prelu": (layers.PReLU, (5,)),
    **{f"parametric {f}": (lambda f=f: layers.ParametricActivation(f), (5,)) for f in FUNCTIONS},
    **{
        f"ntp {f}": (lambda f=f: layers.Dense(3, f, parametrization="ntp"), (4,))
        for f in ("identity", "selu", "mish")
    },
    "rescaling": (lambda: layers.Rescaling(0.3, offset=2.0), (2, 3)),
    "flatten": (lambda: layers.Flatten(), (2, 3, 2)),
    "batch norm": (lambda: layers.BatchNorm(), (5,)),
    "batch norm, epsilon": (lambda: layers.BatchNorm(epsilon=0.5), (5,)),
    "layer norm": (lambda: layers.LayerNorm(), (5,)),
    "batch norm of images": (lambda: layers.BatchNorm(), (3, 2, 4)),
    "layer norm of images": (lambda: layers.LayerNorm(), (3, 2, 4)),
    "layer norm of signals": (lambda: layers.LayerNorm(epsilon=0.1), (3, 4)),
    "standardization": (lambda: layers.Standardization(), (5,)),
    **IMAGE_LAYERS,
    "chain": (lambda: layers.Chain([layers.Dense(5, "tanh"), layers.Dense(3)]), (4,)),
    "custom layer of layers": (lambda: Residual([layers.Dense(5, "gelu"), layers.Dense(4)]), (4,)),
    "chain of all": (
        lambda: layers.Chain(
            [layers.BatchNorm(), layers.Chain([layers.Dense(3, "gelu")]), layers.Dropout(0.4)]
        ),
        (4,),
    ),
    **{
        f"{kind}, {f}": (lambda options=options, f=f: layers.MemberDense(4, f, **options), (3, 5))
        for f in ("identity", "relu", "gelu")
        for kind, options in {
            "adapters": {},
            "adapters but the first": {"input_adapter": False},
            "shared": {"adapters": False},
            "separate": {"separate": True},
        }.items()
    },
}


OTHERS = "|".join(name for name in FUNCTIONS if name != "gelu")


def by_default(kinds: str) -> list[object]:
    """Return names of layers; by default, layers of some kinds have GELU alone.

    So do dense layers without a bias and activations of two axes.
    """
    more = re.compile(rf"({kinds}) ({OTHERS})(,.*)?|(dense|activation) ({OTHERS}), (False|\(2.*)")
    full = [pytest.mark.full]
    return [pytest.param(name, marks=full if more.fullmatch(name) else []) for name in LAYERS]


@pytest.mark.parametrize("name", by_default("convolution"))
def test_chain_rule(host_backend, name):
    make, shape = LAYERS[name]
    check_chain_rule(make(), shape, host_backend)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("rate", [0.0, 0.3, 0.9])
def test_chain_rule_of_dropout(host_backend, rate, training):
    check_chain_rule(layers.Dropout(rate), (7,), host_backend, training=training)


@pytest.mark.parametrize("name", by_default("activation|convolution|dense|parametric"))
def test_config_rebuilds_the_layer(name):
    make, shape = LAYERS[name]
    layer = make()
    again = resolve(layers.Layer, layer.config(), "layer")
    assert again.config() == layer.config()
    assert [(spec.name, spec.initializer) for spec in again.parameters(shape)] == [
        (spec.name, spec.initializer) for spec in layer.parameters(shape)
    ]


IMPOSSIBLE = {
    ArgumentError: [
        (lambda: layers.Dropout(1.0), "rate: expected a number >= 0 and < 1; got 1.0"),
        (lambda: layers.Dropout(-0.1), "rate"),
        (lambda: layers.Rescaling(float("inf")), "scale: expected a finite number"),
        (lambda: layers.Activation("none"), "activation: there is no activation 'none'"),
        (lambda: layers.BatchNorm(momentum=1.0), "momentum: expected a number >= 0 and < 1"),
        (lambda: layers.BatchNorm(epsilon=0), "epsilon: expected a number > 0"),
        (lambda: layers.LayerNorm(epsilon=-1), "epsilon: expected a number > 0"),
        (lambda: layers.Dense(0), "units: expected an integer >= 1; got 0"),
        (lambda: layers.Dense(2, "rleu"), "activation: there is no activation 'rleu'; did"),
        (lambda: layers.Dense(2, initializer="hee"), "initializer: there is no initializer"),
        (lambda: layers.Dense(3, learning_rate_factor=-1), "learning_rate_factor: expected"),
        (lambda: layers.OneHot([]), "sizes: expected the number of codes"),
        (lambda: layers.OneHot([3, 1]), r"sizes\[1\]: expected an integer >= 2; got 1"),
        (
            lambda: layers.OneHot([3, 4], on=[1.0]),
            "on: expected 4 numbers, one for each output; got 1",
        ),
        (lambda: layers.Embedding([2**24 + 1]), r"expected at most 2\^24"),
        (lambda: layers.Embedding([4], 0), "dimension: expected an integer >= 1"),
        (lambda: layers.PeriodicEmbedding(kind="pblr"), "there is no kind 'pblr'; did you"),
        (lambda: layers.PeriodicEmbedding(lite=True), "lite: needs kind='plr'"),
        (lambda: layers.PeriodicEmbedding(sigma=0), "sigma: expected a number > 0"),
        (lambda: layers.PiecewiseLinearEmbedding([[1.0]]), r"edges\[0\]: .* at least two"),
        (
            lambda: layers.PiecewiseLinearEmbedding([[0, 1], [0, 2, 2]]),
            r"edges\[1\]\[2\]: edges must ascend; got 2.0 after 2.0",
        ),
        (lambda: layers.PiecewiseLinearEmbedding([[0, 1]], version="C"), "version: there"),
        (lambda: layers.Members(3, "sign"), "there is no start 'sign'; did you mean"),
        (lambda: layers.Dense(3, parametrization="ntk"), "no parametrization 'ntk'"),
        (lambda: layers.ColumnGroups([]), "groups: expected a list of at least one group"),
        (
            lambda: layers.ColumnGroups([{"columns": [0, 1], "layer": []}]),
            r"groups\[0\].layer: unknown key; the keys are",
        ),
        (
            lambda: layers.ColumnGroups([{"columns": [2, 2]}]),
            r"groups\[0\].columns\[1\]: expected an integer >= 3; got 2",
        ),
        (
            lambda: layers.ColumnGroups([{"columns": [2, 4]}, {"columns": [0, 3]}]),
            "column 2 is in two groups, 'group_2' and 'group_1'",
        ),
        (
            lambda: layers.ColumnGroups([{"columns": [0, 1], "layers": ["embeding"]}]),
            r"groups\[0\].layers\[0\]: there is no layer 'embeding'; did you mean",
        ),
    ],
    ArgumentTypeError: [
        (lambda: layers.Dense(2.5), "units: expected an integer; got 2.5"),
        (lambda: layers.Dense(2, "relu", "no"), "bias: expected True or False; got 'no'"),
        (lambda: layers.Dense(2, bias_initializer=3), "bias_initializer: expected a nam"),
        (lambda: layers.Dense(3, learning_rate_factor=None), "learning_rate_factor: expected"),
        (lambda: layers.Dense(3, weight_decay_factor={"biases": "1"}), r"weight_decay_factor\['bi"),
        (lambda: layers.OneHot("34"), "sizes: expected a list of integers"),
        (lambda: layers.PiecewiseLinearEmbedding([]), "edges: expected a list of"),
        (lambda: layers.MemberDense(3, separate=1), "separate: expected True or False"),
        (lambda: layers.ColumnGroups([{}]), r"groups\[0\]: expected a mapping with"),
    ],
}


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [(make, error, message) for error, rows in IMPOSSIBLE.items() for make, message in rows],
)
def test_impossible_parameters(make, error, message):
    with pytest.raises(error, match=message):
        make()
