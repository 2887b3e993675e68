"""Layers: the functions that a network consists of, with their chain rules."""

from typing import TYPE_CHECKING

from gpunn.configurable import missing_class
from gpunn.layers.base import Layer, operations_only
from gpunn.layers.block import Block
from gpunn.layers.categories import Embedding, OneHot
from gpunn.layers.chain import Chain
from gpunn.layers.columns import ColumnGroups
from gpunn.layers.combinations import Add, Concatenate, Multiply, Residual
from gpunn.layers.convolution import Conv1D, Conv2D
from gpunn.layers.dense import Dense, Neuron
from gpunn.layers.elementwise import Activation, Dropout, Flatten, PReLU, Rescaling, SpatialDropout
from gpunn.layers.ensemble import Ensemble
from gpunn.layers.members import MemberDense, Members
from gpunn.layers.normalization import BatchNorm, LayerNorm, Standardization
from gpunn.layers.outputs import MeanOverMembers, SortedOutputs, TargetScaling
from gpunn.layers.periodic import PeriodicEmbedding
from gpunn.layers.piecewise import PiecewiseLinearEmbedding
from gpunn.layers.pooling import (
    AveragePool1D,
    AveragePool2D,
    GlobalAveragePool1D,
    GlobalAveragePool2D,
    MaxPool1D,
    MaxPool2D,
    UpSampling2D,
)
from gpunn.layers.scale import ParametricActivation, Scale

__all__ = [
    "Activation",
    "Add",
    "AveragePool1D",
    "AveragePool2D",
    "BatchNorm",
    "Block",
    "Chain",
    "ColumnGroups",
    "Concatenate",
    "Conv1D",
    "Conv2D",
    "Dense",
    "Dropout",
    "Embedding",
    "Ensemble",
    "Flatten",
    "GlobalAveragePool1D",
    "GlobalAveragePool2D",
    "Layer",
    "LayerNorm",
    "MaxPool1D",
    "MaxPool2D",
    "MeanOverMembers",
    "MemberDense",
    "Members",
    "Multiply",
    "Neuron",
    "OneHot",
    "PReLU",
    "ParametricActivation",
    "PeriodicEmbedding",
    "PiecewiseLinearEmbedding",
    "Rescaling",
    "Residual",
    "Scale",
    "SortedOutputs",
    "SpatialDropout",
    "Standardization",
    "TargetScaling",
    "UpSampling2D",
    "operations_only",
]


if not TYPE_CHECKING:  # otherwise mypy would accept any name from this module

    def __getattr__(name: str) -> None:
        raise missing_class(__name__, Layer, name)
