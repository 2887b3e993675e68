"""Sweeps: many trials of one configuration that vary some keys.

Any number of processes can work on one sweep independently. `run_worker` takes trials from a study
in a file of the sweep folder (`study`), trains each as a separate run, and records how it ended.
The results of all processes are in `trials.json`, which `read_trials` reads. Optuna, from the extra
`tune`, chooses values and prunes trials.
"""

from gpunn.sweep.source import Source
from gpunn.sweep.trials import TRIALS, Trial, Trials, read_trials
from gpunn.sweep.worker import Events, run_worker

__all__ = ["TRIALS", "Events", "Source", "Trial", "Trials", "read_trials", "run_worker"]
