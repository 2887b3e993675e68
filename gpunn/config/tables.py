"""The tables of a configuration: every key with its type, its limits and its default.

What each key means is said once, in docs/reference/configuration.md, where a test looks for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, Literal, TypeAlias

from gpunn.backends import Backend
from gpunn.backends.selection import choose_backend, settle_backend
from gpunn.config.search import SearchRange, check_grid, search_space
from gpunn.configurable import check_fraction, check_integer, check_number, field_names
from gpunn.distributed import Communicator, communicator
from gpunn.distributed.communicator import TIMEOUT
from gpunn.distributed.launch import local_device
from gpunn.errors import ArgumentError
from gpunn.schema import typed
from gpunn.tables import Kind

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


class Table:
    """A table of the configuration. The annotations of its keys are what values are checked by."""

    def plain(self) -> dict[str, Any]:
        """Return the table as plain data, with every default written out."""
        values = {name: getattr(self, name) for name in field_names(type(self))}
        return {key: it.plain() if isinstance(it, Table) else it for key, it in values.items()}

    def exclude(self, first: str, second: str) -> None:
        """Raise an error if both keys are set."""
        if getattr(self, first) and getattr(self, second):
            raise ArgumentError(f"{first}: can't be given beside {second!r}")

    def require_pair(self, first: str, second: str) -> None:
        """Raise an error if one key is set without the other."""
        for key, other in ((first, second), (second, first)):
            if getattr(self, key) is None and getattr(self, other) is not None:
                raise ArgumentError(f"{key}: missing; it is needed beside {other!r}")


@dataclass(frozen=True, kw_only=True)
class DataSet(Table):
    """`[data]`: keys that every kind of data set has."""

    dataset: str
    standardize: bool = False
    validation_fraction: Fraction = 0.0
    split_seed: Seed = 0


@dataclass(frozen=True, kw_only=True)
class Digits(DataSet):
    """`dataset = "digits"`: the 1,797 handwritten digits that come with gpunn.

    Inputs are 64 pixels from 0 to 16, targets the digits; 360 rows are the test part. See
    `gpunn.data.load_digits`.
    """

    dataset: Literal["digits"] = "digits"


@dataclass(frozen=True, kw_only=True)
class MNIST(DataSet):
    """`dataset = "mnist"`: MNIST, or a set in its format, from a folder of four IDX files.

    Inputs are 784 pixels from 0 to 255, targets the digits; the test part is the set's own. See
    `gpunn.data.load_mnist`.
    """

    dataset: Literal["mnist"] = "mnist"
    path: str | None = None


@dataclass(frozen=True, kw_only=True)
class FileDataSet(DataSet):
    """Keys of data sets in files, whose test part may be drawn at random.

    Paths are relative to the configuration's folder and can't lead out of it; `~` is your home
    folder, and an absolute path leads anywhere.
    """

    path: str
    test_fraction: Fraction = 0.0


@dataclass(frozen=True, kw_only=True)
class CSV(FileDataSet):
    """`dataset = "csv"`: numbers from a CSV file, with one column to predict.

    A text target makes classes; their names are saved with the model. With a cross-entropy as loss
    numbers can name classes too, such as 1 to 7; see `gpunn.experiment.labels`. What files may look
    like is said in `gpunn.data.load_csv`.
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


@dataclass(frozen=True, kw_only=True)
class NPZ(FileDataSet):
    """`dataset = "npz"`: arrays from one NPZ file, without pickle."""

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


@dataclass(frozen=True, kw_only=True)
class NPY(FileDataSet):
    """`dataset = "npy"`: each array from an NPY file of its own, large ones as memory maps.

    A memory map is read in chunks while training. Holding out a fraction of the rows copies none
    of them.
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
class TableFile(FileDataSet):
    """`dataset = "table"`: numbers, text, dates and gaps from a CSV, TSV or Parquet file.

    What the columns are is learned from the training rows, as `gpunn.tables.Schema.fit` does, and
    is part of the model. What files may look like is said in `gpunn.tables.read_table`, and what
    targets may be in `gpunn.experiment.targets`.
    """

    dataset: Literal["table"] = "table"
    target: str | list[str]
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


AnyDataSet: TypeAlias = Digits | MNIST | CSV | TableFile | NPZ | NPY


def check_layers(path: str, layers: list[Named]) -> list[Named]:
    """Return the layers, or raise an error if there are none."""
    if not layers:
        raise ArgumentError(f"{path}: expected a list of length >= 1; got []")
    return layers


@dataclass(frozen=True, kw_only=True)
class Model(Table):
    """`[model]`: layers, or the name of a network for tables, which makes its own."""

    layers: Annotated[list[Named], check_layers] | None = None
    name: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.layers is None and self.name is None:
            raise ArgumentError("layers: this key is needed, or 'name'")
        self.exclude("layers", "name")
        if self.parameters and self.name is None:
            raise ArgumentError("parameters: they are of a network with a name; give 'name'")


@dataclass(frozen=True, kw_only=True)
class Training(Table):
    """`[training]`."""

    loss: Named
    epochs: Count
    optimizer: Named = "adam"
    batch_size: Count = 32
    metrics: list[Named] = field(default_factory=list)
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
    """`[backend_options]`: how a CUDA device or the CPU computes; each takes what it knows."""

    graph: bool = True
    matmul_precision: Literal["float32", "tf32", "bfloat16", "float16"] = "float32"
    fused_products: bool = True
    matmul_algorithms: Literal["heuristic", "measured"] = "heuristic"
    threads: Count | None = None


@dataclass(frozen=True, kw_only=True)
class Sweep(Table):
    """`[sweep]`: what the trials of `gpunn sweep` differ in, and how they are compared."""

    parameters: Annotated[dict[str, Any], search_space]
    trials: Count = 20
    metric: str | None = None
    metric_mode: Literal["auto", "min", "max"] = "auto"
    sampler: Literal["tpe", "random", "grid"] = "tpe"
    pruner: Literal["median", "halving", "none"] = "median"
    least_epochs: Count = 1
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
    """`[distributed]`: how several processes train together."""

    communicator: Literal["auto", "none", "mpi", "nccl"] = "auto"
    timeout: Seconds = TIMEOUT
    shards: Annotated[int, partial(check_integer, at_least=0)] = 0
    batch_norm: Literal["synchronized", "local"] = "synchronized"


@dataclass(frozen=True, kw_only=True)
class Config(Table):
    """The whole configuration."""

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
        self, argument: str | None = None, communicator: Communicator | None = None
    ) -> Backend:
        """Return the backend, with the configuration's options; an argument takes precedence.

        Of several processes on a machine, each gets a CUDA device of its own.
        """
        options = self.backend_options or BackendOptions()
        name = argument
        if communicator is not None and communicator.local_size > 1:
            name = local_device(choose_backend(argument, self.backend), communicator)
        return settle_backend(name, self.backend, **options.plain())

    def get_communicator(self) -> Communicator:
        """Return the processes that train together; see `gpunn.distributed.communicator`."""
        settings = self.distributed or Distributed()
        return communicator(settings.communicator, settings.timeout)


@dataclass(frozen=True, kw_only=True)
class Draft(Config):
    """A configuration that names its network, which decides what `[training]` does not say.

    Attributes
    ----------
    given : mapping
        What `[training]` says, as plain data. `training` has stand-ins for what is needed and
        missing there; in the configuration of a run nothing is.
    """

    given: Mapping[str, Any]

    def plain(self) -> dict[str, Any]:
        return {key: value for key, value in super().plain().items() if key != "given"}

    def settled(self, training: Mapping[str, Any]) -> Config:
        """Return the whole configuration, given what the network would have in `[training]`."""
        values = {name: getattr(self, name) for name in field_names(Config)}
        whole = typed(Training, {**training, **self.given}, "training")
        return Config(**{**values, "training": whole})
