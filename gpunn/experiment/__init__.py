"""Experiments: makes data, a trainer and a run folder from a configuration.

`build` makes the objects that a configuration names, and `RunFolder` saves a run. The command line
uses both.
"""

from gpunn.experiment.build import Experiment, build
from gpunn.experiment.folder import RunFolder

__all__ = ["Experiment", "RunFolder", "build"]
