"""Forward and backward passes through layers in sequence, layers of the user's own among them.

A step is recorded once, as a trace of operations, and replayed. Methods marked `operations_only`
are called while recording, and add their operations to the trace. Any other method becomes one
operation of the trace, `call`, which runs the method in every step and copies its result into the
buffer that the next operations read. In training that goes for both passes of a layer if it goes
for one, since `forward` may keep something for `backward`, as a `Chain` keeps its layers' outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, partial
from typing import Any, Protocol

from gpunn.backends.placeholder import actual, guarded, released, repeated, stand_in, suspended
from gpunn.backends.recording import Operation, arrays_in, current_trace, record
from gpunn.errors import ArgumentError
from gpunn.layers.base import Layer
from gpunn.typing import Array, Shape
from gpunn.workspace import Workspace, unnoticed

__all__ = ["Network", "first_trained", "network_backward", "network_forward", "run_backward"]
__all__ += ["run_forward"]


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

    Layer k takes dL/d(its output), sets dL/d(its parameters), and returns dL/d(its input), which is
    dL/d(output of layer k - 1). Returns the last of these: dL/dx, if that is wanted. Otherwise the
    pass ends at the first layer with parameters, since nothing below uses a gradient. `outputs` are
    what `run_forward` returned; `gradient`, dL/d(last output), is overwritten.
    """
    first = 0 if wants_input_gradient else first_trained(layers)
    for index in range(len(layers) - 1, first - 1, -1):
        wanted = wants_input_gradient or index > first
        x, y = outputs[index], outputs[index + 1]
        gradient = backward(layers[index], x, y, gradient, workspace, wanted)
        with suspended():
            workspace.passed(layers[index])
    return gradient


def first_trained(layers: Sequence[Layer]) -> int:
    """Return the index of the first layer with trainable parameters, or the number of layers."""
    return next((i for i, layer in enumerate(layers) if layer.gradients), len(layers))


def forward(layer: Layer, x: Array, workspace: Workspace) -> Array:
    """Return y = f(x) of one layer, whose `forward` may be of either kind."""
    trace = current_trace()
    if trace is None:
        return layer.forward(x, workspace)
    what = f"layer {layer.name!r}: forward"
    if forward_by_operations(layer, workspace):
        start = len(trace)
        y = watched(layer, what, lambda: layer.forward(stand_in(x), workspace), workspace)
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
    """Return dL/dx from dL/dy of one layer, and set its gradients."""
    trace = current_trace()
    if trace is None:
        return layer.backward(x, y, gradient, workspace, wants_input_gradient)
    what = f"layer {layer.name!r}: backward"
    if by_operations(layer, "forward", "backward"):
        start = len(trace)
        given = x, y, gradient

        def watched_call() -> Array:
            a, b, c = map(stand_in, given)
            return layer.backward(a, b, c, workspace, wants_input_gradient)

        found = watched(layer, what, watched_call, workspace)
        require_operations(workspace, what, layer.gradients.values(), [], trace[start:])
        if wants_input_gradient:
            require_operations(workspace, what, [found], given, trace[start:])
        return found
    x, y, gradient = actual(x), actual(y), actual(gradient)
    result = gradient
    if gradient.shape != x.shape:
        result = actual(workspace.rows(layer, "result of backward", x.shape[0], x.shape[1:]))

    def call() -> None:
        found = layer.backward(x, y, gradient, workspace, wants_input_gradient)
        if wants_input_gradient:
            put(workspace, found, result, what)

    results = [result, *map(actual, layer.gradients.values())]
    workspace.backend.call(Called(call, workspace, results))
    return stand_in(result)


class Called:
    """A method that is called in every step, and the arrays that it sets.

    Each shard of a batch has a call of its own, with its place in the batch.
    """

    def __init__(
        self, function: Callable[[], object], workspace: Workspace, results: Sequence[Array] = ()
    ) -> None:
        self.function, self.workspace, self.results = function, workspace, results
        self.place = workspace.place

    def __call__(self) -> None:
        """Call it."""
        self.workspace.place = self.place
        self.function()


def watched(owner: object, what: str, call: Callable[[], Any], workspace: Workspace) -> Any:
    """Return what a marked method returns; it is called on placeholders.

    A method of a custom class is called twice, to check that both calls ask for the same.
    """

    def rehearsal(call: Callable[[], Any]) -> None:
        passed, workspace.passed = workspace.passed, unnoticed
        try:
            record(call)
        finally:
            workspace.passed = passed

    with guarded(what):
        own = type(owner).__module__.startswith("gpunn.")
        result = call() if own else repeated(call, rehearsal)
    return released(result)


def put(workspace: Workspace, found: Array, result: Array, what: str) -> None:
    """Copy `found` into `result`, unless it is that array, if the shapes are the same."""
    if found is result:
        return
    shape = getattr(found, "shape", None)
    if shape != result.shape:
        raise ArgumentError(
            f"{what} returned {'no array' if shape is None else f'shape {tuple(shape)}'}; expected "
            f"shape {tuple(result.shape)}, the batch's rows and what output_shape says of a row"
        )
    workspace.backend.copy_to(found, result)


def require_operations(
    workspace: Workspace,
    what: str,
    results: Iterable[Array],
    given: Sequence[Array],
    trace: Sequence[Operation],
) -> None:
    """Raise an ArgumentError if a marked method has computed a result without an operation.

    So it has if the memory of the result is neither that of an operation's argument, nor that of an
    array which a layer within it sets when it is called, nor that of an array it was given. Not
    everything can be found like this: a method may do one thing by an operation and another, in the
    same array, without.
    """
    given = [actual(array) for array in given]
    arrays = [*given, *(array for one in trace for array in arrays_in((one.args, one.kwargs)))]
    calls = (each for one in trace for each in one.args if isinstance(each, Called))
    arrays += [array for call in calls for array in call.results]
    for result in results:
        if not any(workspace.backend.overlap(actual(result), array) for array in arrays):
            raise ArgumentError(
                f"{what} is marked operations_only, but computes what it returns, or a gradient, "
                "without an operation of workspace.backend, so it would be computed once and never "
                "again. Use operations alone, or remove the mark"
            )


def forward_by_operations(owner: object, workspace: Workspace) -> bool:
    """Return whether `forward` may be called once, to record it, rather than in each step."""
    if workspace.training:
        return by_operations(owner, "forward", "backward")
    return by_operations(owner, "forward")


def by_operations(owner: object, *names: str) -> bool:
    """Return whether these methods compute by operations alone.

    They do if they are marked `operations_only` and no subclass overrides attributes by properties
    or `__getattr__`: these could give another value in the next step, but are read only once.
    """
    return all(marked(owner, name) for name in names)


def marked(owner: object, name: str) -> bool:
    """Return whether that is so of the method `name`."""
    if name in vars(owner):
        return False
    for cls in type(owner).__mro__:
        members = vars(cls)
        if name in members:
            return getattr(members[name], "operations_only", None) is members[name]
        if "__getattribute__" in members or "__getattr__" in members:
            return False
        if any(isinstance(member, property | cached_property) for member in members.values()):
            return False
    return False


class Network(Protocol):
    """What passes run through: `gpunn.Sequential` or a subclass of the user's own."""

    output_shape: Shape

    def forward(self, x: Array, workspace: Workspace) -> list[Array]:
        """Return [x, output of layer 1, output of layer 2, ...]."""

    def backward(self, outputs: Sequence[Array], gradient: Array, workspace: Workspace) -> None:
        """Set the gradients of all parameters."""


def network_forward(network: Network, x: Array, workspace: Workspace) -> list[Array]:
    """Return the outputs of the network's `forward`, whichever kind of method it is.

    For one that runs in every step, only the last output is in a fixed buffer; the list is filled
    with the others in each run.
    """
    if current_trace() is None:
        return network.forward(x, workspace)
    if forward_by_operations(network, workspace):
        found: list[Array] = watched(
            network, "model: forward", lambda: network.forward(stand_in(x), workspace), workspace
        )
        return found
    result = workspace.rows(network, "result of forward", x.shape[0], network.output_shape)
    outputs: list[Any] = [result]

    def call() -> None:
        found = network.forward(x, workspace)
        put(workspace, found[-1], result, "model: forward")
        outputs[:] = [*found[:-1], result]

    workspace.backend.call(Called(call, workspace))
    return outputs


def network_backward(
    network: Network, outputs: list[Array], gradient: Array, workspace: Workspace
) -> None:
    """Run the network's `backward`, whichever kind of method it is."""
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
