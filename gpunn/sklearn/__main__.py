"""`python -m gpunn.sklearn script.py`: train a script's scikit-learn perceptrons with gpunn."""

import argparse
import runpy
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from types import TracebackType

from gpunn.errors import GpunnError
from gpunn.meaning import plural
from gpunn.sklearn.acceleration import install
from gpunn.sklearn.together import together
from gpunn.terminal import write_last_words


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m gpunn.sklearn",
        usage="%(prog)s [-h] [--backend NAME] [--together] [--count] (SCRIPT | -m MODULE) "
        "[ARGUMENT ...]",
        description="Run a program unchanged, and let gpunn train its scikit-learn MLPClassifier "
        "and MLPRegressor. If gpunn does not support an estimator's settings, scikit-learn "
        "trains the estimator, and a warning gives the reason.",
        allow_abbrev=False,
    )
    parser.add_argument("--backend", metavar="NAME", help="numpy, cupy, cupy:1 or auto")
    parser.add_argument(
        "--together",
        action="store_true",
        help="train the networks of searches and ensembles in threads, several at a time",
    )
    parser.add_argument(
        "--count", action="store_true", help="print to stderr how often each library trained"
    )
    parser.add_argument("-m", dest="module", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parser.add_argument("script", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    program = options.module or options.script
    if not program:
        parser.error("expected a script, or -m and a module; see --help")
    if not options.module and not Path(program[0]).exists():
        parser.error(f"{program[0]}: this file does not exist")
    try:
        acceleration = install(options.backend)
    except GpunnError as error:
        parser.error(f"--backend: {error}")
    sys.argv = program
    try:
        with together() if options.together else nullcontext():
            if options.module:
                runpy.run_module(program[0], run_name="__main__", alter_sys=True)
            else:
                if not sys.flags.safe_path:
                    sys.path[0] = str(Path(program[0]).resolve().parent)
                runpy.run_path(str(Path(program[0]).absolute()), run_name="__main__")
    except Exception as error:
        error.__traceback__ = own_frames(error)
        sys.excepthook(type(error), error, error.__traceback__)
        sys.exit(1)
    finally:
        if options.count:
            counts = [
                f"{name} {'trained ' * (name == 'gpunn')}{plural(acceleration.fits[name], 'time')}"
                for name in ("gpunn", "scikit-learn")
            ]
            write_last_words(f"{', '.join(counts)} (in this process)\n")


def own_frames(error: Exception) -> TracebackType | None:
    others = (__file__, runpy.run_path.__code__.co_filename)
    frames = error.__traceback__
    while frames and frames.tb_frame.f_code.co_filename in others:
        frames = frames.tb_next
    return frames


if __name__ == "__main__":
    main()
