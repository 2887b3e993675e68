"""Select the arrays to copy from another network, by the labels and shapes of layers."""

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


@dataclass(frozen=True)
class Source:
    """The network to copy from: its arrays by name, and the names of its classes and targets."""

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
        Labels of the layers that keep their own values, with the reasons.
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
            current = RENAMED.get(name)
            if current is None:
                raise AttributeError(f"'WeightsReport' object has no attribute {name!r}")
            warnings.warn(
                f"WeightsReport.{name} is now called {current}; gpunn 0.5 removes the old name",
                DeprecationWarning,
                stacklevel=2,
            )
            return getattr(self, current)

    def __str__(self) -> str:
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
    """Decide which layers to copy from the source. Layers match if their labels are equal.

    Shapes may differ only in the last layer with learned parameters, and in layers after the loss.
    If the last layer's shapes differ, neither this layer nor any layer after the loss is copied.
    The same holds if the class or target names (`outputs`) differ. `specs` has the receiving
    network's arrays, in order.
    """
    target, other = by_layer(specs), by_layer(source.arrays)
    learned = [label for label in target if any(specs[n].learned for n in named(label, target))]
    last = learned[-1] if learned else ""
    copied: list[str] = []
    reinitialized: dict[str, str] = {}
    for label, names in target.items():
        why = f"{source.title} has no layer with this label"
        if label in other:
            why = difference(label, names, other[label], specs, source)
        if label == last or label in after_loss:
            if last in reinitialized and label in after_loss:
                why = f"it changes the outputs of {last}, which is reinitialized"
            elif not why and renamed(source.outputs, outputs):
                why = f"{source.title} has other {renamed(source.outputs, outputs)}"
        elif why and label in other:
            raise ArgumentError(
                f"layer {label!r}: {why}. Give this layer the same shape, or another label to "
                f"reinitialize the layer; only the last layer, {last!r}, may have another shape"
            )
        if why:
            reinitialized[label] = why
        else:
            copied.append(label)
    if not copied:
        raise ArgumentError(
            f"load_weights: no label of a layer is in both networks: {source.title} has the labels "
            f"{', '.join(other) or 'none'}; this network has {', '.join(target) or 'none'}. To "
            "copy a layer, give it the same label in both networks"
        )
    unused = tuple(label for label in other if label not in target)
    return WeightsReport(tuple(copied), reinitialized, unused)


def by_layer(names: Collection[str]) -> dict[str, list[str]]:
    layers: dict[str, list[str]] = {}
    for name in names:
        label, _, rest = name.partition(".")
        layers.setdefault(label, []).append(rest)
    return layers


def named(label: str, layers: Mapping[str, Sequence[str]]) -> list[str]:
    return [f"{label}.{name}" for name in layers[label]]


def difference(
    label: str,
    names: Sequence[str],
    other_names: Sequence[str],
    specs: Mapping[str, ParameterSpec],
    source: Source,
) -> str:
    if set(names) != set(other_names):
        return (
            f"the layer has {', '.join(other_names)} in {source.title}, but {', '.join(names)} here"
        )
    for name in names:
        shape, other = specs[f"{label}.{name}"].shape, source.arrays[f"{label}.{name}"].shape
        if shape != other:
            return f"{name} has shape {other} in {source.title}, but {shape} here"
    return ""


def renamed(
    others: tuple[list[str] | None, list[str] | None],
    outputs: tuple[list[str] | None, list[str] | None],
) -> str:
    for kind, other, names in zip(("classes", "targets"), others, outputs, strict=True):
        if other is not None and names is not None and other != names:
            return kind
    return ""
