"""The `gpunn` command.

A command imports its modules only when it runs, because `gpunn --help` must be fast.
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
    "save data larger than memory as NPY files, which gpunn reads in chunks; other files must fit "
    "into memory"
)


class Diverged(click.ClickException):
    exit_code = 1


class Refused(click.ClickException):
    exit_code = 2


class Commands(click.Group):
    """A group of commands that report a failure in one line on standard error."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # in the order of use, not of the alphabet

    def main(self, *args: Any, **kwargs: Any) -> Any:
        with standard_streams():
            try:
                return super().main(*args, **kwargs)
            except OSError as error:  # from text that click itself writes, such as help
                Refused(message_of(error)).show()
                sys.exit(Refused.exit_code)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.showwarning = without_source_line(warnings.showwarning)
                # Always show warnings about the user's rows; they never stop a prediction.
                warnings.simplefilter("always", UnknownCategoryWarning)
                return super().invoke(ctx)
        except click.ClickException as error:
            hint = settings_hint(error) if isinstance(error, click.NoSuchOption) else ""
            vars(error).update(message=lines_escaped(error.message + hint))
            raise
        except BrokenPipeError:  # from `gpunn ... | head`; click ends silently
            raise
        except (GpunnError, OSError) as error:
            if isinstance(error, DistributedError) and error.elsewhere:
                raise click.exceptions.Exit(1) from error  # that rank has printed the reason
            kind = Diverged if isinstance(error, DivergenceError) else Refused
            raise kind(lines_escaped(message_of(error))) from error
        except MemoryError as error:
            reason = f" ({error})" if str(error) else ""
            raise Refused(f"out of memory{reason}; {LARGE_DATA}") from error
        except KeyboardInterrupt:
            say("Interrupted.", err=True)
            raise click.exceptions.Exit(INTERRUPTED) from None


def settings_hint(error: click.NoSuchOption) -> str:
    options = [] if error.ctx is None else error.ctx.command.params
    if error.possibilities or not any(option.name == "settings" for option in options):
        return ""
    return " To change the configuration, use --set KEY=VALUE, such as --set training.epochs=3."


def message_of(error: GpunnError | OSError) -> str:
    if isinstance(error, GpunnError) or error.filename is None:
        return str(error)
    return f"{error.filename}: {error.strerror or error}"


class Escaping(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return lines_escaped(super().format(record))


def without_source_line(otherwise: Callable[..., None]) -> Callable[..., None]:
    def show(message: Warning | str, category: type[Warning], *location: Any, **more: Any) -> None:
        if issubclass(category, GpunnWarning):
            say(str(message), err=True)
        else:
            otherwise(message, category, *location, **more)

    return show


HELP = """Train neural networks on tables, images and arrays with NumPy or CuPy.

\b
To start, use the example table, or your own CSV file and the column to predict:
  gpunn example
  gpunn train credit_risk.csv --target loan_status
  gpunn evaluate runs/credit_risk
  gpunn predict runs/credit_risk credit_risk.csv

\b
To see the options of a command: gpunn COMMAND --help
To train on an NVIDIA GPU: gpunn train ... --backend cupy
In Python: import gpunn; for scikit-learn: from gpunn.sklearn import MLPClassifier
"""


@click.group(
    cls=Commands,
    commands=[example, inspect, train, sweep, evaluate, predict, runs, report, export, doctor],
    help=HELP,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="gpunn")
def main() -> None:
    refuse_several_ranks()
    # Log messages, such as the backend that "auto" selects, go to standard error without a prefix.
    handler = logging.StreamHandler()
    handler.setFormatter(Escaping("%(message)s"))
    logging.basicConfig(handlers=[handler])
    # Show in a CI log that compiling the kernels took the first minute.
    logging.getLogger("gpunn.compilation").setLevel(logging.INFO)
    # A configuration may name classes of modules in the current folder ("my_layers:Gate"). The
    # folder comes last, so that no file in it hides an installed module.
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)


TOGETHER = ("train", "sweep", "doctor")


def refuse_several_ranks() -> None:
    command = click.get_current_context().invoked_subcommand
    if command in TOGETHER:
        return
    from gpunn.distributed.launch import launched

    size, launcher = launched()
    if size > 1:
        raise Refused(
            f"gpunn {command}: {launcher} has started {size} processes, but this command runs in "
            f"one process; run it without the launcher. Only {' and '.join(TOGETHER[:2])} run in "
            "several processes"
        )
