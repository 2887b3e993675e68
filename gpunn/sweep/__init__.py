"""Sweeps: many trials of one configuration, with different values of some keys.

Any number of processes can work on one sweep. `run_worker` takes trials from a study, a file in the
sweep folder, trains them as separate runs, and records how each trial ended in `trials.json`, which
`read_trials` reads. Optuna, from the extra `tune`, chooses values and prunes trials.
"""

from gpunn.sweep.source import Source
from gpunn.sweep.trials import TRIALS, Trial, Trials, read_trials
from gpunn.sweep.worker import Events, run_worker

__all__ = ["TRIALS", "Events", "Source", "Trial", "Trials", "read_trials", "run_worker"]
