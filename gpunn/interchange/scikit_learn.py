"""Import from, and export to, scikit-learn's `MLPClassifier` and `MLPRegressor`.

As in `gpunn.layers.Dense`, matrices have the shape (inputs, units). scikit-learn's output
activation (softmax or logistic) is not part of a gpunn network, which outputs logits.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from gpunn import layers
from gpunn.activations import Activation, Identity, ReLU, Sigmoid, Tanh
from gpunn.backends import Backend
from gpunn.errors import ArgumentError, ArgumentTypeError, ExportError, GpunnWarning, suggest
from gpunn.interchange.affine import Affine, affine_of, layers_with_arrays
from gpunn.network import Sequential
from gpunn.optional import require

NAMES: dict[type[Activation], str] = {
    Identity: "identity",
    ReLU: "relu",
    Sigmoid: "logistic",
    Tanh: "tanh",
}

OUTPUTS = {"softmax": "softmax", "logistic": "sigmoid", "identity": "identity"}

TASKS = ("classes", "labels", "numbers")


def from_sklearn(
    estimator: Any, backend: str | Backend | None = None, dtype: str | None = None
) -> Sequential:
    """Return a network with the weights of a fitted `MLPClassifier` or `MLPRegressor`.

    The network's outputs are the estimator's outputs before its output activation:

    * three or more classes: logits, whose softmax is `predict_proba`;
    * two classes: one logit, whose sigmoid is the probability of the second class;
    * multilabel targets: one logit for each label;
    * an `MLPRegressor`: the result of `predict`.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        A fitted estimator. Only its attributes `activation`, `coefs_`, `intercepts_` and
        `classes_` are read, so scikit-learn need not be installed.
    backend : str, Backend or None
        The backend of the network; see `gpunn.get_backend`.
    dtype : {"float32", "float64"} or None
        Dtype of the network; by default, the dtype of the weights.

    Returns
    -------
    Sequential
        The network has the estimator's `classes` and `feature_names`. `predict_proba` works for
        classifiers.

    Raises
    ------
    ArgumentTypeError
        If `estimator` is another kind of object.
    ArgumentError
        If the estimator is not fitted, or its activation is unknown.

    See Also
    --------
    to_sklearn : Converts a network to a scikit-learn estimator.

    Examples
    --------
    >>> from sklearn.neural_network import MLPRegressor
    >>> estimator = MLPRegressor(hidden_layer_sizes=(4,), solver="lbfgs", random_state=0)
    >>> _ = estimator.fit([[0.0], [1.0], [2.0]], [0.0, 1.0, 2.0])
    >>> gpunn.interchange.from_sklearn(estimator, backend="numpy")
    <Sequential (1,) -> (4,) -> (1,) on numpy>
    """
    activation = getattr(estimator, "activation", None)
    if not isinstance(activation, str):
        raise ArgumentTypeError(
            f"estimator: expected an MLPClassifier or MLPRegressor; got {type(estimator).__name__}"
        )
    if not hasattr(estimator, "coefs_"):
        raise ArgumentError("estimator: is not fitted yet; call its method fit")
    known = {name: cls for cls, name in NAMES.items()}
    if activation not in known:
        raise ArgumentError(
            f"estimator.activation: there is no activation {activation!r}; "
            f"{suggest(activation, known)}"
        )
    matrices, vectors = estimator.coefs_, estimator.intercepts_
    *hidden, last = [W.shape[1] for W in matrices]
    stack = [layers.Dense(units, known[activation]()) for units in hidden]
    values: dict[str, np.ndarray] = {}
    for number, (W, b) in enumerate(zip(matrices, vectors, strict=True), start=1):
        values |= {f"dense_{number}.weights": W, f"dense_{number}.biases": b}
    model = Sequential(
        [*stack, layers.Dense(last)],
        (int(matrices[0].shape[0]),),
        backend,
        dtype=str(matrices[0].dtype) if dtype is None else dtype,
        values=values,
    )
    classes = getattr(estimator, "classes_", None)
    multilabel = last > 1 and getattr(estimator, "out_activation_", "") == "logistic"
    if classes is not None and not multilabel:
        model.classes = [str(name) for name in classes.tolist()]
    if (names := getattr(estimator, "feature_names_in_", None)) is not None:
        model.feature_names = [str(name) for name in names]
    model.output_activation = OUTPUTS.get(getattr(estimator, "out_activation_", ""))
    return model


def to_sklearn(
    model: Sequential, task: str, classes: Sequence[Any] | np.ndarray | None = None
) -> Any:
    """Return a fitted scikit-learn estimator with a network's weights.

    Layers that scale and shift each feature (`Rescaling`, `Standardization`, `BatchNorm`) become
    part of the adjacent dense layer. Dropout is left out.

    Parameters
    ----------
    model : Sequential
        A network of dense layers. All layers have the same activation (identity, relu, sigmoid or
        tanh), except the last layer, which has none.
    task : {"classes", "labels", "numbers"}
        "classes" returns an `MLPClassifier` with one class per row (two classes for one output).
        "labels" returns a multilabel `MLPClassifier`. "numbers" returns an `MLPRegressor`.
    classes : sequence or None
        The classes in the order of the outputs. scikit-learn requires ascending order. The default
        is `model.classes`, or 0, 1, 2, ... if the network has no classes.

    Returns
    -------
    MLPClassifier or MLPRegressor
        The estimator can predict, but has no results of training, such as `loss_curve_`. The
        estimator's `fit` starts from scratch.

    Raises
    ------
    ExportError
        If a layer or an activation has no counterpart in scikit-learn.
    ArgumentError
        If `task` or `classes` does not fit the network.
    MissingPackageError
        If scikit-learn is not installed.

    Warns
    -----
    GpunnWarning
        If the network has a threshold, which the estimator does not store.

    See Also
    --------
    from_sklearn : Converts a scikit-learn estimator to a network.

    Examples
    --------
    >>> layers = [gpunn.layers.Dense(4, "relu"), gpunn.layers.Dense(2)]
    >>> model = gpunn.Sequential(layers, 3, backend="numpy")
    >>> estimator = gpunn.interchange.to_sklearn(model, "classes", ["no", "yes"])
    >>> estimator.predict_proba([[1.0, 2.0, 3.0]]).shape
    (1, 2)
    """
    if task not in TASKS:
        raise ArgumentError(f"task: there is no task {task!r}; {suggest(str(task), TASKS)}")
    blocks = dense_blocks(model)
    outputs = blocks[-1].b.size
    names = None if task == "numbers" else class_names(model, task, outputs, classes)
    if model.threshold is not None:
        warnings.warn(
            "to_sklearn: the estimator uses the threshold 0.5; for the network's threshold, wrap "
            "the estimator in sklearn.model_selection.FixedThresholdClassifier("
            f"threshold={model.threshold!r})",
            GpunnWarning,
            stacklevel=2,
        )
    purpose, install = "exporting to scikit-learn", "pip install scikit-learn"
    estimators = require("sklearn.neural_network", purpose, install)
    preprocessing = require("sklearn.preprocessing", purpose, install)
    kind = estimators.MLPRegressor if task == "numbers" else estimators.MLPClassifier
    estimator = kind(
        hidden_layer_sizes=tuple(block.b.size for block in blocks[:-1]),
        activation=blocks[0].activation if len(blocks) > 1 else "identity",
    )
    estimator.coefs_ = [block.W.astype(model.dtype) for block in blocks]
    estimator.intercepts_ = [block.b.astype(model.dtype) for block in blocks]
    estimator.n_features_in_ = blocks[0].W.shape[0]
    if model.feature_names is not None:
        estimator.feature_names_in_ = np.array(model.feature_names, dtype=object)
    estimator.n_layers_, estimator.n_outputs_ = len(blocks) + 1, outputs
    estimator.n_iter_ = estimator.t_ = 0
    logits = "softmax" if task == "classes" and outputs > 1 else "logistic"
    estimator.out_activation_ = "identity" if task == "numbers" else logits
    if names is not None:
        targets = np.eye(outputs, dtype=np.int64) if task == "labels" else names
        binarizer = preprocessing.LabelBinarizer().fit(targets)
        estimator._label_binarizer, estimator.classes_ = binarizer, binarizer.classes_
    return estimator


def class_names(
    model: Sequential, task: str, outputs: int, classes: Sequence[Any] | np.ndarray | None
) -> np.ndarray:
    count = outputs if task == "labels" else max(outputs, 2)
    if classes is None:
        classes = (None if task == "labels" else model.classes) or range(count)
    names = np.asarray(classes)
    if names.shape != (count,):
        raise ArgumentError(
            f"classes: expected a list of length {count} for a network with {outputs} "
            f"output{'s' if outputs > 1 else ''}; got {names.tolist()}"
        )
    for before, after in pairwise(names.tolist()):
        if not before < after:
            raise ArgumentError(
                f"classes: scikit-learn requires ascending order; got {after!r} after {before!r}"
            )
    return names


@dataclass
class Block:
    W: np.ndarray
    b: np.ndarray
    activation: str


def dense_blocks(model: Sequential) -> list[Block]:
    """Return a network as dense blocks; layers that only scale and shift are merged into them."""
    blocks: list[Block] = []
    pending = Affine()  # to be folded into the next dense layer
    for label, layer, arrays in layers_with_arrays(model):
        affine = affine_of(layer, arrays)
        inside = bool(blocks) and blocks[-1].activation == "identity"
        if affine is not None and inside:
            blocks[-1].W, blocks[-1].b = affine.after(blocks[-1].W, blocks[-1].b)
        elif affine is not None:
            pending = pending.then(affine)
        elif type(layer) is layers.Dense:
            b = arrays.get("biases", np.zeros(layer.units))
            W, b = pending.before(arrays["weights"], b)
            blocks.append(Block(W, b, activation_name(label, layer.f)))
            pending = Affine()
        elif type(layer) is layers.Activation and inside:
            blocks[-1].activation = activation_name(label, layer.f)
        elif type(layer) not in (layers.Dropout, layers.Flatten):
            raise ExportError(
                f"layer {label!r}: scikit-learn's networks can't have {layer!r} at this position"
            )
    if not blocks:
        raise ExportError(
            "model: scikit-learn's networks need a dense layer; this network has none"
        )
    *hidden, last = [block.activation for block in blocks]
    if not pending.is_identity or last != "identity":
        raise ExportError(
            "model: scikit-learn's networks end in a dense layer without an activation; this "
            f"network ends in {model.layers[-1]!r}"
        )
    if len(set(hidden)) > 1:
        raise ExportError(
            "model: scikit-learn's networks have the same activation after every hidden layer; "
            f"this network has {', '.join(hidden)}"
        )
    return blocks


def activation_name(label: str, f: Activation) -> str:
    if type(f) not in NAMES:
        raise ExportError(
            f"layer {label!r}: scikit-learn's networks have no activation {type(f).__name__}; "
            f"they have {', '.join(NAMES.values())}"
        )
    return NAMES[type(f)]
