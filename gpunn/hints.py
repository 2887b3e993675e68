"""Hints in error messages, which give gpunn's name for a name from another library."""

from __future__ import annotations

from collections.abc import Collection

from gpunn.errors import suggest

LIMITS = "gpunn has no recurrence and no attention (see Limits in the README)"
SOFTMAX = (
    "leave the last layer without an activation and use the loss 'softmax_cross_entropy', which "
    "applies softmax to its outputs"
)
AS_ACTIVATION = "set the activation of a dense layer, or use the layer 'activation'"

ELSEWHERE = {
    "Backend": {"numpy": "cpu", "cupy": "gpu cuda"},
    "Loss": {
        "softmax_cross_entropy": "categoricalcrossentropy sparsecategoricalcrossentropy nll",
        "use 'softmax_cross_entropy' for classes, or 'binary_cross_entropy' for yes and no": (
            "crossentropy log"
        ),
        "binary_cross_entropy": "bce bcewithlogits",
        "mean_squared_error": "mse l2",
        "mean_absolute_error": "mae l1",
        "huber": "smoothl1",
        "quantile": "pinball",
        "binary_focal": "binaryfocalcrossentropy sigmoidfocalloss",
        "softmax_focal": "categoricalfocalcrossentropy",
        "use 'softmax_focal' for classes, or 'binary_focal' for yes and no": "focal focalloss",
        "kl_divergence": "kldiv kldivloss kullbackleibler",
        "gaussian_nll": "gaussian gaussiannllloss",
    },
    "Metric": {
        "accuracy": "acc categoricalaccuracy sparsecategoricalaccuracy accuracyscore",
        "root_mean_squared_error": "mse meansquarederror rmse",
        "mean_absolute_error": "mae",
        "r2": "r2score",
        "use 'recall' with average = 'macro'": ("balancedaccuracy balancedaccuracyscore"),
        "auc": "rocauc rocaucscore auroc",
        "precision": "precisionscore",
        "recall": "recallscore sensitivity tpr",
        "f1": "f1score",
        "log_loss": "binarycrossentropy crossentropy nll",
        "brier_score": "brier brierscoreloss",
        "remove 'loss', which is always reported": "loss",
    },
    "Layer": {
        "gpunn has no layers for volumes": "conv3d maxpool3d maxpooling3d averagepooling3d",
        LIMITS: "lstm gru rnn simplernn attention multiheadattention transformer",
        "use 'conv_2d' for images, or 'conv_1d' for signals": "conv convolution",
        "use 'conv_2d' with one group per channel": "depthwiseconv2d depthwiseconv",
        "use 'conv_2d' with one group per channel, then 'conv_2d' with kernel_size = 1": (
            "separableconv2d"
        ),
        "use 'max_pool_2d' with the size of the image, then 'flatten'": (
            "globalmaxpool2d globalmaxpooling2d adaptivemaxpool2d"
        ),
        "set the parameter augment of Trainer.fit": (
            "randomflip randomrotation randomtranslation randomzoom randomcrop"
        ),
        "use 'up_sampling_2d' before 'conv_2d'": "conv2dtranspose convtranspose2d",
        "use 'conv_2d' with padding = 'same'": "zeropadding2d zeropad2d",
        "max_pool_2d": "maxpool maxpooling maxpooling2d",
        "average_pool_2d": "avgpool2d averagepooling2d",
        "global_average_pool_2d": "globalaveragepooling2d adaptiveavgpool2d",
        "dense": "linear fc fullyconnected",
        "batch_norm": "batchnorm1d batchnormalization",
        "layer_norm": "layernormalization",
        "standardization": "normalization normalize",
        "flatten": "reshape",
        "concatenate": "concat cat concatenation densenet",
        "residual": "skip skipconnection residualblock resnet",
        "remove the layer; in Python, set the input_shape of the network; in a configuration, the "
        "shape comes from the data": "input inputlayer",
        SOFTMAX: "softmax",
        AS_ACTIVATION: "relu sigmoid tanh gelu silu leakyrelu",
    },
    "Activation": {
        SOFTMAX: "softmax logsoftmax",
        "identity": "linear none",
        "silu": "swish",
        "sigmoid": "logistic",
        "leaky_relu": "lrelu",
        "hard_swish": "hardsilu",
        "exact_gelu": "geluexact geluerf gelunone erfgelu",
        "gelu": "gelutanh gelunew geluapproximate geluapprox",
    },
    "Optimizer": {
        "use 'sgd' with the parameter momentum": "momentum",
        "use 'sgd' with the parameters momentum and nesterov": "nag",
        "use an estimator of gpunn.sklearn with solver='lbfgs'": "lbfgs",
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
        "set the optimizer's learning_rate to the schedule 'reduce_on_plateau'": (
            "reducelronplateau"
        ),
        "set the optimizer's learning_rate to a schedule": "lrscheduler learningratescheduler",
    },
    "Augmentation": {
        "flip": "randomflip randomhorizontalflip",
        "shift": "randomtranslation translate",
        "crop": "randomcrop randomresizedcrop randomzoom zoom",
        "rotate": "randomrotation rotation",
        "erase": "cutout randomerasing",
    },
    "parameter": {
        "learning_rate": "lr eta",
        "use beta1 and beta2": "betas",
        "epsilon": "eps",
        "weight_decay": "decay",
        "max_norm": "clipnorm clipvalue",
        "rate": "p",
        "slope": "negativeslope alpha",
        "use 'gelu' for the tanh approximation, 'exact_gelu' for erf": "approximate",
        "units": "outfeatures",
        "set only the units; the number of inputs comes from the previous layer": (
            "infeatures inputdim"
        ),
        "remove the parameter; channels are last": "dataformat",
        "set input_shape of gpunn.Sequential": "inputshape",
        "set l2_penalty or weight_decay of the optimizer": "kernelregularizer",
        "remove the parameter; predictions are always logits": "fromlogits",
    },
}
"""For each kind, maps hints to names in other libraries (lower case, letters and digits only). A
hint is gpunn's name for the same thing, or a sentence."""

NAMES = {
    kind: {name: hint for hint, names in table.items() for name in names.split()}
    for kind, table in ELSEWHERE.items()
}


def advice(kind: str, name: str, valid: Collection[str]) -> str:
    """Return a hint on what to use instead of an unknown name.

    `kind` is the name of the base class, such as "Loss", or "parameter".

    >>> advice("Loss", "mse", ["huber", "mean_squared_error"])
    "use 'mean_squared_error' (valid: 'huber', 'mean_squared_error')"
    >>> advice("Loss", "hubber", ["huber", "mean_squared_error"])
    "did you mean 'huber'? (valid: 'huber', 'mean_squared_error')"
    """
    key = plain(name)
    table = NAMES.get(kind, {})
    hint = table.get(key) or (table.get(key.removesuffix("loss")) if kind == "Loss" else None)
    known = {plain(other): other for other in valid}
    match = known.get(key if hint is None else plain(hint))
    if match is None and (hint is None or hint.isidentifier()):
        return suggest(name, valid)
    listed = ", ".join(map(repr, sorted(valid)))
    return f"{hint if match is None else f'use {match!r}'} (valid: {listed})"


def plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
