"""Experiments as TOML files, read into typed objects.

A configuration says what is trained on what and how; `gpunn train` runs it. It has three keys at
the top, which may be left out, and three tables:

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

A fourth table, `[backend_options]`, says how a CUDA device computes.

Every key is documented as an attribute of the class of its table: `Config` (the top), `Digits`,
`MNIST`, `CSV`, `NPZ` and `NPY` (`[data]`, by its `dataset`), `Model` and `Training`.

Layers, activations, initializers, the loss, optimizer, schedule, metrics and callbacks are written
as a name, such as `"adam"`, or a table of the name and parameters, such as
`{ name = "adam", learning_rate = 0.01 }`. The parameters are those of the class, say
`gpunn.optimizers.Adam`. A name of the form `"package.module:Class"` imports a class of your own;
that runs its module's code, so it has to be allowed where the configuration is used.

An unknown key, wrong type or impossible value is a `ConfigError` that names the key's full path.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_args, get_type_hints

import msgspec
from msgspec import Meta, Struct

from gpunn.backends import Backend
from gpunn.backends.selection import settle_backend
from gpunn.configurable import default_parameters
from gpunn.errors import ArgumentError, ConfigError, ConfigFileError, suggest
from gpunn.storage.files import confined
from gpunn.storage.reading import checked_path, read_whole

__all__ = [
    "CSV",
    "MNIST",
    "NPY",
    "NPZ",
    "BackendOptions",
    "Config",
    "DataSet",
    "Digits",
    "Model",
    "Training",
    "load_config",
    "parse_config",
    "read_config",
    "set_value",
]

LARGEST = 2**18
"""Bytes of a configuration. What TOML can make of a few bytes takes some hundred times as many."""

DEEPEST = 32
"""Parts of a name in TOML. The parser's memory grows with the square of their number."""

TOML_TOKEN = re.compile(
    r"""
    (?P<part> \"{3} (?: \\. | [^\\] )*? (?: \"{3} | \Z )
            | '{3} .*? (?: '{3} | \Z )
            | " (?: \\. | [^"\\\n] )* "?
            | ' [^'\n]* '?
            | [\w-]+ )
    | (?P<blank> [ \t]+ )
    | (?P<dot> \. )
    | (?P<other> \#[^\n]* | . )
    """,
    re.DOTALL | re.VERBOSE,
)
"""Text, quoted or not, as names are made of; blanks, which may stand between a name's parts; a dot;
what no name has in it. Quotes that nothing closes go on to the end, so that the time this takes
grows no faster than the text.
"""

DATA_VARIABLE = "GPUNN_DATA"
"""Environment variable with the folder that holds data sets, MNIST as its subfolder `mnist`."""

Named: TypeAlias = str | dict[str, Any]
Fraction: TypeAlias = Annotated[float, Meta(ge=0, lt=1)]
Count: TypeAlias = Annotated[int, Meta(ge=1)]
Weight: TypeAlias = Annotated[float, Meta(ge=0)]
Seed: TypeAlias = Annotated[int, Meta(ge=0)]


class Table(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the configuration: typed keys, no others."""


class DataSet(Table, frozen=True, kw_only=True, tag_field="dataset"):
    """`[data]`: keys that every kind of data set has.

    Attributes
    ----------
    dataset : str
        The kind: "digits", "mnist", "csv", "npz" or "npy".
    standardize : bool
        Whether to centre and scale each feature by the mean and standard deviation of the training
        rows. The figures become part of the model (`gpunn.layers.Standardization`), so evaluation
        and prediction take raw data.
    validation_fraction : float
        In [0, 1): the part of the training rows that is set aside for the figures `val_loss` and
        so on, at random and, if the targets are classes, in the classes' proportions.
    split_seed : int
        Seed of the random choice of validation and test rows. It is not `seed`, so that runs with
        different seeds are compared on the same rows.
    """

    standardize: bool = False
    validation_fraction: Fraction = 0.0
    split_seed: Seed = 0


class Digits(DataSet, frozen=True, kw_only=True, tag="digits"):
    """`dataset = "digits"`: the 1,797 handwritten digits that come with gpunn.

    Inputs are 64 pixels from 0 to 16, targets the digits; 360 rows are the test part. See
    `gpunn.data.load_digits`.
    """


class MNIST(DataSet, frozen=True, kw_only=True, tag="mnist"):
    """`dataset = "mnist"`: MNIST, or a set in its format, from a folder of four IDX files.

    Inputs are 784 pixels from 0 to 255, targets the digits; the test part is the set's own. See
    `gpunn.data.load_mnist`.

    Attributes
    ----------
    path : str
        The folder. By default the subfolder `mnist` of the folder that the environment variable
        GPUNN_DATA holds.
    """

    path: str | None = None


class FileDataSet(DataSet, frozen=True, kw_only=True):
    """Keys of data sets in files, whose test part may be drawn at random.

    Paths are relative to the configuration's folder and can't lead out of it; `~` is your home
    folder, and an absolute path leads anywhere.

    Attributes
    ----------
    path : str
        The file.
    test_fraction : float
        In [0, 1): the part of the rows that is set aside as the test part before anything else,
        chosen as with `validation_fraction`.
    """

    path: str
    test_fraction: Fraction = 0.0


class CSV(FileDataSet, frozen=True, kw_only=True, tag="csv"):
    """`dataset = "csv"`: numbers from a CSV file, with one column to predict.

    A text target makes classes; their names are saved with the model. With a cross-entropy as loss
    numbers can name classes too, such as 1 to 7; see `gpunn.experiment.labels`. What files may look
    like is said in `gpunn.data.load_csv`.

    Attributes
    ----------
    target : str or int
        Name or number of the column to predict; numbers count from 0, or from the end where
        negative.
    header : bool or "auto"
        Whether the first row holds the columns' names.
    delimiter : str
        The character between cells.
    features : list of str and int
        Columns to use as inputs. By default all but the target.
    missing : list of str
        Cells that mean "no value". A row with one is an error, never guessed.
    validation_path, test_path : str
        Further files with the same columns as validation and test part.
    """

    target: str | int
    header: bool | Literal["auto"] = "auto"
    delimiter: str = ","
    features: list[str | int] | None = None
    missing: list[str] | None = None
    validation_path: str | None = None
    test_path: str | None = None

    def __post_init__(self) -> None:
        exclude(self, "validation_fraction", "validation_path")
        exclude(self, "test_fraction", "test_path")


class NPZ(FileDataSet, frozen=True, kw_only=True, tag="npz"):
    """`dataset = "npz"`: arrays from one NPZ file, without pickle.

    Attributes
    ----------
    X, y : str
        Names of the arrays of training inputs and targets in the file.
    X_validation, y_validation, X_test, y_test : str
        Names of the arrays of the validation and test part, if the file holds them.
    """

    X: str = "X"
    y: str = "y"
    X_validation: str | None = None
    y_validation: str | None = None
    X_test: str | None = None
    y_test: str | None = None

    def __post_init__(self) -> None:
        require_pair(self, "X_validation", "y_validation")
        require_pair(self, "X_test", "y_test")
        exclude(self, "validation_fraction", "X_validation")
        exclude(self, "test_fraction", "X_test")


class NPY(FileDataSet, frozen=True, kw_only=True, tag="npy"):
    """`dataset = "npy"`: each array from an NPY file of its own, large ones as memory maps.

    A memory map is read piece by piece while training. Setting rows aside by a fraction copies
    none of them.

    Attributes
    ----------
    target_path : str
        File of the training targets; `path` holds the inputs.
    validation_path, validation_target_path, test_path, test_target_path : str
        Files of the validation and test part.
    """

    target_path: str
    validation_path: str | None = None
    validation_target_path: str | None = None
    test_path: str | None = None
    test_target_path: str | None = None

    def __post_init__(self) -> None:
        require_pair(self, "validation_path", "validation_target_path")
        require_pair(self, "test_path", "test_target_path")
        exclude(self, "validation_fraction", "validation_path")
        exclude(self, "test_fraction", "test_path")


AnyDataSet: TypeAlias = Digits | MNIST | CSV | NPZ | NPY
DATA_SETS: dict[str, type[DataSet]] = {
    "digits": Digits,
    "mnist": MNIST,
    "csv": CSV,
    "npz": NPZ,
    "npy": NPY,
}


class Model(Table, frozen=True, kw_only=True):
    """`[model]`.

    Attributes
    ----------
    layers : list of names and tables
        The layers in order, from `gpunn.layers`: "dense" (units, activation, bias, initializer,
        bias_initializer), "activation" (activation), "dropout" (rate), "batch_norm", "layer_norm",
        "rescaling" (scale, offset), "standardization" and "flatten". The number of inputs comes
        from the data; the last layer has as many units as there are classes or target columns.
    """

    layers: Annotated[list[Named], Meta(min_length=1)]


class Training(Table, frozen=True, kw_only=True):
    """`[training]`.

    Attributes
    ----------
    loss : name or table
        From `gpunn.losses`: "softmax_cross_entropy" for classes, "binary_cross_entropy" for yes
        and no, "mean_squared_error" and others for numbers. The cross-entropies take logits, so
        the last layer has no activation.
    optimizer : name or table
        From `gpunn.optimizers`: "sgd", "rmsprop", "adam", "adamw" or "lion". Its `learning_rate`
        is a number or a schedule from `gpunn.schedules`, such as
        `{ name = "cosine", rate = 0.001 }`.
    epochs : int
        Passes over the training rows, those before a resumption included.
    batch_size : int
        Rows in a batch.
    metrics : list of names and tables
        Figures beside the loss, from `gpunn.metrics`, such as "accuracy".
    class_weight : "balanced" or table
        Factor of the weight of each class's rows in the training loss, by the class's name or
        number; `{ spam = 3.0 }`, say. "balanced" is rows / (classes * rows of the class).
        Metrics and validation rows are not weighted by it.
    gradient_accumulation : int
        Batches whose gradients make up one update.
    shuffle : bool
        Whether each epoch visits the rows in a new order, drawn from `seed`.
    callbacks : list of names and tables
        From `gpunn.callbacks`, such as `{ name = "early_stopping", patience = 5 }`. Relative paths
        in them are relative to the run's folder.
    monitor : str
        The figure by which `best.safetensors` is chosen. By default that of an "early_stopping"
        callback; without one "val_accuracy" if there is such a figure, else "val_loss". Without
        validation rows there is no best epoch unless a figure is named here.
    monitor_mode : "auto", "min" or "max"
        Whether smaller or larger is better for `monitor`. By default the metric says it, and
        smaller is better for losses.
    checkpoint_every : int
        Epochs between checkpoints to resume from. By default as many as keep what writing them
        takes below a hundredth of the time of training; where epochs are long, that is one.
    checkpoint_every_updates : int
        Updates between further checkpoints within an epoch. By default there are none but those
        that time asks for.
    checkpoint_every_seconds : float
        A checkpoint is written, within an epoch too, when the last one is so old.
    keep_checkpoints : int
        How many of the last checkpoints are kept, beside the best epoch.
    on_divergence : "stop", "skip" or "roll_back"
        What to do about an update that makes the loss or a parameter infinite or NaN: end training,
        leave that update out, or leave out all since the last report point; see `gpunn.Trainer`.
    """

    loss: Named
    epochs: Count
    optimizer: Named = "adam"
    batch_size: Count = 32
    metrics: list[Named] = []
    class_weight: Literal["balanced"] | dict[str, Weight] | None = None
    gradient_accumulation: Count = 1
    shuffle: bool = True
    callbacks: list[Named] = []
    monitor: str | None = None
    monitor_mode: Literal["auto", "min", "max"] = "auto"
    checkpoint_every: Count | None = None
    checkpoint_every_updates: Count | None = None
    checkpoint_every_seconds: Annotated[float, Meta(gt=0)] = 300.0
    keep_checkpoints: Count = 3
    on_divergence: Literal["stop", "skip", "roll_back"] = "stop"


class BackendOptions(Table, frozen=True, kw_only=True):
    """`[backend_options]`: how a CUDA device or the CPU computes; each takes what it knows.

    Attributes
    ----------
    graph : bool
        Whether a training step is recorded as a CUDA graph and replayed. Results are the same.
    matmul_precision : "float32", "tf32", "bfloat16" or "float16"
        What products of float32 matrices may be computed in. With "float16" the loss is scaled.
    fused_products : bool
        Whether biases, ReLU and gradients of biases may be part of products of float32 matrices.
    matmul_algorithms : "heuristic" or "measured"
        Whether products of float32 matrices are done by the algorithm that cuBLAS expects to be the
        fastest, or by the fastest of several, which are timed in the first step.
    threads : int
        On the CPU: how many threads compute; by default what GPUNN_THREADS holds, or
        OMP_NUM_THREADS, or one for each core that may be used.
    """

    graph: bool = True
    matmul_precision: Literal["float32", "tf32", "bfloat16", "float16"] = "float32"
    fused_products: bool = True
    matmul_algorithms: Literal["heuristic", "measured"] = "heuristic"
    threads: Count | None = None


class Config(Table, frozen=True, kw_only=True):
    """The whole configuration.

    Attributes
    ----------
    data : table
        What to train on; see `DataSet`.
    model : table
        What to train; see `Model`.
    training : table
        How to train; see `Training`.
    backend : str
        "numpy", "cupy", "cupy:1" (device number 1) or "auto"; see `gpunn.get_backend`. The option
        `--backend` and the environment variable GPUNN_BACKEND take precedence, in this order.
    backend_options : table
        How a CUDA device computes; see `BackendOptions`.
    seed : int
        Of the initial weights, the shuffles and the dropout masks.
    dtype : "float32" or "float64"
        Type of parameters and activations.
    """

    data: AnyDataSet
    model: Model
    training: Training
    backend: str = "auto"
    backend_options: BackendOptions | None = None
    seed: Seed = 0
    dtype: Literal["float32", "float64"] = "float32"

    def get_backend(self, argument: str | None = None) -> Backend:
        """Return the backend, with the configuration's options; an argument takes precedence."""
        options = self.backend_options or BackendOptions()
        return settle_backend(argument, self.backend, **msgspec.structs.asdict(options))


def exclude(table: Struct, first: str, second: str) -> None:
    """Raise if both keys are set; msgspec adds where."""
    if getattr(table, first) and getattr(table, second):
        raise ValueError(f"{first}: can't be given beside {second!r}")


def require_pair(table: Struct, first: str, second: str) -> None:
    """Raise if one key is set without the other; msgspec adds where."""
    for key, other in ((first, second), (second, first)):
        if getattr(table, key) is None and getattr(table, other) is not None:
            raise ValueError(f"{key}: missing; it is needed beside {other!r}")


# ------------------------------------------------------------------------------------ reading


def load_config(path: str | Path, settings: Iterable[str] = ()) -> Config:
    """Read a configuration.

    Parameters
    ----------
    path : str or Path
        A TOML file, or the `config.json` of a run.
    settings : iterable of str
        Changes such as "training.epochs=3"; see `set_value`.

    Raises
    ------
    ConfigError
        If a setting is wrong, or the file is, as far as a setting does not change it. Of the file
        alone it is a `ConfigFileError`: it is not valid, has an unknown key, a wrong type or an
        impossible value.
    OSError
        If the file can't be read.
    """
    raw = read_config(path)
    settings = list(settings)
    for setting in settings:
        set_value(raw, setting)
    try:
        return parse_config(raw, Path(path).parent)
    except ConfigError as error:
        if settings:
            raise
        raise ConfigFileError(f"{path}: {error}") from None


def read_config(path: str | Path) -> dict[str, Any]:
    """Return the content of a TOML or JSON file as plain data, unchecked.

    Raises
    ------
    ConfigFileError
        If the file is not valid TOML, or JSON if its name ends in ".json", or is too large.
    OSError
        If the file can't be read.
    """
    content = read_whole(path, ConfigFileError, LARGEST, "a configuration")
    path = Path(path)
    kind = "JSON" if path.suffix == ".json" else "TOML"
    try:
        text = content.decode()
        if kind == "TOML" and most_parts(text) > DEEPEST:
            raise ConfigFileError(f"{path}: not a configuration: a name of over {DEEPEST} parts")
        raw = json.loads(text) if kind == "JSON" else tomllib.loads(text)
    except ConfigFileError:
        raise
    except ValueError as error:  # of both parsers, and of bytes that are not UTF-8
        raise ConfigFileError(f"{path}: not a valid {kind} file: {error}") from error
    except RecursionError as error:
        raise ConfigFileError(f"{path}: not a configuration: nested too deeply") from error
    if not isinstance(raw, dict):
        raise ConfigFileError(f"{path}: expected a table of settings; got {raw!r}")
    return raw


def most_parts(text: str) -> int:
    """Return the most parts that a name in TOML has, as in `a."b".'c'`, which has three."""
    most = parts = 0
    joined = False
    for match in TOML_TOKEN.finditer(text):
        kind = match.lastgroup
        if kind == "part":
            parts = parts + 1 if joined else 1
            most = max(most, parts)
        if kind != "blank":
            joined = kind == "dot"
    return most


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
        optimizer is left out, on the default one. Likewise a number that stands for a schedule
        becomes the table of a constant one. A path in `[data]` is relative to the current folder.

    Raises
    ------
    ConfigError
        If `setting` has no "=", or a key does not fit what is there.
    """
    path, equals, text = setting.partition("=")
    keys = [key.strip() for key in re.sub(r"\[(\d+)\]", r".\1", path).split(".")]
    if not equals or not all(keys):
        raise ConfigError(f"--set {setting}: expected key=value, such as training.epochs=3")
    try:
        value = _toml_value(text)
    except RecursionError as error:
        raise ConfigError(f"--set {path.strip()}: the value is nested too deeply") from error
    if keys[0] == "data" and keys[-1].endswith("path") and isinstance(value, str):
        value = str(Path(value).expanduser().absolute())
    container: Any = raw
    for depth, key in enumerate(keys):
        where, last = _joined(keys[:depth]), depth == len(keys) - 1
        if isinstance(container, list):
            index = _list_index(container, key, where, setting)
            container[index] = value if last else _opened(container[index], key)
            container = container[index]
        elif isinstance(container, dict):
            if last:
                container[key] = value
            elif (
                container.get(key) is not None
            ):  # as which a run's config.json has what is left out
                container[key] = _opened(container[key], key)
            elif keys[depth + 1] == "name":
                container[key] = {}
            else:
                container[key] = _opened(_default(keys[:depth], container, key), key)
            container = container[key]
        else:
            raise ConfigError(f"--set {setting}: {where} is {container!r}, which has no parts")


def _opened(value: Any, key: str) -> Any:
    """Return the table that a name or the number of a schedule stands for; else the value."""
    if isinstance(value, str):
        return {"name": value}
    if key in ("learning_rate", "schedule") and type(value) in (int, float):
        return {"name": "constant", "rate": value}
    return value


def _default(keys: list[str], table: dict[str, Any], key: str) -> Any:
    """Return what a key that is left out of a table stands for; {} if that is not an object."""
    if keys == ["training"] and get_type_hints(Training).get(key) == Named:
        return {field.name: field.default for field in msgspec.structs.fields(Training)}[key]
    if isinstance(table.get("name"), str):
        from gpunn import layers, optimizers  # noqa: F401  # whose classes are then known by name

        default = default_parameters(table["name"]).get(key)
        return default if isinstance(default, (str, int, float, dict)) else {}
    return {}


def _toml_value(text: str) -> Any:
    try:
        document = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text.strip()
    return document["value"] if len(document) == 1 else text


def _list_index(values: list[Any], key: str, where: str, setting: str) -> int:
    if not key.isdecimal():
        raise ConfigError(f"--set {setting}: {where} is a list; expected a number, not {key!r}")
    if int(key) >= len(values):
        raise ConfigError(
            f"--set {setting}: {where} has {len(values)} entries, numbered from 0; there is no "
            f"number {key}"
        )
    return int(key)


# ----------------------------------------------------------------------------------- checking


def parse_config(raw: dict[str, Any], folder: Path) -> Config:
    """Return the checked configuration, with all paths absolute.

    Parameters
    ----------
    raw : dict
        What `read_config` returned.
    folder : Path
        What relative paths in `[data]` are relative to.

    Raises
    ------
    ConfigError
        If a key is unknown, has the wrong type or an impossible value.
    """
    try:
        config = msgspec.convert(raw, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(_explanation(str(error), raw)) from None
    except UnicodeEncodeError as error:  # JSON can write down half of a pair of surrogates
        raise ConfigError(f"a text holds a character that is none: {error.reason}") from None
    return msgspec.structs.replace(config, data=_with_absolute_paths(config.data, folder))


def readable_path(value: str) -> Path:
    """Return a path with `~` replaced, or raise a ConfigError if no file can be called so."""
    try:
        return Path(checked_path(value)).expanduser()
    except (ArgumentError, RuntimeError) as error:
        raise ConfigError(f"data: {value!r} is no path: {error}") from None


def _with_absolute_paths(data: AnyDataSet, folder: Path) -> AnyDataSet:
    paths: dict[str, str] = {}
    for key in data.__struct_fields__:
        if key.endswith("path") and (value := getattr(data, key)) is not None:
            path = readable_path(value)
            if not path.is_absolute() and confined(folder, path) is None:
                raise ConfigError(
                    f"data.{key}: {value!r} leads out of the configuration's folder; write the "
                    "whole path if that is meant"
                )
            paths[key] = str((folder / path).absolute())
    if isinstance(data, MNIST) and data.path is None:
        if not (variable := os.environ.get(DATA_VARIABLE)):
            raise ConfigError(
                "data.path: where is MNIST? Give the folder of its four IDX files as data.path, or "
                f"set the environment variable {DATA_VARIABLE} to the folder that holds it as "
                "subfolder 'mnist'"
            )
        paths["path"] = str(Path(variable, "mnist").expanduser().absolute())
    return msgspec.structs.replace(data, **paths)


EXPECTED = {
    "object": "a table",
    "array": "a list",
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "null": "nothing",
}


def _explanation(message: str, raw: dict[str, Any]) -> str:
    """Return msgspec's message with the key's path in our form, the value and the nearest name."""
    problem, _, place = message.partition(" - at `$")
    keys = re.findall(r"[^.\[\]`]+", place.replace("[...]", ""))
    quoted = re.search(r"`(\w+)`", problem)
    if problem.startswith("Object contains unknown field") and quoted:
        key, valid = quoted[1], _fields(keys, raw)
        return f"{_joined([*keys, key])}: unknown key; {suggest(key, valid)}"
    if problem.startswith("Object missing required field") and quoted:
        key = quoted[1]
        options = f"; valid: {', '.join(map(repr, DATA_SETS))}" if key == "dataset" else ""
        return f"{_joined([*keys, key])}: this key is needed{options}"
    value = _value_at(raw, keys)
    if problem.startswith("Invalid"):
        valid = list(DATA_SETS) if keys == ["data", "dataset"] else _choices(keys, raw)
        return f"{_joined(keys)}: there is no {keys[-1]} {value!r}; {suggest(str(value), valid)}"
    if problem.startswith("Expected"):
        expected = re.sub(r"`([^`]*)`", _in_words, problem.partition(", got ")[0][9:])
        if place.endswith("[...]`"):  # of a table's values; msgspec does not say which
            key = next(key for key, item in value.items() if not _is_weight(item))
            return f"{_joined(keys)}.{key}: expected {expected}; got {value[key]!r}"
        return f"{_joined(keys)}: expected {expected}; got {value!r}"
    return f"{_joined(keys)}.{problem}"  # from a table's __post_init__, which begins with the key


def _is_weight(value: Any) -> bool:
    try:
        msgspec.convert(value, Weight)
    except msgspec.ValidationError:
        return False
    return True


def _in_words(match: re.Match[str]) -> str:
    return " or ".join(EXPECTED.get(name, name) for name in match[1].split(" | "))


def _joined(keys: Iterable[str]) -> str:
    return re.sub(r"\.(\d+)", r"[\1]", ".".join(keys))


def _value_at(raw: Any, keys: Iterable[str]) -> Any:
    for key in keys:
        raw = raw[int(key)] if isinstance(raw, list) else raw[key]
    return raw


def _table(keys: list[str], raw: dict[str, Any]) -> type[Table]:
    if keys[:1] == ["data"]:
        return DATA_SETS[raw["data"]["dataset"]]
    tables: dict[str, type[Table]] = {
        "backend_options": BackendOptions,
        "model": Model,
        "training": Training,
    }
    return tables[keys[0]] if keys else Config


def _fields(keys: list[str], raw: dict[str, Any]) -> list[str]:
    tag = ["dataset"] if keys == ["data"] else []
    return [*tag, *_table(keys, raw).__struct_fields__]


def _choices(keys: list[str], raw: dict[str, Any]) -> list[str]:
    """Return the values of the `Literal` in a key's type."""
    hint = get_type_hints(_table(keys[:-1], raw))[keys[-1]]
    literals = [hint, *get_args(hint)]
    return [str(value) for part in literals for value in get_args(part) if isinstance(value, str)]
