"""Networks: layers in sequence, their parameters, and the passes forward and back."""

from __future__ import annotations

import copy
import math
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from gpunn.attributes import Fixed, fixed_attribute, unknown_attribute
from gpunn.backends import Backend, get_backend
from gpunn.backends.recording import RecordingCache
from gpunn.backends.turns import TURNS
from gpunn.configurable import check_flag, check_integer, resolve
from gpunn.custom_classes import custom_classes
from gpunn.data.checks import check_inputs
from gpunn.data.frames import column_names, difference, order_of
from gpunn.data.memory_maps import check_whole, release
from gpunn.display import html_table
from gpunn.drawing import Drawing, network_drawing
from gpunn.errors import (
    ArgumentError,
    ArgumentTypeError,
    DataError,
    GpunnError,
    ModelFileError,
    SettingError,
    suggest,
)
from gpunn.exclusion import Exclusion
from gpunn.forks import IMPORTING, ForkableLock
from gpunn.initializers import FromData
from gpunn.layers import Flatten, Layer, operations_only
from gpunn.layers.base import family
from gpunn.layers.chain import unique_labels
from gpunn.layers.outline import outline
from gpunn.layers.passes import network_forward, run_backward, run_forward
from gpunn.losses import real_targets
from gpunn.meaning import Described, feature_names_in, probabilities
from gpunn.parameters import Parameters, ParameterSpec
from gpunn.randomness import generator
from gpunn.storage.models import (
    SCHEMA,
    Description,
    check_arrays,
    final_model,
    model_content,
    read_model,
)
from gpunn.storage.reading import checked_path
from gpunn.transfer import Source, WeightsReport, matched
from gpunn.typing import Array, HostArray, Shape
from gpunn.version import __version__
from gpunn.workspace import Workspace

if TYPE_CHECKING:  # imported when a network first has one, since most have none
    from gpunn.tables import Schema

__all__ = ["Sequential"]

DTYPES = ("float32", "float64")

CACHE_SIZE = 16
"""Recorded inference passes that are kept; there is one for each batch size and dtype."""

LAYERS_SHOWN = 12
"""Most layers that a list of shapes shows."""

OUTERMOST = {"after_loss": "comes after the loss", "adapts": "learns from the network's inputs"}
"""Attributes of layers that can't be within another one."""

OUTPUT_NAMES = ("classes", "targets")
"""Keys of a network's metadata that name its outputs."""

REMADE = frozenset(
    (
        "backend",
        "layers",
        "labels",
        "shapes",
        "output_shape",
        "parameters",
        "_inference",
        "_recordings",
        "_lock",
        "exclusion",
    )
)
"""Attributes that a copy builds anew."""

SETTLED = REMADE - {"_inference", "_recordings", "_lock"} | {
    "input_shape",
    "dtype",
    "seed",
}
"""Attributes that can't be set once the network is made."""


class Sequential(Described):
    """Layers applied one after the other.

    Parameters
    ----------
    layers : sequence of Layer (or their configurations)
        Each takes the output shape of the one before it. A layer object can be used only once.
    input_shape : tuple of int or int
        Shape of one row of the input, without the batch's axis.
    backend : str, Backend or None
        Where to compute; see `gpunn.get_backend`.
    seed : int
        Seed of the initial weights, the shuffles and the dropout masks.
    dtype : {"float32", "float64"}
        Dtype of parameters and activations.
    values : mapping of str to array or None
        Initial values of all parameters and buffers, by names such as "dense_1.weights", instead of
        newly drawn ones.

    Attributes
    ----------
    layers : tuple of Layer
        It can't be changed, nor can anything else that determines parameters and shapes.
    output_shape : tuple of int
        Shape of one row of the output.
    parameters : Parameters
        All parameters and buffers, by names such as "dense_1.weights".
    adapted : bool
        Whether layers that learn from the training inputs or targets (`Standardization`,
        `TargetScaling`) have done so.
    started : bool
        Whether there are initial values that depend on training data
        (`gpunn.initializers.UnitVariance`), if there are to be any, or others instead.
    exclusion : Exclusion
        The lock of threads that train or evaluate the network.
    classes : list of str or None
        Names of the classes in the order of their indices. `gpunn train` takes them from text in
        the data, `Trainer.fit` from the columns of one-hot targets in a data frame; elsewhere set
        them yourself.
    feature_names : list of str or None
        Names of the inputs: the columns of the data frame, or of the CSV file, that the network was
        first trained on. Columns of later data frames are put into this order by their names.
    target_names : list of str or None
        Names of the outputs: the columns of the targets, if they were a data frame of several.
    output_activation : {"softmax", "sigmoid", "exponential", "identity"} or None
        The function from outputs to the scale of the targets, which the loss of the training
        determines; see `gpunn.losses.Loss`. None before training.
    schema : gpunn.tables.Schema or None
        What the columns of a table are, for a network that takes tables: `predict`, `Trainer.fit`
        and the like then take rows as they are, with text, dates and gaps. Set it after the network
        is made, with `input_shape=schema.width`; it is saved with the model.
    metadata : dict
        Anything in JSON types, which is saved with the model. The four attributes above are kept in
        it, under "classes", "features", "targets" and "output_activation".

    Raises
    ------
    ArgumentError
        If the layers don't fit one another, or the values don't fit them; the message names the
        layer or the array.

    Examples
    --------
    >>> import gpunn
    >>> model = gpunn.Sequential(
    ...     [gpunn.layers.Dense(4, activation="relu"), gpunn.layers.Dense(2)],
    ...     input_shape=(3,),
    ...     backend="numpy",
    ...     seed=0,
    ... )
    >>> print(model.summary())
    layer    name   output shape  parameters
    dense_1  dense  (4,)                  16
    dense_2  dense  (2,)                  10
    total                                 26
    """

    settled: frozenset[str] = frozenset()
    """Labels of layers that keep the values which they had after `load_weights`, also where values
    of the other layers are still to be computed from training data."""

    def __init__(
        self,
        layers: Sequence[Layer | Mapping[str, Any] | str],
        input_shape: Shape | int,
        backend: str | Backend | None = None,
        seed: int = 0,
        dtype: str = "float32",
        values: Mapping[str, HostArray] | None = None,
    ) -> None:
        if not isinstance(layers, Sequence) or isinstance(layers, str) or not layers:
            raise ArgumentError(f"layers: expected a list of at least one layer; got {layers!r}")
        if dtype not in DTYPES:
            raise ArgumentError(f"dtype: there is no {dtype!r}; {suggest(str(dtype), DTYPES)}")
        sizes = input_shape if isinstance(input_shape, Sequence) else (input_shape,)
        self.input_shape = tuple(check_integer("input_shape", size) for size in sizes)
        if not self.input_shape:
            raise ArgumentError("input_shape: expected at least one size; got none")
        self.seed = check_integer("seed", seed, at_least=0)
        self.dtype = str(dtype)
        self.layers: tuple[Layer, ...] = Fixed(
            resolve(Layer, layer, f"layers[{index}]") for index, layer in enumerate(layers)
        )
        check_unused(self.layers)
        self.backend = get_backend(backend)
        self.metadata: dict[str, Any] = {}
        self._schema: Schema | None = None
        self.labels = unique_labels(self.layers)
        self.shapes = self._infer_shapes()
        self.output_shape = self.shapes[-1]
        declarations = self._declarations()
        if values is not None:
            check_values(declarations, values)
        try:
            check_addressable(declarations)
            with self.backend.device_errors():
                self.parameters = Parameters(
                    declarations, self.backend, self.dtype, self.seed, values
                )
        except MemoryError as error:
            if isinstance(error, GpunnError):
                raise
            raise ArgumentError(out_of_memory(declarations, error)) from error
        self._attach_layers()
        self.adapted = not any(layer.adapts or layer.adapts_to_targets for layer in self.layers)
        self.started = values is not None or not any(
            isinstance(spec.initializer, FromData) for spec in declarations.values()
        )
        self._inference: Workspace | None = None
        self._recordings = RecordingCache(list(family(*self.layers)), CACHE_SIZE)
        self._lock = ForkableLock()
        self.exclusion = Exclusion()

    def _attach_layers(self) -> None:
        """Give each layer the views of its parameters."""
        for index, (label, layer) in enumerate(zip(self.labels, self.layers, strict=True)):
            key = int(generator(self.seed, "dropout", index).integers(2**32))
            layer.attach(*self.parameters.views(label), key)
        for layer in family(*self.layers):
            vars(layer)["_network"] = weakref.ref(self)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute, unless parameters or shapes were built from it."""
        if name in SETTLED and name in vars(self):
            raise fixed_attribute(self, name)
        if name in ("trainable", "requires_grad"):
            raise unknown_attribute(self, name, ())
        super().__setattr__(name, value)

    @property
    def schema(self) -> Schema | None:
        """What the columns of a table are, by which rows become inputs; None to take numbers."""
        return self._schema

    @schema.setter
    def schema(self, schema: Schema | None) -> None:
        with IMPORTING:
            from gpunn.tables import Schema

        if schema is not None:
            if not isinstance(schema, Schema):
                raise ArgumentTypeError(
                    f"schema: expected a gpunn.tables.Schema or None; got {schema!r:.80}"
                )
            if self.input_shape != (schema.width,):
                raise ArgumentError(
                    f"schema: it makes {schema.width} numbers of a row, and this network takes "
                    f"inputs of shape {self.input_shape}; make it with input_shape={schema.width}"
                )
            self.feature_names = schema.names
        elif self._schema is not None:
            self.feature_names = None
        self._schema = schema

    def _infer_shapes(self) -> list[Shape]:
        shapes: list[Shape] = []
        shape = self.input_shape
        only_flatten = before_loss = True
        for label, layer in zip(self.labels, self.layers, strict=True):
            before_loss &= not layer.after_loss
            if not (before_loss or layer.after_loss):
                raise ArgumentError(
                    f"layer {label!r}: no layer that is trained may come after one such as "
                    "'target_scaling', which is after the loss"
                )
            for kind, what in OUTERMOST.items():
                if any(getattr(each, kind) for each in family(layer) if each is not layer):
                    raise ArgumentError(
                        f"layer {label!r}: contains a layer that {what}, which must be one of the "
                        "network's own layers; move it there"
                    )
            if layer.adapts and not only_flatten:
                raise ArgumentError(
                    f"layer {label!r}: learns from the network's inputs, so nothing but "
                    "gpunn.layers.Flatten() may come before it"
                )
            try:
                layer.declared(shape)
                shape = layer.output_shape(shape)
            except ArgumentError as error:
                picture = chain_of_shapes(self.input_shape, self.labels, shapes)
                raise ArgumentError(f"layer {label!r}: {error}\n{picture}  <- here") from None
            only_flatten &= isinstance(layer, Flatten)
            shapes.append(shape)
        return shapes

    def _declarations(self) -> dict[str, ParameterSpec]:
        inputs = [self.input_shape, *self.shapes[:-1]]
        return {
            f"{label}.{spec.name}": spec
            for label, layer, shape in zip(self.labels, self.layers, inputs, strict=True)
            for spec in layer.declared(shape)
        }

    # ------------------------------------------------------------------------- what is trained

    def set_trainable(self, flags: Mapping[Layer | str, bool]) -> None:
        """Set `trainable` of several layers; one by one, parameters would be moved each time.

        Parameters
        ----------
        flags : mapping of Layer or str to bool
            By layer, or by its name; a layer within a layer has both names, with a dot between,
            such as "column_groups_1.group_2".

        Raises
        ------
        ArgumentError
            If there is no such layer.
        ArgumentTypeError
            If a value is neither True nor False.
        SettingError
            If the network is being trained.

        Examples
        --------
        >>> import gpunn
        >>> layers = [gpunn.layers.Dense(4, activation="relu"), gpunn.layers.Dense(2)]
        >>> model = gpunn.Sequential(layers, input_shape=3, backend="numpy")
        >>> model.set_trainable({"dense_1": False})  # or model.layers[0].trainable = False
        >>> print(model.summary())
        layer    name   output shape  parameters
        dense_1  dense  (4,)                  16  frozen
        dense_2  dense  (2,)                  10
        total                                 26
        trained                               10
        """
        named = layers_by_name(self.labels, self.layers)
        own, wanted = set(named.values()), dict[Layer, bool]()
        for key, flag in flags.items():
            layer = named.get(key) if isinstance(key, str) else key
            if layer is None or layer not in own:
                raise ArgumentError(
                    f"layers: there is no {key!r}; {suggest(str(key), list(named))}"
                )
            wanted[layer] = check_flag("trainable", flag)
        before = {layer: layer.trainable for layer in wanted}
        if before == wanted:
            return
        with self.exclusion.held("trainable", training=False), TURNS:
            if self.exclusion.training:
                raise SettingError(
                    "trainable: can't be set while the network is trained; set it between two "
                    "calls of fit"
                )
            values = self.parameters.to_host()
            try:
                for layer, flag in wanted.items():
                    vars(layer)["trainable"] = flag
                with self.backend.device_errors():
                    laid_out = Parameters(
                        self._declarations(), self.backend, self.dtype, self.seed, values
                    )
            except BaseException:
                for layer, flag in before.items():
                    vars(layer)["trainable"] = flag
                raise
            vars(self)["parameters"] = laid_out
            self._attach_layers()
            self._recordings.clear()

    def load_weights(self, source: str | Path | Sequential) -> WeightsReport:
        """Take over the parameters and buffers of another network, layer by layer, by their labels.

        Shapes must be the same, but for the last layer: if it has another shape, or other classes
        or targets than here, it keeps the values that it has, and so do the layers that come after
        the loss. So do layers that the other network does not have; give a layer a label of its own
        to keep it. What layers such as `Standardization` have learned from the old data is taken
        over, too, and the first `Trainer.fit` leaves it. So are the names of the inputs, by which
        later data frames are put into the old order.

        Parameters
        ----------
        source : str, Path or Sequential
            A model file or checkpoint, the folder of a run, whose final network is meant, or a
            network.

        Returns
        -------
        WeightsReport
            The layers that were copied, reinitialized (with the reason), and not used. `str`
            returns them as lines.

        Raises
        ------
        ArgumentError
            If a layer has another shape, no layer has the name of one here, or inputs are other
            columns; the message names the layer or the column. Nothing has been changed then.
        ModelFileError
            If there is no such file, or it is damaged.
        SettingError
            If the network is being trained.

        Examples
        --------
        >>> import gpunn
        >>> def network(classes):
        ...     layers = [gpunn.layers.Dense(8, activation="relu"), gpunn.layers.Dense(classes)]
        ...     return gpunn.Sequential(layers, input_shape=4, backend="numpy")
        >>> first, second = network(10), network(3)
        >>> print(second.load_weights(first))
        copied: dense_1
        reinitialized: dense_2 (weights of shape (8, 10) in the other network, and (8, 3) here)
        """
        given, metadata, schema = source_of(source)
        self._check_same_inputs(given.title, metadata, schema)
        outputs = self.classes, self.target_names
        after_loss = self.labels[self.trained_layers :]
        report = matched(self.parameters.specs, given, outputs, after_loss)
        with self.exclusion.held("load_weights", training=False), TURNS:
            if self.exclusion.training:
                raise SettingError("load_weights: the network is being trained")
            for name, array in given.arrays.items():
                if name.partition(".")[0] in report.copied:
                    self.parameters[name] = array
        adapting = {
            label
            for label, layer in zip(self.labels, self.layers, strict=True)
            if layer.adapts or layer.adapts_to_targets
        }
        drawn = {
            name.partition(".")[0]
            for name, spec in self.parameters.specs.items()
            if isinstance(spec.initializer, FromData)
        }
        waiting = (set() if self.adapted else adapting) | (set() if self.started else drawn)
        before = self.settled | (set(self.labels) - waiting)
        unready = set() if given.adapted else adapting | drawn
        copied = set(report.copied)
        self.settled = frozenset((before - copied) | (copied - unready))
        self.adapted, self.started = self.settled >= adapting, self.settled >= drawn
        self.remember(feature_names_in(metadata, self.input_shape), None, self.output_activation)
        return report

    def _check_same_inputs(
        self, title: str, metadata: Mapping[str, Any], schema: Schema | None
    ) -> None:
        """Raise an ArgumentError unless another network takes the same columns."""
        names = feature_names_in(metadata, self.input_shape)
        if self._schema is None and schema is None:
            if names is not None and self.feature_names not in (None, names):
                problem = difference(self.feature_names or [], names) or "in another order"
                raise ArgumentError(f"X: {title} was trained on other columns: {problem}")
            return
        if schema is None or self._schema is None:
            raise ArgumentError(
                f"schema: {title} has {'none' if schema is None else 'one'}, and this network "
                f"{'one' if schema is None else 'none'}; both must take the same table"
            )
        with IMPORTING:
            from gpunn.tables.schema_difference import schema_difference

        if problem := schema_difference(self._schema, schema):
            raise ArgumentError(
                f"schema: {title} takes other rows: {problem}. Give this network that schema, "
                "which is gpunn.load_model(...).schema, and make its layers for it"
            )

    # ------------------------------------------------------------------------------- passes

    @property
    def trained_layers(self) -> int:
        """How many layers come before the loss: all but `TargetScaling` and the like at the end."""
        return sum(not layer.after_loss for layer in self.layers)

    @property
    def loss_shape(self) -> Shape:
        """Shape of one row of what the loss is taken of."""
        return [self.input_shape, *self.shapes][self.trained_layers]

    @operations_only
    def forward(self, x: Array, workspace: Workspace) -> list[Array]:
        """Return the input and the output of each layer for a batch on the device.

        Parameters
        ----------
        x : array, shape (rows, *input_shape)
            The batch.
        workspace : Workspace
            Buffers, the backend, and whether this is training.

        Returns
        -------
        list of array
            [x, output of layer 1, output of layer 2, ...], in buffers of the workspace.
        """
        layers = self.layers[: self.trained_layers] if workspace.until_loss else self.layers
        return run_forward(layers, x, workspace)

    @operations_only
    def backward(self, outputs: Sequence[Array], gradient: Array, workspace: Workspace) -> None:
        """Set the gradients of all parameters by the chain rule.

        Parameters
        ----------
        outputs : sequence of array
            What `forward` returned, or the first of them, up to what the loss was taken of.
        gradient : array
            The gradient dL/dy at the last of these outputs; overwritten.
        workspace : Workspace
            That of the forward pass.
        """
        run_backward(self.layers[: len(outputs) - 1], outputs, gradient, workspace)

    # ---------------------------------------------------------------------------------- use

    def predict(self, X: HostArray, batch_size: int = 1024) -> np.ndarray:
        """Return the network's outputs for rows on the host, computed in batches.

        Several threads may call it at the same time, also while another one trains the network:
        each batch is then computed between two updates, with the parameters of that moment.

        Parameters
        ----------
        X : array, shape (rows, *input_shape)
            Finite real numbers. Columns of a data frame are taken by name, if the network has
            `feature_names`. A network with a `schema` takes any table that `Schema.encode` does.
        batch_size : int
            Rows on the device at a time. It changes results only by rounding.

        Returns
        -------
        ndarray, shape (rows, *output_shape)
            The outputs of the last layer: logits if that is a `Dense` without activation, trained
            with a cross-entropy. On the host, whatever the backend.

        Raises
        ------
        DataError
            If the shape, type or names of columns do not fit the network, or a number is not
            finite.
        DeviceMemoryError
            If the device has too little memory.
        DeviceError
            If the device has failed.

        Examples
        --------
        >>> import gpunn
        >>> model = gpunn.Sequential([gpunn.layers.Dense(2)], 3, backend="numpy", seed=0)
        >>> model.predict([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]).shape
        (2, 2)
        """
        return self.predict_encoded(self.encoded(X), batch_size)

    def predict_encoded(self, X: HostArray, batch_size: int = 1024) -> np.ndarray:
        """Return what `predict` does, for rows that `encoded` has made of a table.

        Parameters
        ----------
        X : array, shape (rows, *input_shape)
            Finite real numbers.
        batch_size : int
            Rows on the device at a time.

        Returns
        -------
        ndarray, shape (rows, *output_shape)
            The outputs of the last layer, on the host.

        Raises
        ------
        DataError, DeviceMemoryError, DeviceError
            As `predict`.
        """
        batch_size = check_integer("batch_size", batch_size)
        X = self._checked_inputs(X)
        rows, dtype = X.shape[0], self.input_dtype(X.dtype)
        result = np.empty((rows, *self.output_shape), self.dtype)
        # The workspace is shared by all calls, so two threads must take turns.
        with self._lock, self.backend.device_errors():
            workspace = self._inference_workspace(min(batch_size, max(rows, 1)))
            for start in range(0, rows, batch_size):
                stop = min(start + batch_size, rows)
                check_whole(X)
                with TURNS:
                    x = self.backend.from_host(X[start:stop], dtype)
                    y = self._inference_pass(x, workspace)(x)
                    self.backend.copy_to_host(y, result[start:stop])
                release(X)
        return result

    def predict_proba(self, X: HostArray, batch_size: int = 1024) -> np.ndarray:
        """Return the probability of each class, or of each label.

        The loss of the training determines how they follow from the outputs, and is kept as
        `output_activation`: softmax cross-entropy and binary cross-entropy take logits.

        Parameters
        ----------
        X : array, shape (rows, *input_shape)
            As for `predict`.
        batch_size : int
            As for `predict`.

        Returns
        -------
        ndarray, shape (rows, classes)
            In the order of `classes`, of the network's dtype. softmax(outputs) after softmax
            cross-entropy. After binary cross-entropy, with p = 1 / (1 + exp(-output)): 1 - p and p
            for a network with one output, and p of each output for one with several.

        Raises
        ------
        ArgumentError
            If the network was trained with a loss that gives no probabilities, or with an unknown
            one.
        DataError, DeviceMemoryError, DeviceError
            As `predict`.

        Examples
        --------
        >>> import gpunn
        >>> model = gpunn.Sequential(
        ...     [gpunn.layers.Dense(2, bias=False, initializer="zeros")], 3, backend="numpy"
        ... )
        >>> model.output_activation = "softmax"
        >>> model.predict_proba([[1.0, 2.0, 3.0]])
        array([[0.5, 0.5]], dtype=float32)
        """
        activation = self.output_activation
        if activation is None:
            raise ArgumentError(
                "output_activation: not known, since this network was not trained by a Trainer or "
                "is from a file of an earlier release; set model.output_activation to 'softmax' or "
                "'sigmoid', as the loss has it"
            )
        if activation not in ("softmax", "sigmoid"):
            raise ArgumentError(
                "predict_proba: this network was trained with a loss that gives no probabilities "
                f"(output_activation {activation!r}); use predict"
            )
        if len(self.output_shape) != 1:
            raise ArgumentError(
                f"predict_proba: a row of outputs has shape {self.output_shape}, not (classes,)"
            )
        return probabilities(self.predict(X, batch_size), activation)

    def encoded(self, X: Any, argument: str = "X") -> Any:
        """Return rows of a table as inputs, by the `schema`; without one `X` itself.

        Parameters
        ----------
        X : array or table
            Rows, as for `predict`.
        argument : str
            What an error message calls them.

        Returns
        -------
        array
            Of shape (rows, schema.width) and the network's dtype; or `X`, which is not checked.

        Raises
        ------
        DataError
            As `Schema.encode`; the message begins with `argument`.
        """
        if self._schema is None:
            return X
        return self._schema.encode(X, self.dtype, argument)

    def _checked_inputs(self, X: HostArray) -> np.ndarray:
        names = column_names(X)
        order = None if names is None else order_of(names, self.feature_names, "X")
        return check_inputs(X, self.input_shape, "X", self.dtype, order)

    def _inference_pass(self, x: Array, workspace: Workspace) -> Callable[[Array], Array]:
        def function(x: Array) -> Array:
            return network_forward(self, x, workspace)[-1]

        return self._recordings.get(
            (x.shape[0], x.dtype), lambda: self.backend.recorded_function(function, x)
        )

    def _inference_workspace(self, capacity: int) -> Workspace:
        if self._inference is None or self._inference.capacity < capacity:
            self._inference = Workspace(self.backend, self.dtype, capacity)
            self._recordings.clear()
        return self._inference

    def input_dtype(self, dtype: np.dtype) -> str:
        """Return the dtype in which rows of this dtype are copied to the device.

        Integers of up to 16 bits stay integers if the first layer, apart from `Flatten`, takes
        them, as `Rescaling` does: fewer bytes are copied.

        Parameters
        ----------
        dtype : numpy.dtype
            That of rows on the host.

        Returns
        -------
        str
            Its own name, or the network's dtype.
        """
        first = next((layer for layer in self.layers if not isinstance(layer, Flatten)), None)
        small = dtype.kind in "ui" and dtype.itemsize <= 2
        return dtype.name if small and first is not None and first.takes_integers else self.dtype

    def adapt(self, X: HostArray, y: HostArray | None = None) -> None:
        """Let layers that learn from training data (`Standardization`, `TargetScaling`) do so.

        The first `Trainer.fit` does this with its training rows.

        Parameters
        ----------
        X : array, shape (rows, *input_shape)
            The training rows, on the host.
        y : array, shape (rows,) or (rows, outputs)
            Targets, which only a network with a `TargetScaling` needs.

        Raises
        ------
        DataError
            If the inputs don't fit the network, or what a layer learns from them overflows or
            underflows the network's dtype. Nothing has been changed then.

        Examples
        --------
        >>> import gpunn
        >>> layers = [gpunn.layers.Standardization(), gpunn.layers.Dense(1)]
        >>> model = gpunn.Sequential(layers, 2, backend="numpy")
        >>> model.adapt([[1.0, 10.0], [3.0, 30.0]])
        >>> model.parameters["standardization_1.mean"].tolist()
        [2.0, 20.0]
        """
        names = column_names(X)
        if y is not None:
            y = real_targets(np.asarray(y), self.output_shape[0])
        self.set_adapted_values(self.adapted_values(self._checked_inputs(self.encoded(X)), None, y))
        self.remember(names, None, self.output_activation)

    def adapted_values(
        self, X: HostArray, indices: np.ndarray | None = None, y: HostArray | None = None
    ) -> dict[str, np.ndarray]:
        """Return what `adapt` would set.

        Parameters
        ----------
        X : array, shape (rows, *input_shape)
            Rows on the host.
        indices : ndarray of int64 or None
            Which of them to learn from; None is all.
        y : array or None
            Targets, if there are any.

        Returns
        -------
        dict of str to ndarray
            The buffers' values, by names such as "standardization_1.mean".

        Raises
        ------
        ArgumentError
            If a layer learns from targets, and there are none.
        DataError
            If what a layer learns is not finite in the network's dtype.
        """
        X = check_inputs(X, self.input_shape, "X", self.dtype)
        values: dict[str, np.ndarray] = {}
        for label, layer, shape in zip(self.labels, self.layers, self.shapes, strict=True):
            found: Mapping[str, np.ndarray] = {}
            if label in self.settled and not self.adapted:
                continue
            if layer.adapts:
                found = layer.adapt(X.reshape(-1, *shape), indices, self.dtype)
            elif layer.adapts_to_targets:
                if y is None:
                    raise ArgumentError(f"layer {label!r}: learns from the targets; give them as y")
                found = layer.adapt_to_targets(y, indices, self.dtype)
            check_learned(label, found, self.dtype)
            values |= {f"{label}.{name}": value for name, value in found.items()}
        return values

    def set_adapted_values(self, values: Mapping[str, np.ndarray]) -> None:
        """Set what `adapted_values` returned.

        Parameters
        ----------
        values : mapping of str to array
            The buffers' values, by their names.
        """
        for name, value in values.items():
            self.parameters[name] = value
        self.adapted = True

    # --------------------------------------------------------------------------- description

    def summary(self) -> str:
        """Return a table of layers, output shapes and numbers of parameters.

        Where layers are frozen (`Layer.trainable`), it says which, and how many parameters are left
        to be trained.

        Returns
        -------
        str
            With a line for each layer, and one for the total.
        """
        rows = self.summary_rows()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        sides = "<<<><"[: len(widths)]
        lines = (
            "  ".join(f"{c:{s}{w}}" for c, s, w in zip(row, sides, widths, strict=True))
            for row in rows
        )
        return "\n".join(line.rstrip() for line in lines)

    def summary_rows(self) -> list[tuple[str, ...]]:
        """Return the cells of `summary`: a header, a row for each layer, and the total.

        Where layers are frozen, there is a fifth column, which says so, and a last row.

        Returns
        -------
        list of tuple of str
            Label, name, output shape and number of parameters each.
        """
        rows = [("layer", "name", "output shape", "parameters", "")]
        for label, layer, shape in zip(self.labels, self.layers, self.shapes, strict=True):
            own = [
                spec
                for name, spec in self.parameters.specs.items()
                if name.startswith(f"{label}.") and spec.learned
            ]
            count, trained = (
                sum(math.prod(spec.shape) for spec in own if spec.trainable or not only)
                for only in (False, True)
            )
            remark = f"{count - trained:,} frozen" if trained else "frozen"
            remark = remark if trained < count else ""
            rows.append((label, layer.name, str(shape), f"{count:,}", remark))
        count, frozen = self.parameters.count, self.parameters.frozen
        rows.append(("total", "", "", f"{count:,}", ""))
        if not frozen:
            return [row[:4] for row in rows]
        return [*rows, ("trained", "", "", f"{count - frozen:,}", "")]

    def shapes_picture(self) -> str:
        """Return a list of the shapes of a row, from the input to the output of each layer.

        Returns
        -------
        str
            With a line for the input and one for each of the last layers.
        """
        return chain_of_shapes(self.input_shape, self.labels, self.shapes)

    def __repr__(self) -> str:
        """Return the shapes from layer to layer, and the backend."""
        chain = " -> ".join(str(shape) for shape in (self.input_shape, *self.shapes))
        return f"<{type(self).__name__} {chain} on {self.backend.name}>"

    def _repr_html_(self) -> str:
        """Return the summary for a notebook."""
        header, *rows = self.summary_rows()
        return html_table(repr(self)[1:-1], header, rows)

    def plot(self) -> Drawing:
        """Return a picture of the layers, with shapes and numbers of parameters.

        A notebook shows it, `save` writes it to an SVG file, and `str` gives its text alternative,
        the `summary`. Groups of columns stand side by side, and members behind one another. It
        needs no package.

        Returns
        -------
        Drawing
            With the attribute `svg` and the method `save`.

        Examples
        --------
        >>> import gpunn
        >>> model = gpunn.Sequential([gpunn.layers.Dense(2)], 3, backend="numpy")
        >>> picture = model.plot()
        >>> picture.svg[:4]
        '<svg'
        >>> print(picture)
        layer    name   output shape  parameters
        dense_1  dense  (2,)                   8
        total                                  8
        >>> picture.save("network.svg")
        """
        blocks = outline(self.labels, self.layers, self.input_shape)
        count = self.parameters.count
        return network_drawing(str(self.input_shape), blocks, count, self.summary())

    def config(self) -> dict[str, Any]:
        """Return the architecture in plain, JSON-ready types.

        Returns
        -------
        dict
            "layers", "input_shape", "seed" and "dtype".
        """
        return {
            "layers": [layer.config() for layer in self.layers],
            "input_shape": list(self.input_shape),
            "seed": self.seed,
            "dtype": self.dtype,
        }

    # -------------------------------------------------------------------------------- saving

    file_kind: ClassVar[str] = "sequential"
    """Name of the class in a model file."""

    def file_description(self) -> dict[str, Any]:
        """Return what a model file holds beside the arrays, in JSON types.

        Returns
        -------
        dict
            What `config` returns, and kind, metadata, schema, versions and, under "custom", where
            custom classes are defined.
        """
        custom = custom_classes(self.layers)
        return {
            "kind": self.file_kind,
            **self.config(),
            "inputs_fitted": self.adapted and self.started,
            "metadata": self.metadata,
            **({} if self._schema is None else {"schema": self._schema.to_json()}),
            **({"custom": custom} if custom else {}),
            "versions": {"gpunn": __version__, "numpy": np.__version__},
            "trained_on": self.backend.describe(),
        }

    def file_arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays that a model file holds, on the host.

        Returns
        -------
        dict of str to ndarray
            Parameters and buffers, and what a schema has learned.

        Raises
        ------
        ArgumentError
            If a parameter or buffer is not finite: no such file could be read.
        """
        learned = {} if self._schema is None else self._schema.arrays()
        named = {f"{SCHEMA}{name}": array for name, array in learned.items()}
        values = self.parameters.to_host()
        try:
            check_arrays(values, self.dtype)
        except ArgumentError as error:
            raise ArgumentError(
                f"{error}, so no file is written: none could be read. Train the network again, or "
                "load an earlier file"
            ) from None
        return {**values, **named}

    def save(self, path: str | Path) -> None:
        """Write architecture, parameters and buffers to a file; `gpunn.load_model` reads it.

        Parameters
        ----------
        path : str or Path
            Usually ending in ".safetensors". An existing file is replaced.

        Raises
        ------
        ArgumentError
            If a parameter or buffer is not finite, or `metadata` is not made of JSON types. An
            existing file is then unchanged.
        OSError
            If the file can't be written. An existing file is then unchanged.

        Examples
        --------
        >>> import gpunn
        >>> model = gpunn.Sequential([gpunn.layers.Dense(2)], 3, backend="numpy")
        >>> model.save("model.safetensors")
        >>> gpunn.load_model("model.safetensors", backend="numpy")
        <Sequential (3,) -> (2,) on numpy>
        """
        model_content(self.file_description(), self.file_arrays()).write(path)

    # ------------------------------------------------------------------------------- copying

    def to(self, backend: str | Backend) -> Self:
        """Return a copy of this network on another backend.

        Parameters
        ----------
        backend : str or Backend
            Where the copy is to compute; see `gpunn.get_backend`.

        Returns
        -------
        Sequential
            Of the same class, with parameters of its own.
        """
        state = self.__getstate__()
        state |= {"backend": get_backend(backend), "backend_options": {}, "algorithms": {}}
        duplicate = object.__new__(type(self))
        duplicate.__setstate__(state)
        return duplicate

    def __getstate__(self) -> dict[str, Any]:
        """Return the state of a copy or pickle: layers without views, parameters as host arrays."""
        kept = {name: value for name, value in vars(self).items() if name not in REMADE}
        return {
            **copy.deepcopy(kept),
            "layers": copy.deepcopy(list(self.layers)),
            "backend": self.backend.name,
            "backend_options": self.backend.options,
            "algorithms": self.backend.algorithms(),
            "values": self.parameters.to_host(),
        }

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Build the network anew, so that views and flat vectors share memory again."""
        kept = dict(state)
        layers = copy.deepcopy(kept.pop("layers"))
        backend = get_backend(kept.pop("backend"), **kept.pop("backend_options"))
        backend.restore_algorithms(kept.pop("algorithms", {}))
        values = kept.pop("values")
        Sequential.__init__(
            self, layers, kept["input_shape"], backend, kept["seed"], kept["dtype"], values
        )
        vars(self).update(kept)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Copy onto the same backend."""
        return self.to(self.backend)


def check_learned(label: str, values: Mapping[str, np.ndarray], dtype: str) -> None:
    """Raise a DataError unless what a layer has learned is finite in the network's dtype."""
    for name, value in values.items():
        with np.errstate(over="ignore"):
            finite = np.isfinite(np.asarray(value).astype(dtype))
        if not finite.all():
            raise DataError(
                f"layer {label!r}: {name!r}, learned from training data, is not finite in {dtype} "
                f"({np.count_nonzero(~finite):,} of {finite.size:,} numbers); remove or rescale "
                "what is too large"
            )


def layers_by_name(labels: Sequence[str], layers: Sequence[Layer]) -> dict[str, Layer]:
    """Return layers, and those within them, by names such as "column_groups_1.group_2"."""
    found: dict[str, Layer] = {}
    for label, layer in zip(labels, layers, strict=True):
        found[label] = layer
        children = layer.children()
        within = layers_by_name(list(children), list(children.values()))
        found |= {f"{label}.{name}": child for name, child in within.items()}
    return found


def source_of(
    source: str | Path | Sequential,
) -> tuple[Source, Mapping[str, Any], Schema | None]:
    """Return what a network's weights are taken from, its metadata and its schema."""
    if isinstance(source, Sequential):
        names = source.classes, source.target_names
        ready = source.adapted and source.started
        given = Source("the other network", source.parameters.to_host(), names, ready)
        return given, source.metadata, source.schema
    path = Path(checked_path(source))
    path = final_model(path) if path.is_dir() else path
    description, arrays, _ = read_model(path)
    try:
        check_arrays(arrays, description.dtype)
        schema = schema_of(description)
    except ArgumentError as error:
        raise ModelFileError(f"{path}: {error}") from error
    about = description.metadata
    found = [about.get(key) for key in OUTPUT_NAMES]
    named = [list(map(str, names)) if isinstance(names, list) else None for names in found]
    given = Source(str(source), arrays, (named[0], named[1]), description.inputs_fitted)
    return given, about, schema


def schema_of(description: Description) -> Schema | None:
    """Return the schema in a file's description, or None if it has none.

    Raise an ArgumentError if it is damaged.
    """
    if description.schema is not None:
        with IMPORTING:
            from gpunn.tables import Schema

        return Schema.from_json(description.schema, description.schema_arrays)
    if description.schema_arrays:
        raise ArgumentError("schema: there are arrays of one, but no description")
    return None


def chain_of_shapes(input_shape: Shape, labels: Sequence[str], shapes: Sequence[Shape]) -> str:
    """Return a list of the shapes of a row, up to the layer after `shapes`, whose shape is "?".

    Only the last layers are listed.
    """
    rows = [("input", str(input_shape)), *zip(labels, map(str, shapes), strict=False)]
    if len(labels) > len(shapes):
        rows.append((labels[len(shapes)], "?"))
    omitted = len(rows) - LAYERS_SHOWN
    if omitted > 0:
        rows = [("...", f"{omitted} more"), *rows[-LAYERS_SHOWN:]]
    width = max(len(label) for label, _ in rows)
    return "\n".join(f"    {label:<{width}}  {shape}" for label, shape in rows)


def check_addressable(specs: Mapping[str, ParameterSpec]) -> None:
    """Raise a MemoryError if the number of bytes would not fit a 64-bit integer."""
    if sum(math.prod(spec.shape) for spec in specs.values()) >= 2**59:
        raise MemoryError("more bytes than an address can number")


def out_of_memory(specs: Mapping[str, ParameterSpec], error: MemoryError) -> str:
    """Return the message for parameters that do not fit into memory."""
    sizes = {name: math.prod(spec.shape) for name, spec in specs.items()}
    largest = max(sizes, key=lambda name: sizes[name])
    label, _, parameter = largest.rpartition(".")
    return (
        f"layer {label!r}: out of memory for the network's {sum(sizes.values()):,} parameters "
        f"({error}); the most, {sizes[largest]:,}, are in its {parameter} of shape "
        f"{specs[largest].shape}. Choose fewer units"
    )


def check_unused(layers: Sequence[Layer]) -> None:
    """Raise an ArgumentError if a layer occurs twice or belongs to another network."""
    every = list(family(*layers))
    if len(set(map(id, every))) < len(every):
        raise ArgumentError("layers: the same layer object occurs twice; make one for each place")
    for index, layer in enumerate(layers):
        if layer.values or layer.key:
            raise ArgumentError(
                f"layers[{index}]: {layer!r} already belongs to a network; make a new one, for "
                "example with dataclasses.replace(layer)"
            )


def check_values(specs: Mapping[str, ParameterSpec], values: Mapping[str, HostArray]) -> None:
    """Raise an ArgumentError unless there is a real array of the right shape for each parameter."""
    problems = [f"{name!r} is missing" for name in specs if name not in values]
    problems += [f"{name!r} is not part of the network" for name in values if name not in specs]
    for name in specs.keys() & values.keys():
        array, shape = np.asarray(values[name]), specs[name].shape
        if array.shape != shape:
            problems.append(f"{name!r} has shape {array.shape}; expected {shape}")
        elif array.dtype.kind not in "iuf":
            problems.append(f"{name!r} has dtype {array.dtype}; expected real numbers")
    if problems:
        raise ArgumentError(f"values: {'; '.join(sorted(problems))}")
