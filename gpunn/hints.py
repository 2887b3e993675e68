"""Hints for users of other libraries: their names, and what to use here instead.

Error messages show them. They are not accepted as names: a configuration has one spelling.
"""

from __future__ import annotations

from collections.abc import Collection

from gpunn.errors import suggest

__all__ = ["advice"]

LIMITS = (
    "networks here are layers in sequence on vectors, without convolution, recurrence or attention "
    "(README, Limits)"
)
SOFTMAX = (
    "leave the last layer without an activation and use the loss 'softmax_cross_entropy', which "
    "applies softmax to its outputs"
)
AS_ACTIVATION = "give a dense layer this activation, or use the layer 'activation' with it"

ELSEWHERE = {
    "Loss": {
        "softmax_cross_entropy": "categoricalcrossentropy sparsecategoricalcrossentropy nll",
        "'softmax_cross_entropy' is for classes, 'binary_cross_entropy' for yes and no": (
            "crossentropy log"
        ),
        "binary_cross_entropy": "bce bcewithlogits",
        "mean_squared_error": "mse l2",
        "mean_absolute_error": "mae l1",
        "huber": "smoothl1",
        "quantile": "pinball",
    },
    "Metric": {
        "accuracy": "acc categoricalaccuracy sparsecategoricalaccuracy accuracyscore",
        "root_mean_squared_error": "mse meansquarederror rmse",
        "mean_absolute_error": "mae",
        "r2": "r2score",
        "use 'recall' with average = 'macro', which is the same": (
            "balancedaccuracy balancedaccuracyscore"
        ),
        "auc": "rocauc rocaucscore auroc",
        "precision": "precisionscore",
        "recall": "recallscore sensitivity tpr",
        "f1": "f1score",
        "log_loss": "binarycrossentropy crossentropy nll",
        "brier_score": "brier brierscoreloss",
        "the loss is reported anyway": "loss",
    },
    "Layer": {
        LIMITS: "conv conv1d conv2d conv3d maxpool2d maxpooling2d averagepooling2d lstm gru rnn "
        "simplernn attention multiheadattention transformer concatenate",
        "dense": "linear fc fullyconnected",
        "batch_norm": "batchnorm1d batchnormalization",
        "layer_norm": "layernormalization",
        "standardization": "normalization normalize",
        "flatten": "reshape",
        "the shape of a row is the input_shape of the network; in a configuration it comes from "
        "the data": "input inputlayer",
        SOFTMAX: "softmax",
        AS_ACTIVATION: "relu sigmoid tanh gelu silu leakyrelu",
    },
    "Activation": {
        SOFTMAX: "softmax logsoftmax",
        "identity": "linear none",
        "silu": "swish",
        "sigmoid": "logistic",
        "leaky_relu": "lrelu",
        "exact_gelu": "geluexact geluerf gelunone erfgelu",
        "gelu": "gelutanh gelunew geluapproximate geluapprox",
    },
    "Optimizer": {
        "use 'sgd' with the parameter momentum": "momentum",
        "use 'sgd' with the parameters momentum and nesterov": "nag",
        "the estimators of gpunn.sklearn have it, by solver='lbfgs'": "lbfgs",
    },
    "Initializer": {
        "glorot": "xavier xavieruniform glorotuniform",
        "use 'glorot' with uniform = false": "xaviernormal glorotnormal",
        "he": "kaiming kaimingnormal henormal",
        "use 'he' with uniform = true": "kaiminguniform heuniform",
        "lecun": "lecunnormal",
        "use 'lecun' with uniform = true": "lecununiform",
    },
    "Schedule": {"cosine": "cosineannealing cosineannealinglr", "step": "steplr"},
    "Callback": {
        "the schedule 'reduce_on_plateau' is the optimizer's learning_rate": "reducelronplateau",
        "a schedule is the optimizer's learning_rate": "lrscheduler learningratescheduler",
    },
    "parameter": {
        "learning_rate": "lr eta",
        "use beta1 and beta2": "betas",
        "epsilon": "eps",
        "weight_decay": "decay",
        "max_norm": "clipnorm clipvalue",
        "rate": "p",
        "slope": "negativeslope alpha",
        "'gelu' is always the tanh form; 'exact_gelu' uses erf": "approximate",
        "units": "outfeatures",
        "only the units are given; the number of inputs comes from the layer before": (
            "infeatures inputdim"
        ),
        "it is a parameter of the network, gpunn.Sequential": "inputshape",
        "the optimizer has l2_penalty and weight_decay": "kernelregularizer",
        "predictions are logits here, always": "fromlogits",
    },
}
"""By kind and name in gpunn, or a sentence if there is no such name, the names elsewhere: in lower
case, with letters and digits only."""

NAMES = {
    kind: {name: found for found, names in table.items() for name in names.split()}
    for kind, table in ELSEWHERE.items()
}
"""What is to be used instead, by kind and name elsewhere."""


def advice(kind: str, name: str, valid: Collection[str]) -> str:
    """Return a sentence that says what to use instead of an unknown name.

    `kind` is the name of the base class, such as "Loss", or "parameter".

    Examples
    --------
    >>> advice("Loss", "mse", ["huber", "mean_squared_error"])
    "use 'mean_squared_error' (valid: 'huber', 'mean_squared_error')"
    >>> advice("Loss", "hubber", ["huber", "mean_squared_error"])
    "did you mean 'huber'? (valid: 'huber', 'mean_squared_error')"
    """
    key = plain(name)
    table = NAMES.get(kind, {})
    found = table.get(key) or (table.get(key.removesuffix("loss")) if kind == "Loss" else None)
    known = {plain(other): other for other in valid}
    ours = known.get(key if found is None else plain(found))
    if ours is None and (found is None or found.isidentifier()):
        return suggest(name, valid)
    listed = ", ".join(map(repr, sorted(valid)))
    return f"{found if ours is None else f'use {ours!r}'} (valid: {listed})"


def plain(name: str) -> str:
    """Return a name in lower case, with letters and digits only."""
    return "".join(letter for letter in name.lower() if letter.isalnum())
