"""The configuration of a sweep, and the configurations and experiments of its trials."""

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
from gpunn.sweep.process import neighbors


@dataclass(frozen=True)
class Source:
    """The configuration of a sweep.

    Parameters
    ----------
    path : Path
        The file of the configuration.
    settings : tuple of str
        Settings for all trials, as for `--set`, which override the configuration.
    backend : str or None
        The backend, or None for the configuration's backend.
    allow_imports : bool
        Whether the configuration may import custom classes, which runs the code of their modules.

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
    _logged: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    def read(self) -> tuple[Config, Sweep]:
        """Return the configuration and its table `[sweep]`.

        Returns
        -------
        config : Config
            The whole configuration.
        sweep : Sweep
            The table `[sweep]`.

        Raises
        ------
        ConfigError
            If the configuration is invalid, or has no table `[sweep]`.
        """
        config = load_config(self.path, self.settings)
        if config.sweep is None:
            raise ConfigError(
                f"{self.path}: the table 'sweep' is missing; add the keys to vary, such as "
                '[sweep.parameters] with "training.batch_size" = { choices = [32, 64] }'
            )
        return config, config.sweep

    def config(self, settings: Sequence[str]) -> Config:
        """Return the configuration of a trial.

        Parameters
        ----------
        settings : sequence of str
            The settings of the trial, which override the configuration.

        Returns
        -------
        Config
            The configuration, without `[sweep]`.
        """
        return replace(load_config(self.path, [*self.settings, *settings]), sweep=None)

    def check(self, settings: Sequence[str]) -> None:
        """Raise a ConfigError if a trial's settings are invalid. The data is not loaded.

        Parameters
        ----------
        settings : sequence of str
            The settings of the trial, which override the configuration.
        """
        Objects(self.config(settings), self.allow_imports)

    def build(self, settings: Sequence[str]) -> Experiment:
        """Return the experiment of a trial, for training in this process only.

        If a launcher has started several processes on a machine, each process gets a different CUDA
        device.

        Parameters
        ----------
        settings : sequence of str
            The settings of the trial, which override the configuration.

        Returns
        -------
        Experiment
            The experiment, ready to run.
        """
        config = self.config(settings)
        ops = config.get_backend(self.backend, neighbors())
        with logged_once(self._logged):  # each trial would log the same messages about the data
            return build(config, ops, allow_imports=self.allow_imports)


@contextmanager
def logged_once(messages: set[str]) -> Iterator[None]:
    def is_new(record: logging.LogRecord) -> bool:
        before = len(messages)
        messages.add(record.getMessage())
        return len(messages) > before

    logger = logging.getLogger("gpunn")
    logger.addFilter(is_new)
    try:
        yield
    finally:
        logger.removeFilter(is_new)
