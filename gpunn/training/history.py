"""The logs of each epoch: loss, metrics, learning rate and times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gpunn.display import html_table, plot_columns
from gpunn.errors import ArgumentError, MissingMetricError, suggest
from gpunn.meaning import plural
from gpunn.monitor import (
    NOT_METRICS,
    VALIDATION,
    Best,
    check_monitor,
    default_monitor,
    direction,
    directions,
    monitored,
)

SHOWN = 30
"""The maximum number of epochs that a notebook shows: the first epochs and the last epochs."""


class History(dict[str, list[float]]):
    """A dictionary with the values of each log, such as "loss", in the epochs that have the log.

    If no epoch has a log called `name`, `history[name]` raises a `MissingMetricError`, which is a
    KeyError. `pandas.DataFrame(history.rows)` makes a table with one row per epoch.

    Attributes
    ----------
    rows : list of dict
        One row per epoch: "epoch" (from 1), "loss", metrics, "val_loss", ..., "learning_rate" (of
        the epoch's last update), "seconds" and "samples_per_second". To change the rows, use only
        `append` and `replace`.
    stopped : str
        Why training ended before the last requested epoch, or "" if all epochs were done.
    rule : Best or None
        The default rule that selects the best epoch. If the last call of `fit` had an
        `EarlyStopping`, this is the callback's rule. None means "val_accuracy" if this metric is
        logged, else "val_loss".
    larger_is_better : dict of str to bool or None
        Maps the name of each possible log to whether larger is better; None means unknown.

    Examples
    --------
    >>> history = gpunn.History()
    >>> history.append({"epoch": 1, "loss": 0.5})
    >>> history.append({"epoch": 2, "loss": 0.25})
    >>> history["loss"]
    [0.5, 0.25]
    >>> history.best_epoch_by("loss")
    2
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[dict[str, float]] = []
        self.stopped = ""
        self.rule: Best | None = None
        self.larger_is_better = directions(())

    def append(self, row: Mapping[str, float]) -> None:
        """Add an epoch.

        Parameters
        ----------
        row : mapping of str to float
            The epoch's logs, including "epoch".
        """
        self.rows.append(dict(row))
        for name, value in row.items():
            self.setdefault(name, []).append(value)

    def replace(self, rows: Iterable[Mapping[str, float]]) -> None:
        """Replace all epochs.

        Parameters
        ----------
        rows : iterable of mapping of str to float
            The logs of each new epoch, as for `append`.
        """
        new = list(rows)
        self.clear()
        self.rows.clear()
        for row in new:
            self.append(row)

    def __getitem__(self, name: str) -> list[float]:
        return list(super().__getitem__(name))

    def __missing__(self, key: object) -> list[float]:
        name = str(key)
        if not self.rows:
            ended = f" (training ended: {self.stopped})" if self.stopped else ""
            raise MissingMetricError(
                f"history: there is no {name!r}, since no epoch has been trained yet{ended}; call "
                "Trainer.fit"
            )
        needs = ""
        if name.startswith(VALIDATION) and not any(key.startswith(VALIDATION) for key in self):
            needs = " without validation data (validation_data or validation_split of Trainer.fit)"
        raise MissingMetricError(f"history: there is no {name!r}{needs}; {suggest(name, self)}")

    def __repr__(self) -> str:
        return f"<History of {plural(len(self.rows), 'epoch')}: {', '.join(self)}>"

    @property
    def best_epoch(self) -> int:
        """The number of the best epoch, from 1, selected by `rule`; see `best_epoch_by`."""
        return self.best_epoch_by()

    def best_epoch_by(self, monitor: str | None = None, mode: str = "auto") -> int:
        """Return the number of the best epoch, from 1, by a metric.

        Parameters
        ----------
        monitor : str or None
            The metric that selects the epoch. None uses `rule` if `mode` is "auto", otherwise
            "val_accuracy" if logged, else "val_loss".
        mode : {"auto", "min", "max"}
            Whether smaller ("min") or larger ("max") values are better. "auto" uses
            `Metric.larger_is_better` for metrics, and "min" for losses.

        Returns
        -------
        int
            The best epoch. If several epochs are equally good, the result is the last of them if
            `rule.ties` is "last", otherwise the first.

        Raises
        ------
        ArgumentError
            If the metric does not exist, or no epoch has a finite value. The error is also raised
            if `monitor` is None and there is no validation data, or if "auto" can't decide which
            values are better.
        """
        rule = self._rule(monitor, mode)
        best = rule.find(self.rows)
        if best is None:
            raise ArgumentError(
                f"monitor: {rule.monitor!r} can't select the best epoch, since it has no finite "
                f"value in {plural(len(self.rows), 'epoch')}"
            )
        return int(best["epoch"])

    def _rule(self, monitor: str | None, mode: str) -> Best:
        if not self.rows:
            raise ArgumentError("history: no epoch has been trained yet; call Trainer.fit")
        if monitor is None and mode == "auto" and self.rule is not None:
            return self.rule
        name = default_monitor(self) if monitor is None else monitor
        if name is None:
            raise ArgumentError(
                "monitor: without validation data, no metric selects the best epoch; name one, "
                f"such as 'loss' ({suggest('', self)})"
            )
        check_monitor(name, mode)
        monitored(dict.fromkeys(self, 0.0), name)
        return Best(name, direction(mode, name, self.larger_is_better))

    def plot(self, *names: str) -> Any:
        """Plot each log by epoch on separate axes, with training and validation together.

        Parameters
        ----------
        *names : str
            The logs to plot, such as "loss" and "accuracy"; by default the loss and all metrics.
            With "val_loss", only the validation loss is shown.

        Returns
        -------
        list of matplotlib.axes.Axes
            The axes of a pyplot figure. A notebook shows the figure; a script calls
            `matplotlib.pyplot.show()`. To save the figure, call `axes[0].figure.savefig(...)`.

        Raises
        ------
        ArgumentError
            If a log does not exist, or if no epoch has been trained.
        MissingPackageError
            If Matplotlib is not installed; the `report` extra installs Matplotlib.
        """
        if not self.rows:
            raise ArgumentError("history: no epoch has been trained yet; call Trainer.fit")
        for name in names:
            if not isinstance(name, str) or name not in self:
                raise ArgumentError(f"names: there is no {name!r}; {suggest(str(name), self)}")
        measured = [n for n in self if n not in NOT_METRICS and not n.startswith(VALIDATION)]
        return plot_columns(self.rows, names or measured)

    def _repr_html_(self) -> str:
        names = list(self)
        rows = [[f"{row[name]:.6g}" if name in row else "" for name in names] for row in self.rows]
        if len(rows) > SHOWN:
            rows = [*rows[:5], ["…"] * len(names), *rows[5 - SHOWN :]]
        return html_table(repr(self)[1:-1], names, rows)
