"""Names of other libraries lead to the right ones, or to what gpunn does not have."""

import pytest

import gpunn
from gpunn import augmentations, callbacks, initializers, layers, losses, metrics, optimizers  # noqa: F401
from gpunn.configurable import Configurable, is_built_in, known, resolve
from gpunn.errors import ArgumentError, ArgumentTypeError
from gpunn.hints import NAMES, plain

BASES = {base.__name__: base for base in Configurable.__subclasses__() if is_built_in(base)}


@pytest.mark.parametrize(
    ("kind", "name", "advised"),
    [
        ("Loss", "categorical_crossentropy", "use 'softmax_cross_entropy'"),
        ("Loss", "sparse_categorical_crossentropy", "use 'softmax_cross_entropy'"),
        ("Loss", "cross_entropy", "use 'softmax_cross_entropy' for classes"),
        ("Loss", "CrossEntropyLoss", "use 'softmax_cross_entropy' for classes"),
        ("Loss", "mse", "use 'mean_squared_error'"),
        ("Loss", "MSELoss", "use 'mean_squared_error'"),
        ("Loss", "mae", "use 'mean_absolute_error'"),
        ("Loss", "bce", "use 'binary_cross_entropy'"),
        ("Metric", "acc", "use 'accuracy'"),
        ("Metric", "roc_auc", "use 'auc'"),
        ("Metric", "roc_auc_score", "use 'auc'"),
        ("Metric", "AUC", "use 'auc'"),
        ("Metric", "F1Score", "use 'f1'"),
        ("Metric", "f1_score", "use 'f1'"),
        ("Metric", "balanced_accuracy", "use 'recall' with average = 'macro'"),
        ("Metric", "brier", "use 'brier_score'"),
        ("Layer", "Conv2D", "use 'conv_2d'"),
        ("Layer", "DepthwiseConv2D", "use 'conv_2d' with one group per channel"),
        ("Layer", "MaxPooling2D", "use 'max_pool_2d'"),
        ("Layer", "LSTM", "no recurrence and no attention (see"),
        ("Augmentation", "RandomRotation", "use 'rotate'"),
        ("Layer", "embeddings", "did you mean 'embedding'?"),
        ("Layer", "relu", "use the layer 'activation'"),
        ("Activation", "softmax", "use the loss 'softmax_cross_entropy', which applies softmax"),
        ("Activation", "swish", "use 'silu'"),
        ("Activation", "gelu_erf", "use 'exact_gelu'"),
        ("Activation", "gelu_tanh", "use 'gelu'"),
        ("Optimizer", "SGD", "use 'sgd'"),
        ("Optimizer", "adamm", "did you mean 'adam'?"),
    ],
)
def test_names(kind, name, advised):
    with pytest.raises(ArgumentError) as caught:
        resolve(BASES[kind], name, "x")
    message = str(caught.value)
    assert message.startswith(f"x: there is no {kind.lower()} {name!r}; ")
    assert advised in message
    assert "valid: " in message


@pytest.mark.parametrize(
    ("module", "name", "advised"),
    [
        (gpunn.layers, "MultiHeadAttention", "no recurrence and no attention"),
        (gpunn.layers, "Conv3D", "has no layers for volumes"),
        (gpunn.layers, "GlobalMaxPool2D", "use 'max_pool_2d' with the size of the image, then"),
        (gpunn.layers, "RandomFlip", "set the parameter augment of Trainer.fit"),
        (gpunn.layers, "Linear", "use 'Dense'"),
        (gpunn.layers, "BatchNormalization", "use 'BatchNorm'"),
        (gpunn.losses, "MSELoss", "use 'MeanSquaredError'"),
        (gpunn.losses, "CategoricalCrossentropy", "use 'SoftmaxCrossEntropy'"),
        (gpunn.activations, "Softmax", "use the loss 'softmax_cross_entropy'"),
        (gpunn.optimizers, "Adm", "did you mean 'Adam'?"),
        (gpunn.metrics, "Acc", "use 'Accuracy'"),
        (gpunn.initializers, "HeNormal", "use 'He'"),
        (gpunn.schedules, "CosineAnnealingLR", "use 'Cosine'"),
    ],
)
def test_attributes(module, name, advised):
    assert not hasattr(module, name)
    with pytest.raises(AttributeError) as caught:
        getattr(module, name)
    message = str(caught.value)
    assert message.startswith(f"module {module.__name__!r} has no attribute {name!r}; ")
    assert advised in message


def test_private_attributes_are_not_guessed_at():
    with pytest.raises(AttributeError, match=r"has no attribute '_Dens'$"):
        gpunn.layers._Dens  # noqa: B018


@pytest.mark.parametrize(
    ("make", "parameters", "advised"),
    [
        (gpunn.optimizers.Adam, {"lr": 0.1}, "lr: Adam has no such parameter; use 'learning_rate'"),
        (gpunn.optimizers.Adam, {"betas": (0.9, 0.99)}, "use beta1 and beta2"),
        (gpunn.activations.GELU, {"approximate": "none"}, "'exact_gelu' for erf"),
        (gpunn.layers.Dropout, {"p": 0.5}, "use 'rate'"),
        (gpunn.layers.Dense, {"units": 3, "input_shape": (4,)}, "input_shape of gpunn.Seq"),
        (gpunn.layers.Dense, {"units": 3, "activaton": "relu"}, "did you mean 'activation'?"),
        (gpunn.losses.SoftmaxCrossEntropy, {"from_logits": True}, "predictions are always logits"),
    ],
)
def test_parameters(make, parameters, advised):
    with pytest.raises(ArgumentTypeError) as caught:
        make(**parameters)
    assert advised in str(caught.value)
    with pytest.raises(ArgumentError) as caught:
        resolve(Configurable, {"name": make.name, **parameters}, "x")
    assert advised.rpartition("; ")[2] in str(caught.value)


def test_classes_of_ones_own_take_what_they_take():
    class Mine(gpunn.layers.Layer):
        def __init__(self, lr, **more):
            self.lr, self.more = lr, more

    assert Mine(lr=3, p=4).more == {"p": 4}

    class Other(gpunn.layers.Layer):
        def __init__(self, lr):
            self.lr = lr

    assert Other(lr=3).lr == 3
    with pytest.raises(ArgumentTypeError, match=r"eps: Other has no such parameter; valid: 'lr'"):
        Other(lr=3, eps=1)


def test_the_table_leads_to_what_there_is():
    assert set(NAMES) == {*BASES, "Backend", "parameter"}
    for kind, base in BASES.items():
        names = known(base)
        for foreign, ours in NAMES[kind].items():
            assert foreign == plain(foreign)
            assert foreign not in names
            assert " " in ours or ours in names
    parameters = {
        parameter
        for base in BASES.values()
        for cls in known(base).values()
        for parameter in getattr(cls, "__dataclass_fields__", ())
    }
    for foreign, ours in NAMES["parameter"].items():
        assert foreign == plain(foreign)
        assert " " in ours or ours in parameters
