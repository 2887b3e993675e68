#!/usr/bin/env bash
# Every check of the project: ./ci/test.sh [quick | --full] [pytest arguments]
#
#   ./ci/test.sh           before you propose a change
#   ./ci/test.sh quick     the inner loop: less than a minute
#   ./ci/test.sh --full    everything; docs/explanation/testing.md lists what it adds, and when to run it
#
# PYTHON=python3.12 ./ci/test.sh chooses the interpreter; GPUNN_DATA names the folder with the larger data sets.
# No GPU is needed. docs/project/gpu_testing.md explains the test tiers in pytest's summaries.
set -euo pipefail

source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"

run=default
case ${1:-} in
  quick | --full) run=$1 && shift ;;
esac

# Prints why the CUDA backend can't be tested on emulated devices here; nothing if it can.
emulator_obstacle() {
  local version others
  if [[ $(uname -s)-$(uname -m) != Linux-x86_64 ]]; then
    echo "the emulated devices need Linux on x86-64"
  elif ! version=$(g++ -dumpversion 2>/dev/null); then
    echo "no g++"
  elif ((${version%%.*} < 11)); then
    echo "g++ is version $version; the emulated devices need 11 or newer"
  elif others=$(compgen -G "$environment/lib/python*/site-packages/cupy*.dist-info" | grep -v cupy_cuda13x-14.2.0); then
    echo ".venv has ${others##*/}; the emulated devices need only cupy-cuda13x 14.2.0"
  fi
}

extras=dev,fast,sklearn
obstacle=$(emulator_obstacle)
[[ -n $obstacle ]] || extras+=,emulated
prepare_environment "$extras"
[[ $run == quick ]] || prepare_browser
cd -- "$repository"
"$environment_python" -m gpunn.build # not within a test

# Data sets too large for the repository may be in ../shared/data.
if [[ -z ${GPUNN_DATA:-} && -d ../shared/data ]]; then
  GPUNN_DATA=$(cd ../shared/data && pwd -P)
  export GPUNN_DATA
fi

# After a product, a thread of NumPy's OpenBLAS waits in a loop for the next one. Two processes share the cores, so it
# sleeps after 2**4 instead of 2**26 cycles.
export OPENBLAS_THREAD_TIMEOUT=4

# All checks run, so that one call shows everything to fix.
failed=""
check() {
  local name=$1
  shift
  printf '\n== %s\n' "$name"
  "$@" || failed+="${failed:+, }$name"
}

# Runs pytest with the CUDA device $1. The arguments may select no test for it, which is status 5.
given=$#
tests() {
  local status=0
  GPUNN_TEST_DEVICE=$1 "$environment_python" -m pytest "${@:2}" || status=$?
  [[ $status == 0 || ($status == 5 && $given != 0) ]]
}

linters() {
  local status=0
  "$environment_python" -m ruff check . || status=1
  "$environment_python" -m ruff format --check . || status=1
  "$environment/bin/codespell" . || status=1
  "$environment_python" -m mypy --strict gpunn || status=1
  "$environment/bin/lint-imports" --no-logo --no-cache || status=1
  return $status
}

# The slowest tests, and those that start other processes, are left to the whole run.
shopt -s extglob
[[ $run != quick || $given != 0 ]] ||
  set -- tests/test_!(custom_classes|forks|metrics_of_classes|other_systems|thresholds|tiers).py tests/{layers,training} \
    --ignore=tests/{layers/test_operations_only,training/batches/test_batch_stream}.py --ignore=tests/training/checkpoints
[[ $run == --full ]] || set -- -m "not full" "$@"

linters="ruff, codespell, mypy and imports" host="tests without a CUDA device" emulated="tests on emulated CUDA devices"
claims=$(mktemp -d)
if [[ $run == quick || -n $obstacle ]]; then
  trap 'rm -rf -- "$claims"' EXIT
  linters &>"$claims/log" &
  check "$host" tests "" "$@"
  check "$linters" wait $!
  cat -- "$claims/log"
  [[ $run == quick ]] || printf '\n== tiers 3, 4 and 5 skipped: %s\n' "$obstacle"
else
  # A device applies to a whole process, so there are two at the same time; the output of the one without is printed last.
  # Meanwhile the linters run, then the tests on devices, then a second process without a device, which shares the files of
  # tests with the first (tests/claims.py).
  # Each process leads a group (set -m), so that its children end with it if this script is interrupted.
  set -m
  trap 'for group in $(jobs -p); do kill -- "-$group" 2>/dev/null || true; done; rm -rf -- "$claims"' EXIT
  trap 'exit 130' INT TERM HUP
  GPUNN_TEST_CLAIMS=$claims tests "" "$@" &>"$claims/log" &
  host_process=$!
  linters &
  check "$linters" wait $!
  tests emulated "$@" &
  check "$emulated" wait $!
  given=1 # no file may be left
  GPUNN_TEST_CLAIMS=$claims tests "" "$@" &
  check "$host, the last files" wait $!
  check "$host, at the same time" wait "$host_process"
  cat -- "$claims/log"
fi

[[ -z $failed ]] || fail "failed: $failed"
