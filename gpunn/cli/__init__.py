"""The `gpunn` command.

Each command's module imports what it needs when it runs, so that `gpunn --help` is quick.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from gpunn.cli.closed_output import standard_streams
from gpunn.cli.doctor import doctor
from gpunn.cli.evaluate import evaluate
from gpunn.cli.example import example
from gpunn.cli.export import export
from gpunn.cli.inspect import inspect
from gpunn.cli.predict import predict
from gpunn.cli.report import report
from gpunn.cli.runs import runs
from gpunn.cli.sweep import sweep
from gpunn.cli.text import INTERRUPTED, lines_escaped, say
from gpunn.cli.train import train
from gpunn.errors import (
    DistributedError,
    DivergenceError,
    GpunnError,
    GpunnWarning,
    UnknownCategoryWarning,
)
from gpunn.version import __version__

__all__ = ["main"]

LARGE_DATA = (
    "data as large as that can be given as NPY files, which are read in chunks; other files "
    "must fit into memory"
)


class Diverged(click.ClickException):
    """Training ran and failed."""

    exit_code = 1


class Refused(click.ClickException):
    """Something is wrong that the user can put right."""

    exit_code = 2


class Commands(click.Group):
    """Commands whose failures are one line on standard error and an exit status.

    2 is for what the user can put right (usage, configuration, data, files, a missing GPU), 1 for
    training that diverged, 130 for Ctrl-C.
    """

    def main(self, *args: Any, **kwargs: Any) -> Any:
        with standard_streams():
            try:
                return super().main(*args, **kwargs)
            except OSError as error:  # of what click itself writes, such as help
                Refused(message_of(error)).show()
                sys.exit(Refused.exit_code)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.showwarning = without_source_line(warnings.showwarning)
                # What is in a user's rows is said in any case, and stops no prediction.
                warnings.simplefilter("always", UnknownCategoryWarning)
                return super().invoke(ctx)
        except click.ClickException as error:
            vars(error).update(message=lines_escaped(error.message))
            raise
        except BrokenPipeError:  # of `gpunn ... | head`, which click knows to end in silence
            raise
        except (GpunnError, OSError) as error:
            if isinstance(error, DistributedError) and error.elsewhere:
                raise click.exceptions.Exit(1) from error  # that rank has said why
            kind = Diverged if isinstance(error, DivergenceError) else Refused
            raise kind(lines_escaped(message_of(error))) from error
        except MemoryError as error:
            reason = f" ({error})" if str(error) else ""
            raise Refused(f"out of memory{reason}; {LARGE_DATA}") from error
        except KeyboardInterrupt:
            say("Interrupted.", err=True)
            raise click.exceptions.Exit(INTERRUPTED) from None


def message_of(error: GpunnError | OSError) -> str:
    """Return an error's message; that of the system gets the name of its file."""
    if isinstance(error, GpunnError) or error.filename is None:
        return str(error)
    return f"{error.filename}: {error.strerror or error}"


class Escaping(logging.Formatter):
    """Formats records so that a terminal obeys nothing in them."""

    def format(self, record: logging.LogRecord) -> str:
        return lines_escaped(super().format(record))


def without_source_line(otherwise: Callable[..., None]) -> Callable[..., None]:
    """Return a `warnings.showwarning` that shows gpunn's own warnings without a line of source."""

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if issubclass(category, GpunnWarning):
            say(str(message), err=True)
        else:
            otherwise(message, category, *place, **more)

    return show


@click.group(
    cls=Commands,
    commands=[example, inspect, train, sweep, evaluate, predict, runs, report, export, doctor],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="gpunn")
def main() -> None:
    """Train neural networks on NumPy or CuPy, from a configuration in TOML."""
    refuse_several_ranks()
    # What gpunn logs, such as the backend that "auto" chose, goes to standard error as it is.
    handler = logging.StreamHandler()
    handler.setFormatter(Escaping("%(message)s"))
    logging.basicConfig(handlers=[handler])
    # A script's log, such as that of a CI job, should tell what the first minute went into.
    logging.getLogger("gpunn.compilation").setLevel(logging.INFO)
    # A configuration may name classes of modules in the current folder ("my_layers:Gate"). Last,
    # so that no file there hides an installed module.
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)


TOGETHER = ("train", "sweep", "doctor")
"""Commands that several ranks can run, together or each by itself."""


def refuse_several_ranks() -> None:
    """Raise an error where a launcher has started several ranks of a command for one process."""
    command = click.get_current_context().invoked_subcommand
    if command in TOGETHER:
        return
    from gpunn.distributed.launch import launched

    size, launcher = launched()
    if size > 1:
        raise Refused(
            f"gpunn {command}: {launcher} has started {size} processes, and this command is for "
            f"one; only {' and '.join(TOGETHER[:2])} are for several"
        )
