"""Sweeps: many runs of one configuration, whose trials differ in some keys.

Any number of processes work on one sweep, without knowing of each other: `run_worker` takes trials
from a study in a file of the sweep's folder (`study`), trains each as a run of its own, and tells
the study how it ended. What all of them have found is in `trials.json`, which `read_trials` reads.
Optuna, of the extra `tune`, chooses values and ends hopeless trials.
"""

from gpunn.sweep.source import Source
from gpunn.sweep.trials import TRIALS, Trial, Trials, read_trials
from gpunn.sweep.worker import Events, run_worker

__all__ = ["TRIALS", "Events", "Source", "Trial", "Trials", "read_trials", "run_worker"]
