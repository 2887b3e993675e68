"""The tables of a configuration: every key with its type, its limits and its default."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, Literal, TypeAlias

from gpunn.backends import Backend
from gpunn.backends.selection import settle_backend
from gpunn.configurable import check_fraction, check_integer, check_number, field_names
from gpunn.errors import ArgumentError

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
    """`[data]`: keys that every kind of data set has.

    Attributes
    ----------
    dataset : str
        The kind: "digits", "mnist", "csv", "npz" or "npy".
    standardize : bool
        Whether to centre and scale each feature by the mean and standard deviation of the training
        rows. Both become part of the model (`gpunn.layers.Standardization`), so evaluation and
        prediction take raw data.
    validation_fraction : float
        In [0, 1): the fraction of the training rows that is held out for `val_loss` and so on, at
        random and, if the targets are classes, in the classes' proportions.
    split_seed : int
        Seed of the random choice of validation and test rows. It is not `seed`, so that runs with
        different seeds are compared on the same rows.
    """

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

    Attributes
    ----------
    path : str
        The folder. By default the subfolder `mnist` of the folder that the environment variable
        GPUNN_DATA holds.
    """

    dataset: Literal["mnist"] = "mnist"
    path: str | None = None


@dataclass(frozen=True, kw_only=True)
class FileDataSet(DataSet):
    """Keys of data sets in files, whose test part may be drawn at random.

    Paths are relative to the configuration's folder and can't lead out of it; `~` is your home
    folder, and an absolute path leads anywhere.

    Attributes
    ----------
    path : str
        The file.
    test_fraction : float
        In [0, 1): the fraction of the rows that is held out as the test part before anything else,
        chosen as with `validation_fraction`.
    """

    path: str
    test_fraction: Fraction = 0.0


@dataclass(frozen=True, kw_only=True)
class CSV(FileDataSet):
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
    """`dataset = "npz"`: arrays from one NPZ file, without pickle.

    Attributes
    ----------
    X, y : str
        Names of the arrays of training inputs and targets in the file.
    X_validation, y_validation, X_test, y_test : str
        Names of the arrays of the validation and test part, if the file holds them.
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


@dataclass(frozen=True, kw_only=True)
class NPY(FileDataSet):
    """`dataset = "npy"`: each array from an NPY file of its own, large ones as memory maps.

    A memory map is read in chunks while training. Holding out a fraction of the rows copies none
    of them.

    Attributes
    ----------
    target_path : str
        File of the training targets; `path` holds the inputs.
    validation_path, validation_target_path, test_path, test_target_path : str
        Files of the validation and test part.
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


AnyDataSet: TypeAlias = Digits | MNIST | CSV | NPZ | NPY


def check_layers(path: str, layers: list[Named]) -> list[Named]:
    """Return the layers, or raise an error if there are none."""
    if not layers:
        raise ArgumentError(f"{path}: expected a list of length >= 1; got []")
    return layers


@dataclass(frozen=True, kw_only=True)
class Model(Table):
    """`[model]`.

    Attributes
    ----------
    layers : list of names and tables
        The layers in order, from `gpunn.layers`: "dense" (units, activation, bias, initializer,
        bias_initializer), "activation" (activation), "dropout" (rate), "batch_norm", "layer_norm",
        "rescaling" (scale, offset), "standardization" and "flatten". The number of inputs comes
        from the data; the last layer has as many units as there are classes or target columns.
    """

    layers: Annotated[list[Named], check_layers]


@dataclass(frozen=True, kw_only=True)
class Training(Table):
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
        What is measured beside the loss, from `gpunn.metrics`, such as "accuracy".
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
        The metric or loss by which `best.safetensors` is chosen. By default that of an
        "early_stopping" callback; without one "val_accuracy" if it is measured, else "val_loss".
        Without validation rows there is no best epoch unless one is named here.
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
    metrics: list[Named] = field(default_factory=list)
    class_weight: Literal["balanced"] | dict[str, Weight] | None = None
    gradient_accumulation: Count = 1
    shuffle: bool = True
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


@dataclass(frozen=True, kw_only=True)
class Config(Table):
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
        return settle_backend(argument, self.backend, **options.plain())
