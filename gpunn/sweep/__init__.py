"""Sweeps: many trials of one configuration, with different values of some keys.

Any number of processes can work on one sweep. A study is a file in the sweep folder. `run_worker`
takes trials from the study, trains each as a separate run, and records in `trials.json` how the run
ended. `read_trials` reads this file. Optuna, from the `tune` extra, chooses values and prunes
trials.
"""

from gpunn.sweep.source import Source
from gpunn.sweep.trials import TRIALS, Trial, Trials, read_trials
from gpunn.sweep.worker import Events, run_worker

__all__ = ["TRIALS", "Events", "Source", "Trial", "Trials", "read_trials", "run_worker"]
