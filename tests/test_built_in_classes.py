"""Every class that a configuration can name: its description, and the arguments that it refuses."""

import json
import math
from pathlib import Path

import pytest

from gpunn import (
    activations,
    callbacks,
    initializers,
    layers,
    losses,
    metrics,
    optimizers,
    schedules,
)
from gpunn.configurable import Configurable, is_built_in, known, make, resolve
from gpunn.errors import ArgumentError, ArgumentTypeError
from gpunn.schedules import as_schedule

FAMILIES = [base for base in Configurable.__subclasses__() if is_built_in(base)]
SOME_LAYERS = [layers.Dense(3), "dropout"]
PARAMETERS = {
    activations.LeakyReLU: {"slope": 0.25},
    callbacks.CSVLog: {"path": Path("log")},
    callbacks.EarlyStopping: {"monitor": "loss", "patience": 3},
    callbacks.JSONLinesLog: {"path": "log"},
    callbacks.ModelCheckpoint: {"path": Path("a/b"), "monitor": "loss", "resumable": True},
    callbacks.NormLog: {"path": "log"},
    callbacks.TensorBoard: {"path": "log"},
    **{
        cls: {"branches": [SOME_LAYERS, [], [*SOME_LAYERS, layers.Residual(["dropout"])]]}
        for cls in (layers.Add, layers.Concatenate, layers.Multiply)
    },
    layers.Residual: {"layers": SOME_LAYERS, "shortcut": ["layer_norm"]},
    layers.Chain: {"layers": SOME_LAYERS},
    layers.ColumnGroups: {"groups": [{"columns": [1, 3], "layers": SOME_LAYERS}]},
    layers.Conv1D: {"filters": 3, "kernel_size": 2},
    layers.Conv2D: {"filters": 3, "kernel_size": 2},
    layers.Dense: {"units": 3},
    layers.Embedding: {"sizes": [3, 4]},
    layers.Ensemble: {
        "groups": [{"columns": [0, 2], "layers": SOME_LAYERS}],
        "of": "softmax",
        "counts": [2],
    },
    layers.MemberDense: {"units": 3},
    layers.MeanOverMembers: {"of": "softmax"},
    layers.Members: {"count": 2},
    layers.OneHot: {"sizes": [3, 4], "on": [1.0, 1.0, 0.5, 0.5]},
    layers.PiecewiseLinearEmbedding: {"edges": [[0.0, 1.0, 3.0]]},
    layers.TargetScaling: {"clip": False, "log": True},
    **{
        cls: {
            "learning_rate": schedules.Cosine(0.2),
            "weight_decay": 0.1,
            "decay_all": True,
            "max_norm": 1,
        }
        for cls in known(optimizers.Optimizer).values()
    },
}


@pytest.mark.parametrize(
    ("family", "cls"),
    [(base, cls) for base in FAMILIES for cls in known(base).values() if is_built_in(cls)],
)
def test_config_describes_and_rebuilds(family, cls):
    made = make(cls, PARAMETERS.get(cls, {}), "it")
    described = made.config()
    assert described.items() >= {"name": cls.name}.items()
    assert json.loads(json.dumps(described)) == described
    again = resolve(family, described, "it")
    assert type(again) is cls
    assert again.config() == described


def plateau(**parameters):
    return schedules.ReduceOnPlateau(rate=1.0, **parameters)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: activations.LeakyReLU(1.0), "slope: expected a number >= 0 and < 1; got 1.0"),
        (lambda: activations.LeakyReLU(-0.1), "slope"),
        (lambda: activations.ELU(0), "alpha: expected a number > 0; got 0"),
        (lambda: activations.ELU(float("nan")), "alpha"),
        (lambda: initializers.Normal(-1), "standard_deviation: expected a number >= 0"),
        (lambda: initializers.Uniform(math.nan), "limit"),
        (lambda: layers.MeanOverMembers("softmx"), "of: there is no of 'softmx'"),
        (lambda: losses.MeanSquaredError("max"), "over_outputs: .* 'half_sum'; got 'max'"),
        (lambda: losses.Huber(0), "delta: expected a number > 0"),
        (lambda: losses.Quantile(1), "quantile: expected a number > 0 and < 1; got 1"),
        (lambda: losses.Quantiles([0.5, 1]), r"quantiles\[1\]: expected a number > 0 and < 1"),
        (lambda: losses.Quantiles([0.5, 0.1]), "quantiles: expected ascending numbers"),
        (lambda: losses.SoftmaxCrossEntropy(1.0), "label_smoothing: expected a number >= 0 and <"),
        (lambda: metrics.TopKAccuracy(0), "k: expected an integer"),
        (lambda: metrics.F1("makro"), "average: there is no 'makro'; did you mean 'macro'"),
        (lambda: metrics.Recall(zero_division=2), "zero_division: expected a number >= 0 and <= 1"),
        (lambda: metrics.AUC(1), "bins: expected an integer >= 2"),
        (lambda: optimizers.SGD(-1), "learning_rate: expected a number >= 0; got -1"),
        (lambda: optimizers.SGD(momentum=2), "momentum: expected a number >= 0 and <= 1; got 2"),
        (lambda: make(optimizers.SGD, {"beta1": 0.9}, "o"), r"o\.beta1: 'sgd' has no such"),
        (lambda: make(optimizers.SGD, {"momentun": 0.9}, "o"), r"did you mean 'momentum'\?"),
        (lambda: make(optimizers.SGD, {"nesterov": 1}, "o"), r"o\.nesterov: expected True or F"),
        (lambda: optimizers.Adam(max_norm=0), "max_norm: expected a number > 0"),
        (lambda: optimizers.Adam(weight_decay=-0.1), "weight_decay: expected a number >= 0"),
        (lambda: optimizers.Adam(beta2=1.0), "beta2"),
        (lambda: optimizers.Adam(epsilon=0), "epsilon: expected a number > 0"),
        (lambda: as_schedule(-1), "learning_rate: expected a number >= 0; got -1"),
        (lambda: as_schedule("cosin"), r"did you mean 'cosine'\?"),
        (lambda: schedules.Step(every=0), "every: expected a number > 0"),
        (lambda: schedules.OneCycle(rise=1), "rise: expected a number > 0 and < 1"),
        (lambda: schedules.WarmUp(-1), "schedule: expected a number >= 0"),
        (lambda: schedules.Cosine(rate=math.inf), "rate: expected a number >= 0; got inf"),
        (lambda: plateau(patience=0), "patience: expected an integer >= 1"),
        (lambda: plateau(mode="least"), "mode: expected 'auto', 'min' or 'max'"),
    ],
)
def test_impossible_parameters(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: activations.LeakyReLU("0.1"), r"slope: expected a number; got '0\.1'"),
        (lambda: initializers.Orthogonal("1"), "gain: expected a number"),
        (lambda: initializers.He(uniform="yes"), "uniform: expected True or"),
        (lambda: metrics.TopKAccuracy(2.5), "k: expected an integer"),
        (lambda: metrics.TopKAccuracy(True), "k: expected an integer"),
        (lambda: optimizers.SGD(decay_all="no"), "decay_all: expected True or False"),
        (lambda: optimizers.RMSprop(rho="0.9"), "rho: expected a number; got '0.9'"),
        (lambda: optimizers.Lion(beta1=True), "beta1: expected a number; got True"),
        (lambda: optimizers.Adam(None), "learning_rate: expected a number; got None"),
        (lambda: as_schedule(None), "learning_rate: expected a number"),
    ],
)
def test_parameters_of_another_type(make, message):
    with pytest.raises(ArgumentTypeError, match=message):
        make()
