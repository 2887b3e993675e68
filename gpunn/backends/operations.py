"""All operations of a backend, defined by array-API calls.

Each method defines an operation. A backend without a faster version (lowering) of an operation runs
the definition. Tests compare each lowering with the definition on NumPy in float64.

Operations write into arrays that they receive (`out`, `gradient`, ...) and return nothing. Values
that change from step to step are arrays of one element on the device, because a recorded step would
repeat Python numbers unchanged. Examples are the learning rate, the number of the step, the number
of the forward pass, and the position in the epoch. Only the operation `append` waits for the
device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from inspect import Parameter, Signature, signature
from itertools import groupby
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast

import array_api_compat

from gpunn.activations import softplus
from gpunn.backends.hashing import GOLDEN, MASK_32, mix, pass_key
from gpunn.backends.recording import (
    Operation,
    composite,
    definition,
    is_composite,
    is_operation,
    method_of,
    operation,
)
from gpunn.backends.window_operations import WindowOperations
from gpunn.backends.windows import Window
from gpunn.errors import ArgumentError, ArgumentTypeError
from gpunn.typing import Array, Namespace

if TYPE_CHECKING:
    from gpunn.activations import Activation
    from gpunn.expressions import Expression
    from gpunn.losses import Loss
    from gpunn.metrics import Metric
    from gpunn.optimizers import Optimizer


ONE_A_ROW = (
    "one number per row. The backend averages over the rows, so average only over the outputs: "
    "xp.mean(..., axis=1)"
)
ONE_A_PREDICTION = "the derivatives of each row's loss with respect to its predictions"
A_VECTOR = (
    "a vector of length size(outputs), which is 1 by default. Convert a number by "
    "xp.sum(..., keepdims=True) or xp.reshape(..., (1,)), or define size"
)


def require_shape(
    returned: Any, expected: tuple[int, ...], kind: str, name: str, method: str, meaning: str
) -> None:
    # Without this check, broadcasting would accept a number, and results would be wrong.
    shape = getattr(returned, "shape", ())
    if shape != expected:
        raise ArgumentError(
            f"{kind} {name!r}: the method {method} returned "
            f"{'a number' if shape == () else f'shape {shape}'}; expected an array of shape "
            f"{expected}, {meaning}"
        )


def log_of_mean(xp: Namespace, logarithms: Array) -> Array:
    """Return log(mean over axis 1 of exp(logarithms)), without underflow."""
    top = xp.max(logarithms, axis=1, keepdims=True)
    mean = xp.mean(xp.exp(logarithms - top), axis=1)
    return xp.log(mean) + xp.squeeze(top, axis=1)


def column_means(xp: Namespace, x: Array) -> Array:
    """Return x.mean(axis=0), accurate even if the mean is large or row 0 is an outlier."""
    mean = x[0, :]
    for _ in range(2):  # the second pass corrects rounding errors of the first pass
        mean = mean + xp.mean(x - mean, axis=0)
    return mean


class UpdateCounters(NamedTuple):
    """Counters and learning rates of updates; each array except `rates` has one element.

    `rates` are the learning rates of several updates, `position` is the index of the next rate, and
    `rate` is the learning rate of this update. `weight` is the sum of this update's sample weights,
    `weight_sum` the sum of all updates' weights, and `loss_sum` the sum of all weighted losses.
    `finite_steps` counts updates with a finite `loss_sum`. `position` and `updates` have type
    int64.
    """

    rates: Array
    position: Array
    rate: Array
    updates: Array
    weight: Array
    loss_sum: Array
    weight_sum: Array
    finite_steps: Array


class Segment(NamedTuple):
    """Elements `start` to `stop` - 1 of flat vectors."""

    start: int
    stop: int
    rate: float = 1.0
    """Factor of the learning rate."""
    decay: float = 0.0
    """Factor of the weight decay, in addition to the factor `rate`; 0 means no decay."""


class Trained(NamedTuple):
    """Flat vectors of parameters, gradients and optimizer state.

    The segments are in order, and together cover the vectors.
    """

    values: Array
    gradients: Array
    slots: Mapping[str, Array]
    segments: Sequence[Segment]

    def part(self, start: int, stop: int) -> Trained:
        part = slice(start, stop)
        slots = {name: slot[part] for name, slot in self.slots.items()}
        return Trained(self.values[part], self.gradients[part], slots, [])

    def runs(self) -> list[Segment]:
        joined: list[Segment] = []
        for one in self.segments:
            if joined and joined[-1].rate == one.rate:
                joined[-1] = joined[-1]._replace(stop=one.stop)
            else:
                joined.append(Segment(one.start, one.stop, one.rate))
        return joined


def scaled(learning_rate: Array, factor: float) -> Array:
    # With the factor 1, the result is the array `learning_rate` itself.
    return learning_rate if factor == 1 else learning_rate * factor


def is_zero(setting: float | Array) -> bool:
    return isinstance(setting, float) and setting == 0


class Fusion(NamedTuple):
    """A fused operation, its two parts, and the array that connects them.

    The fused operation's arguments have the names of the parts' arguments. If a name occurs in both
    parts, the fused operation's argument is the argument of the second part. If the fused operation
    lacks an argument of a part, the part gets None or the connecting array.
    """

    name: str
    first: str
    second: str
    output: str
    """The name of the connecting array in the first part."""
    input: str
    """The name of the connecting array in the second part, such as "x" or "trained.gradients"."""
    renamed: Mapping[str, str]
    """Maps names of the second part's arguments to their names in the fused operation."""


RESULT = {"x": "out", "out": "dropped"}
"""Maps arguments of `dropout` to their names in operations that run `dropout` second."""


def in_turn(
    name: str,
    first: Callable[..., None],
    second: Callable[..., None],
    output: str,
    input: str,
    *,
    renamed: Mapping[str, str] = MappingProxyType({}),
    also: Collection[str] = (),
    without: Collection[str] = (),
) -> Callable[..., None]:
    """Return a composite operation that runs `first`, then `second` on the result.

    `Fusion` describes `name`, `output`, `input` and `renamed`. For each argument in `also`, `first`
    gets the connecting array. The composite operation lacks the arguments in `without`: `first` and
    `second` get None. Arrays must not share memory, except views of the connecting array.
    """
    fusion = Fusion(name, first.__name__, second.__name__, output, input, renamed)
    own, others = (list(signature(each).parameters.values())[1:] for each in (first, second))
    owners = {each.name: first for each in own if each.name not in (output, *also)}
    names = {each.name: renamed.get(each.name, each.name) for each in others}
    owners |= dict.fromkeys(names.values(), second)
    every = [each for each in own if owners.get(each.name) is first]
    every += [each.replace(name=names[each.name]) for each in others]
    every = [each for each in every if each.name not in without]
    every.sort(key=lambda each: each.default is not each.empty)
    expected = Signature([Parameter("self", Parameter.POSITIONAL_OR_KEYWORD), *every])
    root, *path = input.split(".")

    def run(self: Any, *args: Any, **kwargs: Any) -> None:
        bound = expected.bind(self, *args, **kwargs)
        bound.apply_defaults()
        given, array = bound.arguments, bound.arguments[names[root]]
        for attribute in path:
            array = getattr(array, attribute)
        before = {each.name: given.get(each.name) for each in own}
        getattr(self, fusion.first)(**before | dict.fromkeys((output, *also), array))
        getattr(self, fusion.second)(**{each: given.get(names[each]) for each in names})

    sections = [
        f"    {', '.join(each.name for each in group)} : as in `{owner.__name__}`\n"
        f"        Arguments of `{owner.__name__}`.\n"
        for owner, group in groupby(every, lambda each: owners[each.name])
    ]
    run.__doc__ = (
        f"Run `{fusion.first}`, then `{fusion.second}` on its result.\n\n"
        f"    Parameters\n    ----------\n{''.join(sections)}    "
    )
    run.__name__, run.__qualname__ = name, f"Operations.{name}"
    vars(run).update(__signature__=expected, fusion=fusion)
    return composite(run)


class Operations(WindowOperations):
    """The operations of a backend, for layers, losses, metrics and optimizers.

    If the formula of an operation sets an array, such as `out`, the array is changed in place.
    """

    xp: Namespace
    device: Any
    _overridden: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        for name in OPERATION_NAMES:
            override = getattr(cls, name)
            if override is getattr(Operations, name):
                continue
            if not is_operation(override):
                owner = next(each for each in cls.__mro__ if name in vars(each))
                raise ArgumentTypeError(
                    f"{owner.__name__}.{name}: overrides an operation; decorate the "
                    "method with @gpunn.backends.operation. Without the decorator, the method "
                    "would run only once, while a step is recorded"
                )
            cls._overridden = True

    def perform(self, one: Operation) -> None:
        """Run an operation immediately.

        Parameters
        ----------
        one : Operation
            The operation and its arguments.
        """
        definition(self, one)()

    def is_builtin(self, one: Operation) -> bool:
        """Return whether an operation has gpunn's definition, which gpunn's lowerings assume.

        Parameters
        ----------
        one : Operation
            The operation and its arguments.

        Returns
        -------
        bool
            False if a subclass overrides the operation. If a subclass overrides any operation, also
            False for all composite operations.
        """
        builtin = method_of(self, one) is getattr(Operations, one.name).definition
        return builtin and not (self._overridden and is_composite(self, one))

    def copy(self, array: Array) -> Array:
        """Return a copy of an array on the device.

        Parameters
        ----------
        array : array
            An array on the device.

        Returns
        -------
        array
            An array of the same shape and type.
        """
        return self.xp.asarray(array, copy=True)

    @operation
    def call(self, function: Callable[[], None]) -> None:
        """Call a function as an operation, so that a recording includes the call.

        Parameters
        ----------
        function : function
            A function without parameters, which must use the same arrays in each call. The return
            value is ignored.
        """
        function()

    # ------------------------------------------------------------ copies, sums and counters

    @operation
    def fill(self, out: Array, value: float) -> None:
        """Set out = value.

        Parameters
        ----------
        out, value : array, float
            The array, and a value that its type can represent.
        """
        out[...] = value

    @operation
    def assign(self, values: Array, out: Array) -> None:
        """Set out = values, converted to the type of `out`.

        Parameters
        ----------
        values, out : array
            Arrays of equal shape and any types.
        """
        out[...] = self.xp.astype(values, out.dtype)

    @operation
    def increment(self, counter: Array, amount: int) -> None:
        """Set counter = counter + amount.

        Parameters
        ----------
        counter, amount : array of int64 of shape (1,), int
            The counter, and an amount, which may be negative.
        """
        counter += amount

    @operation
    def take(self, table: Array, index: Array, out: Array) -> None:
        """Set out = table[index], an element of a vector or a row of a matrix.

        Parameters
        ----------
        table, index, out : array, shapes (n, ...), (1,) and (1, ...)
            A vector or matrix, an index of type int64 from 0 to n - 1, and the result.
        """
        out[...] = self.xp.take(table, index, axis=0)

    @operation
    def accumulate(self, values: Array, out: Array) -> None:
        """Add an array to another: out = out + values.

        Parameters
        ----------
        values, out : array
            Arrays of equal shape.
        """
        out += values

    @operation
    def gather_rows(self, source: Array, order: Array, start: Array, out: Array) -> None:
        """Set out[i] = source[order[start + i]], converted to the type of `out`.

        Parameters
        ----------
        source, order, start, out : array
            Arrays of shapes (n, ...), (m,), (1,) and (rows, ...). `order` and `start` are of type
            int64.
        """
        xp = self.xp
        positions = start + xp.arange(out.shape[0], dtype=start.dtype, device=self.device)
        rows = xp.take(source, xp.take(order, positions), axis=0)
        out[...] = xp.astype(rows, out.dtype)

    @operation
    def append(self, sources: Sequence[Array], tables: Sequence[Array], position: Array) -> None:
        """Copy the rows of several arrays into tables, and count the rows.

        In this order::

            tables[k][position + i] ← sources[k][i]
            position ← position + rows

        Parameters
        ----------
        sources, tables, position : sequence of array, sequence of array, array of int64
            Arrays of shape (rows, ...), and for each array a table of shape (n, ...) and the same
            type. `position`, of shape (1,), is the number of rows already in the tables.
        """
        first, rows = int(position[0]), sources[0].shape[0]
        for source, table in zip(sources, tables, strict=True):
            table[first : first + rows, ...] = source
        position += rows

    @operation
    def sum(self, values: Array, out: Array) -> None:
        """Set out to the sum of a vector.

        Parameters
        ----------
        values, out : array, shapes (n,) and (1,)
            The vector, and its sum.
        """
        out[...] = self.xp.sum(values, keepdims=True)

    @operation
    def count_finite(self, loss_sum: Array, out: Array) -> None:
        """Set out = out + 1 if `loss_sum` is finite.

        Parameters
        ----------
        loss_sum, out : array, shape (1,)
            The running sum of losses, and the number of updates with a finite sum so far.
        """
        out += self.xp.astype(self.xp.isfinite(loss_sum), out.dtype)

    @composite
    def count_pass(self, start: Array, rows: int, passes: Array) -> None:
        """Set start = start + rows; passes = passes + 1.

        Parameters
        ----------
        start, rows, passes : array, int, array
            The position in the epoch, the batch's number of rows, and the number of the current
            forward pass. `start` and `passes` are of type int64 and shape (1,).
        """
        self.increment(start, rows)
        self.increment(passes, 1)

    @composite
    def next_batch(
        self,
        sources: Sequence[Array],
        order: Array,
        start: Array,
        outs: Sequence[Array],
        passes: Array,
    ) -> None:
        """Gather the next rows of several arrays, and count the rows and the forward pass.

        In this order::

            outs[k][i] ← sources[k][order[start + i]]
            start ← start + rows
            passes ← passes + 1

        Parameters
        ----------
        sources, order, start, outs, passes : sequence of array, or array
            Arguments of `gather_rows` and `count_pass`, with an output for each source.
        """
        for source, out in zip(sources, outs, strict=True):
            self.gather_rows(source, order, start, out)
        self.count_pass(start, outs[0].shape[0], passes)

    @composite
    def count_update(self, counters: UpdateCounters) -> None:
        """Look up the learning rate of an update, and count the update.

        In this order::

            rate ← rates[position]
            position ← position + 1
            updates ← updates + 1
            weight_sum ← weight_sum + weight
            finite_steps ← finite_steps + 1, if loss_sum is finite

        Parameters
        ----------
        counters : UpdateCounters
            The counters, changed in place.
        """
        rates, position, rate, updates, weight, loss_sum, weight_sum, finite_steps = counters
        self.take(rates, position, rate)
        self.increment(position, 1)
        self.increment(updates, 1)
        self.accumulate(weight, weight_sum)
        self.count_finite(loss_sum, finite_steps)

    # ----------------------------------------------------------------------------- layers

    @operation
    def compute(
        self, expression: Expression, inputs: Sequence[Array], outs: Sequence[Array]
    ) -> None:
        """Set outs to functions of inputs: outs = expression(inputs).

        Parameters
        ----------
        expression : gpunn.expressions.Expression
            A graph that computes functions of arrays.
        inputs, outs : sequence of array
            Arrays with the shapes of the expression's inputs and results. The arrays `outs` share
            no memory with other arrays.
        """
        for out, value in zip(outs, expression(self.xp, *inputs), strict=True):
            out[...] = value

    @operation
    def matmul(
        self,
        a: Array,
        b: Array,
        out: Array,
        *,
        transpose_a: bool = False,
        transpose_b: bool = False,
    ) -> None:
        """Set out = a @ b, where each operand may be transposed first.

        Parameters
        ----------
        a, b, out : array, shapes (m, k), (k, n) and (m, n)
            If `transpose_a`, a has shape (k, m). If `transpose_b`, b has shape (n, k). `out` must
            not be a or b.
        transpose_a, transpose_b : bool
            Whether to transpose a, and whether to transpose b.
        """
        left = a.T if transpose_a else a
        right = b.T if transpose_b else b
        out[...] = self.xp.matmul(left, right)

    @operation
    def activate(self, activation: Activation, z: Array, bias: Array | None, out: Array) -> None:
        """Set z = z + bias; out = f(z).

        Parameters
        ----------
        activation : Activation
            The function f.
        z, bias, out : array
            z and out have shape (rows, ...); bias has the shape of a row. If bias is None, z is
            unchanged. `out` is z itself if `activation.from_output` is True.
        """
        if bias is not None:
            z += bias
        out[...] = activation.value(self.xp, z)

    @operation
    def activation_gradient(
        self,
        activation: Activation,
        z: Array,
        output: Array,
        gradient: Array,
        bias_gradient: Array | None,
    ) -> None:
        """Multiply gradient by f'(z), then set bias_gradient to the new gradient's sum over rows.

        Parameters
        ----------
        activation : Activation
            The function f.
        z, output, gradient : array, shape (rows, ...)
            The argument z of f, the value f(z), and dL/d(output), which becomes dL/dz.
        bias_gradient : array, shape of the gradient's last axes, or None
            The bias's gradient, or None if it is not needed. For images, the shape is (channels,),
            and each pixel counts as a row.
        """
        gradient *= activation.derivative(self.xp, z, output)
        if bias_gradient is not None:
            axes = tuple(range(gradient.ndim - bias_gradient.ndim))
            bias_gradient[...] = self.xp.sum(gradient, axis=axes)

    @composite
    def dense(
        self,
        x: Array,
        weights: Array,
        bias: Array | None,
        activation: Activation,
        z: Array,
        out: Array,
    ) -> None:
        """Set z = x @ weights + bias; out = f(z).

        Parameters
        ----------
        x, weights, bias : array
            Arrays of shapes (rows, inputs), (inputs, units) and (units,). The bias may be None.
        activation : Activation
            The function f.
        z, out : array, shape (rows, units)
            Results. `out` is z itself if `activation.from_output` is True.
        """
        self.matmul(x, weights, z)
        self.activate(activation, z, bias, out)

    @composite
    def dense_gradient(
        self,
        x: Array,
        weights: Array,
        activation: Activation,
        z: Array,
        output: Array,
        gradient: Array,
        weight_gradient: Array | None,
        bias_gradient: Array | None,
        input_gradient: Array | None,
    ) -> None:
        """Compute the gradients of `dense` from dL/d(output), which `gradient` contains.

        In this order::

            gradient ← gradient * f'(z)
            bias_gradient ← sum over rows of gradient
            weight_gradient ← x^T gradient
            input_gradient ← gradient weights^T

        Parameters
        ----------
        x, weights, activation, z, output : array, Activation
            Arguments of `dense`, and its results z and output.
        gradient : array, shape (rows, units)
            dL/d(output), which becomes dL/dz.
        weight_gradient, bias_gradient, input_gradient : array or None
            The gradients of weights, bias and x, or None if a gradient is not needed.
        """
        self.activation_gradient(activation, z, output, gradient, bias_gradient)
        if weight_gradient is not None:
            self.matmul(x, gradient, weight_gradient, transpose_a=True)
        if input_gradient is not None:
            self.matmul(gradient, weights, input_gradient, transpose_b=True)

    @composite
    def convolve(
        self,
        x: Array,
        weights: Array,
        bias: Array | None,
        activation: Activation,
        window: Window,
        z: Array,
        out: Array,
    ) -> None:
        """Set z = bias + convolution of x with the weights; out = f(z).

        Parameters
        ----------
        x, weights, bias, activation, window : array, Activation, Window
            Arguments of `convolution`, and the function f.
        z, out : array, shape (rows, output height, output width, units)
            Results. `out` is z itself if `activation.from_output` is True.
        """
        self.convolution(x, weights, bias, window, z)
        self.activate(activation, z, None, out)

    @operation
    def dropout(
        self, x: Array, rate: float | Array, key: int, passes: Array, out: Array, first: int = 0
    ) -> None:
        """Set out = x / (1 - rate) for kept elements, and 0 for all other elements; out may be x.

        Element number i is kept if mix(i * GOLDEN ^ mix(passes * GOLDEN ^ key)) >= rate * 2^32; the
        right side is rounded to an integer (half to even). All arithmetic is in 32 bits, so the
        mask is bitwise identical on every backend.

        Parameters
        ----------
        x, rate : array, float or array of x's type and shape (1,)
            The batch or a part of it, and a rate in [0, 1).
        key : int
            An integer of 32 bits that is different for each layer and each seed.
        passes : array of int64, shape (1,)
            The number of this forward pass, modulo 2^32.
        out, first : array of x's shape, int
            The result, and the position of x's first element in the batch.
        """
        xp = self.xp
        size = int(array_api_compat.size(x) or 0)
        position = xp.arange(first, first + size, dtype=xp.int64, device=self.device)
        mixed = mix((position * GOLDEN & MASK_32) ^ pass_key(passes, key))
        threshold: int | Array
        if isinstance(rate, float):
            threshold, scale = round(rate * 2**32), 1 / (1 - rate)
        else:
            threshold = xp.astype(xp.round(rate * 2.0**32), xp.int64)
            scale = 1 / (1 - rate)
        kept = xp.reshape(mixed >= threshold, x.shape)
        out[...] = xp.astype(kept, x.dtype) * x * scale

    activate_dropout = in_turn("activate_dropout", activate, dropout, "out", "x", renamed=RESULT)

    dropout_activation_gradient = in_turn(
        "dropout_activation_gradient", dropout, activation_gradient, "out", "gradient", also=("x",)
    )

    @operation
    def rescale(self, x: Array, scale: float, offset: float, out: Array) -> None:
        """Set out = scale * x + offset, computed in the type of `out`.

        Parameters
        ----------
        x, scale, offset, out : array, float, float, array
            `out` has the shape of x and may be x. x may have any real type.
        """
        out[...] = self.xp.astype(x, out.dtype) * scale + offset

    @operation
    def standardize(self, x: Array, mean: Array, std: Array, out: Array) -> None:
        """Set out = (x - mean) / std.

        Parameters
        ----------
        x, mean, std, out : array
            x and out have shape (rows, features); mean and std have shape (features,). `out` may be
            x. No element of std may be 0.
        """
        out[...] = x
        out -= mean
        out /= std

    @operation
    def unstandardize(
        self,
        x: Array,
        mean: Array,
        std: Array,
        minimum: Array | None,
        maximum: Array | None,
        out: Array,
    ) -> None:
        """Set out = mean + std * x, clipped to [minimum, maximum] if both are given.

        Parameters
        ----------
        x, mean, std, minimum, maximum, out : array
            x and out have shape (rows, features); the other arrays have shape (features,).
        """
        xp = self.xp
        y = x * std + mean
        if minimum is not None and maximum is not None:
            y = xp.minimum(xp.maximum(y, minimum), maximum)
        out[...] = y

    @operation
    def mean_over_members(self, x: Array, of: str, out: Array) -> None:
        """Set out to the mean prediction of several members.

        Parameters
        ----------
        x, of, out : array of shape (rows, members, outputs), str, array of shape (rows, outputs)
            The members' outputs, the function whose values are averaged, and the mean prediction.
            If `of` is "identity", out is the mean of x over the members. If `of` is "softmax" or
            "sigmoid", x contains logits; the probabilities are averaged, and out contains the
            logits of the averages.
        """
        xp = self.xp
        if of == "identity":
            out[...] = xp.mean(x, axis=1)
        elif of == "softmax":
            shifted = x - xp.max(x, axis=2, keepdims=True)
            total = xp.sum(xp.exp(shifted), axis=2, keepdims=True)
            out[...] = log_of_mean(xp, shifted - xp.log(total))
        else:
            yes, no = -softplus(xp, -x), -softplus(xp, x)
            out[...] = log_of_mean(xp, yes) - log_of_mean(xp, no)

    @operation
    def normalize(
        self,
        x: Array,
        mean: Array,
        variance: Array,
        epsilon: float,
        scale: Array | None,
        shift: Array | None,
        out: Array,
    ) -> None:
        """Set `out` to scale * (x - mean) / sqrt(variance + epsilon) + shift.

        Parameters
        ----------
        x, mean, variance, epsilon, scale, shift, out : array, float
            x and out have shape (rows, features); other arrays have shape (features,). If `scale`
            or `shift` is None, out = (x - mean) / sqrt(variance + epsilon).
        """
        y = (x - mean) / self.xp.sqrt(variance + epsilon)
        out[...] = y if scale is None or shift is None else scale * y + shift

    @operation
    def batch_norm(
        self,
        x: Array,
        scale: Array,
        shift: Array,
        running_mean: Array,
        running_variance: Array,
        momentum: float,
        epsilon: float,
        mean: Array,
        inverse_std: Array,
        out: Array,
    ) -> None:
        """Normalize each column by its mean and variance, and update the running averages.

        In this order::

            mean ← sum over rows of x / rows
            inverse_std ← 1 / sqrt(variance + epsilon)
            out ← scale * (x - mean) * inverse_std + shift
            running ← momentum * running + (1 - momentum) * current

        Parameters
        ----------
        x, scale, shift, running_mean, running_variance : array
            x has shape (rows, features); the other arrays have shape (features,).
        momentum, epsilon : float
            `momentum`, in [0, 1], is the weight of the previous running averages. `epsilon` is
            positive.
        mean, inverse_std, out : array
            Results of shapes (features,), (features,) and (rows, features).
        """
        xp = self.xp
        mean[...] = column_means(xp, x)
        centered = x - mean
        variance = xp.mean(centered * centered, axis=0)
        inverse_std[...] = 1 / xp.sqrt(variance + epsilon)
        out[...] = scale * (centered * inverse_std) + shift
        running_mean[...] = momentum * running_mean + (1 - momentum) * mean
        running_variance[...] = momentum * running_variance + (1 - momentum) * variance

    @operation
    def batch_norm_gradient(
        self,
        gradient: Array,
        x: Array,
        mean: Array,
        inverse_std: Array,
        scale: Array,
        scale_gradient: Array,
        shift_gradient: Array,
    ) -> None:
        """Compute dL/dscale and dL/dshift, and replace dL/dy in `gradient` by dL/dx.

        With g = dL/dy, n = (x - mean) * inverse_std, and means over the rows::

            dL/dscale = sum over rows of g * n
            dL/dshift = sum over rows of g
            dL/dx = scale * inverse_std * (g - mean(g) - n * mean(g * n))

        Parameters
        ----------
        gradient, x, mean, inverse_std, scale, scale_gradient, shift_gradient : array
            `gradient` has shape (rows, features). `mean` and `inverse_std` are results of
            `batch_norm` for x. `scale_gradient` and `shift_gradient` have shape (features,).
        """
        xp, rows = self.xp, gradient.shape[0]
        normalized = (x - mean) * inverse_std
        scale_gradient[...] = xp.sum(gradient * normalized, axis=0)
        shift_gradient[...] = xp.sum(gradient, axis=0)
        centered = gradient - shift_gradient / rows - normalized * (scale_gradient / rows)
        gradient[...] = scale * inverse_std * centered

    @operation
    def column_moments(self, x: Array, out: Array) -> None:
        """Set out to (rows, mean of each column, sum of squared deviations of each column).

        Parameters
        ----------
        x, out : array, shapes (rows, features) and (1 + 2 * features,)
            A batch of at least one row, and the array that receives the batch's moments.
        """
        xp, features = self.xp, x.shape[1]
        mean = column_means(xp, x)
        centered = x - mean
        out[:1] = x.shape[0]
        out[1 : 1 + features] = mean
        out[1 + features :] = xp.sum(centered * centered, axis=0)

    @operation
    def combine_moments(self, parts: Array, mean: Array, variance: Array) -> None:
        """Compute a batch's column means and variances from the `column_moments` of its parts.

        Part i has n_i rows, the means mean_i and the sums of squared deviations M2_i::

            mean ← sum(n_i * mean_i) / sum(n_i)
            variance ← sum(M2_i + n_i * (mean_i - mean)^2) / sum(n_i)

        Parameters
        ----------
        parts, mean, variance : array, shapes (parts, 1 + 2 * features), (features,), (features,)
            Row i of `parts` is the `column_moments` of part i, or zeros if part i is empty. `mean`
            and `variance` are the results.
        """
        xp, features = self.xp, mean.shape[0]
        counts, means = parts[:, :1], parts[:, 1 : 1 + features]
        rows = xp.sum(counts, axis=0)
        mean[...] = xp.sum(counts * means, axis=0) / rows
        off = means - mean
        squares = parts[:, 1 + features :] + counts * off * off
        variance[...] = xp.sum(squares, axis=0) / rows

    @operation
    def running_average(self, current: Array, momentum: float, out: Array) -> None:
        """Update a running average: out = momentum * out + (1 - momentum) * current.

        Parameters
        ----------
        current, momentum, out : array, float, array of the shape of current
            The new value, the weight of the previous average (in [0, 1]), and the running average.
        """
        out[...] = momentum * out + (1 - momentum) * current

    @operation
    def batch_norm_of(
        self,
        x: Array,
        mean: Array,
        variance: Array,
        scale: Array,
        shift: Array,
        epsilon: float,
        inverse_std: Array,
        out: Array,
    ) -> None:
        """Run `batch_norm` with given means and variances, without updating running averages.

        Parameters
        ----------
        x, mean, variance, scale, shift, epsilon, inverse_std, out : array, float
            Arguments of `batch_norm`, and the variance of each column.
        """
        inverse_std[...] = 1 / self.xp.sqrt(variance + epsilon)
        out[...] = scale * ((x - mean) * inverse_std) + shift

    @operation
    def batch_norm_sums(
        self,
        gradient: Array,
        x: Array,
        mean: Array,
        inverse_std: Array,
        scale_gradient: Array,
        shift_gradient: Array,
    ) -> None:
        """Compute only dL/dscale and dL/dshift of `batch_norm_gradient`.

        Parameters
        ----------
        gradient, x, mean, inverse_std, scale_gradient, shift_gradient : array
            Arguments of `batch_norm_gradient`, except that `gradient` is not changed.
        """
        normalized = (x - mean) * inverse_std
        scale_gradient[...] = self.xp.sum(gradient * normalized, axis=0)
        shift_gradient[...] = self.xp.sum(gradient, axis=0)

    @operation
    def batch_norm_input_gradient(
        self,
        gradient: Array,
        x: Array,
        mean: Array,
        inverse_std: Array,
        scale: Array,
        sums: Array,
        counts: Array,
    ) -> None:
        """Compute only dL/dx of `batch_norm_gradient`, for one part of a batch.

        Parameters
        ----------
        gradient, x, mean, inverse_std, scale : array
            Arguments of `batch_norm_gradient`. `gradient` and `x` have only this part's rows.
        sums, counts : array, shapes (2 * features,) and (parts,)
            `sums` has dL/dscale, then dL/dshift, both summed over the rows of all parts. `counts`
            has the number of rows in each part.
        """
        features, rows = scale.shape[0], self.xp.sum(counts)
        of_scale, of_shift = sums[:features] / rows, sums[features:] / rows
        normalized = (x - mean) * inverse_std
        gradient[...] = scale * inverse_std * (gradient - of_shift - normalized * of_scale)

    @operation
    def layer_norm(
        self,
        x: Array,
        scale: Array,
        shift: Array,
        epsilon: float,
        normalized: Array,
        inverse_std: Array,
        out: Array,
    ) -> None:
        """Normalize each row by its mean and variance, as `batch_norm` normalizes columns.

        Parameters
        ----------
        x, scale, shift, epsilon, normalized, inverse_std, out : array, float
            Arguments of `batch_norm`, but `inverse_std` has shape (rows, 1). `normalized` is the
            result before scale and shift.
        """
        xp = self.xp
        centered = x - xp.mean(x, axis=1, keepdims=True)
        variance = xp.mean(centered * centered, axis=1, keepdims=True)
        inverse_std[...] = 1 / xp.sqrt(variance + epsilon)
        normalized[...] = centered * inverse_std
        out[...] = scale * normalized + shift

    layer_norm_activate = in_turn(
        "layer_norm_activate", layer_norm, activate, "out", "z", without=("bias",)
    )

    @operation
    def layer_norm_gradient(
        self,
        gradient: Array,
        normalized: Array,
        inverse_std: Array,
        scale: Array,
        scale_gradient: Array,
        shift_gradient: Array,
    ) -> None:
        """Compute dL/dscale and dL/dshift, and replace dL/dy in `gradient` by dL/dx.

        With h = scale * dL/dy, n = normalized, and means over each row::

            dL/dscale = sum over rows of dL/dy * n
            dL/dshift = sum over rows of dL/dy
            dL/dx = inverse_std * (h - mean(h) - n * mean(h * n))

        Parameters
        ----------
        gradient, normalized, inverse_std, scale, scale_gradient, shift_gradient : array
            As in `batch_norm_gradient`; `normalized` and `inverse_std` are results of `layer_norm`.
        """
        xp = self.xp
        scale_gradient[...] = xp.sum(gradient * normalized, axis=0)
        shift_gradient[...] = xp.sum(gradient, axis=0)
        h = scale * gradient
        mean = xp.mean(h, axis=1, keepdims=True)
        along = xp.mean(h * normalized, axis=1, keepdims=True)
        gradient[...] = inverse_std * (h - mean - normalized * along)

    layer_norm_activation_gradient = in_turn(
        "layer_norm_activation_gradient",
        activation_gradient,
        layer_norm_gradient,
        "gradient",
        "gradient",
        without=("bias_gradient",),
    )

    # -------------------------------------------------------------- layers of tabular models

    @operation
    def copy_columns(
        self, source: Array, first: int, out: Array, out_first: int, columns: int
    ) -> None:
        """Set out[:, out_first + j] = source[:, first + j] for j < columns.

        Parameters
        ----------
        source, first, out, out_first, columns : array, int, array, int, int
            Two matrices with equal numbers of rows, the first column in each matrix, and the number
            of columns.
        """
        out[:, out_first : out_first + columns] = source[:, first : first + columns]

    @operation
    def one_hot(
        self, codes: Array, sizes: Sequence[int], binary_as_sign: bool, levels: Array, out: Array
    ) -> None:
        """Set each category's output to "on" if the row has this category, otherwise to "off".

        A column of codes 0, 1, ..., size - 1 has an output for each code except 0. Code 0 and
        numbers out of range stand for a missing or unknown category.

        Parameters
        ----------
        codes, sizes : array of shape (rows, columns), sequence of int
            Integers stored as floats, and the number of codes of each column.
        binary_as_sign : bool
            Whether the two categories of a column of size 3 share one output.
        levels, out : array, shapes (3, outputs) and (rows, outputs)
            Column j of `levels` has the values of output j: "off", "on", and the value for the
            second category if two categories share the output.
        """
        xp, stop = self.xp, 0
        for column, size in enumerate(sizes):
            code = codes[:, column : column + 1]
            shared = binary_as_sign and size == 3
            start, stop = stop, stop + (1 if shared else size - 1)
            off, on, second = (levels[k : k + 1, start:stop] for k in range(3))
            categories = xp.arange(1, 1 + stop - start, dtype=codes.dtype, device=self.device)
            chosen = xp.where(code == categories, on, off)
            out[:, start:stop] = xp.where(code == 2, second, chosen) if shared else chosen

    @operation
    def embed(self, codes: Array, sizes: Sequence[int], table: Array, out: Array) -> None:
        """Look up the row of an embedding table for each code.

        With t_c = table[sizes[0] + ... + sizes[c - 1] + codes[i, c]], out[i] = [t_0 | t_1 | ...]. A
        code that is out of range is treated as 0.

        Parameters
        ----------
        codes, sizes : array of shape (rows, columns), sequence of int
            Integers stored as floats, and the number of codes of each column.
        table, out : array, shapes (sum of sizes, dimension) and (rows, columns * dimension)
            The embedding tables of all columns, stacked vertically, and the selected rows.
        """
        xp, dimension, first = self.xp, table.shape[1], 0
        for column, size in enumerate(sizes):
            code = codes[:, column]
            valid = xp.where((code >= 0) & (code < size), code, xp.zeros_like(code))
            rows = xp.take(table, xp.astype(valid, xp.int64) + first, axis=0)
            out[:, column * dimension : (column + 1) * dimension] = rows
            first += size

    @operation
    def embed_gradient(
        self, codes: Array, sizes: Sequence[int], gradient: Array, table_gradient: Array
    ) -> None:
        """Set each row of the table's gradient to the sum of the gradients at all uses of the row.

        The order of each sum is fixed, so repeated results are bitwise identical.

        Parameters
        ----------
        codes, sizes, gradient, table_gradient : array, sequence of int, array, array
            Arguments of `embed`, and the gradients of its output and its table.
        """
        xp, dimension, stop = self.xp, table_gradient.shape[1], 0
        for column, size in enumerate(sizes):
            code = codes[:, column : column + 1]
            valid = xp.where((code >= 0) & (code < size), code, xp.zeros_like(code))
            every = xp.arange(size, dtype=codes.dtype, device=self.device)
            uses = xp.astype(xp.floor(valid) == every, gradient.dtype)
            of_column = gradient[:, column * dimension : (column + 1) * dimension]
            start, stop = stop, stop + size
            table_gradient[start:stop, :] = xp.matmul(uses.T, of_column)

    @operation
    def scale(self, x: Array, factors: Array, out: Array) -> None:
        """Set out = factors * x.

        Parameters
        ----------
        x, factors, out : array
            x and `out` have shape (rows, members, features); factors have shape (members,
            features). If x has shape (rows, 1, features), all members share its rows. `out` may be
            x.
        """
        out[...] = x * factors

    @operation
    def scale_gradient(
        self,
        x: Array,
        factors: Array,
        gradient: Array,
        factors_gradient: Array,
        input_gradient: Array | None,
    ) -> None:
        """Compute the gradients dL/dfactors and dL/dx of `scale` from dL/dout, the `gradient`.

        If the members share the rows of x, `input_gradient` is also summed over the members::

            factors_gradient ← sum over rows of gradient * x
            input_gradient ← gradient * factors

        Parameters
        ----------
        x, factors, gradient, factors_gradient : array
            Arguments x and factors of `scale`, the gradient dL/dout, and dL/dfactors.
        input_gradient : array, shape of x, or None
            The gradient of x, or None if it is not needed. If x has separate rows for each member,
            `input_gradient` may be the array `gradient`.
        """
        xp = self.xp
        factors_gradient[...] = xp.sum(gradient * x, axis=0)
        if input_gradient is not None:
            scaled = gradient * factors
            same_row = x.shape[1] == 1
            input_gradient[...] = xp.sum(scaled, axis=1, keepdims=True) if same_row else scaled

    scale_activate = in_turn("scale_activate", scale, activate, "out", "z")

    scale_activate_dropout = in_turn(
        "scale_activate_dropout", scale_activate, dropout, "out", "x", renamed=RESULT
    )

    activation_scale_gradient = in_turn(
        "activation_scale_gradient", activation_gradient, scale_gradient, "gradient", "gradient"
    )

    dropout_activation_scale_gradient = in_turn(
        "dropout_activation_scale_gradient",
        dropout_activation_gradient,
        scale_gradient,
        "gradient",
        "gradient",
    )

    @operation
    def parametric_activate(
        self, activation: Activation, x: Array, alpha: Array, out: Array
    ) -> None:
        """Set out = x + alpha * (f(x) - x).

        Parameters
        ----------
        activation : Activation
            The function f.
        x, alpha, out : array
            x and out have shape (rows, ...). Alpha, the weight of f for each feature, has the shape
            of a row.
        """
        out[...] = x + alpha * (activation.value(self.xp, x) - x)

    @operation
    def parametric_activation_gradient(
        self, activation: Activation, x: Array, alpha: Array, gradient: Array, alpha_gradient: Array
    ) -> None:
        """Compute dL/dalpha, and replace dL/dout in `gradient` by dL/dx.

        In this order::

            alpha_gradient ← sum over rows of gradient * (f(x) - x)
            gradient ← gradient * (1 + alpha * (f'(x) - 1))

        Parameters
        ----------
        activation, x, alpha, gradient, alpha_gradient : Activation, array
            Arguments of `parametric_activate`, then dL/dout and dL/dalpha.
        """
        xp = self.xp
        value = activation.value(xp, x)
        alpha_gradient[...] = xp.sum(gradient * (value - x), axis=0)
        gradient *= 1 + alpha * (activation.derivative(xp, x, value) - 1)

    @operation
    def periodic(self, x: Array, frequencies: Array, phases: Array | None, out: Array) -> None:
        """Set out[i, c] to waves of x[i, c] with the frequencies of column c.

        With phases, out[i, c, k] = cos(2 pi frequencies[c, k] x[i, c] + phases[c, k]). Without
        phases, out[i, c] has the cosines, then the sines, of 2 pi frequencies[c, k] x[i, c].

        Parameters
        ----------
        x, frequencies, phases : array
            Arrays of shapes (rows, columns), (columns, waves) and (columns, waves). Frequencies are
            in turns per unit of x; phases, which may be None, are in radians.
        out : array, shape (rows, columns, waves) with phases, else (rows, columns, 2 * waves)
            The result.
        """
        xp, waves = self.xp, frequencies.shape[1]
        angle = x[:, :, None] * (2 * math.pi * frequencies)
        if phases is not None:
            out[...] = xp.cos(angle + phases)
        else:
            out[:, :, :waves] = xp.cos(angle)
            out[:, :, waves:] = xp.sin(angle)

    @operation
    def periodic_gradient(
        self,
        x: Array,
        frequencies: Array,
        phases: Array | None,
        gradient: Array,
        frequencies_gradient: Array,
        phases_gradient: Array | None,
        input_gradient: Array | None,
    ) -> None:
        """Compute the gradients of `periodic` from the gradient of its output.

        With s[i, c, k] = dL/d(angle), where the angle is the argument of cosine and sine::

            phases_gradient ← sum_i s[i]
            frequencies_gradient ← 2 pi sum_i s[i] x[i]
            input_gradient ← 2 pi sum_k frequencies[:, k] s[:, :, k]

        Parameters
        ----------
        x, frequencies, phases, gradient : array
            Arguments of `periodic`, and the gradient of its output.
        frequencies_gradient, phases_gradient, input_gradient : array
            The gradients of frequencies, phases and x. `phases_gradient` and `input_gradient` may
            be None.
        """
        xp, waves = self.xp, frequencies.shape[1]
        turns = 2 * math.pi
        angle = x[:, :, None] * (turns * frequencies)
        if phases is not None:
            slope = -gradient * xp.sin(angle + phases)
        else:
            cosines, sines = gradient[:, :, :waves], gradient[:, :, waves:]
            slope = sines * xp.cos(angle) - cosines * xp.sin(angle)
        frequencies_gradient[...] = turns * xp.sum(slope * x[:, :, None], axis=0)
        if phases_gradient is not None:
            phases_gradient[...] = xp.sum(slope, axis=0)
        if input_gradient is not None:
            input_gradient[...] = turns * xp.sum(slope * frequencies, axis=2)

    @operation
    def piecewise_linear(
        self, x: Array, starts: Array, slopes: Array, lowest: Array, highest: Array, out: Array
    ) -> None:
        """Set out[i, c, t] = min(max(slopes[c, t] * (x[i, c] - starts[c, t]), lowest), highest).

        Parameters
        ----------
        x, starts, slopes, lowest, highest, out : array
            x has shape (rows, columns), out has shape (rows, columns, bins), and the other arrays
            have shape (columns, bins).
        """
        line = slopes * (x[:, :, None] - starts)
        out[...] = self.xp.minimum(self.xp.maximum(line, lowest), highest)

    @operation
    def piecewise_linear_gradient(
        self,
        x: Array,
        starts: Array,
        slopes: Array,
        lowest: Array,
        highest: Array,
        gradient: Array,
        input_gradient: Array,
    ) -> None:
        """Set input_gradient[i, c] = sum_t slopes[c, t] * gradient[i, c, t].

        The sum is over the bins t with lowest[c, t] < out[i, c, t] < highest[c, t]. In all other
        bins, `piecewise_linear` sets `out` to a limit, whose derivative is 0.

        Parameters
        ----------
        x, starts, slopes, lowest, highest, gradient, input_gradient : array
            The arguments of `piecewise_linear` except `out`, then dL/d(out) and dL/dx.
        """
        xp = self.xp
        line = slopes * (x[:, :, None] - starts)
        within = xp.astype((line > lowest) & (line < highest), gradient.dtype)
        input_gradient[...] = xp.sum(gradient * slopes * within, axis=2)

    @operation
    def group_matmul(
        self,
        a: Array,
        b: Array,
        out: Array,
        *,
        transpose_a: bool = False,
        transpose_b: bool = False,
    ) -> None:
        """Set out = a @ b for each group; transpose a or b first if requested.

        A batch has shape (rows, groups, ...), and weights have shape (groups, ...). Without
        `transpose_a`, a is a batch, and b contains weights. With `transpose_a`, a and b are
        batches, and the products are summed over the rows.

        Parameters
        ----------
        a, b, out : array, shapes (rows, groups, k), (groups, k, n) and (rows, groups, n)
            With `transpose_b`, b has shape (groups, n, k). With `transpose_a`, the shapes are
            (rows, groups, m), (rows, groups, n) and (groups, m, n).
        transpose_a, transpose_b : bool
            Whether to transpose a, and whether to transpose b. At most one of them may be True.
        """
        xp = self.xp
        if transpose_a:
            left, right = xp.permute_dims(a, (1, 2, 0)), xp.permute_dims(b, (1, 0, 2))
            out[...] = xp.matmul(left, right)
            return
        left = xp.permute_dims(a, (1, 0, 2))
        right = xp.permute_dims(b, (0, 2, 1)) if transpose_b else b
        out[...] = xp.permute_dims(xp.matmul(left, right), (1, 0, 2))

    @composite
    def group_dense(
        self,
        x: Array,
        weights: Array,
        bias: Array | None,
        activation: Activation,
        z: Array,
        out: Array,
    ) -> None:
        """Run `dense` with separate weights for each group.

        Parameters
        ----------
        x, weights, bias, activation, z, out : array, Activation
            As in `dense`. x, weights and bias have shapes (rows, groups, inputs), (groups, inputs,
            units) and (groups, units); z and out have shape (rows, groups, units).
        """
        self.group_matmul(x, weights, z)
        self.activate(activation, z, bias, out)

    @composite
    def group_dense_gradient(
        self,
        x: Array,
        weights: Array,
        activation: Activation,
        z: Array,
        output: Array,
        gradient: Array,
        weight_gradient: Array | None,
        bias_gradient: Array | None,
        input_gradient: Array | None,
    ) -> None:
        """Compute the gradients of `group_dense`; for each group, they are as in `dense_gradient`.

        Parameters
        ----------
        x, weights, activation, z, output, gradient : array, Activation
            As in `group_dense`. The gradient has the shape of the output and becomes dL/dz.
        weight_gradient, bias_gradient, input_gradient : array or None
            The gradients of weights, bias and x, or None if a gradient is not needed.
        """
        self.activation_gradient(activation, z, output, gradient, bias_gradient)
        if weight_gradient is not None:
            self.group_matmul(x, gradient, weight_gradient, transpose_a=True)
        if input_gradient is not None:
            self.group_matmul(gradient, weights, input_gradient, transpose_b=True)

    # -------------------------------------------------------------- losses, metrics, updates

    @operation
    def loss(
        self,
        loss: Loss,
        predictions: Array,
        targets: Array,
        weights: Array,
        normalizer: Array,
        gradient: Array | None,
        loss_sum: Array,
    ) -> None:
        """Add the weighted loss of a batch to `loss_sum`, and compute the loss's gradient.

        The gradient is 0 if the normalizer is 0::

            loss_sum ← loss_sum + sum_i w_i l_i
            gradient[i, j] ← w_i / normalizer * dl_i/dp_ij

        Parameters
        ----------
        loss : Loss
            The loss.
        predictions, targets : array, shape (rows, outputs)
            The network's outputs and their targets. Targets may be labels of type int64 and shape
            (rows,).
        weights, normalizer : array, shapes (rows,) and (1,)
            The rows' sample weights, and the sum of weights by which the gradient is divided.
        gradient, loss_sum : array of shape (rows, outputs) or None, array of shape (1,)
            The gradient, or None if it is not needed, and the running sum of losses.

        Raises
        ------
        ArgumentError
            If the loss's values or gradients have the wrong shape.
        """
        xp = self.xp
        values = loss.values(xp, predictions, targets)
        require_shape(values, weights.shape, "loss", loss.name, "values", ONE_A_ROW)
        loss_sum += xp.sum(weights * values, keepdims=True)
        if gradient is not None:
            some = xp.where(normalizer > 0, normalizer, xp.ones_like(normalizer))
            row_weights = (weights / some)[:, None]
            slopes = loss.gradients(xp, predictions, targets)
            shape = predictions.shape
            require_shape(slopes, shape, "loss", loss.name, "gradients", ONE_A_PREDICTION)
            gradient[...] = row_weights * slopes

    @operation
    def metric(
        self, metric: Metric, predictions: Array, targets: Array, weights: Array, summary: Array
    ) -> None:
        """Add a batch to a metric's summary of earlier batches, for example to a sum.

        Parameters
        ----------
        metric, predictions, targets, weights : Metric, array
            The metric, and arguments of `loss`.
        summary : array, shape (metric.size(outputs),)
            The summary of earlier batches, changed in place.

        Raises
        ------
        ArgumentError
            If the metric's `measure` or `combine` returns an array whose shape does not fit `size`.
        """
        batch = metric.measure(self.xp, predictions, targets, weights)
        require_shape(batch, summary.shape, "metric", metric.name, "measure", A_VECTOR)
        combined = metric.combine(self.xp, summary, batch)
        require_shape(combined, summary.shape, "metric", metric.name, "combine", A_VECTOR)
        summary[...] = combined

    @operation
    def clip(self, gradients: Array, max_norm: float) -> None:
        """Set gradients = gradients * min(1, max_norm / ||gradients||), if the norm is not NaN.

        Parameters
        ----------
        gradients, max_norm : array of shape (parameters,), float
            All gradients, and a positive maximum norm.
        """
        xp = self.xp
        norm = xp.sqrt(xp.sum(gradients * gradients, keepdims=True))
        limit = xp.full_like(norm, max_norm)
        gradients *= limit / xp.where(norm > limit, norm, limit)

    @operation
    def sum_of_squares(self, values: Array, out: Array) -> None:
        """Set out to the sum of the squares of a vector.

        Parameters
        ----------
        values, out : array, shapes (n,) and (1,)
            The vector, and the sum.
        """
        out[...] = self.xp.sum(values * values, keepdims=True)

    @operation
    def clip_to(self, gradients: Array, squares: Array, max_norm: float) -> None:
        """Clip gradients as `clip` does, if `gradients` is only a part of all gradients.

        The norm is the norm of all gradients: sqrt(squares[0] + squares[1] + ...), added in this
        order.

        Parameters
        ----------
        gradients, squares, max_norm : array, array, float
            The part to clip, the sum of squares of each part, and a positive maximum norm.
        """
        xp, total = self.xp, squares[:1]
        for part in range(1, squares.shape[0]):
            total = total + squares[part : part + 1]
        norm = xp.sqrt(total)
        limit = xp.full_like(norm, max_norm)
        gradients *= limit / xp.where(norm > limit, norm, limit)

    @operation
    def l2_penalty(
        self, values: Array, gradients: Array, weight: Array, strength: float, loss_sum: Array
    ) -> None:
        """Add an L2 penalty to a sum of losses, and the penalty's gradient to the gradients.

        If the weight is 0, both are unchanged::

            loss_sum ← loss_sum + strength / 2 * ||values||^2
            gradients ← gradients + strength / weight * values

        Parameters
        ----------
        values, gradients : array, shape (length,)
            The parameters in the penalty, and their gradients.
        weight, strength, loss_sum : array of shape (1,), float, array of shape (1,)
            The sum of weights by which losses are divided, the penalty's factor (>= 0), and the
            running sum of losses.
        """
        xp = self.xp
        penalty = 0.5 * strength * xp.sum(values * values, keepdims=True)
        loss_sum += xp.where(weight > 0, penalty, xp.zeros_like(weight))
        some = xp.where(weight > 0, weight, xp.ones_like(weight))
        gradients += xp.where(weight > 0, strength / some, xp.zeros_like(weight)) * values

    @operation
    def update(
        self, optimizer: Optimizer, trained: Trained, learning_rate: Array, step: Array
    ) -> None:
        """Apply weight decay to the values, then one update of the optimizer.

        Each of `trained.segments` has a learning-rate factor r and a decay factor d. The segment's
        values are multiplied by 1 - r * learning_rate * d * weight_decay. Then the optimizer
        updates the segment with the learning rate r * learning_rate. If `optimizer.by_parameter` is
        False, the optimizer updates adjacent segments with equal r together.

        Parameters
        ----------
        optimizer, trained : Optimizer, Trained
            The optimizer and the arrays of the update. A schedule may set `optimizer.weight_decay`,
            which is then an array of shape (1,). The update changes values and slots in place.
        learning_rate, step : array, array of int64, shape (1,)
            The learning rate before the factor r, and the number of the update, counted from 1.
        """
        values, decay = trained.values, cast("float", optimizer.weight_decay)
        for start, stop, factor, decay_factor in trained.segments:
            if decay_factor and start < stop and not is_zero(decay):
                rate = scaled(learning_rate, factor)
                values[start:stop] *= 1 - rate * (decay * decay_factor)
        for start, stop, factor, _ in (
            trained.segments if optimizer.by_parameter else trained.runs()
        ):
            if start < stop:
                part, rate = trained.part(start, stop), scaled(learning_rate, factor)
                optimizer.update(self.xp, *part[:3], rate, step)

    @composite
    def counted_update(
        self, counters: UpdateCounters, optimizer: Optimizer, trained: Trained
    ) -> None:
        """Run `count_update`, then `update` with the learning rate and update number in `counters`.

        Parameters
        ----------
        counters, optimizer, trained : UpdateCounters, Optimizer, Trained
            Arguments of `count_update` and `update`.
        """
        self.count_update(counters)
        self.update(optimizer, trained, counters.rate, counters.updates)

    clipped_update = in_turn(
        "clipped_update", clip, counted_update, "gradients", "trained.gradients"
    )

    # -------------------------------------------------------------------------- loss scaling

    @operation
    def scale_loss(self, weight: Array, scale: Array, normalizer: Array, finite: Array) -> None:
        """Set normalizer = weight / scale; finite = 1.

        The operation `loss` divides by the normalizer, so the gradient is `scale` times larger.

        Parameters
        ----------
        weight, scale, normalizer, finite : array, shape (1,)
            The sum of weights by which losses are divided, the loss scale, and the two results.
            `finite` is of type int64.
        """
        normalizer[...] = weight / scale
        self.fill(finite, 1)

    @operation
    def unscale(self, gradients: Array, scale: Array, finite: Array) -> None:
        """Divide gradients by the scale; set elements that are not finite to 0.

        If any element is not finite, set `finite` to 0.

        Parameters
        ----------
        gradients, scale, finite : array, shapes (parameters,), (1,) and (1,)
            All gradients, the loss scale, and an int64 flag, which `scale_loss` has set to 1.
        """
        xp = self.xp
        gradients /= scale
        usable = xp.isfinite(gradients)
        finite *= xp.astype(xp.all(usable), finite.dtype)
        # With zeros, clipping writes no NaN into the padding, which no operation overwrites.
        gradients[...] = xp.where(usable, gradients, xp.zeros_like(gradients))

    @operation
    def update_if_finite(
        self,
        finite: Array,
        optimizer: Optimizer,
        trained: Trained,
        learning_rate: Array,
        step: Array,
    ) -> None:
        """Run `update` if finite = 1; change nothing if finite = 0.

        Parameters
        ----------
        finite, optimizer, trained, learning_rate, step : array, Optimizer, Trained, array, array
            The flag that `unscale` set, and the arguments of `update`.
        """
        xp, done = self.xp, finite > 0
        changed = [trained.values, *trained.slots.values()]
        before = [self.copy(array) for array in changed]
        self.update(optimizer, trained, learning_rate, step)
        for array, old in zip(changed, before, strict=True):
            array[...] = xp.where(done, array, old)

    @operation
    def adjust_loss_scale(
        self,
        finite: Array,
        scale: Array,
        good_updates: Array,
        updates: Array,
        interval: int,
        smallest: float,
        largest: float,
    ) -> None:
        """Adjust the loss scale after `update_if_finite`.

        If finite = 1, good_updates increases by 1. When good_updates reaches `interval`, the scale
        is doubled and good_updates is set to 0. If finite = 0, the scale is halved, good_updates is
        set to 0, and updates decreases by 1. The scale is never below `smallest` or above
        `largest`.

        Parameters
        ----------
        finite, scale, good_updates, updates : array, shape (1,)
            The flag that `unscale` set, the loss scale, the number of consecutive applied updates,
            and the number of updates including this one. All arrays except the scale are of type
            int64.
        interval, smallest, largest : int, float, float
            The number of consecutive applied updates after which the scale doubles, and the limits
            of the scale.
        """
        xp = self.xp
        good = finite * (good_updates + 1)
        grown = good >= interval
        kept_or_doubled = xp.where(grown, 2 * scale, scale)
        scale[...] = xp.clip(xp.where(finite > 0, kept_or_doubled, scale / 2), smallest, largest)
        good_updates[...] = xp.where(grown, xp.zeros_like(good), good)
        updates -= 1 - finite


OPERATION_NAMES = [name for name in dir(Operations) if is_operation(getattr(Operations, name))]
