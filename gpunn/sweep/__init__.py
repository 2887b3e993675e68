"""Sweeps: many trials of one configuration, with different values of some keys.

Any number of processes can work on one sweep independently. `run_worker` takes trials from a study
(see `study`), which is a file in the sweep folder. Each process trains its trials as separate runs,
and records how each trial ended. The results of all processes are in `trials.json`, which
`read_trials` reads. Optuna, from the extra `tune`, chooses values and prunes trials.
"""

from gpunn.sweep.source import Source
from gpunn.sweep.trials import TRIALS, Trial, Trials, read_trials
from gpunn.sweep.worker import Events, run_worker

__all__ = ["TRIALS", "Events", "Source", "Trial", "Trials", "read_trials", "run_worker"]
