"""The callbacks of `gpunn.training.callbacks`, under a shorter module name."""

from gpunn.training.callbacks import *  # noqa: F403
from gpunn.training.callbacks import __all__ as __all__
