"""Programs in C, compiled and run."""

from pathlib import Path

import numpy as np
from processes import run

FLAGS = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-O1", "-ffp-contract=off"]

SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def number_in_c(value: float) -> str:
    return repr(value).replace("nan", "NAN").replace("inf", "INFINITY")


def rows_in_c(rows: np.ndarray) -> str:
    texts = (", ".join(map(number_in_c, row.ravel().tolist())) for row in rows)
    return ", ".join(f"{{{text}}}" for text in texts)


def compiled(
    compiler: str,
    folder: Path,
    *sources: str,
    dialect: str = "-std=c99",
    flags: tuple[str, ...] = (),
) -> str:
    run(compiler, dialect, *FLAGS, *flags, *sources, "-o", "program", "-lm", cwd=folder)
    return run("./program", cwd=folder, timeout=60).stdout
