"""Check gpunn on this machine's CUDA device; see docs/project/gpu_check.md."""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import supplies

if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--data")
    parser.add_argument("--wheels", type=Path)
    options, _ = parser.parse_known_args()  # `command` reads all options; click may be missing here
    print(supplies.overview(os.environ, options.data), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        try:
            if options.wheels is not None:
                supplies.install(options.wheels, Path(folder))
        except supplies.WheelsError as error:
            print(f"gpu_check.sh: error: {error}", file=sys.stderr)
            sys.exit(2)
        absent = supplies.absent_requirements()
        if absent:
            packages = " ".join(f"'{each}'" for each in absent)
            print(
                f"gpu_check.sh: error: {sys.executable} lacks packages that gpunn needs: "
                f"{', '.join(absent.values())}. To install them:\n"
                f"{sys.executable} -m pip install {packages}\n"
                "On an offline machine, bring their wheels, which `pip download` gets elsewhere, "
                "and add --wheels FOLDER.",
                file=sys.stderr,
            )
            sys.exit(2)
        from command import main

        main(prog_name="gpu_check.sh")
