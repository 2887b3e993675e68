"""From a backend's operations to instructions of a program.

For each operation that there are kernels for, a file in `forms/` has a method with its name.
"""

from __future__ import annotations

from gpunn.backends.numpy.compiled.forms.bookkeeping import Bookkeeping
from gpunn.backends.numpy.compiled.forms.elementwise import Elementwise
from gpunn.backends.numpy.compiled.forms.metrics import Metrics
from gpunn.backends.numpy.compiled.forms.normalization import Normalization
from gpunn.backends.numpy.compiled.forms.tables import Tables
from gpunn.backends.numpy.compiled.forms.updates import Updates

__all__ = ["Encoder"]


class Encoder(Bookkeeping, Elementwise, Metrics, Normalization, Tables, Updates):
    """Encodes operations as instructions."""
