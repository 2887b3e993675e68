"""Train candidates one after another while there is time, and combine the best ones."""

from __future__ import annotations

import copy
import math
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils.validation import check_is_fitted

from gpunn.backends import get_backend
from gpunn.backends.thread_count import is_alone
from gpunn.errors import ArgumentError, DivergenceError, GpunnWarning
from gpunn.sklearn.automatic.candidates import (
    FAMILIES,
    Candidate,
    CandidateKey,
    CandidateOrder,
    Outcome,
    parameters_of,
)
from gpunn.sklearn.automatic.candidates_folder import CandidatesFolder, checksum
from gpunn.sklearn.automatic.leaderboard import (
    as_frame,
    line_of,
    milliseconds,
    outputs_of,
    row_of,
    row_of_candidate,
)
from gpunn.sklearn.automatic.reference_models import (
    BASELINES,
    LIBRARIES,
    EncodedRows,
    Model,
    Task,
    check_libraries,
    predicted,
)
from gpunn.sklearn.automatic.time_limit import REASON, Deadline, TimeLimit, TimeShare
from gpunn.sklearn.held_out import SplitBy
from gpunn.sklearn.parameters import (
    ARRAY_LIKE,
    FLAG,
    NONE,
    SIZES,
    Constraint,
    integer,
    parameter,
    real,
)
from gpunn.sklearn.realmlp import RealMLPClassifier, RealMLPRegressor
from gpunn.sklearn.scoring import Scoring
from gpunn.sklearn.tabm import TabMClassifier, TabMRegressor
from gpunn.sklearn.tabular import TabularEstimator
from gpunn.sklearn.tabular_files import plain_parameters
from gpunn.sklearn.tabular_fits import Fold, Rows
from gpunn.tables import Schema
from gpunn.tables.scaling import NoScaling
from gpunn.tabular import Recipe, combined, greedy_selection
from gpunn.tabular.selection import FREE_PARAMETERS
from gpunn.training.interruption import Interruption
from gpunn.training.together.threads import number_of_threads

FOLDS = 5

MAX_ROWS_FOR_FOLDS = 10_000
"""Tables with more rows get only one fold, because several folds would take too much time."""

MAX_ROWS_WITHOUT_LIMIT = 999
"""The same without a time limit. With fewer rows, one fold selects epochs badly; see "Few rows" in
docs/explanation/benchmarks.md."""

LARGEST = float(np.finfo(np.float32).max)

STUDENT = "RealMLP"
"""The family of the network that learns an ensemble's predictions. RealMLP predicts fast."""

INTERRUPTED = "interrupted by Ctrl-C"

TARGETS = ("_outputs", "_multilabel", "_label_names", "classes_")

CHANGEABLE = (*FREE_PARAMETERS, "random_state", "threshold_for")  # `seed` is compared

PATH = Constraint("a path", lambda value: isinstance(value, (str, Path)))


class Plan(NamedTuple):
    """Values that all candidates share. Schemas of model families differ only in the scaling."""

    folds: Sequence[Fold]
    schemas: Mapping[str, Schema]
    seed: int
    scoring: Scoring
    limit: TimeLimit


@dataclass(eq=False, repr=False, kw_only=True)
class TabularSearch(TabularEstimator):
    n_cv: Any
    time_limit: float | None = parameter(None, NONE, real(0, ends="()"))
    max_networks: int = parameter(20, integer(1))
    folder: Any = parameter(None, NONE, PATH)
    compare: Any = parameter((), ARRAY_LIKE)
    distill: Any = parameter(False, FLAG, *SIZES)

    def _count_of_folds(self, every: Rows, split_by: SplitBy) -> int:
        if self.n_cv != "auto":
            return int(self.n_cv)
        rows, labels = every.table.rows, self._labels(every.targets)
        kind, values = split_by or ("", np.arange(rows))
        if kind == "time" or len(values) != rows:
            return 1
        counted = np.ones(rows, bool) if every.weights is None else every.weights > 0
        _, sizes = np.unique(values[counted], return_counts=True)
        most = MAX_ROWS_WITHOUT_LIMIT if self.time_limit is None else MAX_ROWS_FOR_FOLDS
        # With one group of most rows, a network would learn from less than half of the rows. If
        # every row has a different class, no network learns the class of its held-out rows.
        if (
            sizes.sum() > most
            or 2 * sizes.max(initial=0) > sizes.sum()
            or (labels is not None and np.bincount(labels[counted]).max(initial=0) < 2)
        ):
            return 1
        return max(1, min(FOLDS, len(sizes)))

    def _recipe(self, schema: Schema, X: np.ndarray) -> Recipe:
        raise NotImplementedError("each candidate has a recipe")

    def _train(self, folds: Sequence[Fold], seed: int) -> None:
        check_libraries(self.compare, self._quantiles)
        if self.distill is not False and self._quantiles is not None:
            raise ArgumentError("distill: cannot be combined with quantiles")
        if self.folder is not None and not isinstance(self.random_state, (int, np.integer)):
            raise ArgumentError(
                "folder: needs an integer as random_state, so that the same call can resume"
            )
        limit, scoring = TimeLimit(self.time_limit), self._scoring(folds)
        schemas = dict[str, Schema]()
        for family in FAMILIES:
            with warnings.catch_warnings():
                if schemas:
                    warnings.simplefilter("ignore", GpunnWarning)  # shown for the first family
                schemas[family] = self._estimator(family, {})._learn_schema(folds)
        plan = Plan(folds, schemas, seed, scoring, limit)
        rows = [*self._reference_rows(plan, BASELINES, "baseline")]
        candidates, interrupted = self._train_candidates(plan)
        self.stopped_ = INTERRUPTED if interrupted else ""
        with Interruption() as late:  # a first Ctrl-C must not lose the candidates
            chosen, predictions = self._combine(plan, candidates)
        if late.exit_status is not None:  # SIGTERM
            raise SystemExit(late.exit_status)
        if late.requested:
            self.stopped_ = INTERRUPTED
        warn_of_better(rows, self.leaderboard_[0], scoring)
        if self.distill is not False:
            self._distill(plan, chosen, predictions)
        if not self.stopped_:
            with suppress(KeyboardInterrupt):
                libraries = {name: LIBRARIES[name] for name in self.compare}
                rows.extend(self._reference_rows(plan, libraries, "library"))
        self.leaderboard_ += rows

    def _estimator(self, family: str, parameters: dict[str, Any]) -> TabularEstimator:
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

    def _train_candidates(self, plan: Plan) -> tuple[list[Candidate], bool]:
        candidates, order = list[Candidate](), CandidateOrder()
        with ExitStack() as contexts:
            folder = None
            if self.folder is not None:
                settings = self._settings_of(plan)
                folder = contexts.enter_context(CandidatesFolder(Path(self.folder), settings))
                candidates += folder.read(self.backend)
            for candidate in candidates:
                order.add(candidate.outcome)
                plan.limit.use(candidate.outcome.seconds)
                self._show(row_of_candidate(candidate, plan.scoring))
            cut = [each for each in candidates if self._has_more_time(each.outcome)]
            try:
                while folder is not None and cut and plan.limit.left > 0:
                    self._train_again(plan, cut.pop(0), candidates, folder)
                while (key := order.next(plan.limit.left)) is not None:
                    candidate = self._train_candidate(plan, key, half=not finished(candidates))
                    order.add(candidate.outcome)
                    candidates.append(candidate)
                    self._show(row_of_candidate(candidate, plan.scoring))
                    if candidate.outcome.stopped not in ("", REASON):
                        return candidates, True
                    if folder is not None:
                        folder.add(candidate)
            except KeyboardInterrupt:
                if not finished(candidates):
                    raise
                return candidates, True
        return candidates, False

    def _has_more_time(self, outcome: Outcome) -> bool:
        """Return whether a candidate stopped at a time limit below the present `time_limit`."""
        limit = math.inf if self.time_limit is None else self.time_limit
        return outcome.stopped == REASON and (outcome.time_limit or math.inf) < limit

    def _train_again(
        self, plan: Plan, cut: Candidate, candidates: list[Candidate], folder: CandidatesFolder
    ) -> None:
        key = CandidateKey(cut.outcome.family, cut.outcome.number)
        longer = self._train_candidate(plan, key, half=True)
        if longer.outcome.stopped not in ("", REASON):
            raise KeyboardInterrupt
        if longer.outcome.error:
            return
        seconds = cut.outcome.seconds + longer.outcome.seconds
        longer = replace(longer, outcome=replace(longer.outcome, seconds=seconds))
        candidates[candidates.index(cut)] = longer
        self._show(row_of_candidate(longer, plan.scoring))
        folder.add(longer)

    def _settings_of(self, plan: Plan) -> dict[str, Any]:
        every, schema = plan.folds[0].every, plan.schemas[FAMILIES[0]]
        held = [array for fold in plan.folds for array in (fold.held, *fold.validation[1:])]
        given = [fold.validation.table for fold in plan.folds if fold.held is None]
        X, *X_val = (schema.encode_with_unseen(table)[0] for table in (every.table, *given))
        parameters = plain_parameters(self.get_params(deep=False))
        names = getattr(self, "_label_names" if self._multilabel else "classes_", None)
        return {
            "estimator": type(self).__name__,
            "seed": plan.seed,
            **{name: value for name, value in parameters.items() if name not in CHANGEABLE},
            "schema": schema.to_json(),  # renamed or rescaled columns have the same X
            "scaling": checksum([*schema.arrays().values()]),
            "classes": [] if names is None else [str(name) for name in names],
            "rows": every.table.rows,
            "X": checksum([X]),
            "y": checksum([every.targets, every.weights]),
            "folds": len(plan.folds),
            "validation rows": checksum([*held, *X_val]),
        }

    def _train_candidate(self, plan: Plan, key: CandidateKey, half: bool) -> Candidate:
        # With `half`, only half of the time left may be used.
        folds, parameters = plan.folds, parameters_of(key, plan.seed)
        estimator = self._estimator(key.family, parameters)
        left = plan.limit.left
        if left < math.inf:
            count = len(folds) * self.n_ens
            available = 1 if is_alone() else number_of_threads([get_backend(self.backend)])
            threads = min(count, available)
            share = TimeShare(left / 2 if half else left, count, threads)
            estimator.callbacks = [*self.callbacks, Deadline(share)]
        return self._trained(estimator, key, parameters, folds, plan)

    def _trained(
        self,
        estimator: TabularEstimator,
        key: CandidateKey,
        parameters: dict[str, Any],
        folds: Sequence[Fold],
        plan: Plan,
    ) -> Candidate:
        watch = TimeLimit(None)
        try:
            fitted, outputs = estimator._train_networks(folds, plan.schemas[key.family], plan.seed)
        except (DivergenceError, MemoryError) as error:
            text = f"{error}".partition("\n")[0]
            return Candidate(Outcome(*key, parameters, watch.elapsed, error=text))
        networks = [each.network for each in fitted]
        reasons = [each.history.stopped for each in fitted]
        stopped = [each for each in reasons if each == REASON or each.startswith("interrupted")]
        outcome = Outcome(
            *key,
            parameters,
            watch.elapsed,
            best_epochs=tuple(each.best_epoch for each in fitted),
            epochs=tuple(each.epochs for each in fitted),
            temperatures=tuple(each.temperature for each in fitted),
            prediction_ms=milliseconds(combined(networks), folds[0].every.table),
            stopped=stopped[0] if stopped else "",
            time_limit=self.time_limit,
        )
        # Copies have no buffers of activations, which are larger than many networks.
        return Candidate(outcome, copy.deepcopy(networks), self._averaged(np.concatenate(outputs)))

    def _show(self, row: Mapping[str, Any]) -> None:
        if self.progress:
            print(line_of(row, self.metric_), file=sys.stderr)

    def _combine(
        self, plan: Plan, candidates: Sequence[Candidate]
    ) -> tuple[list[tuple[Candidate, int]], np.ndarray]:
        usable = finished(candidates)
        if not usable:
            first = candidates[0].outcome
            raise DivergenceError(
                f"every candidate has failed. Error of {first.name}: {first.error}"
            )
        scoring, table = plan.scoring, plan.folds[0].every.table
        counts = greedy_selection(
            [each.predictions for each in usable],
            scoring.loss,
            max_models=max(1, self.max_networks // len(usable[0].networks)),
        )
        chosen = [(each, count) for each, count in zip(usable, counts, strict=True) if count]
        weights = {each.outcome.name: count / sum(counts) for each, count in chosen}
        network = combined(
            [network for each, _ in chosen for network in each.networks],
            [count for each, count in chosen for _ in each.networks],
        )
        predictions = np.zeros_like(usable[0].predictions)
        for each, _ in chosen:
            predictions += weights[each.outcome.name] * each.predictions
        outputs = scoring.outputs_of(predictions)
        self._decide_from(network, plan.folds, [outputs])
        self._set_scores(plan.folds, scoring.scores(predictions), self._predictions(outputs))
        self._set_outcomes([each.outcome for each, _ in chosen])
        rows = [
            row_of_candidate(each, scoring, weights.get(each.outcome.name, 0.0))
            for each in candidates
        ]
        sign = -1 if scoring.larger_is_better else 1
        rows.sort(key=lambda row: math.inf if row["score"] is None else sign * row["score"])
        ensemble = row_of(
            "ensemble",
            "ensemble",
            scoring,
            predictions,
            plan.limit.elapsed,
            [network],
            weight=1.0,
            prediction_ms=milliseconds(network, table),
        )
        self.leaderboard_ = [ensemble, *rows]
        return chosen, predictions

    def _set_outcomes(self, outcomes: Sequence[Outcome]) -> None:
        self.best_epoch_ = [epoch for each in outcomes for epoch in each.best_epochs]
        self.n_iter_ = [epochs for each in outcomes for epochs in each.epochs]
        if self._task != "regression":
            self.temperature_ = [number for each in outcomes for number in each.temperatures]

    def _distill(
        self, plan: Plan, chosen: Sequence[tuple[Candidate, int]], predictions: np.ndarray
    ) -> None:
        # If the training fails or Ctrl-C is pressed, the ensemble remains.
        fold, students = plan.folds[0], list[Candidate]()
        try:
            for student in self._students(plan, chosen):
                students.append(student)
                if student.outcome.stopped:
                    raise KeyboardInterrupt
                if student.outcome.error:
                    break
        except KeyboardInterrupt:
            self.stopped_ = INTERRUPTED
            outcome = Outcome(STUDENT, 0, {}, 0.0, error=INTERRUPTED)
            students.append(Candidate(outcome))
        scoring, scored, kept = self._scoring([fold]), students[0], students[-1]
        row = row_of_candidate(kept if kept.outcome.error else scored, scoring)
        row |= dict.fromkeys(("kind", "name"), "distilled")
        if kept.outcome.error:
            self._show(row)
            self.leaderboard_.append(row)
            return
        rows = len(scored.predictions)
        score = float(scoring.scores(predictions[:rows]).mean())
        row["seconds"] = round(sum(each.outcome.seconds for each in students), 3)
        row["note"] = f"scored on {rows} rows; the ensemble's score on these is {score:.5g}"
        self._show(row)
        self.leaderboard_.insert(0, row)
        outputs = [scoring.outputs_of(scored.predictions)]
        self._decide_from(kept.networks[0], [fold], outputs)
        self.validation_score_ = float(row["score"])
        self._set_outcomes([kept.outcome])

    def _students(self, plan: Plan, chosen: Sequence[tuple[Candidate, int]]) -> Iterator[Candidate]:
        # The first network learns the predictions of the first fold's networks, which have not seen
        # this fold's held-out rows. So these rows give the score, the intervals and the threshold.
        # With several folds, the last network, which is kept, learns the predictions of all
        # networks for all rows. Like a model that is refitted after cross-validation, it has no
        # held-out rows.
        first, every = plan.folds[0], plan.folds[0].every
        sizes = {} if self.distill is True else {"hidden_layer_sizes": self.distill}
        student = self._estimator(STUDENT, {"n_ens": 1, **sizes})
        if self._task != "regression":  # the probabilities already reflect these settings
            student.set_params(class_weight=None, threshold_for=None, temperature_scaling=False)
        lessons = [(first, self.n_ens), (Fold(every, None, None, every), None)]
        for fold, teachers in lessons[: len(plan.folds)]:
            of_each = [(each.networks[:teachers], count) for each, count in chosen]
            teacher = combined(
                [network for networks, _ in of_each for network in networks],
                [count for networks, count in of_each for _ in networks],
            )
            learned = self._averaged(outputs_of(teacher, every.table))
            folds = [fold_to_learn(fold, self._task, learned)]
            yield self._trained(student, CandidateKey(STUDENT, 0), {}, folds, plan)

    def _reference_rows(
        self, plan: Plan, models: Mapping[str, Model], kind: str
    ) -> Iterator[dict[str, Any]]:
        task = Task(self._task, self._outputs, self._log, self._quantiles, plan.seed)
        parts = self._parts(plan) if models else []
        for name, model in models.items():
            watch, note, predictions = TimeLimit(None), "", None
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    each = [predicted(model, *fold, task) for fold in parts]
                predictions = np.concatenate(each)
            except Exception as error:  # another model must not end the training
                note = f"{type(error).__name__}: {error}".partition("\n")[0]
            row = row_of(kind, name, plan.scoring, predictions, watch.elapsed, note=note)
            self._show(row)
            yield row

    def _parts(self, plan: Plan) -> list[tuple[EncodedRows, EncodedRows, Schema]]:
        learned = plan.schemas[FAMILIES[0]]
        medians = learned.scaling.median
        unscaled = NoScaling(medians)
        schema = Schema(learned.columns, unscaled, learned.missing_values, learned.named)

        def encoded(rows: Rows, training: Rows) -> EncodedRows:
            X, _ = schema.encode_with_unseen(rows.table, "float64")
            X[:, : len(medians)] -= medians  # float32 has no seconds of dates since 1970
            np.clip(X, -LARGEST, LARGEST, out=X)  # XGBoost refuses larger numbers
            weights = self._validation_weights(training, rows)
            return EncodedRows(X, rows.targets, np.ones(len(X)) if weights is None else weights)

        parts = []
        for fold in plan.folds:
            training = fold.training
            held = encoded(fold.validation, training)
            parts.append((encoded(training, training), held, schema))
        return parts

    def leaderboard(self) -> Any:
        """Return `leaderboard_` as a data frame of pandas.

        Returns
        -------
        pandas.DataFrame or list of dict
            The rows; a list if pandas is not installed.
        """
        check_is_fitted(self)
        return as_frame(self.leaderboard_)


def finished(candidates: Sequence[Candidate]) -> list[Candidate]:
    return [each for each in candidates if not each.outcome.error]


def warn_of_better(
    baselines: Sequence[Mapping[str, Any]], ensemble: Mapping[str, Any], scoring: Scoring
) -> None:
    # Few rows, or few seconds, may be enough for a linear model, but not for networks.
    sign = -1 if scoring.larger_is_better else 1
    scored = [row for row in (*baselines, ensemble) if row["score"] is not None]
    best = min(scored, key=lambda row: sign * row["score"])
    if best["kind"] == "baseline" and best["score"] != ensemble["score"]:
        warnings.warn(
            f"the baseline {best['name']!r} predicts the held-out rows better than the ensemble: "
            f"the baseline's score is {best['score']:.5g}, and the ensemble's score is "
            f"{ensemble['score']:.5g}. Train with more rows or more time, or use such a model",
            GpunnWarning,
            stacklevel=4,
        )


def fold_to_learn(fold: Fold, task: str, learned: np.ndarray) -> Fold:
    # `learned` has the teacher's predictions for all rows (Hinton et al. 2015, "Distilling the
    # Knowledge in a Neural Network"). The true targets of the held-out rows select the best epoch.
    held = fold.validation
    true = held.targets.reshape(len(held.targets), -1)
    if task == "classification":
        true = np.eye(learned.shape[1])[held.targets]
    every = fold.every._replace(targets=learned)
    return fold._replace(every=every, validation=held._replace(targets=true))
