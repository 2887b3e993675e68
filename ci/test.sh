#!/usr/bin/env bash
# Every check of the project: ./ci/test.sh [pytest arguments]
#
# PYTHON=python3.12 ./ci/test.sh chooses the interpreter; GPUNN_DATA names the folder with the larger data sets.
#
# No GPU is needed. The tiers that pytest's summaries speak of are explained in docs/gpu.md.
set -euo pipefail

source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"

# Prints why the CUDA backend can't be tested on emulated devices here; nothing where it can.
emulator_obstacle() {
  local version others
  if [[ $(uname -s)-$(uname -m) != Linux-x86_64 ]]; then
    echo "the emulated devices need Linux on x86-64"
  elif ! version=$(g++ -dumpversion 2>/dev/null); then
    echo "no g++"
  elif ((${version%%.*} < 11)); then
    echo "g++ is version $version; the emulated devices need 11 or newer"
  elif others=$("$environment_python" -I 2>/dev/null - <<'PYTHON'
from importlib.metadata import distributions
found = {(d.name.lower(), d.version) for d in distributions() if d.name.lower().startswith("cupy")}
print(*(f"{name} {version}" for name, version in sorted(found - {("cupy-cuda13x", "14.2.0")})))
PYTHON
  ) && [[ -n $others ]]; then
    echo ".venv has $others; the emulated devices need cupy-cuda13x 14.2.0 alone"
  fi
}

extras=dev,fast,sklearn
obstacle=$(emulator_obstacle)
[[ -n $obstacle ]] || extras+=,emulated
prepare_environment "$extras"
cd -- "$repository"

# Data sets too large for the repository may lie beside it.
if [[ -z ${GPUNN_DATA:-} && -d ../shared/data ]]; then
  GPUNN_DATA=$(cd ../shared/data && pwd -P)
  export GPUNN_DATA
fi

failed=""
note() {
  local name=$1 status=$2
  # What the arguments select may have no test in one of pytest's two processes.
  [[ $status == 0 || ($status == 5 && $selection == yes) ]] || failed+="${failed:+, }$name"
}
selection=$([[ $# == 0 ]] || echo yes)

check() {
  local name=$1 status=0
  shift
  printf '\n== %s\n' "$name"
  "$environment_python" -m "$@" || status=$?
  note "$name" "$status"
}

# All of them run, so that one run shows everything there is to mend.
check "ruff check" ruff check .
check "ruff format" ruff format --check .
check "mypy" mypy --strict gpunn

# The emulator holds for a whole process, and import tests need one without it: two processes, side by side. Each leads a
# process group (set -m), so that what it started ends with it if this script is interrupted.
unset GPUNN_TEST_DEVICE
log=$(mktemp)
end_all() {
  local group
  for group in $(jobs -p); do
    kill -TERM -- "-$group" 2>/dev/null || true
  done
  wait
  rm -f -- "$log"
}
trap end_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
set -m

ended() {
  local name=$1 process=$2 status
  while true; do
    status=0
    wait "$process" || status=$?
    kill -0 "$process" 2>/dev/null || break
    sleep 1 # it was stopped (SIGSTOP), and has not ended
  done
  note "$name" "$status"
}

host="tiers 1 to 4: pytest without a CUDA device" emulated="tier 5: pytest on emulated CUDA devices"
rest="tier 1: pytest on what is built upon it"
# The emulated devices take less time than all the rest, so some of that comes after them.
later=()
if [[ -z $obstacle && $selection != yes ]]; then
  later=(tests/cli tests/data tests/docs tests/robustness tests/interchange tests/reporting tests/scripts
    tests/sklearn)
fi
if [[ -n $obstacle ]]; then
  printf '\n== %s\n' "$host"
  "$environment_python" -m pytest "$@" &
  ended "$host" $!
  printf '\n== tiers 3, 4 and 5 skipped: %s\n' "$obstacle"
else
  "$environment_python" -m pytest "$@" "${later[@]/#/--ignore=}" &>"$log" &
  host_process=$!
  printf '\n== %s\n' "$emulated"
  GPUNN_TEST_DEVICE=emulated "$environment_python" -m pytest "$@" &
  ended "$emulated" $!
  if ((${#later[@]})); then
    printf '\n== %s\n' "$rest"
    "$environment_python" -m pytest "${later[@]}" &
    ended "$rest" $!
  fi
  ended "$host" "$host_process"
  printf '\n== %s (at the same time)\n' "$host"
  cat -- "$log"
fi

[[ -z $failed ]] || fail "failed: $failed"
