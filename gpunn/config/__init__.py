"""Experiments as TOML files, read into typed objects.

A configuration, which `gpunn train` reads, describes the data, the model and the training. At the
top, a configuration has three optional keys; three tables are required::

    backend = "auto"
    seed = 0
    dtype = "float32"

    [data]
    dataset = "digits"
    validation_fraction = 0.1

    [model]
    layers = [
        { name = "rescaling", scale = 0.0625 },
        { name = "dense", units = 64, activation = "relu" },
        { name = "dense", units = 10 },
    ]

    [training]
    loss = "softmax_cross_entropy"
    optimizer = { name = "adam", learning_rate = { name = "cosine", rate = 0.003 } }
    epochs = 20
    batch_size = 32
    metrics = ["accuracy"]

A configuration may have three optional tables. `[backend_options]` sets how a CUDA device or the
CPU computes. `[distributed]` sets how several processes train together. `[sweep]` lists the keys
that the trials of `gpunn sweep` vary.

The file becomes a `Config`. The tables of the file become objects of `Model`, `Training`,
`BackendOptions`, `Distributed` and `Sweep`. The key `dataset` of `[data]` selects the class of this
table: `Digits`, `MNIST`, `Images`, `CSV`, `TableFile`, `NPZ` or `NPY`. Each key is an attribute of
its class; docs/reference/configuration.md explains all keys. A configuration with a tabular model
is a `Draft` until `gpunn.experiment.build` has made the model.

Layers, activations, initializers, the loss, optimizer, schedule, metrics, callbacks and
augmentations are written as a name, such as `"adam"`, or a table with the name and parameters, such
as `{ name = "adam", learning_rate = 0.01 }`. The class with this name, for example
`gpunn.optimizers.Adam`, describes the parameters. A name such as `"package.module:Class"` imports a
custom class. Since the import runs the module's code, the caller must allow it.

An unknown key, a wrong type or an impossible value raises a `ConfigError` with the key's full path.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from gpunn.config.file import read_config
from gpunn.config.override import override
from gpunn.config.refinement import is_part
from gpunn.config.search import SearchRange
from gpunn.config.tables import (
    CSV,
    MNIST,
    NPY,
    NPZ,
    AnyDataSet,
    BackendOptions,
    Config,
    DataSet,
    Digits,
    Distributed,
    Draft,
    Images,
    Model,
    SplitDataSet,
    Sweep,
    TableFile,
    Training,
)
from gpunn.config.toml import toml_text
from gpunn.configurable import field_names
from gpunn.errors import ArgumentError, ConfigError, ConfigFileError, DeprecatedNameWarning
from gpunn.schema import typed
from gpunn.storage.files import confined
from gpunn.storage.reading import checked_path

__all__ = [
    "CSV",
    "MNIST",
    "NPY",
    "NPZ",
    "BackendOptions",
    "Config",
    "DataSet",
    "Digits",
    "Distributed",
    "Draft",
    "Images",
    "Model",
    "SearchRange",
    "SplitDataSet",
    "Sweep",
    "TableFile",
    "Training",
    "load_config",
    "parse_config",
    "read_config",
    "set_value",
    "toml_text",
    "with_current_names",
]

DATA_VARIABLE = "GPUNN_DATA"
"""Environment variable that names the folder of data sets; its subfolder `mnist` has MNIST."""


def load_config(path: str | Path, settings: Iterable[str] = ()) -> Config:
    """Read a configuration.

    Parameters
    ----------
    path : str or Path
        A TOML file, or the `config.json` of a run.
    settings : iterable of str
        Changes such as "training.epochs=3"; see `set_value`.

    Returns
    -------
    Config
        The checked configuration, with absolute paths; a `Draft` if the model is tabular.

    Raises
    ------
    ConfigError
        If the file or a setting has an unknown key, a wrong type or an impossible value. If there
        are no `settings`, the error is a `ConfigFileError`.
    ConfigFileError
        If the file is not valid TOML or JSON.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import json
    >>> from pathlib import Path
    >>> from gpunn.config import load_config
    >>> raw = {
    ...     "data": {"dataset": "digits"},
    ...     "model": {"layers": [{"name": "dense", "units": 10}]},
    ...     "training": {"loss": "softmax_cross_entropy", "epochs": 3},
    ... }
    >>> written = Path("digits.json").write_text(json.dumps(raw))
    >>> load_config("digits.json", ["training.epochs=5"]).training.epochs
    5
    """
    raw = read_config(path)
    if Path(path).suffix == ".json":  # of a run, perhaps from an earlier release
        raw = with_current_names(raw)
    settings = list(settings)
    for setting in settings:
        set_value(raw, setting)
    try:
        return parse_config(raw, Path(path).parent)
    except ConfigError as error:
        if settings:
            raise
        raise ConfigFileError(f"{path}: {error}") from None


def set_value(raw: dict[str, Any], setting: str) -> None:
    """Change one value of an unchecked configuration.

    Parameters
    ----------
    raw : dict
        The unchecked configuration, which is changed in place.
    setting : str
        "key.key=value". If a value is not valid TOML, it is a string: `training.optimizer=sgd`
        needs no quotes. A number in a path is the index of an item of a list, as in
        "model.layers.1.rate=0.3". If a path continues after a key whose value is a
        name, the value becomes a table: "training.optimizer.learning_rate=0.1" also works with
        `optimizer = "adam"`. If a number replaces a schedule, only the schedule's rate changes.
        Paths in `[data]` are relative to the current folder.

    Raises
    ------
    ConfigError
        If `setting` has no "=", if a key does not fit the configuration, or if another key would
        override the setting.

    Examples
    --------
    >>> from gpunn.config import set_value
    >>> raw = {"training": {"epochs": 10}}
    >>> set_value(raw, "training.epochs=3")
    >>> set_value(raw, "training.optimizer.learning_rate=0.1")
    >>> raw
    {'training': {'epochs': 3, 'optimizer': {'name': 'adam', 'learning_rate': 0.1}}}
    """
    override(raw, setting, default_optimizer=Training.optimizer)


def parse_config(raw: dict[str, Any], folder: Path) -> Config:
    """Return the checked configuration, with all paths absolute.

    Parameters
    ----------
    raw : dict
        The unchecked configuration, for example from `read_config`.
    folder : Path
        The folder for relative paths in `[data]` and `[model]`.

    Returns
    -------
    Config
        The configuration, which is a `Draft` if it has a tabular model.

    Raises
    ------
    ConfigError
        If a key is unknown, or its value has a wrong type or is impossible.

    Examples
    --------
    >>> from pathlib import Path
    >>> from gpunn.config import parse_config
    >>> raw = {
    ...     "data": {"dataset": "digits"},
    ...     "model": {"layers": [{"name": "dense", "units": 10}]},
    ...     "training": {"loss": "softmax_cross_entropy", "epoch": 3},
    ... }
    >>> parse_config(raw, Path())
    Traceback (most recent call last):
        ...
    gpunn.errors.ConfigError: training.epoch: unknown key; did you mean 'epochs'? ...
    """
    if (current := with_current_names(raw)) is not raw:
        text = "sweep.least_epochs: this key is now called sweep.min_epochs; rename it"
        warnings.warn(text, DeprecatedNameWarning, stacklevel=2)
        raw = current
    with ConfigError.instead_of(ArgumentError):
        config = _draft(raw) or typed(Config, raw)
    model = config.model
    if model.start_from is not None:
        start = str(_absolute("model.start_from", model.start_from, folder))
        model = replace(model, start_from=start)
    return replace(config, data=_with_absolute_paths(config.data, folder), model=model)


def with_current_names(raw: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration in which `sweep.least_epochs` is renamed to `sweep.min_epochs`.

    Parameters
    ----------
    raw : dict
        A configuration as plain data, which is not changed.

    Returns
    -------
    dict
        `raw` itself if no key needs a new name, otherwise a changed copy.

    Examples
    --------
    >>> from gpunn.config import with_current_names
    >>> with_current_names({"sweep": {"least_epochs": 2}})
    {'sweep': {'min_epochs': 2}}
    """
    sweep = raw.get("sweep")
    if not isinstance(sweep, dict) or "least_epochs" not in sweep or "min_epochs" in sweep:
        return raw
    names = {"least_epochs": "min_epochs"}
    return {**raw, "sweep": {names.get(key, key): value for key, value in sweep.items()}}


STAND_INS = {"loss": "mean_squared_error", "epochs": 1}
"""Temporary values for required keys of `[training]` that a tabular model will set."""


def _draft(raw: dict[str, Any]) -> Draft | None:
    model, given = raw.get("model"), raw.get("training", {})
    if not isinstance(model, dict) or model.get("name") is None or not isinstance(given, dict):
        return None
    whole = {key: value for key, value in given.items() if not is_part(key, value)}
    config: Config = typed(Config, {**raw, "training": {**STAND_INS, **whole}})
    values = {name: getattr(config, name) for name in field_names(Config)}
    return Draft(**values, given=given)


def _with_absolute_paths(data: AnyDataSet, folder: Path) -> AnyDataSet:
    paths: dict[str, Any] = {
        key: str(_absolute(f"data.{key}", value, folder))
        for key in field_names(type(data))
        if key.endswith("path") and (value := getattr(data, key)) is not None
    }
    if isinstance(data, MNIST) and data.path is None:
        if not (variable := os.environ.get(DATA_VARIABLE)):
            raise ConfigError(
                "data.path: the folder of MNIST is unknown. Set data.path to the folder with "
                f"MNIST's four IDX files, or set the environment variable {DATA_VARIABLE} to the "
                "folder with the subfolder 'mnist'"
            )
        paths["path"] = str(Path(variable, "mnist").expanduser().absolute())
    return replace(data, **paths)


def _absolute(key: str, value: str, folder: Path) -> Path:
    try:
        path = Path(checked_path(value)).expanduser()
    except (ArgumentError, RuntimeError) as error:
        raise ConfigError(f"{key}: {value!r} is not a path: {error}") from None
    if not path.is_absolute() and confined(folder, path) is None:
        raise ConfigError(
            f"{key}: {value!r} leads out of the configuration's folder; to allow that, write an "
            "absolute path"
        )
    return (folder / path).absolute()
