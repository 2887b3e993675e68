"""How much each parameter of a sweep matters, as Optuna estimates it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from gpunn.config import SearchRange
from gpunn.sweep.journal import optuna
from gpunn.sweep.space import distribution, labelled
from gpunn.sweep.trials import COMPLETE, Trial, Trials

__all__ = ["LEAST", "MOST", "importances"]

LEAST = 20
"""Complete trials from which on there is an estimate."""

MOST = 1000
"""Complete trials that are looked at, the newest: the time grows with their number."""


def importances(found: Trials) -> dict[str, float]:
    """Return each parameter's share of what made trials good, by its path, the largest first.

    By Optuna's PED-ANOVA (Watanabe et al. 2023, "PED-ANOVA: Efficiently Quantifying Hyperparameter
    Importance in Arbitrary Subspaces"): how much the values of the best tenth of the trials differ
    from those of all. The sum is 1, or 0 if nothing matters. Empty if there are fewer than two
    parameters or `LEAST` complete trials, or their space is not known.
    """
    complete = [each for each in found.trials if each.state == COMPLETE]
    if len(found.space) < 2 or len(complete) < LEAST:
        return {}
    package = optuna()
    distributions = {path: distribution(each) for path, each in found.space.items()}
    known = [known_trial(each, found.space, distributions) for each in complete[-MOST:]]
    trials = [each for each in known if each is not None]
    if len(trials) < LEAST:
        return {}
    study = package.create_study(direction=f"{found.direction}imize")
    study.add_trials(trials)
    with warnings.catch_warnings():  # in some releases it is new
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
    """Return a trial as Optuna has it; None if it has no value, or is not of this space."""
    if trial.value is None:
        return None
    try:
        values = labelled({path: trial.parameters[path] for path in space}, space)
        make = optuna().trial.create_trial
        return make(params=values, distributions=dict(distributions), value=trial.value)
    except (KeyError, TypeError, ValueError):
        return None
