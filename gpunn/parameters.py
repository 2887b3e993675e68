"""Parameters in flat vectors, and named views into these vectors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from gpunn.backends.operations import Segment
from gpunn.backends.placeholder import stand_in
from gpunn.errors import ArgumentError
from gpunn.initializers import Initializer, Zeros
from gpunn.randomness import generator
from gpunn.typing import Array, HostArray, Shape

if TYPE_CHECKING:
    from gpunn.backends.base import Backend

__all__ = ["LiveViews", "ParameterSpec", "Parameters", "within"]

T = TypeVar("T")

ALIGNMENT = 16
"""Every view begins at a multiple of this number of elements: in float32, a cache line of 64 bytes.
The fastest matrix products of CPU and GPU libraries need this alignment."""

SPARE = 1024
"""Number of zeros after a parameter vector, so that equal blocks of the vector need no copy."""


@dataclass(frozen=True)
class ParameterSpec:
    """A layer's declaration of an array.

    Parameters
    ----------
    name : str
        Name within the layer, such as "weights".
    shape : tuple of int
    initializer : Initializer
    decay : bool or float
        Whether weight decay applies to the array by default. A number multiplies the decay, even
        with `Optimizer.decay_all`.
    trainable : bool
        False for a buffer, such as a running mean, which is saved but has no gradient.
    rate : float
        Factor of the learning rate.
    frozen : bool
        Whether the array is a parameter of a frozen layer (`Layer.trainable`).
    """

    name: str
    shape: Shape
    initializer: Initializer
    decay: bool | float = True
    trainable: bool = True
    rate: float = 1.0
    frozen: bool = False

    @property
    def learned(self) -> bool:
        """Whether the array is a parameter, trained or frozen. Otherwise, it is a buffer."""
        return self.trainable or self.frozen

    def factors(self, decay_all: bool) -> tuple[float, float]:
        excluded = self.decay is False and not decay_all
        return self.rate, 0.0 if excluded else 1.0 if self.decay is False else float(self.decay)


class Parameters:
    """All arrays of a network, in three flat vectors: values, gradients and buffers.

    Attributes
    ----------
    values, gradients : array, shape (size,)
        Trainable parameters and their gradients. Parameters with weight decay are first, and
        parameters with the same factors of rate and decay are adjacent.
    buffers : array, shape (buffer size,)
        Arrays that are saved but not trained, laid out like `values`. Arrays that are never
        trained, such as running means, precede frozen parameters.
    running : array
        The part of `buffers` before the frozen parameters.
    decayed : int
        The optimizer decays `values[:decayed]`; if `decay_all` is True, it decays all values.
    count : int
        The number of parameters, including frozen parameters, without padding.
    frozen : int
        The number of frozen parameters.
    trained : tuple of str
        Names of the trained arrays.
    """

    def __init__(
        self,
        specs: Mapping[str, ParameterSpec],
        backend: Backend,
        dtype: str,
        seed: int,
        values: Mapping[str, HostArray] | None = None,
    ) -> None:
        # Parameters are drawn in float64 and then rounded, so float32 and float64 networks start
        # from the same values. With `values`, nothing is drawn.
        self._backend = backend
        self.specs = dict(specs)
        trainable = [name for name, spec in specs.items() if spec.trainable]
        buffers = [name for name, spec in specs.items() if not spec.learned]
        frozen = [name for name, spec in specs.items() if spec.frozen]
        self.trained = tuple(trainable)

        self._offsets: dict[str, int] = {}
        self._groups: list[tuple[ParameterSpec, int, int]] = []
        size = 0
        for names in groups_of(specs, trainable):
            start, size = size, self._lay_out(names, size)
            self._groups.append((specs[names[0]], start, size))
        self.decayed = self.decayed_by(decay_all=False)
        self._padded = {
            name: backend.zeros((size + SPARE,), dtype) for name in ("values", "gradients")
        }
        self.values, self.gradients = (array[:size] for array in self._padded.values())
        running = self._lay_out(buffers, 0)
        self.buffers = backend.zeros((self._lay_out(frozen, running),), dtype)
        self.running = self.buffers[:running]
        self.frozen = sum(math.prod(specs[name].shape) for name in frozen)
        self.count = self.frozen + sum(math.prod(specs[name].shape) for name in trainable)
        self._unread: dict[str, Array] = {}

        self._views = {
            name: self._view(name, self.values if spec.trainable else self.buffers)
            for name, spec in specs.items()
        }
        self._gradient_views = {name: self._view(name, self.gradients) for name in trainable}
        for position, (name, spec) in enumerate(specs.items()):
            if values is not None:
                self[name] = values[name]
            elif type(spec.initializer) is not Zeros:  # arrays begin with zeros
                random = generator(seed, "weights", position)
                self[name] = spec.initializer.sample(random, spec.shape)

    def segments(self, decay_all: bool = False, by_parameter: bool = False) -> list[Segment]:
        # With `by_parameter`, each segment is one parameter and the following zeros.
        segments: list[Segment] = []
        for spec, start, stop in self._groups:
            rate, decay = spec.factors(decay_all)
            if by_parameter:
                offsets = {self._offsets[name] for name in self.trained}
                cuts = sorted({start, stop, *(at for at in offsets if start < at < stop)})
                segments += [Segment(*pair, rate, decay) for pair in pairwise(cuts)]
            elif segments and (segments[-1].rate, segments[-1].decay) == (rate, decay):
                segments[-1] = segments[-1]._replace(stop=stop)
            else:
                segments.append(Segment(start, stop, rate, decay))
        return segments

    def spans_of_last(self, labels: Sequence[str]) -> list[tuple[int, int]]:
        # Return at most one range for each group of parameters with equal factors, in order.
        prefixes = tuple(f"{label}." for label in labels)
        spans = []
        for _, start, stop in self._groups:
            within = {n: at for n, at in self._offsets.items() if start <= at < stop}
            within = {n: at for n, at in within.items() if self.specs[n].trainable}
            last = [at for name, at in within.items() if name.startswith(prefixes)]
            others = [at for name, at in within.items() if not name.startswith(prefixes)]
            if last and min(last) > max(others, default=-1):
                spans.append((min(last), stop))
        return spans

    def decayed_by(self, decay_all: bool) -> int:
        decaying = [segment.stop for segment in self.segments(decay_all) if segment.decay]
        return max(decaying, default=0)

    def padded(self, name: str, length: int) -> Array | None:
        """Return a padded vector's first `length` elements, or None if the vector is shorter."""
        vector = self._padded[name]
        return vector[:length] if length <= vector.shape[0] else None

    def _lay_out(self, names: Sequence[str], offset: int) -> int:
        for name in names:
            self._offsets[name] = offset
            elements = math.prod(self.specs[name].shape)
            offset += -(-elements // ALIGNMENT) * ALIGNMENT
        return offset

    def _view(self, name: str, vector: Array) -> Array:
        shape, offset = self.specs[name].shape, self._offsets[name]
        flat = vector[offset : offset + math.prod(shape)]
        return self._backend.xp.reshape(flat, shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self.specs)

    def __len__(self) -> int:
        return len(self.specs)

    def __getitem__(self, name: str) -> Array:
        return stand_in(self._views[name])

    def __setitem__(self, name: str, value: np.ndarray) -> None:
        actual, expected = np.shape(value), self.specs[name].shape
        if actual != expected:
            raise ArgumentError(f"{name}: expected shape {expected}; got {actual}")
        self._backend.copy_from_host(value, self._views[name])

    def gradient(self, name: str) -> Array:
        return stand_in(self._gradient_views[name])

    def views_into(self, vector: Array) -> dict[str, Array]:
        return {name: self._view(name, vector) for name in self._gradient_views}

    def views(self, layer: str) -> tuple[Mapping[str, Array], Mapping[str, Array]]:
        gradients = Gradients(self._gradient_views, self._unread_gradient)
        return within(self._views, layer), gradients.within(layer)

    def _unread_gradient(self, name: str) -> Array:
        if not self.specs[name].frozen:
            raise KeyError(name)
        if name not in self._unread:
            dtype = self._backend.dtype_name(self.values)
            self._unread[name] = self._backend.zeros(self.specs[name].shape, dtype)
        return self._unread[name]

    def to_host(self) -> dict[str, np.ndarray]:
        return {name: self._backend.to_host(view) for name, view in self._views.items()}

    def snapshot(self) -> tuple[Array, Array]:
        return self._backend.copy(self.values), self._backend.copy(self.buffers)

    def restore(self, snapshot: tuple[Array, Array]) -> None:
        self.values[...], self.buffers[...] = snapshot


class NamedArrays(Mapping[str, Any]):
    arrays: Mapping[str, Array]

    def __contains__(self, name: object) -> bool:
        return name in self.arrays

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)


class Gradients(NamedArrays):
    """The gradients of a layer's trainable parameters, by name.

    For a frozen parameter, `get` returns None, so that the layer need not compute the gradient.
    For layers that do not support freezing, `gradients[name]` returns an array that gpunn ignores.
    """

    def __init__(
        self, arrays: Mapping[str, Array], unread: Callable[[str], Array], prefix: str = ""
    ) -> None:
        self.arrays, self._unread, self._prefix = arrays, unread, prefix

    def within(self, label: str) -> Gradients:
        return Gradients(within(self.arrays, label), self._unread, f"{self._prefix}{label}.")

    def __getitem__(self, name: str) -> Array:
        gradient = self.arrays.get(name)
        return self._unread(f"{self._prefix}{name}") if gradient is None else gradient

    def get(self, name: str, default: Any = None) -> Any:
        return self.arrays.get(name, default)


class LiveViews(NamedArrays):
    """Maps names to a layer's arrays, or to placeholders while a method is recorded."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self.arrays = arrays.arrays if isinstance(arrays, LiveViews) else arrays

    def __getitem__(self, name: str) -> Array:
        return stand_in(self.arrays[name])

    def get(self, name: str, default: Any = None) -> Any:
        return stand_in(self.arrays.get(name, default))

    def __repr__(self) -> str:
        return repr(self.arrays)


def within(arrays: Mapping[str, T], label: str) -> Mapping[str, T]:
    if isinstance(arrays, LiveViews):
        arrays = arrays.arrays
    if isinstance(arrays, Gradients):
        return arrays.within(label)
    prefix = f"{label}."
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def groups_of(specs: Mapping[str, ParameterSpec], names: Sequence[str]) -> list[list[str]]:
    # Groups with weight decay come first, then groups that decay only with `Optimizer.decay_all`,
    # then groups that never decay.
    groups: dict[tuple[float | bool, ...], list[str]] = {}
    for name in names:
        spec = specs[name]
        rank = 0 if spec.decay else 1 if spec.decay is False else 2
        groups.setdefault((rank, spec.rate, float(spec.decay)), []).append(name)
    return [groups[key] for key in sorted(groups, key=lambda key: key[0])]
