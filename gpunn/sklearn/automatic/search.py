"""Train candidates one after another while there is time, and combine the best ones."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from gpunn.backends import get_backend
from gpunn.backends.thread_count import is_alone, requested_threads, usable_cores
from gpunn.errors import DivergenceError, GpunnWarning
from gpunn.sklearn.automatic.candidates import (
    FAMILIES,
    Candidate,
    Trial,
    Turns,
    parameters_of,
)
from gpunn.sklearn.automatic.leaderboard import (
    as_frame,
    line_of,
    milliseconds,
    row_of,
    row_of_candidate,
)
from gpunn.sklearn.automatic.scoring import HeldOut, Scoring
from gpunn.sklearn.automatic.time_limit import REASON, Deadline, TimeLimit, TimeShare
from gpunn.sklearn.held_out import SplitBy
from gpunn.sklearn.parameters import NONE, among, integer, parameter, real
from gpunn.sklearn.realmlp import RealMLPClassifier, RealMLPRegressor
from gpunn.sklearn.tabm import TabMClassifier, TabMRegressor
from gpunn.sklearn.tabular import TabularEstimator, none_if_auto
from gpunn.sklearn.tabular_fits import Fold, Rows
from gpunn.tables import Schema
from gpunn.tabular import Recipe, combined, greedy_selection
from gpunn.tabular.recipe import checked_metric, with_quantiles

__all__ = ["TabularSearch"]

FOLDS = 5
"""Number of folds with a time limit, for tables of at most `MANY` rows."""

MANY = 10_000
"""Largest number of rows for which several folds are worth their time."""

TARGETS = ("_outputs", "_multilabel", "_label_names", "classes_")
"""Attributes that an estimator has learned from targets."""


@dataclass(eq=False, repr=False, kw_only=True)
class TabularSearch(TabularEstimator):
    """Base of both estimators: trains candidates, and combines the best ones."""

    n_cv: Any = parameter("auto", among("auto"), integer(1))
    time_limit: float | None = parameter(None, NONE, real(0, ends="()"))
    max_networks: int = parameter(20, integer(1))

    def _count_of_folds(self, every: Rows, split_by: SplitBy) -> int:
        if self.n_cv != "auto":
            return int(self.n_cv)
        rows = every.table.rows
        if every.weights is not None:
            rows = int(np.count_nonzero(every.weights))
        kind, values = split_by or ("", np.arange(FOLDS))
        if self.time_limit is None or rows > MANY or kind == "time":
            return 1
        return max(1, min(FOLDS, rows, len(np.unique(values))))

    def _recipe(self, schema: Schema, X: np.ndarray) -> Recipe:
        raise NotImplementedError("each candidate has a recipe")

    # ----------------------------------------------------------------------------------- training

    def _train(self, folds: Sequence[Fold], seed: int) -> None:
        limit = TimeLimit(self.time_limit)
        scoring = self._scoring(folds)
        first, *others = (self._estimator(family, {}) for family in FAMILIES)
        schemas = {FAMILIES[0]: first._learn_schemas(folds, seed)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", GpunnWarning)  # those of the first schemas
            for family, other in zip(FAMILIES[1:], others, strict=True):
                schemas[family] = other._learn_schemas(folds, seed)
        candidates = self._train_candidates(folds, schemas, seed, limit, scoring)
        self._combine(candidates, folds, scoring, limit)

    def _scoring(self, folds: Sequence[Fold]) -> Scoring:
        """Return the metric of the validation rows."""
        quantiles, metric = getattr(self, "quantiles", None), none_if_auto(self.metric)
        transform = getattr(self, "target_transform", None)
        outputs, metric = with_quantiles(self._task, self._outputs, metric, quantiles)
        self.metric_ = checked_metric(self._task, metric, outputs, transform)
        held_out = [
            HeldOut(
                fold.validation.targets,
                self._validation_weights(fold.training, fold.validation),
            )
            for fold in folds
        ]
        log = transform == "log"
        return Scoring(self._task, self.metric_, outputs, held_out, log, quantiles)

    def _estimator(self, family: str, parameters: dict[str, Any]) -> TabularEstimator:
        """Return a candidate's estimator, which has learned the targets."""
        kinds = {
            "TabM": (TabMClassifier, TabMRegressor),
            "RealMLP": (RealMLPClassifier, RealMLPRegressor),
        }
        kind = kinds[family][self._task == "regression"]
        own = self.get_params(deep=False)
        shared = {name: own[name] for name in kind._get_param_names() if name in own}
        estimator: TabularEstimator = kind(**{**shared, "n_cv": 1, **parameters})
        for name in TARGETS:
            if hasattr(self, name):
                setattr(estimator, name, getattr(self, name))
        return estimator

    def _train_candidates(
        self,
        folds: Sequence[Fold],
        schemas: dict[str, list[Schema]],
        seed: int,
        limit: TimeLimit,
        scoring: Scoring,
    ) -> list[Candidate]:
        """Train candidates until the time is over, or Ctrl-C is pressed."""
        candidates, turns = list[Candidate](), Turns()
        while (trial := turns.next(limit.left)) is not None:
            finished = [each for each in candidates if not each.error]
            # The first candidate leaves time for one of another family.
            seconds = limit.left if finished else limit.left / 2
            try:
                candidate = self._train_candidate(trial, folds, schemas, seed, seconds)
            except KeyboardInterrupt:
                if not finished:
                    raise
                break
            turns.add(candidate)
            candidates.append(candidate)
            self._show(candidate, scoring)
            if candidate.stopped.startswith("interrupted"):
                break
        return candidates

    def _train_candidate(
        self,
        trial: Trial,
        folds: Sequence[Fold],
        schemas: dict[str, list[Schema]],
        seed: int,
        seconds: float,
    ) -> Candidate:
        """Train a candidate's networks, each for its share of the time."""
        watch, parameters = TimeLimit(None), parameters_of(trial, seed)
        estimator = self._estimator(trial.family, parameters)
        if seconds < math.inf:
            count = len(folds) * self.n_ens
            share = TimeShare(seconds, count, min(count, self._threads()))
            estimator.callbacks = [*self.callbacks, Deadline(share)]
        try:
            fitted, outputs = estimator._train_networks(folds, schemas[trial.family], seed)
        except (DivergenceError, MemoryError) as error:
            nothing = np.empty(0)
            return Candidate(
                trial, parameters, watch.elapsed, [], nothing, error=f"{error}".splitlines()[0]
            )
        networks = [each.network for each in fitted]
        stopped = {each.history.stopped for each in fitted}
        early = [each for each in stopped if each == REASON or each.startswith("interrupted")]
        return Candidate(
            trial,
            parameters,
            watch.elapsed,
            networks,
            self._averaged(np.concatenate(outputs)),
            best_epochs=tuple(each.best_epoch for each in fitted),
            epochs=tuple(each.epochs for each in fitted),
            temperatures=tuple(each.temperature for each in fitted),
            prediction_ms=milliseconds(combined(networks), folds[0].every.table),
            stopped=early[0] if early else "",
        )

    def _threads(self) -> int:
        """Return the number of networks that are trained at the same time."""
        if is_alone() or get_backend(self.backend).name != "numpy":
            return 1
        return requested_threads(None) or usable_cores()

    def _averaged(self, outputs: np.ndarray) -> np.ndarray:
        """Return the numbers that an ensemble averages: probabilities, or numbers."""
        if self._task == "regression":
            return outputs.astype(np.float64)
        return self._predictions(outputs)

    def _show(self, candidate: Candidate, scoring: Scoring) -> None:
        """Print a line about a candidate."""
        if self.progress:
            print(line_of(row_of_candidate(candidate, scoring), self.metric_), file=sys.stderr)

    # ---------------------------------------------------------------------------------- combining

    def _combine(
        self,
        candidates: Sequence[Candidate],
        folds: Sequence[Fold],
        scoring: Scoring,
        limit: TimeLimit,
    ) -> None:
        """Combine the best candidates, and set the fitted attributes."""
        finished = [each for each in candidates if not each.error]
        if not finished:
            raise DivergenceError(f"every candidate has failed; the first: {candidates[0].error}")
        each_has = len(finished[0].networks)
        counts = greedy_selection(
            [each.predictions for each in finished],
            scoring.loss,
            max_models=max(1, self.max_networks // each_has),
        )
        chosen = [(each, count) for each, count in zip(finished, counts, strict=True) if count]
        total = sum(counts)
        predictions = np.zeros_like(chosen[0][0].predictions)
        for each, count in chosen:
            predictions += each.predictions * (count / total)
        network = combined(
            [network for each, _ in chosen for network in each.networks],
            [count for each, count in chosen for _ in each.networks],
        )
        outputs = scoring.outputs_of(predictions)
        self._name_outputs(network)
        self._decide_from(network, folds, [outputs])
        self._set_scores(folds, scoring.scores(predictions), self._predictions(outputs))
        self.best_epoch_ = [epoch for each, _ in chosen for epoch in each.best_epochs]
        self.n_iter_ = [epochs for each, _ in chosen for epochs in each.epochs]
        if self._task != "regression":
            self.temperature_ = [number for each, _ in chosen for number in each.temperatures]
        shares = {id(each): count / total for each, count in zip(finished, counts, strict=True)}
        ensemble = row_of(
            "ensemble",
            "ensemble",
            scoring,
            predictions,
            limit.elapsed,
            [network],
            share=1.0,
            prediction_ms=milliseconds(network, folds[0].every.table),
        )
        rows = [row_of_candidate(each, scoring, shares.get(id(each), 0.0)) for each in candidates]
        sign = -1 if scoring.larger_is_better else 1
        rows.sort(key=lambda row: math.inf if row["score"] is None else sign * row["score"])
        self.leaderboard_ = [ensemble, *rows]

    def leaderboard(self) -> Any:
        """Return `leaderboard_` as a data frame of pandas.

        Returns
        -------
        pandas.DataFrame or list of dict
            The rows; a list if pandas is not installed.
        """
        check_is_fitted(self)
        return as_frame(self.leaderboard_)
