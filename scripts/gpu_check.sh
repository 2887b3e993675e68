#!/usr/bin/env bash
# Checks gpunn on this machine's CUDA GPU: ./scripts/gpu_check.sh [OPTIONS]; --help lists them.
#
# Needs only a Python environment with gpunn's dependencies and CuPy: $PYTHON, or the active one. It works offline.
# Exit status: 0 if no check failed; 1 if a check failed; 2 for wrong usage or a missing package; 3 if nothing ran because
# there is no CUDA device; 4 if no check failed but a check ran out of time.
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
echo "gpu_check.sh: error: no usable Python${rejected}; activate an environment, or set PYTHON to an interpreter" >&2
exit 2
