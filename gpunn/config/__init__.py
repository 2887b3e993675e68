"""Experiments as TOML files, read into typed objects.

A configuration says what is trained on what and how; `gpunn train` runs it. It has three keys at
the top, which may be left out, and three tables::

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

A fourth table, `[backend_options]`, says how a CUDA device computes, `[distributed]` how several
processes train together, and `[sweep]` what the trials of `gpunn sweep` differ in.

Each table is a class: `Config` (the top), `Digits`, `MNIST`, `CSV`, `TableFile`, `NPZ` and `NPY`
(`[data]`, by its `dataset`), `Model`, `Training`, `BackendOptions`, `Distributed` and `Sweep`; each
key is an attribute. What it means is said in docs/reference/configuration.md. A configuration that
names its network is a `Draft` until `gpunn.experiment.build` has made that network.

Layers, activations, initializers, the loss, optimizer, schedule, metrics and callbacks are written
as a name, such as `"adam"`, or a table of the name and parameters, such as
`{ name = "adam", learning_rate = 0.01 }`. The parameters are those of the class, say
`gpunn.optimizers.Adam`. A name of the form `"package.module:Class"` imports a class of your own;
that runs its module's code, so it has to be allowed where the configuration is used.

An unknown key, wrong type or impossible value is a `ConfigError` that names the key's full path.
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
"""Environment variable with the folder that holds data sets, MNIST as its subfolder `mnist`."""


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
        Checked, with absolute paths; a `Draft` if it names its network.

    Raises
    ------
    ConfigError
        If a setting is wrong, or the file is, as far as a setting does not change it. Of the file
        alone it is a `ConfigFileError`: it is not valid, has an unknown key, a wrong type or an
        impossible value.
    OSError
        If the file can't be read.

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
    if Path(path).suffix == ".json":  # of a run, which an earlier release may have written
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
    """Change one value of a configuration that has been read but not checked.

    Parameters
    ----------
    raw : dict
        Changed in place.
    setting : str
        "key.key=value". The value is TOML; what isn't valid TOML is text, so that
        `training.optimizer=sgd` needs no quotes. A number steps into a list:
        "model.layers.1.rate=0.3". A name becomes a table where a parameter is set:
        "training.optimizer.learning_rate=0.1" works on `optimizer = "adam"` too, and where the
        optimizer is left out, on the default one, or that of the network that `model.name` names.
        Likewise a number that stands for a schedule becomes the table of a constant one, and a
        number in the place of a schedule is its rate. A path in `[data]` is relative to the current
        folder.

    Raises
    ------
    ConfigError
        If `setting` has no "=", or a key does not fit what is there, or would be in vain, as
        something else comes first.

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
        What `read_config` returned.
    folder : Path
        What relative paths in `[data]` and `[model]` are relative to.

    Returns
    -------
    Config
        A `Draft` if it names its network.

    Raises
    ------
    ConfigError
        If a key is unknown, has the wrong type or an impossible value.

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
    try:
        config = _draft(raw) or typed(Config, raw)
    except ArgumentError as error:
        raise ConfigError(str(error)) from None
    model = config.model
    if model.start_from is not None:
        start = str(_absolute("model.start_from", model.start_from, folder))
        model = replace(model, start_from=start)
    return replace(config, data=_with_absolute_paths(config.data, folder), model=model)


def with_current_names(raw: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration with `sweep.least_epochs` renamed to `sweep.min_epochs`.

    Parameters
    ----------
    raw : dict
        Plain data, not changed.

    Returns
    -------
    dict
        The same object if it has no such key.

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
"""Of what `[training]` needs, where a network with a name decides it."""


def _draft(raw: dict[str, Any]) -> Draft | None:
    """Return the configuration of a network with a name; None of another one."""
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
                "data.path: where is MNIST? Give the folder of its four IDX files as data.path, or "
                f"set the environment variable {DATA_VARIABLE} to the folder that holds it as "
                "subfolder 'mnist'"
            )
        paths["path"] = str(Path(variable, "mnist").expanduser().absolute())
    return replace(data, **paths)


def _absolute(key: str, value: str, folder: Path) -> Path:
    try:
        path = Path(checked_path(value)).expanduser()
    except (ArgumentError, RuntimeError) as error:
        raise ConfigError(f"{key}: {value!r} is no path: {error}") from None
    if not path.is_absolute() and confined(folder, path) is None:
        raise ConfigError(
            f"{key}: {value!r} leads out of the configuration's folder; write the whole path "
            "if that is meant"
        )
    return (folder / path).absolute()
