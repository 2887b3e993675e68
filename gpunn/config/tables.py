"""The tables of a configuration: every key with its type, its limits and its default.

docs/reference/configuration.md explains each key; a test compares it with this file.
"""

from __future__ import annotations

import math
import warnings
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
from gpunn.docstrings import completed
from gpunn.errors import ArgumentError
from gpunn.schema import typed
from gpunn.tables.columns import ColumnType
from gpunn.tables.splitting import check_split, group_left_out, split_by
from gpunn.thresholds import check_criterion

Named: TypeAlias = str | dict[str, Any]
Fraction: TypeAlias = Annotated[float, check_fraction]
Count: TypeAlias = Annotated[int, check_integer]
Seed: TypeAlias = Annotated[int, partial(check_integer, at_least=0, at_most=math.inf)]
Weight: TypeAlias = Annotated[float, partial(check_number, at_least=0)]
Seconds: TypeAlias = Annotated[float, partial(check_number, above=0)]


class Table:
    """A table of the configuration; its values are checked against the annotations of its keys."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.__doc__ = completed(cls, cls.__mro__[1:2], "Parameters")

    def plain(self) -> dict[str, Any]:
        """Return the table as plain data, with all defaults.

        Returns
        -------
        dict
            The values by key, in types that TOML and JSON have.
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
            raise ArgumentError(f"{first}: cannot be combined with {second!r}{remedy}")

    def require_pair(self, first: str, second: str) -> None:
        """Raise an ArgumentError that names both keys if only one is set.

        Parameters
        ----------
        first, second : str
            Names of keys.
        """
        for key, other in ((first, second), (second, first)):
            if getattr(self, key) is None and getattr(self, other) is not None:
                raise ArgumentError(f"{key}: this key is needed with {other!r}")


@dataclass(frozen=True, kw_only=True)
class DataSet(Table):
    """Keys of `[data]` that every kind of data set has.

    Parameters
    ----------
    dataset : str
        The kind of data set: "digits", "mnist", "images", "table", "csv", "npz" or "npy".
    standardize : bool
        Whether the model's first layer centers and scales each feature by the training rows' mean
        and standard deviation.
    validation_fraction : float
        In [0, 1): the fraction of the training rows that is held out for validation, drawn at
        random, in proportion to the classes.
    split_seed : int
        At least 0: the seed of the random choice of validation and test rows.

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
class ImageArrays(DataSet):
    """Keys of image data sets that are stored as arrays.

    Parameters
    ----------
    shape : {"images"} or None
        With "images", each row has the shape (height, width, channels), as convolutions expect.
        None means that each row is a vector of pixels.
    """

    shape: Literal["images"] | None = None


@dataclass(frozen=True, kw_only=True)
class Digits(ImageArrays):
    """The handwritten digits that come with gpunn: `dataset = "digits"`.

    There are 1,797 rows, of which 360 are the test split. Inputs are 64 pixels from 0 to 16, and
    targets are the digits. See `gpunn.data.load_digits`.

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
class MNIST(ImageArrays):
    """MNIST, or a data set in its format, from a folder of four IDX files: `dataset = "mnist"`.

    Inputs are 784 pixels from 0 to 255, and targets are the digits; the data set defines the test
    split. See `gpunn.data.load_mnist`.

    Parameters
    ----------
    path : str or None
        The folder, or None for the subfolder `mnist` of the folder that the environment variable
        GPUNN_DATA names.

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
    """Keys of data sets in files.

    A path may be absolute or begin with `~`, your home folder. Other paths are relative to the
    configuration's folder, and cannot lead out of this folder.

    Parameters
    ----------
    path : str
        The file.
    test_fraction : float
        In [0, 1): the fraction of the rows that is held out as the test split, before validation
        rows are held out.
    """

    path: str
    test_fraction: Fraction = 0.0


@dataclass(frozen=True, kw_only=True)
class Images(FileDataSet):
    """A folder of images with a subfolder for each class: `dataset = "images"`.

    Inputs have the shape (height, width, channels), with pixels from 0 to 255. If the subfolders
    are called "train", "validation" (or "val") and "test", each is a folder of images for that
    split. See `gpunn.data.load_images`.

    Parameters
    ----------
    path : str
        The folder.
    size : int, list of int, or None
        The side of the images, or height and width; None means that `load_images` chooses.
    color : {"auto", "gray", "rgb", "color"}
        The channels of the images.

    Examples
    --------
    >>> from gpunn.config import Images
    >>> Images(path="photos", size=[48, 64], test_fraction=0.2).color
    'auto'
    """

    dataset: Literal["images"] = "images"
    size: int | list[int] | None = None
    color: Literal["auto", "gray", "rgb", "color"] = "auto"


@dataclass(frozen=True, kw_only=True)
class SplitDataSet(FileDataSet):
    """Keys of data sets whose rows may be split by the values of a column.

    Parameters
    ----------
    split : str or None
        How the rows to hold out are chosen. The value "time=COLUMN" holds out the rows with
        the latest times in this column; test rows are later than validation rows. The value
        "group=COLUMN" holds out whole groups: the rows with the same value in this column.
        "random" and None draw rows at random.

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
        """The kind of split, "time" or "group", and its column, or None for a random split."""
        return split_by(self.split)

    def check_split(self, targets: Sequence[str]) -> None:
        """Raise an ArgumentError if `split` names a target, or if no fraction is held out.

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
            raise ArgumentError(
                f"split: column {self.split_by[1]!r} is the target; choose another column"
            )


@dataclass(frozen=True, kw_only=True)
class CSV(SplitDataSet):
    """Numbers from a CSV file, with one column to predict: `dataset = "csv"`.

    String targets are classes. With a cross-entropy loss, numbers can also be classes, such as 1 to
    7; see `gpunn.experiment.targets`. For the format of files, see `gpunn.data.load_csv`.

    Parameters
    ----------
    split : str or None
        "time=COLUMN" holds out the latest rows, and "group=COLUMN" holds out whole groups. The
        column is an input only if `features` names it.
    target : int or str
        Name or index of the column to predict; indices count from 0, negative ones from the end.
    header : bool or "auto"
        Whether the first row contains column names.
    delimiter : str
        The field delimiter.
    features : list of str and int, or None
        Columns to use as inputs, or None for all columns except the target.
    missing : list of str or None
        Strings that mark missing values; rows with missing values are refused. None means the
        defaults of `gpunn.data.load_csv`.
    validation_path, test_path : str or None
        Files with the same columns, used as validation and test splits instead of the fractions.

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
        The value "time=ARRAY" holds out the latest rows, by the times in an array of the file.
        "group=ARRAY" holds out whole groups.
    X, y : str
        Names of the arrays of training inputs and targets.
    X_validation, y_validation : str or None
        Names of the arrays of validation inputs and targets, instead of `validation_fraction`.
    X_test, y_test : str or None
        Names of the arrays of test inputs and targets, instead of `test_fraction`.

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
    """Arrays from NPY files, as memory maps if they are large: `dataset = "npy"`.

    Parameters
    ----------
    path : str
        Training inputs.
    target_path : str
        Training targets.
    validation_path, validation_target_path : str or None
        Validation inputs and targets, instead of `validation_fraction`.
    test_path, test_target_path : str or None
        Test inputs and targets, instead of `test_fraction`.

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
    """Numbers, text, dates and missing values from a CSV, TSV or Parquet file: `dataset = "table"`.

    `gpunn.tables.Schema.fit` learns the encoding of columns from the training rows. For the format
    of files, see `gpunn.tables.read_table`; for targets, see `gpunn.experiment.targets`.

    Parameters
    ----------
    standardize : bool
        Must be False for tables; use `scaling` instead.
    split : str or None
        "time=COLUMN" holds out the latest rows, and "group=COLUMN" holds out whole groups. The
        column of groups is an input only if `columns` names it.
    target : str or list of str
        Name of the column to predict, or names of several columns of numbers or labels.
    positive : str or None
        Which of two classes is positive, for precision, recall and the threshold. None means the
        second class in sorted order.
    drop : list of str
        Columns to leave out.
    columns : mapping of str to str, or "auto"
        Kinds of columns: "number", "category", "boolean" or "datetime"; "day/month/year" or
        "month/day/year" for dates that are written in this order; "hour:minute" for times of day.
        For a column that is not in the mapping, the kind is detected.
    missing_values : list of str
        Further strings that mark missing values; see `gpunn.tables.Schema.fit`.
    scaling : {"auto", "robust", "quantile", "standard", "none"}
        Scaling of numbers; "auto" is the scaling that the tabular model prefers, or "robust" with
        `model.layers`.
    header : bool or "auto"
        Whether the first row contains column names.
    delimiter : str or None
        The field delimiter, or None to detect it.
    decimal : {".", ","} or None
        The decimal separator, or None to detect it.
    validation_path, test_path : str or None
        Files with the same columns, used as validation and test splits instead of the fractions.

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
    columns: Literal["auto"] | dict[str, ColumnType] = "auto"
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
            raise ArgumentError(
                "standardize: cannot be used for a table, since it would change the codes of "
                "categories; set 'scaling' instead"
            )
        names = self.targets
        if not names or len(set(names)) < len(names):
            raise ArgumentError(f"target: expected unique column names; got {names!r}")
        for name in names:
            if name in self.drop:
                raise ArgumentError(f"drop: column {name!r} is the target; remove it from 'drop'")

    @property
    def targets(self) -> list[str]:
        """Names of the columns to predict."""
        return [self.target] if isinstance(self.target, str) else self.target

    @property
    def kinds(self) -> dict[str, ColumnType]:
        """The kinds that the user chose for columns, by the column's name."""
        return {} if self.columns == "auto" else self.columns

    @property
    def left_out(self) -> list[str]:
        """Names of the columns that are not inputs."""
        return [*self.drop, *self.targets, *group_left_out(self.split, self.kinds)]


AnyDataSet: TypeAlias = Digits | MNIST | Images | CSV | TableFile | NPZ | NPY


def check_layers(path: str, layers: list[Named]) -> list[Named]:
    if not layers:
        raise ArgumentError(f"{path}: expected a list of length >= 1; got []")
    return layers


@dataclass(frozen=True, kw_only=True)
class Model(Table):
    """The model to train: layers, or the name of a tabular model, which makes its own layers.

    Parameters
    ----------
    layers : list of str and mapping, or None
        The layers in order, at least one; required unless `name` is set.
    name : {"realmlp", "realmlp_s", "tabm", "auto"} or None
        A tabular model; "auto" trains as many models as the time allows, and combines the best
        ones.
    parameters : mapping of str to value
        Parameters of the tabular model, such as `{"members": 8}`; see `gpunn.tabular.realmlp`,
        `gpunn.tabular.tabm` and, for "auto", `gpunn.sklearn.TabularClassifier`.
    start_from : str or None
        A run folder or a model file, from which the initial weights are copied.
    frozen : list of str
        Labels of the layers whose parameters training does not change.

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
            raise ArgumentError("layers: set this key, or set 'name'")
        self.exclude("layers", "name")
        if self.parameters and self.name is None:
            raise ArgumentError("parameters: needs a tabular model; also set 'name'")


@dataclass(frozen=True, kw_only=True)
class Training(Table):
    """How to train: loss, optimizer, epochs, callbacks and checkpoints.

    Parameters
    ----------
    loss : str or mapping
        The loss, such as "softmax_cross_entropy".
    epochs : int
        At least 1: the number of passes over the training rows, including passes before a resume.
    optimizer : str or mapping
        The optimizer; its learning rate is a number or a schedule.
    batch_size : int
        At least 1: the number of rows in a batch.
    metrics : list of str and mapping
        Metrics to log in addition to the loss.
    validation_metrics : list of str and mapping
        Further metrics for validation and test rows only.
    threshold_for : str or None
        The criterion that chooses the threshold between two classes on the validation rows: "f1",
        "balanced_accuracy", "precision=P" or "recall=R", where P and R are numbers from 0 to 1.
        None means the threshold 0.5.
    class_weight : "balanced", mapping of str to float, or None
        The weight of each class's rows in the training loss, at least 0, by class name or index.
    gradient_accumulation : int
        At least 1: the number of batches whose gradients are combined into one update.
    shuffle : bool
        Whether each epoch visits the rows in a new order.
    augment : list of str and mapping
        Augmentations that change the training images randomly, in order.
    drop_last : bool
        Whether an epoch skips its last rows if they are too few for a whole update.
    shuffle_members : bool
        If the network has members: whether each member visits the rows in a separate order.
    callbacks : list of str and mapping
        Callbacks to run during training.
    monitor : str or None
        The metric or loss that selects the best epoch. None means the `monitor` of an early
        stopping callback, or else "val_accuracy" if this metric is logged, or else "val_loss".
    monitor_mode : {"auto", "min", "max"}
        Whether smaller or larger is better; "auto" uses the metric's own direction.
    checkpoint_every : int or None
        At least 1: the number of epochs between checkpoints. With None, gpunn chooses this number
        so that checkpoints take less than 1 % of the training time.
    checkpoint_every_updates : int or None
        At least 1: the number of updates between additional checkpoints within an epoch.
    checkpoint_every_seconds : float
        Positive: another checkpoint is written if the latest checkpoint is older than this number
        of seconds.
    keep_checkpoints : int
        At least 1: how many of the latest checkpoints to keep.
    on_divergence : {"stop", "skip", "roll_back"}
        What to do if an update makes the loss or a parameter infinite or NaN.

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
    augment: list[Named] = field(default_factory=list)
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
    """How a CUDA device or the CPU computes. Keys for the device that is not used are ignored.

    Parameters
    ----------
    graph : bool
        On a CUDA device: whether a training step is recorded as a CUDA graph.
    matmul_precision : {"float32", "tf32", "bfloat16", "float16"}
        On a CUDA device: the allowed precision for products of float32 matrices.
    fused_products : bool
        On a CUDA device: whether matrix products may also compute biases, ReLU and bias gradients.
    matmul_algorithms : {"heuristic", "measured"}
        On a CUDA device: how the algorithms of matrix products are chosen.
    threads : int or None
        On the CPU: the number of threads, at least 1, or None for one thread per core.

    See Also
    --------
    gpunn.get_backend : Describes each option in detail.

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
    """Which keys the trials of a sweep vary, and how trials are compared.

    Parameters
    ----------
    parameters : mapping of str to SearchRange
        The values of each key to vary, by the path of the key; at least one key.
    trials : int
        At least 1: the number of trials in total, over all processes.
    metric : str or None
        The validation metric that compares trials, or None for the metric that selects a run's best
        epoch.
    metric_mode : {"auto", "min", "max"}
        Whether smaller or larger is better; "auto" uses the metric's own direction.
    sampler : {"tpe", "random", "grid"}
        How values are chosen: "tpe" learns from earlier trials, "random" draws values, and "grid"
        tries each combination once, which requires that no range is continuous.
    pruner : {"median", "halving", "none"}
        Which trials end early. With "median", a trial ends if it is worse than the median of the
        complete trials. With "halving", only the best quarter of the remaining trials continues
        after 1, 4, 16, ... epochs.
    min_epochs : int
        At least 1: the number of epochs that every trial trains before it can be pruned.
    seed : int
        At least 0: the seed of the choice of values.

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
        """The search space: the values to try for each varied key, by the key's path."""
        return self.parameters

    @property
    def least_epochs(self) -> int:
        """The deprecated name of `min_epochs`."""
        text = "Sweep.least_epochs: this attribute is now called min_epochs"
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        return self.min_epochs

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
        Seconds to wait for the other processes, above 0. After this time, all processes stop.
    shards : int
        The number of shards (parts) of each batch: a power of two, or 0 for one shard per process.
    batch_norm : {"synchronized", "local"}
        Whether batch normalization uses the rows of all processes, or only the rows of each shard.

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
    data : Digits, MNIST, Images, CSV, TableFile, NPZ or NPY
        The data to train on.
    model : Model
        The model to train.
    training : Training
        How to train.
    backend : {"auto", "numpy", "cupy", "cupy:1", ...}
        Where to compute; "auto" means a CUDA device if one is usable, else NumPy.
    backend_options : BackendOptions or None
        How a CUDA device or the CPU computes.
    distributed : Distributed or None
        How several processes train together.
    sweep : Sweep or None
        Which keys the trials of a sweep vary; a single run ignores this table.
    seed : int
        At least 0: the seed of initial weights, shuffles and dropout masks.
    dtype : {"float32", "float64"}
        The dtype of parameters and activations.

    See Also
    --------
    load_config : Reads a configuration from a file.
    gpunn.experiment.build : Makes the experiment that a configuration describes.

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
        """Return the configured backend with its options; an argument overrides the name.

        If several processes train on one machine, each process gets a different CUDA device.

        Parameters
        ----------
        argument : str, Backend or None
            A backend name, for example from the command line; a Backend is returned unchanged.
        communicator : Communicator or None
            The processes that train together.

        Returns
        -------
        Backend
            The backend.

        Raises
        ------
        BackendUnavailableError, ArgumentError
            As for `gpunn.get_backend`.
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
            The processes that a launcher has started together; without a launcher, only this
            process.
        """
        settings = self.distributed or Distributed()
        return communicator(settings.communicator, settings.timeout)


@dataclass(frozen=True, kw_only=True)
class Draft(Config):
    """A tabular model's configuration, before `settled` adds the model's defaults to `[training]`.

    Parameters
    ----------
    given : mapping
        The keys that the user wrote in `[training]`, as plain data. For other keys, the attribute
        `training` has temporary values.

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
        """Return whether the user's value of a `[training]` key replaces the model's default.

        Parameters
        ----------
        key : str
            The name of the key.

        Returns
        -------
        bool
            False if the user did not set the key, or changed only some parameters of the default.
        """
        return key in self.given and not is_part(key, self.given[key])

    def settled(self, training: Mapping[str, Any]) -> Config:
        """Return the complete configuration, with the tabular model's defaults in `[training]`.

        Parameters
        ----------
        training : mapping
            The model's defaults, as plain data. Keys that the user set override these defaults.
            For the loss, the optimizer, metrics and callbacks, a table without a name changes only
            the parameters that it contains.

        Returns
        -------
        Config
            The configuration, without the temporary values of a `Draft`.
        """
        values = {name: getattr(self, name) for name in field_names(Config)}
        if {"loss", "optimizer", "metrics"} <= self.given.keys():
            # An earlier release wrote this run without validation metrics; it resumes without them.
            training = {**training, "validation_metrics": []}
        whole = typed(Training, refined(training, self.given), "training")
        return Config(**{**values, "training": whole})
