#!/usr/bin/env bash
# Checks gpunn on this machine's CUDA GPU: ./scripts/gpu_check.sh [--json FILE] [--data FOLDER] [--help]
#
# Needs nothing but a Python environment with gpunn's dependencies and CuPy: $PYTHON, or the active one. No network.
# Exit status: 0 no check failed, 1 some check failed, 2 wrong usage, 3 skipped because there is no CUDA device.
set -euo pipefail

scripts=$(CDPATH="" cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)

for python in "${PYTHON:-}" python python3; do
  if [[ -n $python ]] && type -P -- "$python" >/dev/null; then
    exec "$python" "$scripts/gpu_check" "$@"
  fi
  if [[ -n ${PYTHON:-} ]]; then
    printf 'gpu_check.sh: error: PYTHON=%s: no such command\n' "$PYTHON" >&2
    exit 2
  fi
done
echo "gpu_check.sh: error: no Python found; activate an environment, or set PYTHON to an interpreter" >&2
exit 2
