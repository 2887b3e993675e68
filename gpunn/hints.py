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

NAMES: dict[str, dict[str, str]] = {
    "Loss": {
        "categoricalcrossentropy": "softmax_cross_entropy",
        "sparsecategoricalcrossentropy": "softmax_cross_entropy",
        "crossentropy": "'softmax_cross_entropy' is for classes, 'binary_cross_entropy' for yes "
        "and no",
        "nll": "softmax_cross_entropy",
        "log": "'softmax_cross_entropy' is for classes, 'binary_cross_entropy' for yes and no",
        "bce": "binary_cross_entropy",
        "bcewithlogits": "binary_cross_entropy",
        "mse": "mean_squared_error",
        "l2": "mean_squared_error",
        "mae": "mean_absolute_error",
        "l1": "mean_absolute_error",
        "smoothl1": "huber",
        "pinball": "quantile",
    },
    "Metric": {
        "acc": "accuracy",
        "categoricalaccuracy": "accuracy",
        "sparsecategoricalaccuracy": "accuracy",
        "mse": "root_mean_squared_error",
        "meansquarederror": "root_mean_squared_error",
        "rmse": "root_mean_squared_error",
        "mae": "mean_absolute_error",
        "r2score": "r2",
        "accuracyscore": "accuracy",
        "balancedaccuracy": "use 'recall' with average = 'macro', which is the same",
        "balancedaccuracyscore": "use 'recall' with average = 'macro', which is the same",
        **dict.fromkeys(("rocauc", "rocaucscore", "auroc"), "auc"),
        "precisionscore": "precision",
        **dict.fromkeys(("recallscore", "sensitivity", "tpr"), "recall"),
        "f1score": "f1",
        **dict.fromkeys(("binarycrossentropy", "crossentropy", "nll"), "log_loss"),
        **dict.fromkeys(("brier", "brierscoreloss"), "brier_score"),
        "loss": "the loss is reported anyway",
    },
    "Layer": {
        **dict.fromkeys(
            ("conv", "conv1d", "conv2d", "conv3d", "maxpool2d", "maxpooling2d", "averagepooling2d"),
            LIMITS,
        ),
        **dict.fromkeys(("lstm", "gru", "rnn", "simplernn"), LIMITS),
        **dict.fromkeys(("attention", "multiheadattention", "transformer", "concatenate"), LIMITS),
        "linear": "dense",
        "fc": "dense",
        "fullyconnected": "dense",
        "batchnorm1d": "batch_norm",
        "batchnormalization": "batch_norm",
        "layernormalization": "layer_norm",
        "normalization": "standardization",
        "normalize": "standardization",
        "reshape": "flatten",
        "input": "the shape of a row is the input_shape of the network; in a configuration it "
        "comes from the data",
        "inputlayer": "the shape of a row is the input_shape of the network; in a configuration "
        "it comes from the data",
        "softmax": SOFTMAX,
        **dict.fromkeys(("relu", "sigmoid", "tanh", "gelu", "silu", "leakyrelu"), AS_ACTIVATION),
    },
    "Activation": {
        "softmax": SOFTMAX,
        "logsoftmax": SOFTMAX,
        "linear": "identity",
        "none": "identity",
        "swish": "silu",
        "logistic": "sigmoid",
        "lrelu": "leaky_relu",
        **dict.fromkeys(("geluexact", "geluerf", "gelunone", "erfgelu"), "exact_gelu"),
        **dict.fromkeys(("gelutanh", "gelunew", "geluapproximate", "geluapprox"), "gelu"),
    },
    "Optimizer": {
        "momentum": "use 'sgd' with the parameter momentum",
        "nag": "use 'sgd' with the parameters momentum and nesterov",
        "lbfgs": "the estimators of gpunn.sklearn have it, by solver='lbfgs'",
    },
    "Initializer": {
        "xavier": "glorot",
        "xavieruniform": "glorot",
        "xaviernormal": "use 'glorot' with uniform = false",
        "glorotuniform": "glorot",
        "glorotnormal": "use 'glorot' with uniform = false",
        "kaiming": "he",
        "kaimingnormal": "he",
        "kaiminguniform": "use 'he' with uniform = true",
        "henormal": "he",
        "heuniform": "use 'he' with uniform = true",
        "lecunnormal": "lecun",
        "lecununiform": "use 'lecun' with uniform = true",
    },
    "Schedule": {
        "cosineannealing": "cosine",
        "cosineannealinglr": "cosine",
        "steplr": "step",
    },
    "Callback": {
        "reducelronplateau": "the schedule 'reduce_on_plateau' is the optimizer's learning_rate",
        "lrscheduler": "a schedule is the optimizer's learning_rate",
        "learningratescheduler": "a schedule is the optimizer's learning_rate",
    },
    "parameter": {
        "lr": "learning_rate",
        "eta": "learning_rate",
        "betas": "use beta1 and beta2",
        "eps": "epsilon",
        "decay": "weight_decay",
        "clipnorm": "max_norm",
        "clipvalue": "max_norm",
        "p": "rate",
        "negativeslope": "slope",
        "alpha": "slope",
        "approximate": "'gelu' is always the tanh form; 'exact_gelu' uses erf",
        "outfeatures": "units",
        "infeatures": "only the units are given; the number of inputs comes from the layer before",
        "inputdim": "only the units are given; the number of inputs comes from the layer before",
        "inputshape": "it is a parameter of the network, gpunn.Sequential",
        "kernelregularizer": "the optimizer has l2_penalty and weight_decay",
        "fromlogits": "predictions are logits here, always",
    },
}
"""By kind, then by name in lower case, with letters and digits only.

The value is the name in gpunn, or a sentence if there is no such name.
"""


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
