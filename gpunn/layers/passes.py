"""Forward and backward passes through layers in sequence, including custom layers.

In training, both methods of a layer count as unmarked if `forward` or `backward` is not marked
`operations_only`, because `forward` may keep arrays for `backward`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, partial
from typing import Any, Protocol

from gpunn.backends.placeholder import (
    actual,
    guarded,
    is_guarded,
    released,
    repeated,
    stand_in,
    suspended,
)
from gpunn.backends.recording import Operation, arrays_in, current_trace, record
from gpunn.errors import ArgumentError
from gpunn.expressions.tracing import once
from gpunn.layers.base import Layer
from gpunn.typing import Array, Shape
from gpunn.workspace import Workspace, ignore


def run_forward(layers: Sequence[Layer], x: Array, workspace: Workspace) -> list[Array]:
    """Return [x, output of layer 1, output of layer 2, ...]."""
    outputs = [x]
    for layer in layers:
        outputs.append(forward(layer, outputs[-1], workspace))
    return outputs


def run_backward(
    layers: Sequence[Layer],
    outputs: Sequence[Array],
    gradient: Array,
    workspace: Workspace,
    wants_input_gradient: bool = False,
) -> Array:
    """Set the gradients of all layers by the chain rule, from the last layer to the first.

    Each layer gets dL/d(output), sets the gradients of its parameters, and returns dL/d(input),
    where L is the loss. Without `wants_input_gradient`, the pass ends at the first layer with
    trainable parameters. The pass overwrites `gradient`, which is dL/d(last output).
    """
    first = 0 if wants_input_gradient else first_trained(layers)
    for index in range(len(layers) - 1, first - 1, -1):
        wanted = wants_input_gradient or index > first
        x, y = outputs[index], outputs[index + 1]
        gradient = backward(layers[index], x, y, gradient, workspace, wanted)
        if workspace.passed is not ignore:
            with suspended():
                workspace.passed(layers[index])
    return gradient


def first_trained(layers: Sequence[Layer]) -> int:
    return next((i for i, layer in enumerate(layers) if layer.gradients), len(layers))


def forward(layer: Layer, x: Array, workspace: Workspace) -> Array:
    trace = current_trace()
    if trace is None:
        return layer.forward(x, workspace)
    what = f"layer {layer.name!r}: forward"
    if forward_by_operations(layer, workspace):
        if is_checked(layer) and is_guarded():
            return layer.forward(stand_in(x), workspace)
        start = len(trace)
        y = watched(layer, what, lambda: layer.forward(stand_in(x), workspace), workspace)
        if not is_checked(layer):
            require_operations(workspace, what, [y], [x], trace[start:])
        return y
    x = actual(x)
    shape = layer.output_shape(x.shape[1:])
    result = actual(workspace.rows(layer, "result of forward", x.shape[0], shape))

    def call() -> None:
        put(workspace, layer.forward(x, workspace), result, what)

    workspace.backend.call(Called(call, workspace, [result]))
    return stand_in(result)


def backward(
    layer: Layer,
    x: Array,
    y: Array,
    gradient: Array,
    workspace: Workspace,
    wants_input_gradient: bool,
) -> Array:
    trace = current_trace()
    if trace is None:
        return layer.backward(x, y, gradient, workspace, wants_input_gradient)
    what = f"layer {layer.name!r}: backward"
    if by_operations(layer, "forward", "backward"):
        start = len(trace)
        arguments = x, y, gradient

        def by_layer() -> Array:
            a, b, c = map(stand_in, arguments)
            return layer.backward(a, b, c, workspace, wants_input_gradient)

        if is_checked(layer) and is_guarded():
            return by_layer()
        dx = watched(layer, what, by_layer, workspace)
        if is_checked(layer):
            return dx
        require_operations(workspace, what, layer.gradients.values(), [], trace[start:])
        if wants_input_gradient:
            require_operations(workspace, what, [dx], arguments, trace[start:])
        return dx
    x, y, gradient = actual(x), actual(y), actual(gradient)
    result = gradient
    if gradient.shape != x.shape:
        result = actual(workspace.rows(layer, "result of backward", x.shape[0], x.shape[1:]))

    def call() -> None:
        dx = layer.backward(x, y, gradient, workspace, wants_input_gradient)
        if wants_input_gradient:
            put(workspace, dx, result, what)

    results = [result, *map(actual, layer.gradients.values())]
    workspace.backend.call(Called(call, workspace, results))
    return stand_in(result)


class Called:
    """A layer's method that is called in every step, and the arrays that the method sets."""

    def __init__(
        self, function: Callable[[], object], workspace: Workspace, results: Sequence[Array] = ()
    ) -> None:
        self.function, self.workspace, self.results = function, workspace, results
        self.position, self.calls = workspace.position, workspace.calls

    def __call__(self) -> None:
        workspace = self.workspace
        workspace.position = self.position
        outer, workspace.calls = workspace.calls, self.calls
        try:
            self.function()
        finally:
            workspace.calls = outer


def watched(owner: object, what: str, call: Callable[[], Any], workspace: Workspace) -> Any:
    # A custom class's method is called twice, to check that both calls request equal operations.
    with guarded(what):
        result = call() if is_checked(owner) else repeated(call, partial(rehearse, workspace))
    return released(result)


def rehearse(workspace: Workspace, call: Callable[[], Any]) -> None:
    passed, workspace.passed = workspace.passed, ignore
    try:
        record(call)
    finally:
        workspace.passed = passed


def is_checked(owner: object) -> bool:
    return type(owner).__module__.startswith("gpunn.") or getattr(owner, "_traced", False)


def put(workspace: Workspace, source: Array, result: Array, what: str) -> None:
    if source is result:
        return
    shape = getattr(source, "shape", None)
    if shape != result.shape:
        raise ArgumentError(
            f"{what} returned {'no array' if shape is None else f'shape {tuple(shape)}'}; expected "
            f"shape {tuple(result.shape)}: the number of rows, then output_shape"
        )
    workspace.backend.copy_to(source, result)


def require_operations(
    workspace: Workspace,
    what: str,
    results: Iterable[Array],
    arguments: Sequence[Array],
    trace: Sequence[Operation],
) -> None:
    # A result must share memory with an argument of an operation or of the method, or with an array
    # that an inner layer sets. This does not detect methods that compute only a part of an array by
    # operations.
    arrays = [actual(array) for array in arguments]
    arrays += [array for one in trace for array in arrays_in((one.args, one.kwargs))]
    calls = (each for one in trace for each in one.args if isinstance(each, Called))
    arrays += [array for call in calls for array in call.results]
    for result in results:
        if not any(workspace.backend.overlap(actual(result), array) for array in arrays):
            raise ArgumentError(
                f"{what} is marked operations_only, but computes its result or a gradient without "
                "an operation of workspace.backend. Later steps replay only recorded operations, "
                "so they would skip this computation. Use only operations, or remove the mark"
            )


def forward_by_operations(owner: object, workspace: Workspace) -> bool:
    if workspace.training:
        return by_operations(owner, "forward", "backward")
    return by_operations(owner, "forward")


def by_operations(owner: object, *names: str) -> bool:
    # Methods must be marked `operations_only`. A recorded step reads properties only once, so
    # classes that define properties or `__getattr__` are excluded.
    cls, own = type(owner), vars(owner)
    marked = once(("marked", cls, names), lambda: all(is_marked(cls, name) for name in names))
    return marked and own.keys().isdisjoint(names)


def is_marked(owner: type, name: str) -> bool:
    for cls in owner.__mro__:
        members = vars(cls)
        if name in members:
            return getattr(members[name], "operations_only", None) is members[name]
        if "__getattribute__" in members or "__getattr__" in members:
            return False
        if any(isinstance(member, property | cached_property) for member in members.values()):
            return False
    return False


class Network(Protocol):
    """The network of a pass: `gpunn.Sequential` or a custom subclass."""

    output_shape: Shape

    def forward(self, x: Array, workspace: Workspace) -> list[Array]: ...

    def backward(self, outputs: Sequence[Array], gradient: Array, workspace: Workspace) -> None: ...


def network_forward(network: Network, x: Array, workspace: Workspace) -> list[Array]:
    # If `forward` is not recorded, only the last output has a fixed buffer. Each step puts all
    # outputs into the returned list.
    if current_trace() is None:
        return network.forward(x, workspace)
    if forward_by_operations(network, workspace):
        recorded: list[Array] = watched(
            network, "model: forward", lambda: network.forward(stand_in(x), workspace), workspace
        )
        return recorded
    result = workspace.rows(network, "result of forward", x.shape[0], network.output_shape)
    outputs: list[Any] = [result]

    def call() -> None:
        computed = network.forward(x, workspace)
        put(workspace, computed[-1], result, "model: forward")
        outputs[:] = [*computed[:-1], result]

    workspace.backend.call(Called(call, workspace))
    return outputs


def network_backward(
    network: Network, outputs: list[Array], gradient: Array, workspace: Workspace
) -> None:
    if current_trace() is None:
        network.backward(outputs, gradient, workspace)
    elif by_operations(network, "forward", "backward"):
        watched(
            network,
            "model: backward",
            lambda: network.backward(list(map(stand_in, outputs)), stand_in(gradient), workspace),
            workspace,
        )
    else:
        call = partial(network.backward, outputs, gradient, workspace)
        workspace.backend.call(Called(call, workspace))
