"""`Sequential`: a network of layers, with its parameters, forward passes and backward passes."""

from __future__ import annotations

import copy
import math
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
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
from gpunn.expressions.tracing import shared_traces
from gpunn.forks import IMPORTING
from gpunn.initializers import FromData
from gpunn.layers import Flatten, Layer, operations_only
from gpunn.layers.base import family, mask_key
from gpunn.layers.chain import unique_labels
from gpunn.layers.outline import inner_layers, numbers_of_row, outline
from gpunn.layers.passes import network_forward, run_backward, run_forward
from gpunn.losses import real_targets
from gpunn.meaning import Described, feature_names_in, probabilities
from gpunn.parameters import Parameters, ParameterSpec
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

if TYPE_CHECKING:  # imported at run time only for networks with a schema
    from gpunn.tables import Schema


DTYPES = ("float32", "float64")

MEMORY = 2**30

CACHE_SIZE = 16

LAYERS_SHOWN = 12

OUTERMOST = {"after_loss": "works after the loss", "adapts": "learns from the network's inputs"}
"""Attributes of layers that can't be inside another layer, and the reasons."""

OUTPUT_NAMES = ("classes", "targets")

REBUILT = frozenset(
    (
        "backend",
        "layers",
        "labels",
        "shapes",
        "output_shape",
        "parameters",
        "_inference",
        "_recordings",
        "exclusion",
    )
)
"""Attributes that a copy of the network builds again instead of copying them."""

FIXED = REBUILT - {"_inference", "_recordings"} | {
    "input_shape",
    "dtype",
    "seed",
}


class Sequential(Described):
    """A network whose layers are applied one after the other.

    Parameters
    ----------
    layers : sequence of Layer (or their configurations)
        Each layer's input is the previous layer's output. A layer object can be used only once.
    input_shape : tuple of int or int
        Shape of one row of the input, without the batch axis.
    backend : str, Backend or None
        The backend that computes; see `gpunn.get_backend`.
    seed : int
        Seed of the initial weights, the shuffles and the dropout masks.
    dtype : {"float32", "float64"}
        Dtype of parameters and activations.
    values : mapping of str to array or None
        Initial values of all parameters and buffers, by names such as "dense_1.weights". With None,
        the values are drawn at random.

    Attributes
    ----------
    layers : tuple of Layer
        The layers. Like all settings that determine parameters or shapes, they can't be changed.
    output_shape : tuple of int
        Shape of one row of the output.
    parameters : Parameters
        All parameters and buffers, by names such as "dense_1.weights".
    adapted : bool
        Whether the layers that learn from training data (`Standardization`, `TargetScaling`) have
        done so.
    started : bool
        Whether all parameters have initial values. This is False until `Trainer.fit` has computed
        initial values that depend on training data (`gpunn.initializers.UnitVariance`).
    exclusion : Exclusion
        The lock that a thread holds while it trains or evaluates the network.
    classes : list of str or None
        Names of the classes in the order of their indices. `gpunn train` sets the names from text
        in the data, and `Trainer.fit` from the columns of one-hot targets in a data frame. In other
        cases, set the names yourself.
    feature_names : list of str or None
        Names of the inputs: the columns of the data frame or CSV file on which the network was
        first trained. Columns of later data frames are reordered by these names.
    target_names : list of str or None
        Names of the outputs, if the targets were a data frame with several columns.
    output_activation : {"softmax", "sigmoid", "exponential", "identity"} or None
        The function that maps outputs to the scale of the targets; see `gpunn.losses.Loss`.
        Training sets this attribute from the loss; before training, it is None.
    schema : gpunn.tables.Schema or None
        The encoding of a table's columns. With a schema, `predict`, `Trainer.fit` and other methods
        accept raw rows with text, dates and missing values. Make the network with
        `input_shape=schema.width`, then set its schema, which is saved with the model.
    metadata : dict
        Values of JSON types that are saved with the model. The metadata contains `classes`,
        `feature_names`, `target_names` and `output_activation` under "classes", "features",
        "targets" and "output_activation".

    Raises
    ------
    ArgumentError
        If layers don't fit each other, or values don't fit the layers. The message names the layer
        or the array.

    Examples
    --------
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
    """Labels of layers that keep their values from `load_weights`, even if other layers still get
    initial values from training data."""

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
            raise ArgumentError(f"dtype: expected 'float32' or 'float64'; got {dtype!r}")
        sizes = input_shape if isinstance(input_shape, Sequence) else (input_shape,)
        self.input_shape = tuple(check_integer("input_shape", size) for size in sizes)
        if not self.input_shape:
            raise ArgumentError("input_shape: expected at least one size; got none")
        self.seed = check_integer("seed", seed, at_least=0, at_most=math.inf)
        self.dtype = str(dtype)
        self.layers: tuple[Layer, ...] = Fixed(
            resolve(Layer, layer, f"layers[{index}]") for index, layer in enumerate(layers)
        )
        check_unused(self.layers)
        self.backend = get_backend(backend)
        self.metadata: dict[str, Any] = {}
        self._schema: Schema | None = None
        self.labels = unique_labels(self.layers)
        with shared_traces():
            self.shapes, declarations = self._infer_shapes()
        self.output_shape = self.shapes[-1]
        if values is not None:
            check_values(declarations, values)
        try:
            if sum(math.prod(spec.shape) for spec in declarations.values()) >= 2**59:
                raise MemoryError("more bytes than 64-bit addresses allow")
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
        self.exclusion = Exclusion()

    def _attach_layers(self) -> None:
        for index, (label, layer) in enumerate(zip(self.labels, self.layers, strict=True)):
            layer.attach(*self.parameters.views(label), mask_key(self.seed, index))
        for layer in family(*self.layers):
            vars(layer)["_network"] = weakref.ref(self)

    def __setattr__(self, name: str, value: Any) -> None:
        # Attributes that determine parameters or shapes can't be changed.
        if name in FIXED and name in vars(self):
            raise fixed_attribute(self, name)
        if name in ("trainable", "requires_grad"):
            raise unknown_attribute(self, name, ())
        super().__setattr__(name, value)

    @property
    def schema(self) -> Schema | None:
        """The schema that encodes rows of a table as inputs; None if the inputs are numbers."""
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
                    f"schema: encodes a row as {schema.width} numbers, but this network has "
                    f"input_shape={self.input_shape}; make the network with "
                    f"input_shape={schema.width}"
                )
            self.feature_names = schema.names
        elif self._schema is not None:
            self.feature_names = None
        self._schema = schema

    def _infer_shapes(self) -> tuple[list[Shape], dict[str, ParameterSpec]]:
        shapes: list[Shape] = []
        declarations: dict[str, ParameterSpec] = {}
        shape = self.input_shape
        only_flatten = before_loss = True
        for label, layer in zip(self.labels, self.layers, strict=True):
            before_loss &= not layer.after_loss
            if not (before_loss or layer.after_loss):
                raise ArgumentError(
                    f"layer {label!r}: can't come after layers such as 'target_scaling', which "
                    f"work after the loss; move {label!r} before these layers"
                )
            for kind, what in OUTERMOST.items():
                inner = {} if layer.after_loss else layers_by_name([label], [layer])
                for name in [
                    name for name in inner if name != label and getattr(inner[name], kind)
                ]:
                    raise ArgumentError(
                        f"layer {name!r}: {what}, so it can't be inside another layer; move it to "
                        "the network's list of layers"
                    )
            if layer.adapts and not only_flatten:
                raise ArgumentError(
                    f"layer {label!r}: learns from the network's inputs, so only "
                    "gpunn.layers.Flatten() may come before it"
                )
            try:
                declared = layer.declared(shape)
                shape = layer.output_shape(shape)
            except ArgumentError as error:
                chain = chain_of_shapes(self.input_shape, self.labels, shapes)
                raise ArgumentError(f"layer {label!r}: {error}\n{chain}  <- here") from None
            only_flatten &= isinstance(layer, Flatten)
            shapes.append(shape)
            declarations |= {f"{label}.{spec.name}": spec for spec in declared}
        return shapes, declarations

    # ---------------------------------------------------------------------- freezing, transfer

    def set_trainable(self, flags: Mapping[Layer | str, bool]) -> None:
        """Set `trainable` of several layers, then lay out all parameters once.

        Parameters
        ----------
        flags : mapping of Layer or str to bool
            Maps each layer, as an object or by its name, to the value. For a layer inside another
            layer, join both names with a dot, as in "column_groups_1.group_2".

        Raises
        ------
        ArgumentError
            If a layer does not exist.
        ArgumentTypeError
            If a value is not a Boolean.
        SettingError
            If the network is being trained.

        Examples
        --------
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
        if not isinstance(flags, Mapping):
            raise ArgumentTypeError(
                f"flags: expected a dict, such as {{{self.labels[0]!r}: False}}; got {flags!r:.80}"
            )
        named = layers_by_name(self.labels, self.layers)
        known, new = set(named.values()), dict[Layer, bool]()
        for key, flag in flags.items():
            layer = named.get(key) if isinstance(key, str) else key
            if layer is None or layer not in known:
                raise ArgumentError(
                    f"layers: there is no {key!r}; {suggest(str(key), list(named))}"
                )
            new[layer] = check_flag("trainable", flag)
        before = {layer: layer.trainable for layer in new}
        if before == new:
            return
        with self.exclusion.held("trainable", training=False), TURNS:
            if self.exclusion.training:
                raise SettingError(
                    "trainable: can't be set while the network is being trained; set it between "
                    "two calls of fit"
                )
            values = self.parameters.to_host()
            try:
                for layer, flag in new.items():
                    vars(layer)["trainable"] = flag
                _, declarations = self._infer_shapes()
                with self.backend.device_errors():
                    parameters = Parameters(
                        declarations, self.backend, self.dtype, self.seed, values
                    )
            except BaseException:
                for layer, flag in before.items():
                    vars(layer)["trainable"] = flag
                raise
            vars(self)["parameters"] = parameters
            self._attach_layers()
            self._recordings.clear()

    def load_weights(self, source: str | Path | Sequential) -> WeightsReport:
        """Copy parameters and buffers of another network into layers with the same labels.

        Shapes must be equal, except for the last layer. If the last layer has a different shape,
        different classes or different targets, the last layer and the layers after the loss keep
        their present values. To exclude a layer, give it another label. Values that layers like
        `Standardization` have learned from the old data are copied, and the first `Trainer.fit`
        does not change these values. The names of the inputs are also copied, and columns of later
        data frames are reordered by these names.

        Parameters
        ----------
        source : str, Path or Sequential
            A network, a model file, a checkpoint, or a run's folder, which means the final network.

        Returns
        -------
        WeightsReport
            The layers that were copied, the layers that keep their values, with reasons, and the
            other network's layers that this network does not have. `str` formats the report.

        Raises
        ------
        ArgumentError
            If a layer has a different shape, if the networks have no layer label in common, or if
            the input columns differ. The message names the layer or the column. Nothing is changed.
        ModelFileError
            If the file does not exist or is damaged.
        SettingError
            If the network is being trained.

        Examples
        --------
        >>> def network(classes):
        ...     layers = [gpunn.layers.Dense(8, activation="relu"), gpunn.layers.Dense(classes)]
        ...     return gpunn.Sequential(layers, input_shape=4, backend="numpy")
        >>> first, second = network(10), network(3)
        >>> print(second.load_weights(first))
        copied: dense_1
        reinitialized: dense_2 (weights has shape (8, 10) in the other network, but (8, 3) here)
        """
        other, metadata, schema = source_of(source)
        self._check_same_inputs(other.title, metadata, schema)
        outputs = self.classes, self.target_names
        after_loss = self.labels[self.trained_layers :]
        report = matched(self.parameters.specs, other, outputs, after_loss)
        with self.exclusion.held("load_weights", training=False), TURNS:
            if self.exclusion.training:
                raise SettingError(
                    "load_weights: the network is being trained; wait until fit has returned"
                )
            for name, array in other.arrays.items():
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
        unready = set() if other.adapted else adapting | drawn
        copied = set(report.copied)
        self.settled = frozenset((before - copied) | (copied - unready))
        self.adapted, self.started = self.settled >= adapting, self.settled >= drawn
        self.remember(feature_names_in(metadata, self.input_shape), None, self.output_activation)
        return report

    def _check_same_inputs(
        self, title: str, metadata: Mapping[str, Any], schema: Schema | None
    ) -> None:
        names = feature_names_in(metadata, self.input_shape)
        if self._schema is None and schema is None:
            if names is not None and self.feature_names not in (None, names):
                problem = difference(self.feature_names or [], names) or "their order differs"
                raise ArgumentError(
                    f"X: expected the columns that {title} was trained on; {problem}"
                )
            return
        if schema is None or self._schema is None:
            has, lacks = ("this network", title) if schema is None else (title, "this network")
            raise ArgumentError(
                f"schema: {has} has a schema, but {lacks} has no schema; give both the same schema"
            )
        with IMPORTING:
            from gpunn.tables.schema_difference import schema_difference

        if problem := schema_difference(self._schema, schema):
            raise ArgumentError(
                f"schema: the schema of {title} differs: {problem}. Make this network "
                "with that schema: gpunn.load_model(...).schema"
            )

    # ------------------------------------------------------------------------------- passes

    @property
    def trained_layers(self) -> int:
        """The number of layers that compute the loss's input.

        Layers such as `TargetScaling` come after the loss. In an ensemble, all layers count.
        """
        return sum(not layer.after_loss for layer in self.layers) or len(self.layers)

    @property
    def loss_shape(self) -> Shape:
        """The shape of one row of the loss's input."""
        return [self.input_shape, *self.shapes][self.trained_layers]

    @operations_only
    def forward(self, x: Array, workspace: Workspace) -> list[Array]:
        """Return the input and the output of each layer for a batch on the device.

        Parameters
        ----------
        x : array, shape (rows, *input_shape)
            The batch.
        workspace : Workspace
            The buffers and the settings of the pass.

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
            The arrays that `forward` returned, up to and including the input of the loss.
        gradient : array
            dL/dy, where y is the last array in `outputs`. The backward pass overwrites `gradient`.
        workspace : Workspace
            The workspace of the forward pass.
        """
        run_backward(self.layers[: len(outputs) - 1], outputs, gradient, workspace)

    # ---------------------------------------------------------------------------------- use

    def predict(self, X: HostArray, batch_size: int = 1024) -> np.ndarray:
        """Return the network's outputs for rows on the host, computed in batches.

        Several threads can call `predict` at the same time, even while another thread trains the
        network. During training, each batch is computed between two updates, so the predictions of
        all rows of a batch use the same parameters.

        Parameters
        ----------
        X : array, shape (rows, *input_shape)
            Finite real numbers. If the network has `feature_names`, columns of a data frame are
            selected by these names. With a `schema`, X is any table that `Schema.encode` accepts.
        batch_size : int
            Rows per pass, which affects only the rounding of results.

        Returns
        -------
        ndarray, shape (rows, *output_shape)
            The last layer's outputs, on the host: logits if the last layer is a `Dense` without
            activation and the network was trained with a cross-entropy.

        Raises
        ------
        DataError
            If the shape, type or names of columns do not fit the network, or if a number is not
            finite.
        DeviceMemoryError
            If the device has too little memory.
        DeviceError
            If the device has failed.

        Examples
        --------
        >>> model = gpunn.Sequential([gpunn.layers.Dense(2)], 3, backend="numpy", seed=0)
        >>> model.predict([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]).shape
        (2, 2)
        """
        return self.predict_encoded(self.encoded(X), batch_size)

    def predict_encoded(self, X: HostArray, batch_size: int = 1024) -> np.ndarray:
        """Return the outputs for rows that `encoded` returned; see `predict`.

        Parameters
        ----------
        X : array, shape (rows, *input_shape)
            Finite real numbers.
        batch_size : int
            Rows per pass.

        Returns
        -------
        ndarray, shape (rows, *output_shape)
            The outputs of the last layer, on the host.

        Raises
        ------
        DataError, DeviceMemoryError, DeviceError
            As for `predict`.
        """
        batch_size = min(check_integer("batch_size", batch_size), self.rows_per_pass)
        X = self._checked_inputs(X)
        rows, dtype = X.shape[0], self.input_dtype(X.dtype)
        result = np.empty((rows, *self.output_shape), self.dtype)
        with self.backend.device_errors():
            for start in range(0, rows, batch_size):
                stop = min(start + batch_size, rows)
                check_whole(X)
                with TURNS:  # all calls share the workspace
                    workspace = self._inference_workspace(min(batch_size, rows))
                    x = self.backend.from_host(X[start:stop], dtype)
                    y = self._inference_pass(x, workspace)(x)
                    self.backend.copy_to_host(y, result[start:stop])
                release(X)
        return result

    def predict_proba(self, X: HostArray, batch_size: int = 1024) -> np.ndarray:
        """Return the probability of each class or label.

        The function `output_activation` converts outputs to probabilities. Training sets this
        function from the loss: "softmax" for softmax cross-entropy, and "sigmoid" for binary
        cross-entropy.

        Parameters
        ----------
        X : array, shape (rows, *input_shape)
            As for `predict`.
        batch_size : int
            As for `predict`.

        Returns
        -------
        ndarray, shape (rows, classes)
            Probabilities in the order of `classes`, in the network's dtype: softmax(outputs) for
            "softmax". For "sigmoid", the probability of yes is p = 1 / (1 + exp(-output)) for each
            output; a network with a single output returns 1 - p and p.

        Raises
        ------
        ArgumentError
            If the network's loss gives no probabilities, or is unknown.
        DataError, DeviceMemoryError, DeviceError
            As for `predict`.

        Examples
        --------
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
                "output_activation: unknown, since no Trainer has trained this network, or its "
                "file is from an earlier release. Set model.output_activation to 'softmax' for "
                "softmax cross-entropy, or 'sigmoid' for binary cross-entropy"
            )
        if activation not in ("softmax", "sigmoid"):
            raise ArgumentError(
                "predict_proba: this network was trained with a loss that gives no probabilities "
                f"(output_activation {activation!r}); use predict"
            )
        if len(self.output_shape) != 1:
            raise ArgumentError(
                f"predict_proba: expected outputs of shape (classes,) per row; got "
                f"{self.output_shape}. Use predict"
            )
        return probabilities(self.predict(X, batch_size), activation)

    def encoded(self, X: Any, argument: str = "X") -> Any:
        """Encode rows of a table with the `schema`; without a schema, return `X` unchanged.

        Parameters
        ----------
        X : array or table
            Rows, as for `predict`.
        argument : str
            The name of the rows in error messages.

        Returns
        -------
        array, shape (rows, schema.width)
            The inputs in the network's dtype. Without a schema, `X` is not checked.

        Raises
        ------
        DataError
            If `Schema.encode` refuses the rows; the message begins with `argument`.
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

    @cached_property
    def bytes_per_row(self) -> int:
        """Bytes of one row's activations: the inputs, and the outputs of each layer."""
        inputs = [self.input_shape, *self.shapes[:-1]]
        numbers = math.prod(self.input_shape) + sum(map(numbers_of_row, self.layers, inputs))
        return numbers * np.dtype(self.dtype).itemsize

    @property
    def rows_per_pass(self) -> int:
        """Maximum number of rows of a forward pass without gradients."""
        return max(1, MEMORY // self.bytes_per_row)

    def input_dtype(self, dtype: np.dtype) -> str:
        """Return the dtype that rows have on the device if they have `dtype` on the host.

        If the first layer that is not a `Flatten` accepts integers, as `Rescaling` does, integers
        of up to 16 bits stay integers.

        Parameters
        ----------
        dtype : numpy.dtype
            The dtype of the rows on the host.

        Returns
        -------
        str
            The name of `dtype` or of the network's dtype.
        """
        first = next((layer for layer in self.layers if not isinstance(layer, Flatten)), None)
        small = dtype.kind in "ui" and dtype.itemsize <= 2
        return dtype.name if small and first is not None and first.takes_integers else self.dtype

    def adapt(self, X: HostArray, y: HostArray | None = None) -> None:
        """Set the values that layers learn from data (`Standardization`, `TargetScaling`).

        The first call of `Trainer.fit` calls `adapt` with its training rows.

        Parameters
        ----------
        X : array, shape (rows, *input_shape)
            The training rows, on the host.
        y : array, shape (rows,) or (rows, outputs)
            Targets, for a network with a `TargetScaling`.

        Raises
        ------
        DataError
            If the inputs don't fit the network, or a learned value overflows or underflows the
            network's dtype. Nothing is changed.

        Examples
        --------
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
        """Return the values that `adapt` would set.

        Parameters
        ----------
        X : array, shape (rows, *input_shape)
            Rows on the host.
        indices : ndarray of int64 or None
            The rows to learn from; None means all rows.
        y : array or None
            Targets, for layers that learn from targets.

        Returns
        -------
        dict of str to ndarray
            The buffers' values, by names such as "standardization_1.mean".

        Raises
        ------
        ArgumentError
            If a layer learns from targets, but `y` is None.
        DataError
            If a learned value is not finite in the network's dtype.
        """
        X = check_inputs(X, self.input_shape, "X", self.dtype)
        values: dict[str, np.ndarray] = {}
        for label, layer, shape in zip(self.labels, self.layers, self.shapes, strict=True):
            learned: Mapping[str, np.ndarray] = {}
            if label in self.settled and not self.adapted:
                continue
            if layer.adapts:
                learned = layer.adapt(X.reshape(-1, *shape), indices, self.dtype)
            elif layer.adapts_to_targets:
                if y is None:
                    raise ArgumentError(f"layer {label!r}: learns from targets; give y")
                learned = layer.adapt_to_targets(y, indices, self.dtype)
            check_learned(label, learned, self.dtype)
            values |= {f"{label}.{name}": value for name, value in learned.items()}
        return values

    def set_adapted_values(self, values: Mapping[str, np.ndarray]) -> None:
        """Set the values that `adapted_values` returned.

        Parameters
        ----------
        values : mapping of str to array
            The buffers' values, by name.
        """
        for name, value in values.items():
            self.parameters[name] = value
        self.adapted = True

    # --------------------------------------------------------------------------- description

    def summary(self) -> str:
        """Return a table of layers, output shapes and numbers of parameters.

        The table marks frozen layers (`Layer.trainable`).

        Returns
        -------
        str
            One line per layer, including layers within blocks, and one line for the total.
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

        Layers inside a block have indented rows; the block's row includes their parameters. If
        layers are frozen, a fifth column marks them, and a last row has the number of trainable
        parameters.

        Returns
        -------
        list of tuple of str
            The label, name, output shape and number of parameters of each layer.
        """
        rows = [("layer", "name", "output shape", "parameters", "")]
        given = self.input_shape
        for label, layer, shape in zip(self.labels, self.layers, self.shapes, strict=True):
            rows.append((label, layer.name, str(shape), *self._counted(label)))
            for name, depth, inner, output in inner_layers(layer, given):
                counted = self._counted(f"{label}.{name}")
                rows.append((f"{'  ' * depth}{name}", inner.name, str(output), *counted))
            given = shape
        count, frozen = self.parameters.count, self.parameters.frozen
        rows.append(("total", "", "", f"{count:,}", ""))
        if not frozen:
            return [row[:4] for row in rows]
        return [*rows, ("trained", "", "", f"{count - frozen:,}", "")]

    def _counted(self, label: str) -> tuple[str, str]:
        specs = [
            spec
            for name, spec in self.parameters.specs.items()
            if name.startswith(f"{label}.") and spec.learned
        ]
        count, trained = (
            sum(math.prod(spec.shape) for spec in specs if spec.trainable or not only)
            for only in (False, True)
        )
        remark = f"{count - trained:,} frozen" if trained else "frozen"
        return f"{count:,}", remark if trained < count else ""

    def __repr__(self) -> str:
        chain = " -> ".join(str(shape) for shape in (self.input_shape, *self.shapes))
        return f"<{type(self).__name__} {chain} on {self.backend.name}>"

    def _repr_html_(self) -> str:
        header, *rows = self.summary_rows()
        return html_table(repr(self)[1:-1], header, rows)

    def plot(self) -> Drawing:
        """Return a diagram of the layers, with shapes and numbers of parameters.

        A notebook shows the diagram, and `str` returns the `summary`. Groups of columns are drawn
        side by side, and members of an ensemble one behind the other.

        Returns
        -------
        Drawing
            The diagram. The method `save` writes the attribute `svg` to a file.

        Examples
        --------
        >>> model = gpunn.Sequential([gpunn.layers.Dense(2)], 3, backend="numpy")
        >>> diagram = model.plot()
        >>> diagram.svg[:4]
        '<svg'
        >>> print(diagram)
        layer    name   output shape  parameters
        dense_1  dense  (2,)                   8
        total                                  8
        >>> diagram.save("network.svg")
        """
        blocks = outline(self.labels, self.layers, self.input_shape)
        count = self.parameters.count
        return network_drawing(str(self.input_shape), blocks, count, self.summary())

    def config(self) -> dict[str, Any]:
        """Return the architecture in JSON types.

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

    def file_description(self) -> dict[str, Any]:
        """Return the contents of a model file except the arrays, in JSON types.

        Returns
        -------
        dict
            The items of `config`, the kind of file, the metadata, the schema, the versions and the
            backend. "custom" lists the modules of custom classes.
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
        """Return the arrays of a model file, on the host.

        Returns
        -------
        dict of str to ndarray
            Parameters, buffers, and arrays of the schema.

        Raises
        ------
        ArgumentError
            If a parameter or buffer is not finite, since `gpunn.load_model` refuses such files.
        """
        learned = {} if self._schema is None else self._schema.arrays()
        named = {f"{SCHEMA}{name}": array for name, array in learned.items()}
        values = self.parameters.to_host()
        try:
            check_arrays(values, self.dtype)
        except ArgumentError as error:
            raise ArgumentError(
                f"{error}. gpunn.load_model refuses such files, so no file is written. Train the "
                "network again, or load an earlier file"
            ) from None
        return {**values, **named}

    def save(self, path: str | Path) -> None:
        """Write architecture, parameters and buffers to a file that `gpunn.load_model` reads.

        Parameters
        ----------
        path : str or Path
            The file; its name usually ends in ".safetensors". An existing file is replaced.

        Raises
        ------
        ArgumentError
            If a parameter or buffer is not finite, or `metadata` has values that are not of JSON
            types. An existing file stays unchanged.
        OSError
            If the file can't be written. An existing file stays unchanged.

        Examples
        --------
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
            The backend of the copy; see `gpunn.get_backend`.

        Returns
        -------
        Sequential
            A network of the same class with copied parameters.
        """
        state = self.__getstate__()
        state |= {"backend": get_backend(backend), "backend_options": {}, "algorithms": {}}
        duplicate = object.__new__(type(self))
        duplicate.__setstate__(state)
        return duplicate

    def __getstate__(self) -> dict[str, Any]:
        attributes = {name: value for name, value in vars(self).items() if name not in REBUILT}
        return {
            **copy.deepcopy(attributes),
            "layers": copy.deepcopy(list(self.layers)),
            "backend": self.backend.name,
            "backend_options": self.backend.options,
            "algorithms": self.backend.algorithms(),
            "values": self.parameters.to_host(),
        }

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        # The layers get new views of the parameters.
        rest = dict(state)
        layers = copy.deepcopy(rest.pop("layers"))
        backend = get_backend(rest.pop("backend"), **rest.pop("backend_options"))
        backend.restore_algorithms(rest.pop("algorithms"))
        values = rest.pop("values")
        Sequential.__init__(
            self, layers, rest["input_shape"], backend, rest["seed"], rest["dtype"], values
        )
        vars(self).update(rest)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self.to(self.backend)


def check_network(model: Any, argument: str = "model") -> None:
    if not isinstance(model, Sequential):
        names = ("model", "network_")  # of a trainer and of estimators
        own = [name for name in names if isinstance(getattr(model, name, None), Sequential)]
        advice = f"; pass its attribute {own[0]}" if own else ""
        if hasattr(model, "coefs_"):
            advice = "; convert it with gpunn.interchange.from_sklearn"
        kind = type(model).__name__
        raise ArgumentTypeError(f"{argument}: expected a gpunn.Sequential; got {kind}{advice}")


def check_learned(label: str, values: Mapping[str, np.ndarray], dtype: str) -> None:
    for name, value in values.items():
        with np.errstate(over="ignore"):
            finite = np.isfinite(np.asarray(value).astype(dtype))
        if not finite.all():
            raise DataError(
                f"layer {label!r}: {name!r}, learned from training data, is not finite in {dtype} "
                f"({np.count_nonzero(~finite):,} of {finite.size:,} numbers); remove or rescale "
                "values that are too large"
            )


def layers_by_name(labels: Sequence[str], layers: Sequence[Layer]) -> dict[str, Layer]:
    # Names of inner layers are, for example, "column_groups_1.group_2".
    named: dict[str, Layer] = {}
    for label, layer in zip(labels, layers, strict=True):
        named[label] = layer
        children = layer.children()
        inner = layers_by_name(list(children), list(children.values()))
        named |= {f"{label}.{name}": child for name, child in inner.items()}
    return named


def source_of(
    source: str | Path | Sequential,
) -> tuple[Source, Mapping[str, Any], Schema | None]:
    if isinstance(source, Sequential):
        names = source.classes, source.target_names
        ready = source.adapted and source.started
        other = Source("the other network", source.parameters.to_host(), names, ready)
        return other, source.metadata, source.schema
    path = Path(checked_path(source))
    path = final_model(path) if path.is_dir() else path
    description, arrays, _ = read_model(path)
    with ModelFileError.instead_of(ArgumentError, prefix=f"{path}: "):
        check_arrays(arrays, description.dtype)
        schema = schema_of(description)
    metadata = description.metadata
    outputs = [metadata.get(key) for key in OUTPUT_NAMES]
    named = [list(map(str, names)) if isinstance(names, list) else None for names in outputs]
    other = Source(str(source), arrays, (named[0], named[1]), description.inputs_fitted)
    return other, metadata, schema


def schema_of(description: Description) -> Schema | None:
    if description.schema is not None:
        with IMPORTING:
            from gpunn.tables.joined_schema import schema_from_json

        return schema_from_json(description.schema, description.schema_arrays)
    if description.schema_arrays:
        raise ArgumentError(
            "schema: the file has arrays of a schema, but no description of the schema; save the "
            "model again"
        )
    return None


def chain_of_shapes(input_shape: Shape, labels: Sequence[str], shapes: Sequence[Shape]) -> str:
    # The first layer without a shape in `shapes` gets the shape "?". Later layers are omitted.
    rows = [("input", str(input_shape)), *zip(labels, map(str, shapes), strict=False)]
    if len(labels) > len(shapes):
        rows.append((labels[len(shapes)], "?"))
    omitted = len(rows) - LAYERS_SHOWN
    if omitted > 0:
        rows = [("...", f"{omitted} more"), *rows[-LAYERS_SHOWN:]]
    width = max(len(label) for label, _ in rows)
    return "\n".join(f"    {label:<{width}}  {shape}" for label, shape in rows)


def out_of_memory(specs: Mapping[str, ParameterSpec], error: MemoryError) -> str:
    sizes = {name: math.prod(spec.shape) for name, spec in specs.items()}
    largest = max(sizes, key=lambda name: sizes[name])
    label, _, parameter = largest.rpartition(".")
    return (
        f"layer {label!r}: out of memory for the network's {sum(sizes.values()):,} parameters "
        f"({error}). Most parameters, {sizes[largest]:,}, are in this layer's {parameter} of "
        f"shape {specs[largest].shape}. Choose fewer units"
    )


def check_unused(layers: Sequence[Layer]) -> None:
    every = list(family(*layers))
    if len(set(map(id, every))) < len(every):
        raise ArgumentError(
            "layers: the same layer object occurs twice; make a new object for each position"
        )
    for index, layer in enumerate(layers):
        if layer.values or layer.key:
            raise ArgumentError(
                f"layers[{index}]: {layer!r} already belongs to a network; make a new layer, for "
                "example with dataclasses.replace(layer)"
            )


def check_values(specs: Mapping[str, ParameterSpec], values: Mapping[str, HostArray]) -> None:
    if not isinstance(values, Mapping):
        raise ArgumentTypeError(
            f"values: expected a dict from names such as {next(iter(specs), '')!r} to arrays; got "
            f"{values!r:.80}"
        )
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
