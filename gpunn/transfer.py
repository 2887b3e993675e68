"""Which arrays of one network another one begins with: by the names of layers, and by shapes."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gpunn.errors import ArgumentError
from gpunn.parameters import ParameterSpec

__all__ = ["Source", "WeightsReport", "matched"]

RENAMED = {"taken": "copied", "anew": "reinitialized"}
"""Fields of `WeightsReport` by their deprecated names."""


@dataclass(frozen=True)
class Source:
    """What a network begins with: arrays by names such as "dense_1.weights".

    Messages call it `title`. The outputs are names of the classes, and of the targets. It is
    `adapted` if layers that learn from training data have done so.
    """

    title: str
    arrays: Mapping[str, np.ndarray]
    outputs: tuple[list[str] | None, list[str] | None]
    adapted: bool


@dataclass(frozen=True)
class WeightsReport:
    """The result of `Sequential.load_weights`.

    Parameters
    ----------
    copied : tuple of str
        Labels of the layers whose arrays were copied from the other network.
    reinitialized : mapping of str to str
        Labels of the layers that have new initial values, with the reasons.
    unused : tuple of str
        Labels of the other network's layers that this network does not have.

    Examples
    --------
    >>> from gpunn.transfer import WeightsReport
    >>> print(WeightsReport(("dense_1",), {"dense_2": "the file has other classes"}, ("dense_3",)))
    copied: dense_1
    reinitialized: dense_2 (the file has other classes)
    not used: dense_3
    """

    copied: tuple[str, ...]
    reinitialized: Mapping[str, str]
    unused: tuple[str, ...]

    if not TYPE_CHECKING:  # otherwise mypy would accept any attribute

        def __getattr__(self, name: str) -> Any:
            """Return the field of an old name."""
            current = RENAMED.get(name)
            if current is None:
                raise AttributeError(f"'WeightsReport' object has no attribute {name!r}")
            warnings.warn(
                f"WeightsReport.{name} is now called {current}; the old name ends with 0.5",
                DeprecationWarning,
                stacklevel=2,
            )
            return getattr(self, current)

    def __str__(self) -> str:
        """Return one line for each kind of layer."""
        lines = [f"copied: {', '.join(self.copied)}"]
        lines += [f"reinitialized: {label} ({why})" for label, why in self.reinitialized.items()]
        if self.unused:
            lines.append(f"not used: {', '.join(self.unused)}")
        return "\n".join(lines)


def matched(
    specs: Mapping[str, ParameterSpec],
    source: Source,
    outputs: tuple[list[str] | None, list[str] | None],
    after_loss: Collection[str],
) -> WeightsReport:
    """Return which layers can begin with the arrays of a source.

    Only the last layer with parameters may be of other shapes. It begins anew then, as it does if
    classes or targets, the `outputs`, have other names; so do the layers that come after the loss.
    The `specs` are of the network that begins, in its order.

    Raise an ArgumentError if another layer is of other shapes, or there is none that can be taken
    over.
    """
    ours, theirs = by_layer(specs), by_layer(source.arrays)
    learned = [label for label in ours if any(specs[n].learned for n in named(label, ours))]
    last = learned[-1] if learned else ""
    taken: list[str] = []
    anew: dict[str, str] = {}
    for label, names in ours.items():
        why = f"{source.title} has none of this name"
        if label in theirs:
            why = difference(label, names, theirs[label], specs, source)
        if label == last or label in after_loss:
            if last in anew and label in after_loss:
                why = f"it goes with {last}"
            elif not why and renamed(source.outputs, outputs):
                why = f"{source.title} has other {renamed(source.outputs, outputs)}"
        elif why and label in theirs:
            raise ArgumentError(
                f"layer {label!r}: {why}. Give it the same shape, or another label, by which it "
                f"begins anew; only the last layer, {last!r}, does so by itself"
            )
        if why:
            anew[label] = why
        else:
            taken.append(label)
    if not taken:
        raise ArgumentError(
            f"no layer can begin with those of {source.title}, which are called "
            f"{', '.join(theirs) or 'nothing'}; those here: {', '.join(ours) or 'none'}"
        )
    return WeightsReport(tuple(taken), anew, tuple(label for label in theirs if label not in ours))


def by_layer(names: Collection[str]) -> dict[str, list[str]]:
    """Return the names within each layer, by its label."""
    found: dict[str, list[str]] = {}
    for name in names:
        label, _, rest = name.partition(".")
        found.setdefault(label, []).append(rest)
    return found


def named(label: str, layers: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the full names of a layer's arrays."""
    return [f"{label}.{name}" for name in layers[label]]


def difference(
    label: str,
    ours: Sequence[str],
    theirs: Sequence[str],
    specs: Mapping[str, ParameterSpec],
    source: Source,
) -> str:
    """Return in what the arrays of a layer differ from those of a source; nothing if they don't."""
    if set(ours) != set(theirs):
        return f"it has {', '.join(theirs)} in {source.title}, and {', '.join(ours)} here"
    for name in ours:
        here, there = specs[f"{label}.{name}"].shape, source.arrays[f"{label}.{name}"].shape
        if here != there:
            return f"{name} of shape {there} in {source.title}, and {here} here"
    return ""


def renamed(
    theirs: tuple[list[str] | None, list[str] | None],
    ours: tuple[list[str] | None, list[str] | None],
) -> str:
    """Return "classes" or "targets" if these have other names, nothing if not."""
    for what, there, here in zip(("classes", "targets"), theirs, ours, strict=True):
        if there is not None and here is not None and there != here:
            return what
    return ""
