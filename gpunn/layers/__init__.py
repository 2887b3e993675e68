"""Layers: the functions a network is composed of, and the chain rule for each."""

from typing import TYPE_CHECKING

from gpunn.configurable import missing_class
from gpunn.layers.base import Layer, operations_only
from gpunn.layers.chain import Chain
from gpunn.layers.dense import Dense, Neuron
from gpunn.layers.elementwise import Activation, Dropout, Flatten, Rescaling
from gpunn.layers.normalization import BatchNorm, LayerNorm, Standardization

__all__ = [
    "Activation",
    "BatchNorm",
    "Chain",
    "Dense",
    "Dropout",
    "Flatten",
    "Layer",
    "LayerNorm",
    "Neuron",
    "Rescaling",
    "Standardization",
    "operations_only",
]


if not TYPE_CHECKING:  # else every name would be taken for one of this module

    def __getattr__(name: str) -> None:
        raise missing_class(__name__, Layer, name)
