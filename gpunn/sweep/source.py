"""Where the trials of a sweep come from: a configuration, and what each trial changes in it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from gpunn.config import Config, Sweep, load_config
from gpunn.errors import ConfigError
from gpunn.experiment import Experiment, build
from gpunn.experiment.objects import Objects
from gpunn.sweep.process import neighbours

__all__ = ["Source"]


@dataclass(frozen=True)
class Source:
    """The configuration of a sweep.

    Parameters
    ----------
    path : Path
        Its file.
    settings : tuple of str
        Changes, as `--set` takes them, for all trials.
    backend : str or None
        Takes precedence over the configuration's.
    allow_imports : bool
        Whether the configuration may import classes, which runs their modules' code.

    Examples
    --------
    >>> import json
    >>> from pathlib import Path
    >>> from gpunn.sweep import Source
    >>> raw = {
    ...     "data": {"dataset": "digits", "validation_fraction": 0.2},
    ...     "model": {"layers": [{"name": "dense", "units": 10}]},
    ...     "training": {"loss": "softmax_cross_entropy", "epochs": 2},
    ...     "sweep": {"parameters": {"training.batch_size": {"choices": [32, 64]}}},
    ... }
    >>> written = Path("sweep.json").write_text(json.dumps(raw))
    >>> config, sweep = Source(Path("sweep.json")).read()
    >>> list(sweep.space)
    ['training.batch_size']
    """

    path: Path
    settings: tuple[str, ...] = ()
    backend: str | None = None
    allow_imports: bool = False
    _said: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    def read(self) -> tuple[Config, Sweep]:
        """Return the configuration and its table `[sweep]`.

        Returns
        -------
        config : Config
            The whole configuration.
        sweep : Sweep
            Its table.

        Raises
        ------
        ConfigError
            If the configuration is wrong, or has no such table.
        """
        config = load_config(self.path, self.settings)
        if config.sweep is None:
            raise ConfigError(
                f"{self.path}: sweep: this table is needed: what trials differ in, such as "
                '[sweep.parameters] with "training.batch_size" = { choices = [32, 64] }'
            )
        return config, config.sweep

    def config(self, settings: Sequence[str]) -> Config:
        """Return the configuration of a trial, which is that of an ordinary run.

        Parameters
        ----------
        settings : sequence of str
            The trial's own changes.

        Returns
        -------
        Config
            Without `[sweep]`.
        """
        return replace(load_config(self.path, [*self.settings, *settings]), sweep=None)

    def check(self, settings: Sequence[str]) -> None:
        """Raise a ConfigError if these settings make no configuration, as far as it shows early.

        Parameters
        ----------
        settings : sequence of str
            A trial's changes.
        """
        Objects(self.config(settings), self.allow_imports)

    def build(self, settings: Sequence[str]) -> Experiment:
        """Return the experiment of a trial, which this process trains alone.

        Of several processes that a launcher has started on a machine, each has a CUDA device of its
        own.

        Parameters
        ----------
        settings : sequence of str
            The trial's own changes.

        Returns
        -------
        Experiment
            Ready to run.
        """
        config = self.config(settings)
        ops = config.get_backend(self.backend, neighbours())
        with said_once(self._said):  # of the same data the same in every trial
            return build(config, ops, allow_imports=self.allow_imports)


@contextmanager
def said_once(said: set[str]) -> Iterator[None]:
    """Log no message that is in this set, to which each message is added."""

    def is_new(record: logging.LogRecord) -> bool:
        before = len(said)
        said.add(record.getMessage())
        return len(said) > before

    logger = logging.getLogger("gpunn")
    logger.addFilter(is_new)
    try:
        yield
    finally:
        logger.removeFilter(is_new)
