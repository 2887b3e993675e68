"""`TabMClassifier` and `TabMRegressor`."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from gpunn.backends import get_backend
from gpunn.sklearn.parameters import (
    ACTIVATION,
    FLAG,
    NONE,
    OF_CLASSIFIERS,
    SIZES,
    among,
    defaults_of,
    described_as,
    estimator,
    hidden_sizes,
    integer,
    parameter,
    real,
)
from gpunn.sklearn.realmlp import RealMLPClassifier, RealMLPRegressor
from gpunn.sklearn.tabular import TabularClassifierBase, TabularEstimator, TabularRegressorBase
from gpunn.tables import Schema
from gpunn.tabular import NUMBER_EMBEDDINGS, Recipe, tabm
from gpunn.tabular.tabm import KINDS, PRESETS

AUTO = among("auto")

DEFAULTS = defaults_of(tabm)


@dataclass(eq=False, repr=False)
class TabMParameters:
    kind: str = parameter(DEFAULTS["kind"], among(*KINDS))
    _: KW_ONLY
    preset: str = parameter("auto", among("auto", *PRESETS))
    members: Any = parameter("auto", AUTO, integer(1))
    hidden_layer_sizes: Any = parameter("auto", AUTO, *SIZES)
    activation: Any = parameter(DEFAULTS["activation"], *ACTIVATION)
    number_embedding: str = parameter(DEFAULTS["number_embedding"], among(*NUMBER_EMBEDDINGS))
    embedding_size: int = parameter(DEFAULTS["embedding_size"], integer(2))
    bins: Any = parameter(DEFAULTS["bins"], AUTO, integer(1))
    max_one_hot: int = parameter(DEFAULTS["max_one_hot"], integer(0))
    learning_rate_init: float = parameter(DEFAULTS["learning_rate"], real(0, ends="()"))
    dropout: float = parameter(DEFAULTS["dropout"], real(0, 1))
    weight_decay: float = parameter(DEFAULTS["weight_decay"], real(0))
    max_norm: float | None = parameter(DEFAULTS["max_norm"], NONE, real(0, ends="()"))
    epochs: int = parameter(DEFAULTS["epochs"], integer(1))
    patience: Any = parameter(DEFAULTS["patience"], AUTO, integer(1))
    batch_size: Any = parameter(DEFAULTS["batch_size"], AUTO, integer(1))
    shuffle_members: bool = parameter(DEFAULTS["shuffle_members"], FLAG)


class TabMEstimator(TabularEstimator, TabMParameters):
    _scaling = "quantile"

    def _recipe(self, schema: Schema, X: np.ndarray) -> Recipe:
        settings = self._settings(TabMParameters)
        on_cpu = get_backend(self.backend).name == "numpy"
        members, sizes = PRESETS[settings.pop("preset") or ("cpu" if on_cpu else "paper")]
        if self.members != "auto":
            members = int(self.members)
        if not isinstance(self.hidden_layer_sizes, str):
            sizes = tuple(hidden_sizes(self.hidden_layer_sizes))
        settings |= {"members": members, "hidden_layer_sizes": sizes}
        settings["shuffle_members"] = bool(self.shuffle_members)
        settings["label_smoothing"] = getattr(self, "label_smoothing", 0.0)
        return tabm(schema, X, self._outputs, self._task, **settings)


@described_as(RealMLPClassifier)
@estimator
@dataclass(eq=False, repr=False, kw_only=True)
class TabMClassifier(TabularClassifierBase, TabMEstimator):
    """TabM classifier for tables with text, dates and missing values: an ensemble in one network.

    TabM is an ensemble whose members share most parameters and are trained together (Gorishniy et
    al. 2025, "TabM: Advancing Tabular Deep Learning with Parameter-Efficient Ensembling"). The
    prediction of TabM is the mean of the members' probabilities; see `gpunn.tabular.tabm`.

    Parameters
    ----------
    kind : {"mini", "full", "packed"}, default="mini"
        The parameters that members do not share. "mini": factors of the inputs, and the last layer.
        "full": factors and biases in all layers. "packed": all parameters.
    preset : {"auto", "cpu", "paper"}, default="auto"
        Preset that sets `members` and `hidden_layer_sizes` if these are "auto". With "paper", for
        GPUs: 32 members and layers of 512 units. With "cpu": 8 members and three layers of 192
        units. By default, the backend determines the preset.
    members : int or "auto", default="auto"
        Number of members; see `preset`.
    hidden_layer_sizes : array-like of int or "auto", default="auto"
        Number of units of each hidden layer; see `preset`.
    activation : str or Activation, default="relu"
        Activation of the hidden layers.
    number_embedding : {"piecewise", "pbld", "pl", "plr", "none"}, default="piecewise"
        Embedding of numbers; see `gpunn.layers.PiecewiseLinearEmbedding`.
    embedding_size : int, default=16
        Length of the embedding vector of a number.
    bins : int or "auto", default="auto"
        Maximum number of bins for a numeric column. "auto" means one bin per 160 training rows, but
        at least 48 and at most 128 bins. In a column of up to 1,024 numbers that occur about
        equally often, such as days, each number is an edge.
    max_one_hot : int, default=64
        Maximum number of categories for one-hot encoding; columns with more categories get an
        embedding.
    learning_rate_init : float, default=0.002
        Constant learning rate of AdamW.
    dropout : float, default=0.1
        Dropout rate, in [0, 1).
    weight_decay : float, default=0.0003
        Weight decay; see `gpunn.optimizers.Optimizer`.
    max_norm : float or None, default=1.0
        Maximum global norm, to which gradients are clipped.
    epochs : int, default=1000
        Maximum number of epochs.
    patience : int or "auto", default="auto"
        Number of epochs without improvement after which training ends. "auto" is 32 epochs, or 24
        with the log loss. If these epochs have fewer than 256 updates, "auto" is the smallest
        number of epochs with at least 256 updates.
    batch_size : int or "auto", default="auto"
        Rows per update. "auto" is 256, or 1,024 with at least 100,000 training rows.
    shuffle_members : bool, default=False
        Whether each member visits the rows in a different order, as in the paper. With different
        orders, predictions are slightly better on some tables, but training is slower.
    label_smoothing : float, default=0.0
        Fraction of each target to spread evenly over all classes.

    See Also
    --------
    RealMLPClassifier : A single network, which takes less time to train.

    Examples
    --------
    >>> from gpunn.sklearn import TabMClassifier
    >>> X = {"size": [1.0, 2.0, None, 4.0] * 50, "color": ["red", "blue", "red", None] * 50}
    >>> y = ["small", "small", "small", "large"] * 50
    >>> classifier = TabMClassifier(epochs=16, random_state=0, backend="numpy")
    >>> classifier.fit(X, y).predict({"size": [1.5, 4.0], "color": ["blue", None]})
    array(['small', 'large'], dtype='<U5')
    """

    label_smoothing: Any = parameter(DEFAULTS["label_smoothing"], AUTO, real(0, 1))


@described_as(TabMClassifier, RealMLPRegressor, without=OF_CLASSIFIERS)
@estimator
@dataclass(eq=False, repr=False, kw_only=True)
class TabMRegressor(TabularRegressorBase, TabMEstimator):
    """TabM regressor for tables with text, dates and missing values: an ensemble in one network.

    See `TabMClassifier` for the method and the parameters. Targets are standardized for training.
    The prediction is the mean of the members' predictions.

    Examples
    --------
    >>> from gpunn.sklearn import TabMRegressor
    >>> X = {"size": [1.0, 2.0, None, 4.0] * 50, "color": ["red", "blue", "red", None] * 50}
    >>> regressor = TabMRegressor(epochs=16, random_state=0, backend="numpy")
    >>> y = [10.0, 20.0, 10.0, 40.0] * 50
    >>> regressor.fit(X, y).score(X, y) > 0.9
    True
    """
