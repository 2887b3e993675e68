"""Programs in C, compiled and run."""

import subprocess
from pathlib import Path

FLAGS = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-O1", "-ffp-contract=off"]


def compiled(
    compiler: str,
    folder: Path,
    *sources: str,
    dialect: str = "-std=c99",
    flags: tuple[str, ...] = (),
) -> str:
    """Compile, run, and return what is printed."""
    made = subprocess.run(
        [compiler, dialect, *FLAGS, *flags, *sources, "-o", "program", "-lm"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    ran = subprocess.run(
        ["./program"], cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout
