"""Experiments: from a configuration to data, a trainer and a run's folder.

`build` makes all objects that a configuration names, `RunFolder` keeps what a run leaves behind,
and the command line puts them together.
"""

from gpunn.experiment.build import Experiment, build
from gpunn.experiment.folder import RunFolder

__all__ = ["Experiment", "RunFolder", "build"]
