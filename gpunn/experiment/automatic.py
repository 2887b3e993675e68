"""The model "auto": as many networks as the time allows, combined by a tabular estimator."""

import logging
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gpunn.backends import Backend
from gpunn.config import Config, Draft, TableFile, Training
from gpunn.errors import ArgumentError, ArgumentTypeError, ConfigError, GpunnWarning, suggest
from gpunn.experiment.build import class_weights, evaluate_split, make_trainer
from gpunn.experiment.data import load
from gpunn.experiment.evaluation import Evaluation
from gpunn.experiment.networks import AUTO, task_of_numbers, training_of
from gpunn.experiment.objects import Objects
from gpunn.experiment.split_report import remarks_on_split
from gpunn.experiment.splits import Split, Splits
from gpunn.experiment.tables import learned_schema
from gpunn.network import Sequential
from gpunn.optimizers import Adam
from gpunn.optional import install_command, require
from gpunn.tables import Schema
from gpunn.tabular import Recipe
from gpunn.tabular.recipe import LOSS, checked_metric, loss_of, with_quantiles
from gpunn.training import Trainer

LOG = logging.getLogger("gpunn")

ELSEWHERE = {
    "backend": "backend",
    "callbacks": "training.callbacks",
    "class_weight": "training.class_weight",
    "columns": "data.columns",
    "dtype": "dtype",
    "folder": "--output",
    "missing_values": "data.missing_values",
    "progress": "--quiet",
    "random_state": "seed",
    "threshold_for": "training.threshold_for",
    "validation_fraction": "data.validation_fraction",
}
"""Maps parameters of an estimator to the keys or options that set these parameters."""

CHANGEABLE = ("class_weight", "metrics", "threshold_for", "validation_metrics")

OnCandidate = Callable[[Mapping[str, Any]], None]
"""A function that receives each finished candidate as a row of the leaderboard."""


@dataclass(frozen=True)
class Automatic:
    config: Config
    description: dict[str, Any]
    objects: Objects
    splits: Splits
    schema: Schema
    backend: Backend
    estimator: Any

    def fit(self, folder: Path, ended: OnCandidate) -> str:
        # Saves finished candidates in `folder`. Ctrl-C before the first is a KeyboardInterrupt.
        estimator, keys, held, by = self.estimator, self.splits.keys, {}, {}
        training, validation = self.splits.training, self.splits.validation
        if validation is not None:
            held = {"X_val": validation.inputs(), "y_val": targets_of(validation)}
        elif keys is not None:
            rows = slice(None) if training.indices is None else training.indices
            by = {f"{keys.kind}s": keys.values[rows]}
        estimator.folder = folder
        estimator._show = ended
        with warnings.catch_warnings():
            # Columns were reported before, and a fold may lack values of a column.
            warnings.filterwarnings("ignore", "X: ", GpunnWarning)
            estimator.fit(training.inputs(), targets_of(training), **held, **by)
        self._name()
        stopped: str = estimator.stopped_
        return stopped

    def _name(self) -> None:
        estimator, classes = self.estimator, self.splits.metadata.get("classes")
        if classes is not None:
            estimator.classes_ = np.array(classes)
        if self.schema.named:
            names = [column.name for column in self.schema.columns if not column.dropped]
            estimator.feature_names_in_ = np.array(names, dtype=object)
            estimator.n_features_in_ = len(names)
        self.network.metadata |= self.splits.metadata

    @property
    def targets(self) -> list[str]:
        assert isinstance(self.config.data, TableFile)
        return self.config.data.targets

    @property
    def network(self) -> Sequential:
        network: Sequential = self.estimator.network_
        return network

    def trainer(self) -> Trainer:
        return make_trainer(self.network, self.objects, self.config)

    def evaluate(self) -> Evaluation | None:
        test = self.splits.test
        if test is None:
            return None
        rows = Split(test.inputs(), test.targets())
        return evaluate_split(self.trainer(), rows, self.config.data)


def targets_of(split: Split) -> np.ndarray:
    # Estimators expect a vector if there is one target.
    y = split.targets()
    return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y


def prepared(
    config: Draft, backend: str | None = None, *, allow_imports: bool = False
) -> Automatic:
    require("sklearn", f"the model {AUTO!r}", install_command("sklearn"))
    from gpunn.sklearn import TabularClassifier, TabularRegressor
    from gpunn.sklearn.automatic.reference_models import check_libraries
    from gpunn.sklearn.parameters import check_parameters

    data, model = config.data, config.model
    if not isinstance(data, TableFile):
        raise ConfigError(f'model.name: {AUTO!r} is for tables; set data.dataset = "table"')
    for path, value in (
        ("model.start_from", model.start_from),
        ("model.frozen", model.frozen),
        ("data.scaling", None if data.scaling == "auto" else data.scaling),
    ):
        if value:
            raise ConfigError(f"{path}: the model {AUTO!r} does not support this key; remove it")
    ops = config.get_backend(backend)
    loss = Objects(config, allow_imports).loss if config.decides("loss") else None
    splits = load(config, loss).split(data, loss)
    schema = learned_schema(config, data, splits.training, "robust")
    for remark in remarks_on_split(data, splits, schema):
        LOG.warning("%s: %s", data.path, remark)
    classes = splits.metadata.get("classes", [])
    task = "classification" if classes else task_of_numbers(splits, loss)
    cls = TabularRegressor if task == "regression" else TabularClassifier
    parameters = checked_parameters(model.parameters, cls._get_param_names())
    outputs = len(classes) or len(splits.metadata.get("targets", [AUTO]))
    settled = settled_training(config, task, outputs, parameters, allow_imports)
    training = settled.training
    check_classes(classes, splits.training, training)
    if task != "regression":
        weights = None if training.class_weight is None else class_weights(training, classes)
        parameters |= {"threshold_for": training.threshold_for, "class_weight": weights}
    kinds = {each.name: "drop" if each.dropped else each.type for each in schema.columns}
    estimator = cls(
        **parameters,
        columns=kinds,
        missing_values=data.missing_values or None,
        backend=ops,
        dtype=config.dtype,
        random_state=config.seed,
    )
    with ConfigError.instead_of(ArgumentError, prefix="model.parameters: "):
        check_parameters(estimator)
    with ConfigError.instead_of(ArgumentError, prefix="model.parameters."):
        check_libraries(estimator.compare, parameters.get("quantiles"))
    objects = Objects(settled, allow_imports)
    return Automatic(settled, objects.described(), objects, splits, schema, ops, estimator)


def checked_parameters(given: Mapping[str, Any], known: list[str]) -> dict[str, Any]:
    valid = [name for name in known if name not in ELSEWHERE]
    for name in given:
        if name in ELSEWHERE:
            raise ConfigError(f"model.parameters.{name}: set {ELSEWHERE[name]} instead")
        if name not in valid:
            raise ConfigError(
                f"model.parameters.{name}: {AUTO!r} has no such parameter; {suggest(name, valid)}"
            )
    return dict(given)


def settled_training(
    config: Draft, task: str, outputs: int, parameters: Mapping[str, Any], allow_imports: bool
) -> Config:
    quantiles, metric = parameters.get("quantiles"), parameters.get("metric", "auto")
    with ConfigError.instead_of(ArgumentError, ArgumentTypeError, prefix="model.parameters."):
        outputs, metric = with_quantiles(
            task, outputs, None if metric == "auto" else metric, quantiles
        )
        metric = checked_metric(task, metric, outputs, parameters.get("target_transform"))
        loss = loss_of(task, 0.0, quantiles)
    recipe = Recipe((), loss, Adam(), task, metric, {"epochs": 1, "callbacks": []})
    defaults = {**training_of(recipe), "monitor": "val_loss" if metric == LOSS else f"val_{metric}"}
    settled = config.settled(defaults)
    unchanged = Objects(replace(config, given={}).settled(defaults)).described()["training"]
    for key, value in Objects(settled, allow_imports).described()["training"].items():
        if key not in CHANGEABLE and value != unchanged[key]:
            raise ConfigError(f"training.{key}: the model {AUTO!r} sets this key; remove the key")
    return settled


def check_classes(classes: list[str], training: Split, settings: Training) -> None:
    if settings.threshold_for is not None and len(classes) != 2:
        raise ConfigError(
            "training.threshold_for: a threshold needs a target with two classes; remove the key"
        )
    if settings.class_weight is not None and not classes:
        raise ConfigError("training.class_weight: the targets are not classes; remove the key")
    absent = np.setdiff1d(np.arange(len(classes)), training.targets())
    if classes and len(absent):
        raise ConfigError(
            f"data: no training row has the class {classes[absent[0]]!r}; remove the rows of this "
            "class, or split the rows in another way"
        )
