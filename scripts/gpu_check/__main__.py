"""Check gpunn on this machine's CUDA device; see docs/project/gpu_testing.md."""

from __future__ import annotations

import importlib.util
import re
import sys
import tomllib

from device import REPOSITORY

if __name__ == "__main__":
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    # "array-api-compat>=1.11" is imported as array_api_compat.
    modules = {
        each: re.split(r"[^\w-]", each)[0].replace("-", "_") for each in project["dependencies"]
    }
    absent = [each for each in modules if importlib.util.find_spec(modules[each]) is None]
    if absent:
        names = ", ".join(modules[each] for each in absent)
        packages = " ".join(f"'{each}'" for each in absent)
        print(
            f"gpu_check.sh: error: {sys.executable} lacks packages that gpunn needs: {names}. "
            f"To install them:\n{sys.executable} -m pip install {packages}\n"
            "On an offline machine, add --no-index --find-links FOLDER, with a folder of wheels "
            "that `pip download` made elsewhere.",
            file=sys.stderr,
        )
        sys.exit(2)
    from command import main

    main(prog_name="gpu_check.sh")
