"""Programs in C, compiled and run."""

from pathlib import Path

from processes import run

FLAGS = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-O1", "-ffp-contract=off"]


def compiled(
    compiler: str,
    folder: Path,
    *sources: str,
    dialect: str = "-std=c99",
    flags: tuple[str, ...] = (),
) -> str:
    """Compile, run, and return what is printed."""
    run(compiler, dialect, *FLAGS, *flags, *sources, "-o", "program", "-lm", cwd=folder)
    return run("./program", cwd=folder, timeout=60).stdout
