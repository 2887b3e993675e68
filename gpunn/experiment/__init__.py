"""Experiments: from a configuration to data, a trainer and a run folder.

`build` makes the objects that a configuration names, and `RunFolder` saves a run. The command line
combines them.
"""

from gpunn.experiment.build import Experiment, build
from gpunn.experiment.folder import RunFolder

__all__ = ["Experiment", "RunFolder", "build"]
