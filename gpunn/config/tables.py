"""The tables of a configuration: every key with its type, its limits and its default.

docs/reference/configuration.md says more of what each means; a test looks for it there.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, Literal, TypeAlias

from gpunn.backends import Backend
from gpunn.backends.selection import choose_backend, settle_backend
from gpunn.config.refinement import is_part, refined
from gpunn.config.search import SearchRange, check_grid, search_space
from gpunn.configurable import check_fraction, check_integer, check_number, field_names
from gpunn.distributed import Communicator, communicator
from gpunn.distributed.communicator import TIMEOUT
from gpunn.distributed.launch import local_device
from gpunn.errors import ArgumentError
from gpunn.schema import typed
from gpunn.tables import Kind
from gpunn.tables.splitting import check_split, group_left_out, split_by
from gpunn.thresholds import check_criterion

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
    "SplitDataSet",
    "Sweep",
    "TableFile",
    "Training",
]

Named: TypeAlias = str | dict[str, Any]
Fraction: TypeAlias = Annotated[float, check_fraction]
Count: TypeAlias = Annotated[int, check_integer]
Seed: TypeAlias = Annotated[int, partial(check_integer, at_least=0)]
Weight: TypeAlias = Annotated[float, partial(check_number, at_least=0)]
Seconds: TypeAlias = Annotated[float, partial(check_number, above=0)]


SECTION = re.compile(r"Parameters\n-+\n(.*?)(\n\n|\Z)", re.DOTALL)
"""What a docstring says of a table's keys, in numpydoc's format."""


def described_keys(docstring: str) -> dict[str, str]:
    """Return what a docstring says of each key, by its name."""
    section = SECTION.search(docstring)
    entries = re.split(r"\n(?=\S)", section[1]) if section else []
    return {entry.partition(" : ")[0]: entry for entry in entries}


class Table:
    """A table of the configuration. The annotations of its keys are what values are checked by.

    Its docstring gets what that of its base class says of keys, before keys of its own.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        own, base = (inspect.cleandoc(each.__doc__ or "") for each in (cls, cls.__mro__[1]))
        keys = "\n".join((described_keys(base) | described_keys(own)).values())
        cls.__doc__ = (
            SECTION.sub(lambda found: f"Parameters\n----------\n{keys}{found[2]}", own) + "\n"
        )

    def plain(self) -> dict[str, Any]:
        """Return the table as plain data, with every default written out.

        Returns
        -------
        dict
            By the keys' names, in the types that TOML and JSON have.
        """
        values = {name: getattr(self, name) for name in field_names(type(self))}
        return {key: it.plain() if isinstance(it, Table) else it for key, it in values.items()}

    def exclude(self, first: str, second: str) -> None:
        """Raise an ArgumentError that names both keys if both are set.

        Parameters
        ----------
        first, second : str
            Names of keys.
        """
        if getattr(self, first) and getattr(self, second):
            remedy = f"; set {first} to 0" if first.endswith("fraction") else ""
            raise ArgumentError(f"{first}: can't be given beside {second!r}{remedy}")

    def require_pair(self, first: str, second: str) -> None:
        """Raise an ArgumentError that names both keys if only one is set.

        Parameters
        ----------
        first, second : str
            Names of keys.
        """
        for key, other in ((first, second), (second, first)):
            if getattr(self, key) is None and getattr(self, other) is not None:
                raise ArgumentError(f"{key}: missing; it is needed beside {other!r}")


@dataclass(frozen=True, kw_only=True)
class DataSet(Table):
    """Keys of `[data]` that every kind of data set has.

    Parameters
    ----------
    dataset : str
        "digits", "mnist", "table", "csv", "npz" or "npy".
    standardize : bool
        Whether to centre and scale each feature by the training rows' mean and standard deviation,
        as a first layer of the model.
    validation_fraction : float
        In [0, 1): the fraction of the training rows that is held out; at random and, for classes,
        in their proportions.
    split_seed : int
        At least 0. Of the random choice of validation and test rows.

    Examples
    --------
    >>> from gpunn.config import DataSet
    >>> DataSet(dataset="digits", validation_fraction=0.1).split_seed
    0
    """

    dataset: str
    standardize: bool = False
    validation_fraction: Fraction = 0.0
    split_seed: Seed = 0


@dataclass(frozen=True, kw_only=True)
class Digits(DataSet):
    """The handwritten digits that come with gpunn: `dataset = "digits"`.

    There are 1,797 rows. Inputs are 64 pixels from 0 to 16, targets the digits; 360 rows are the
    test part. See `gpunn.data.load_digits`.

    Parameters
    ----------
    dataset : {"digits"}
        The kind of data set.

    Examples
    --------
    >>> from gpunn.config import Digits
    >>> Digits(validation_fraction=0.1).dataset
    'digits'
    """

    dataset: Literal["digits"] = "digits"


@dataclass(frozen=True, kw_only=True)
class MNIST(DataSet):
    """MNIST, or a set in its format, from a folder of four IDX files: `dataset = "mnist"`.

    Inputs are 784 pixels from 0 to 255, targets the digits; the test part is the set's own. See
    `gpunn.data.load_mnist`.

    Parameters
    ----------
    path : str or None
        The folder; None is `mnist` in the folder that the environment variable GPUNN_DATA names.

    Examples
    --------
    >>> from gpunn.config import MNIST
    >>> MNIST(path="~/data/fashion").validation_fraction
    0.0
    """

    dataset: Literal["mnist"] = "mnist"
    path: str | None = None


@dataclass(frozen=True, kw_only=True)
class FileDataSet(DataSet):
    """Keys of data sets in files, whose test part may be drawn at random.

    Paths are relative to the configuration's folder and can't lead out of it; `~` is your home
    folder, and an absolute path leads anywhere.

    Parameters
    ----------
    path : str
        The file.
    test_fraction : float
        In [0, 1): the fraction of the rows that is held out as the test part before anything else.
    """

    path: str
    test_fraction: Fraction = 0.0


@dataclass(frozen=True, kw_only=True)
class SplitDataSet(FileDataSet):
    """Keys of data sets whose rows may be split by the values of a column.

    Parameters
    ----------
    split : str or None
        How rows are held out. "time=COLUMN" holds out the latest ones by this column, the test part
        after the validation part. "group=COLUMN" holds out whole groups, the rows with equal values
        in this column. "random" and None draw rows.

    See Also
    --------
    CSV, NPZ, TableFile : Have these keys.

    Examples
    --------
    >>> from gpunn.config import TableFile
    >>> data = TableFile(path="visits.csv", target="ill", split="time=seen", test_fraction=0.2)
    >>> data.split_by
    ('time', 'seen')
    """

    split: Annotated[str, check_split] | None = None

    @property
    def split_by(self) -> tuple[str, str] | None:
        """What rows are split by, "time" or "group", and its column; None if at random."""
        return split_by(self.split)

    def check_split(self, targets: Sequence[str]) -> None:
        """Raise an ArgumentError if `split` names a target or has no fraction to hold out.

        Parameters
        ----------
        targets : sequence of str
            Names of the columns to predict.
        """
        if self.split_by is None:
            return
        if not (self.validation_fraction or self.test_fraction):
            raise ArgumentError(
                "split: no rows are held out; set 'validation_fraction' or 'test_fraction'"
            )
        if self.split_by[1] in targets:
            raise ArgumentError(f"split: column {self.split_by[1]!r} is the target")


@dataclass(frozen=True, kw_only=True)
class CSV(SplitDataSet):
    """Numbers from a CSV file, with one column to predict: `dataset = "csv"`.

    A text target makes classes; their names are saved with the model. With a cross-entropy as loss
    numbers can name classes too, such as 1 to 7; see `gpunn.experiment.targets`. See
    `gpunn.data.load_csv` for what files may look like.

    Parameters
    ----------
    split : str or None
        "time=COLUMN" holds out the latest rows, "group=COLUMN" whole groups. The column is no input
        unless `features` names it.
    target : int or str
        Name or number of the column to predict; numbers count from 0, or from the end where
        negative.
    header : bool or "auto"
        Whether the first row holds the columns' names.
    delimiter : str
        The character between cells.
    features : list of str and int, or None
        Columns to use as inputs; None is all but the target.
    missing : list of str or None
        Cells that mean "no value", each of which is an error. None is those of
        `gpunn.data.load_csv`.
    validation_path, test_path : str or None
        Files with the same columns, as validation and test part; not beside the fractions.

    Raises
    ------
    ArgumentError
        If a part has both a path and a fraction, or `split` names the target or has no fraction to
        hold out.

    Examples
    --------
    >>> from gpunn.config import CSV
    >>> CSV(path="flowers.csv", target="kind", test_fraction=0.2).header
    'auto'
    """

    dataset: Literal["csv"] = "csv"
    target: int | str
    header: bool | Literal["auto"] = "auto"
    delimiter: str = ","
    features: list[str | int] | None = None
    missing: list[str] | None = None
    validation_path: str | None = None
    test_path: str | None = None

    def __post_init__(self) -> None:
        self.exclude("validation_fraction", "validation_path")
        self.exclude("test_fraction", "test_path")
        self.check_split([str(self.target)])


@dataclass(frozen=True, kw_only=True)
class NPZ(SplitDataSet):
    """Arrays from one NPZ file, without pickle: `dataset = "npz"`.

    Parameters
    ----------
    split : str or None
        "time=ARRAY" holds out the latest rows by an array of the file, "group=ARRAY" whole groups.
    X, y : str
        Names of the arrays of training inputs and targets.
    X_validation, y_validation : str or None
        Those of the validation part; not beside `validation_fraction`.
    X_test, y_test : str or None
        Those of the test part; not beside `test_fraction`.

    Raises
    ------
    ArgumentError
        If a part has inputs and no targets, or a fraction beside them, or `split` names the targets
        or has no fraction to hold out.

    Examples
    --------
    >>> from gpunn.config import NPZ
    >>> NPZ(path="digits.npz", X_test="X_test", y_test="y_test").X
    'X'
    """

    dataset: Literal["npz"] = "npz"
    X: str = "X"
    y: str = "y"
    X_validation: str | None = None
    y_validation: str | None = None
    X_test: str | None = None
    y_test: str | None = None

    def __post_init__(self) -> None:
        self.require_pair("X_validation", "y_validation")
        self.require_pair("X_test", "y_test")
        self.exclude("validation_fraction", "X_validation")
        self.exclude("test_fraction", "X_test")
        self.check_split([self.y])


@dataclass(frozen=True, kw_only=True)
class NPY(FileDataSet):
    """Arrays from NPY files, large ones as memory maps: `dataset = "npy"`.

    A memory map is read in chunks while training. Holding out a fraction of the rows copies none of
    them.

    Parameters
    ----------
    path : str
        Training inputs.
    target_path : str
        Training targets.
    validation_path, validation_target_path : str or None
        Those of the validation part; not beside `validation_fraction`.
    test_path, test_target_path : str or None
        Those of the test part; not beside `test_fraction`.

    Raises
    ------
    ArgumentError
        If a part has inputs and no targets, or a fraction beside them.

    Examples
    --------
    >>> from gpunn.config import NPY
    >>> NPY(path="X.npy", target_path="y.npy").test_fraction
    0.0
    """

    dataset: Literal["npy"] = "npy"
    target_path: str
    validation_path: str | None = None
    validation_target_path: str | None = None
    test_path: str | None = None
    test_target_path: str | None = None

    def __post_init__(self) -> None:
        self.require_pair("validation_path", "validation_target_path")
        self.require_pair("test_path", "test_target_path")
        self.exclude("validation_fraction", "validation_path")
        self.exclude("test_fraction", "test_path")


@dataclass(frozen=True, kw_only=True)
class TableFile(SplitDataSet):
    """Numbers, text, dates and gaps from a CSV, TSV or Parquet file: `dataset = "table"`.

    What the columns are is learned from the training rows, as `gpunn.tables.Schema.fit` does, and
    is part of the model. What files may look like is said in `gpunn.tables.read_table`, and what
    targets may be in `gpunn.experiment.targets`.

    Parameters
    ----------
    standardize : bool
        Must be False, since `scaling` takes its place.
    split : str or None
        "time=COLUMN" holds out the latest rows, "group=COLUMN" whole groups. The column of groups
        is left out of the inputs unless `columns` names it.
    target : str or list of str
        Name of the column to predict, or names of several, which must hold numbers or labels.
    positive : str or None
        Of two classes the one that is looked for, which precision, recall and the threshold are of;
        None is the second one, sorted.
    drop : list of str
        Columns to leave out.
    columns : mapping of str to str, or "auto"
        Kinds of columns: "number", "category", "boolean" or "datetime". Those of others are found.
    missing_values : list of str
        Further cells that mean "no value"; see `gpunn.tables.Schema.fit`.
    scaling : {"auto", "robust", "quantile", "standard", "none"}
        Of numbers; "auto" is what the network is meant for, and "robust" beside layers.
    header : bool or "auto"
        Whether the first row holds the columns' names.
    delimiter : str or None
        The character between cells; None to find it.
    decimal : {".", ","} or None
        The decimal mark; None to find it.
    validation_path, test_path : str or None
        Files with the same columns, as validation and test part; not beside the fractions.

    Raises
    ------
    ArgumentError
        If a part has both a path and a fraction, targets are not different columns or are dropped,
        `standardize` is set, or `split` names a target or has no fraction to hold out.

    Examples
    --------
    >>> from gpunn.config import TableFile
    >>> TableFile(path="rents.csv", target="rent", drop=["id"]).targets
    ['rent']
    """

    dataset: Literal["table"] = "table"
    target: str | list[str]
    positive: str | None = None
    drop: list[str] = field(default_factory=list)
    columns: Literal["auto"] | dict[str, Kind] = "auto"
    missing_values: list[str] = field(default_factory=list)
    scaling: Literal["auto", "robust", "quantile", "standard", "none"] = "auto"
    header: bool | Literal["auto"] = "auto"
    delimiter: str | None = None
    decimal: str | None = None
    validation_path: str | None = None
    test_path: str | None = None

    def __post_init__(self) -> None:
        self.exclude("validation_fraction", "validation_path")
        self.exclude("test_fraction", "test_path")
        self.check_split(self.targets)
        if self.standardize:
            raise ArgumentError("standardize: codes of categories must stay; use 'scaling' instead")
        names = self.targets
        if not names or len(set(names)) < len(names):
            raise ArgumentError(f"target: expected the names of different columns; got {names!r}")
        for name in names:
            if name in self.drop:
                raise ArgumentError(f"drop: column {name!r} is the target")

    @property
    def targets(self) -> list[str]:
        """Names of the columns to predict."""
        return [self.target] if isinstance(self.target, str) else self.target

    @property
    def left_out(self) -> list[str]:
        """Names of the columns that are no inputs."""
        kinds = {} if self.columns == "auto" else self.columns
        return [*self.drop, *self.targets, *group_left_out(self.split, kinds)]


AnyDataSet: TypeAlias = Digits | MNIST | CSV | TableFile | NPZ | NPY


def check_layers(path: str, layers: list[Named]) -> list[Named]:
    """Return the layers, or raise an error if there are none."""
    if not layers:
        raise ArgumentError(f"{path}: expected a list of length >= 1; got []")
    return layers


@dataclass(frozen=True, kw_only=True)
class Model(Table):
    """What to train: layers, or the name of a network for tables, which makes its own.

    Parameters
    ----------
    layers : list of str and mapping, or None
        The layers in order, at least one; needed unless there is a name.
    name : {"realmlp", "realmlp_s", "tabm"} or None
        A network for tables.
    parameters : mapping of str to value
        What such a network is to have, such as {"members": 8}; they are those of
        `gpunn.tabular.realmlp` and `gpunn.tabular.tabm`.
    start_from : str or None
        The folder of a run, or a model file, whose weights this network begins with.
    frozen : list of str
        Labels of layers that are not to be trained.

    Raises
    ------
    ArgumentError
        If there are neither layers nor a name, both, or parameters without a name.

    Examples
    --------
    >>> from gpunn.config import Model
    >>> Model(name="tabm", parameters={"members": 8}).layers is None
    True
    """

    layers: Annotated[list[Named], check_layers] | None = None
    name: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    start_from: str | None = None
    frozen: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.layers is None and self.name is None:
            raise ArgumentError("layers: this key is needed, or 'name'")
        self.exclude("layers", "name")
        if self.parameters and self.name is None:
            raise ArgumentError("parameters: they are of a network with a name; give 'name'")


@dataclass(frozen=True, kw_only=True)
class Training(Table):
    """How to train: loss, optimizer, epochs, and what happens beside.

    Parameters
    ----------
    loss : str or mapping
        Such as "softmax_cross_entropy".
    epochs : int
        At least 1: passes over the training rows, those before a resumption included.
    optimizer : str or mapping
        Its learning rate is a number or a schedule.
    batch_size : int
        At least 1: rows in a batch.
    metrics : list of str and mapping
        What is measured beside the loss.
    validation_metrics : list of str and mapping
        What is measured beside these on validation and test rows only.
    threshold_for : str or None
        By what the threshold between two classes is chosen on the validation rows: "f1",
        "balanced_accuracy", "precision=0.9" or "recall=0.9", with any number from 0 to 1. None is
        the threshold 0.5.
    class_weight : "balanced", mapping of str to float, or None
        Factors, at least 0, of the rows' weights in the training loss, by the classes' names or
        numbers.
    gradient_accumulation : int
        At least 1: batches whose gradients make up one update.
    shuffle : bool
        Whether each epoch visits the rows in a new order.
    drop_last : bool
        Whether an epoch leaves out its last rows if they are too few for a whole update.
    shuffle_members : bool
        Whether each member of a network with members visits the rows in an order of its own.
    callbacks : list of str and mapping
        What happens beside training.
    monitor : str or None
        What chooses the best epoch; None is what an early stopping monitors, or "val_accuracy" if
        it is measured, else "val_loss".
    monitor_mode : {"auto", "min", "max"}
        Whether smaller or larger is better; "auto" asks the metric.
    checkpoint_every : int or None
        At least 1: epochs between checkpoints. None is as many as keep what they take below 1 % of
        the time.
    checkpoint_every_updates : int or None
        At least 1: updates between further checkpoints, within an epoch.
    checkpoint_every_seconds : float
        Positive, in seconds: a checkpoint is written when the last one is so old.
    keep_checkpoints : int
        At least 1: how many of the last checkpoints are kept.
    on_divergence : {"stop", "skip", "roll_back"}
        What to do about an update that makes the loss or a parameter infinite or NaN.

    Examples
    --------
    >>> from gpunn.config import Training
    >>> Training(loss="mean_squared_error", epochs=3).optimizer
    'adam'
    """

    loss: Named
    epochs: Count
    optimizer: Named = "adam"
    batch_size: Count = 32
    metrics: list[Named] = field(default_factory=list)
    validation_metrics: list[Named] = field(default_factory=list)
    threshold_for: Annotated[str, check_criterion] | None = None
    class_weight: Literal["balanced"] | dict[str, Weight] | None = None
    gradient_accumulation: Count = 1
    shuffle: bool = True
    drop_last: bool = False
    shuffle_members: bool = False
    callbacks: list[Named] = field(default_factory=list)
    monitor: str | None = None
    monitor_mode: Literal["auto", "min", "max"] = "auto"
    checkpoint_every: Count | None = None
    checkpoint_every_updates: Count | None = None
    checkpoint_every_seconds: Seconds = 300.0
    keep_checkpoints: Count = 3
    on_divergence: Literal["stop", "skip", "roll_back"] = "stop"


@dataclass(frozen=True, kw_only=True)
class BackendOptions(Table):
    """How a CUDA device or the CPU computes; each takes what it knows.

    Parameters
    ----------
    graph : bool
        On a CUDA device: whether a training step is recorded as a CUDA graph.
    matmul_precision : {"float32", "tf32", "bfloat16", "float16"}
        On a CUDA device: what products of float32 matrices may be computed in.
    fused_products : bool
        On a CUDA device: whether biases, ReLU and gradients of biases may be part of products.
    matmul_algorithms : {"heuristic", "measured"}
        On a CUDA device: how the algorithms of products are chosen.
    threads : int or None
        On the CPU: how many threads compute, at least 1; None is one for each core.

    See Also
    --------
    gpunn.get_backend : Says more of each.

    Examples
    --------
    >>> from gpunn.config import BackendOptions
    >>> BackendOptions(threads=2).plain()["threads"]
    2
    """

    graph: bool = True
    matmul_precision: Literal["float32", "tf32", "bfloat16", "float16"] = "float32"
    fused_products: bool = True
    matmul_algorithms: Literal["heuristic", "measured"] = "heuristic"
    threads: Count | None = None


@dataclass(frozen=True, kw_only=True)
class Sweep(Table):
    """What the trials of a sweep differ in, and how they are compared.

    Parameters
    ----------
    parameters : mapping of str to SearchRange
        What trials differ in, by the paths of keys; at least one.
    trials : int
        At least 1: how many are wanted, over all processes.
    metric : str or None
        The metric of validation rows that trials are compared by; None is what tells a run's best
        epoch.
    metric_mode : {"auto", "min", "max"}
        Whether smaller or larger is better; "auto" asks the metric.
    sampler : {"tpe", "random", "grid"}
        How values are chosen: by what was good so far, at random, or each combination once.
    pruner : {"median", "halving", "none"}
        Which trials are ended early: those behind the median of the complete ones, all but the best
        quarter after 1, 4, 16, ... epochs, or none.
    min_epochs : int
        At least 1: epochs that every trial trains before it can be pruned.
    seed : int
        At least 0. Of the choice of values.

    Raises
    ------
    ArgumentError
        If the sampler is "grid" and a range has values between any two.

    Examples
    --------
    >>> from gpunn.config import SearchRange, Sweep
    >>> Sweep(parameters={"training.batch_size": SearchRange(choices=[32, 64])}).trials
    20
    """

    parameters: Annotated[dict[str, Any], search_space]
    trials: Count = 20
    metric: str | None = None
    metric_mode: Literal["auto", "min", "max"] = "auto"
    sampler: Literal["tpe", "random", "grid"] = "tpe"
    pruner: Literal["median", "halving", "none"] = "median"
    min_epochs: Count = 1
    seed: Seed = 0

    def __post_init__(self) -> None:
        if self.sampler == "grid":
            check_grid(self.space)

    @property
    def space(self) -> dict[str, SearchRange]:
        """The values of each key that trials differ in, by its path."""
        return self.parameters

    def plain(self) -> dict[str, Any]:
        space = {path: each.plain() for path, each in self.space.items()}
        return {**super().plain(), "parameters": space}


@dataclass(frozen=True, kw_only=True)
class Distributed(Table):
    """How several processes train together.

    Parameters
    ----------
    communicator : {"auto", "none", "mpi", "nccl"}
        See `gpunn.distributed.communicator`.
    timeout : float
        Positive, in seconds: how long a process waits for the others before all end.
    shards : int
        At least 0: parts into which each batch is divided, a power of two; 0 is one for each
        process.
    batch_norm : {"synchronized", "local"}
        Whether batch normalisation takes the rows of all processes together, or those of each
        shard.

    Examples
    --------
    >>> from gpunn.config import Distributed
    >>> Distributed(shards=4).timeout
    300.0
    """

    communicator: Literal["auto", "none", "mpi", "nccl"] = "auto"
    timeout: Seconds = TIMEOUT
    shards: Annotated[int, partial(check_integer, at_least=0)] = 0
    batch_norm: Literal["synchronized", "local"] = "synchronized"


@dataclass(frozen=True, kw_only=True)
class Config(Table):
    """The whole configuration of an experiment.

    Parameters
    ----------
    data : Digits, MNIST, CSV, TableFile, NPZ or NPY
        What to train on.
    model : Model
        What to train.
    training : Training
        How to train.
    backend : {"auto", "numpy", "cupy", "cupy:1", ...}
        Where to compute; "auto" is a CUDA device if one is usable, else NumPy.
    backend_options : BackendOptions or None
        How a CUDA device or the CPU computes.
    distributed : Distributed or None
        How several processes train together.
    sweep : Sweep or None
        What the trials of a sweep differ in; a single run ignores it.
    seed : int
        At least 0. Of initial weights, shuffles and dropout masks.
    dtype : {"float32", "float64"}
        Of parameters and activations.

    See Also
    --------
    load_config : Reads one from a file.
    gpunn.experiment.build : Makes everything that it describes.

    Examples
    --------
    >>> from pathlib import Path
    >>> from gpunn.config import parse_config
    >>> raw = {
    ...     "data": {"dataset": "digits"},
    ...     "model": {"layers": [{"name": "dense", "units": 10}]},
    ...     "training": {"loss": "softmax_cross_entropy", "epochs": 3},
    ... }
    >>> config = parse_config(raw, Path())
    >>> config.training.batch_size, config.backend
    (32, 'auto')
    """

    data: AnyDataSet
    model: Model
    training: Training
    backend: str = "auto"
    backend_options: BackendOptions | None = None
    distributed: Distributed | None = None
    sweep: Sweep | None = None
    seed: Seed = 0
    dtype: Literal["float32", "float64"] = "float32"

    def get_backend(
        self, argument: str | Backend | None = None, communicator: Communicator | None = None
    ) -> Backend:
        """Return the backend, with the configuration's options; an argument takes precedence.

        Of several processes on a machine, each gets a CUDA device of its own.

        Parameters
        ----------
        argument : str, Backend or None
            A backend's name, as from the command line; a backend is returned as it is.
        communicator : Communicator or None
            The processes that train together.

        Returns
        -------
        Backend
            With these options.

        Raises
        ------
        BackendUnavailableError, ArgumentError
            As `gpunn.get_backend`.
        """
        if isinstance(argument, Backend):
            return argument
        options = self.backend_options or BackendOptions()
        name = argument
        if communicator is not None and communicator.local_size > 1:
            name = local_device(choose_backend(argument, self.backend), communicator)
        return settle_backend(name, self.backend, **options.plain())

    def get_communicator(self) -> Communicator:
        """Return the processes that train together; see `gpunn.distributed.communicator`.

        Returns
        -------
        Communicator
            A world of one process unless several were started together.
        """
        settings = self.distributed or Distributed()
        return communicator(settings.communicator, settings.timeout)


@dataclass(frozen=True, kw_only=True)
class Draft(Config):
    """A configuration that names its network, which decides what `[training]` does not say.

    Parameters
    ----------
    given : mapping
        What `[training]` says, as plain data; see `settled`. `training` has stand-ins for what is
        needed and missing there; in the configuration of a run nothing is.

    Examples
    --------
    >>> from pathlib import Path
    >>> from gpunn.config import parse_config
    >>> raw = {
    ...     "data": {"dataset": "table", "path": "rents.csv", "target": "rent"},
    ...     "model": {"name": "tabm"},
    ... }
    >>> parse_config(raw, Path()).given
    {}
    """

    given: Mapping[str, Any]

    def plain(self) -> dict[str, Any]:
        return {key: value for key, value in super().plain().items() if key != "given"}

    def decides(self, key: str) -> bool:
        """Return whether a value of `[training]` is given as a whole, not some parts of it.

        Parameters
        ----------
        key : str
            Its name.

        Returns
        -------
        bool
            False if the network decides it.
        """
        return key in self.given and not is_part(key, self.given[key])

    def settled(self, training: Mapping[str, Any]) -> Config:
        """Return the whole configuration, given what the network would have in `[training]`.

        Parameters
        ----------
        training : mapping
            What the network would have, as plain data; what was given comes first. Of the loss, the
            optimizer, metrics and callbacks a table without a name changes only what is in it.

        Returns
        -------
        Config
            Without stand-ins.
        """
        values = {name: getattr(self, name) for name in field_names(Config)}
        if {"loss", "optimizer", "metrics"} <= self.given.keys():
            training = {**training, "validation_metrics": []}  # of a run that had none: it goes on
        whole = typed(Training, refined(training, self.given), "training")
        return Config(**{**values, "training": whole})
