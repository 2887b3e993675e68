"""Estimates the importance of each parameter of a sweep with Optuna."""

import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from gpunn.config import SearchRange
from gpunn.sweep.journal import optuna
from gpunn.sweep.space import distribution, labeled
from gpunn.sweep.trials import COMPLETE, Trial, Trials

MIN_TRIALS = 20

MAX_TRIALS = 1000


def importances(sweep: Trials) -> dict[str, float]:
    """Map each parameter's path to the parameter's importance, from largest to smallest.

    Optuna's PED-ANOVA (Watanabe et al. 2023, "PED-ANOVA: Efficiently Quantifying Hyperparameter
    Importance in Arbitrary Subspaces") compares each parameter's values in the best tenth of the
    trials with the values in all trials. The importances add up to 1, or 0 if no parameter matters.
    The result is empty if the space is unknown or has fewer than two parameters, or if fewer than
    `MIN_TRIALS` trials are complete.
    """
    complete = [each for each in sweep.trials if each.state == COMPLETE]
    if len(sweep.space) < 2 or len(complete) < MIN_TRIALS:
        return {}
    package = optuna()
    distributions = {path: distribution(each) for path, each in sweep.space.items()}
    known = [known_trial(each, sweep.space, distributions) for each in complete[-MAX_TRIALS:]]
    trials = [each for each in known if each is not None]
    if len(trials) < MIN_TRIALS:
        return {}
    study = package.create_study(direction=f"{sweep.direction}imize")
    study.add_trials(trials)
    with warnings.catch_warnings():  # that the evaluator is experimental
        warnings.simplefilter("ignore", package.exceptions.ExperimentalWarning)
        evaluator = package.importance.PedAnovaImportanceEvaluator()
    with np.errstate(all="ignore"):  # differences of the largest numbers overflow
        shares: dict[str, float] = package.importance.get_param_importances(
            study, evaluator=evaluator
        )
    return {path: float(share) if math.isfinite(share) else 0.0 for path, share in shares.items()}


def known_trial(
    trial: Trial, space: Mapping[str, SearchRange], distributions: Mapping[str, Any]
) -> Any:
    if trial.value is None:
        return None
    try:
        values = labeled({path: trial.parameters[path] for path in space}, space)
        make = optuna().trial.create_trial
        return make(params=values, distributions=dict(distributions), value=trial.value)
    except (KeyError, TypeError, ValueError):
        return None
