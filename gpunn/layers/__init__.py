"""Layers: the functions a network is composed of, and the chain rule for each."""

from gpunn.layers.base import Layer
from gpunn.layers.dense import Dense, Neuron
from gpunn.layers.elementwise import Activation, Dropout, Flatten, Rescaling
from gpunn.layers.normalization import BatchNorm, LayerNorm, Standardization

__all__ = [
    "Activation",
    "BatchNorm",
    "Dense",
    "Dropout",
    "Flatten",
    "Layer",
    "LayerNorm",
    "Neuron",
    "Rescaling",
    "Standardization",
]
