"""The version of gpunn."""

__version__ = "0.2.0"
