"""The models that are tried: TabM and RealMLP, first with defaults, then with random settings."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from gpunn.network import Sequential
from gpunn.randomness import generator

FAMILIES = ("TabM", "RealMLP")
"""The kinds of models, in the order of their turns. TabM is first, since a time limit may end its
training after any epoch. RealMLP's learning rate needs a planned number of epochs."""

MAX_CANDIDATES = 100
"""Maximum number of candidates, since all their networks are in memory."""


class CandidateKey(NamedTuple):
    family: str
    number: int

    @property
    def name(self) -> str:
        return f"{self.family} {self.number + 1}"


@dataclass(frozen=True)
class Outcome:
    """The result of training a candidate, in JSON types.

    Each fold has one network for each seed; the tuples have one entry for each network. `stopped`
    is the reason if training ended early. `prediction_ms` is the CPU time for 1,000 rows.
    """

    family: str
    number: int
    parameters: dict[str, Any]
    seconds: float
    best_epochs: tuple[int, ...] = ()
    epochs: tuple[int, ...] = ()
    temperatures: tuple[float, ...] = ()
    prediction_ms: float = 0.0
    stopped: str = ""
    error: str = ""
    time_limit: float | None = None

    @property
    def name(self) -> str:
        return CandidateKey(self.family, self.number).name


@dataclass(frozen=True, eq=False)
class Candidate:
    outcome: Outcome
    networks: list[Sequential] = field(default_factory=list)
    predictions: np.ndarray = field(default_factory=lambda: np.empty(0))


class CandidateOrder:
    """Selects the next candidate, from the fitting family with the fewest candidates so far.

    A family fits if the mean training time of its candidates so far is at most the time left. The
    first candidate does not need to fit.
    """

    def __init__(self) -> None:
        self._seconds: dict[str, list[float]] = {family: [] for family in FAMILIES}

    def next(self, left: float) -> CandidateKey | None:
        # The first candidate always comes; later, None means that no time is left.
        tried = {family: len(seconds) for family, seconds in self._seconds.items()}
        total, most = sum(tried.values()), len(FAMILIES) if left == math.inf else MAX_CANDIDATES
        if total >= most or (total and left <= 0):
            return None
        fitting = [each for each in FAMILIES if np.mean(self._seconds[each] or [0.0]) <= left]
        if total and not fitting:
            return None
        family = min(fitting or FAMILIES, key=tried.__getitem__)
        return CandidateKey(family, tried[family])

    def add(self, outcome: Outcome) -> None:
        self._seconds[outcome.family].append(outcome.seconds)


def parameters_of(key: CandidateKey, seed: int) -> dict[str, Any]:
    # A family's first candidate has defaults; later parameters are drawn from the authors' search
    # spaces. For TabM (Gorishniy et al. 2025), layers and members keep their defaults, which
    # determine the time of a prediction. For RealMLP (Holzmüller et al. 2024), label smoothing and
    # the scaling layer keep their defaults.
    if key.number == 0:
        return {}
    family = FAMILIES.index(key.family)
    random = generator(seed, "candidate", family, key.number)

    def log_uniform(low: float, high: float) -> float:
        return float(np.exp(random.uniform(math.log(low), math.log(high))))

    if key.family == "TabM":
        return {
            "learning_rate_init": log_uniform(1e-4, 5e-3),
            "weight_decay": log_uniform(1e-4, 1e-1) if random.random() < 0.5 else 0.0,
            "dropout": float(random.uniform(0, 0.5)) if random.random() < 0.5 else 0.0,
            "bins": int(random.integers(2, 129)),
            "embedding_size": int(4 * random.integers(2, 9)),
        }
    sizes = ([256] * 3, [64] * 5, [512])
    return {
        "number_embedding": ("none", "pbld", "pl", "plr")[random.integers(4)],
        "learning_rate_init": log_uniform(2e-2, 3e-1),
        "dropout": float(random.choice([0.0, 0.15, 0.3], p=[0.3, 0.5, 0.2])),
        "weight_decay": float(random.choice([0.0, 0.02])),
        "activation": ("relu", "selu", "mish")[random.integers(3)],
        "hidden_layer_sizes": sizes[random.choice(3, p=[0.6, 0.2, 0.2])],
        "embedding_sigma": log_uniform(0.05, 0.5),
    }
