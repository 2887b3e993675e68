"""Translate (lower) a backend's operations to instructions: compiled kernels with arguments."""

from gpunn.backends.numpy.compiled.lowerings.activations import unread
from gpunn.backends.numpy.compiled.lowerings.counters import Counters
from gpunn.backends.numpy.compiled.lowerings.elementwise import Elementwise
from gpunn.backends.numpy.compiled.lowerings.metrics import Metrics
from gpunn.backends.numpy.compiled.lowerings.normalization import Normalization
from gpunn.backends.numpy.compiled.lowerings.optimizers import Optimizers
from gpunn.backends.numpy.compiled.lowerings.pooling import Pooling
from gpunn.backends.numpy.compiled.lowerings.tables import Tables
from gpunn.backends.numpy.compiled.lowerings.winograd import Winograd

__all__ = ["CompiledLowerings", "unread"]


class CompiledLowerings(
    Winograd, Counters, Elementwise, Metrics, Normalization, Pooling, Tables, Optimizers
):
    pass
