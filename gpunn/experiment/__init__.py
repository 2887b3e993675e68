"""Experiments: data, a trainer and a run folder, made from a configuration."""

from gpunn.experiment.build import Experiment, build
from gpunn.experiment.folder import RunFolder

__all__ = ["Experiment", "RunFolder", "build"]
