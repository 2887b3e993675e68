#!/usr/bin/env bash
# Checks gpunn on this machine's CUDA GPU: ./scripts/gpu_check.sh [OPTIONS]; --help lists them.
#
# Needs nothing but a Python environment with gpunn's dependencies and CuPy: $PYTHON, or the active one. No network.
# Exit status: 0 no check failed, 1 some check failed, 2 wrong usage or a package is missing, 3 skipped because there is
# no CUDA device, 4 no check failed and some were stopped because their time was up.
set -euo pipefail

scripts=$(CDPATH="" cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)

rejected=""
if [[ -n ${PYTHON:-} ]]; then pythons=("$PYTHON"); else pythons=(python python3); fi
for python in "${pythons[@]}"; do
  if ! type -P -- "$python" >/dev/null; then
    rejected+="; $python: no such command"
  elif ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    rejected+="; $python: not Python 3.11 or newer"
  else
    exec "$python" "$scripts/gpu_check" "$@"
  fi
done
echo "gpu_check.sh: error: no Python to run${rejected}; activate an environment, or set PYTHON to an interpreter" >&2
exit 2
