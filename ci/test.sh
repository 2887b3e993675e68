#!/usr/bin/env bash
# Every check of the project: ./ci/test.sh [pytest arguments]
#
# PYTHON=python3.12 ./ci/test.sh chooses the interpreter; GPUNN_DATA names the folder with the larger data sets.
set -euo pipefail

source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"
prepare_environment dev,fast
cd -- "$repository"

# Data sets too large for the repository may lie beside it.
if [[ -z ${GPUNN_DATA:-} && -d ../shared/data ]]; then
  GPUNN_DATA=$(cd ../shared/data && pwd -P)
  export GPUNN_DATA
fi

failed=""
check() {
  local name=$1
  shift
  printf '\n== %s\n' "$name"
  "$environment_python" -m "$@" || failed+="${failed:+, }$name"
}

# All of them run, so that one run shows everything there is to mend.
check "ruff check" ruff check .
check "ruff format" ruff format --check .
check "mypy" mypy --strict gpunn
check "pytest" pytest "$@"

[[ -z $failed ]] || fail "failed: $failed"
