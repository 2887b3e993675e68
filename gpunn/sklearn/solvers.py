"""Make the optimizer and schedule from an estimator's parameters."""

import copy
import inspect
from collections.abc import Mapping
from typing import Any

from gpunn.configurable import known, resolve
from gpunn.optimizers import SGD, Adam, Optimizer
from gpunn.schedules import Constant, Schedule
from gpunn.sklearn.convergence import LearningRate


def optimizer_of(estimator: Any) -> tuple[Optimizer, LearningRate | None, str]:
    # If the user passed a schedule, or an optimizer with a learning rate, the returned learning
    # rate is None. The user's objects are copied, because training can change them.
    rate: LearningRate | None = None
    if estimator.schedule is None:
        schedule: Schedule = LearningRate(estimator.learning_rate_init)
        rate = schedule  # type: ignore[assignment]
    else:
        schedule = schedule_of(estimator.schedule, estimator.learning_rate_init)
    mode = "constant"
    wanted = estimator.optimizer
    if wanted is None and estimator.solver == "sgd":
        mode = estimator.learning_rate
        optimizer: Optimizer = SGD(
            schedule, momentum=estimator.momentum, nesterov=bool(estimator.nesterovs_momentum)
        )
    elif wanted is None:
        optimizer = Adam(
            schedule,
            beta1=estimator.beta_1,
            beta2=estimator.beta_2,
            epsilon=estimator.epsilon,
            epsilon_hat=True,
        )
    elif isinstance(wanted, Optimizer):
        optimizer = copy.deepcopy(wanted)
        if estimator.schedule is not None:
            optimizer.learning_rate = schedule
        rate = None
    else:
        named = dict(wanted) if isinstance(wanted, Mapping) else {"name": wanted}
        if "learning_rate" in named and estimator.schedule is None:
            rate = None
        else:
            named["learning_rate"] = schedule
        optimizer = resolve(Optimizer, named, "optimizer")
    if not optimizer.l2_penalty:
        optimizer.l2_penalty = float(estimator.alpha)
    if estimator.max_norm is not None:
        optimizer.max_norm = float(estimator.max_norm)
    return optimizer, rate, mode


def schedule_of(wanted: Any, rate: float) -> Schedule:
    if isinstance(wanted, Schedule):
        return copy.deepcopy(wanted)
    named = dict(wanted) if isinstance(wanted, Mapping) else {"name": wanted}
    rates = {"rate": rate, "schedule": Constant(rate)}
    parameters = inspect.signature(known(Schedule)[named["name"]]).parameters
    return resolve(
        Schedule, {**{key: rates[key] for key in rates if key in parameters}, **named}, "schedule"
    )
