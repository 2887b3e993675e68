#!/usr/bin/env bash
# Builds the sdist and the wheel, and tries the wheel in new environments: ./ci/wheels.sh [--tests] [PYTHON...]
#
#   ./ci/wheels.sh                        with each installed Python from 3.11 on
#   ./ci/wheels.sh --tests python3.14     with this one, and with the tests that need no device
#
# The wheel has compiled kernels if there is a numba for the Python that builds it; PYTHON names that Python. The results
# stay in dist/. Needs a package index, from which pip installs uv, and uv the rest.
#
# docs/explanation/testing.md lists the trials and the systems.
set -euo pipefail

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
repository=$PWD
tests=""
[[ ${1:-} != --tests ]] || { tests=1 && shift; }
(($#)) || set -- python3.11 python3.12 python3.13 python3.14 python3.13t python3.14t

# New files have the permissions of a clone, for every user.
umask 022
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
unset PYTHONPATH PYTHONHOME
export GPUNN_THREADS=${GPUNN_THREADS:-1} # this is no test of speed, and the machine may be under load

"${PYTHON:-python3}" -m venv "$work/builder"
"$work/builder/bin/pip" install --quiet --disable-pip-version-check uv
uv() { "$work/builder/bin/uv" --quiet "$@"; }
# `in_environment FOLDER uv-arguments...`: runs `uv pip` for that environment.
in_environment() { VIRTUAL_ENV=$1 uv pip "${@:2}"; }

printf '== building\n'
requires() { in_environment "$work/builder" install "$@"; }
requires hatchling twine check-wheel-contents -r pyproject.toml
requires --only-binary :all: -r pyproject.toml --extra fast || echo "no numba: the wheel will be pure Python"
# Each from a separate tree, the second from the first's sdist: so all kernels are built twice.
build() {
  (cd -- "$1" && "$work/builder/bin/python" -c '
import sys
from hatchling.build import build_sdist, build_wheel
build_sdist(sys.argv[1])
build_wheel(sys.argv[1])' "$2")
}
git ls-files -z | xargs -0 cp --parents -t "$(mkdir -p "$work/clone" && echo "$work/clone")"
mkdir "$work/first" "$work/second"
build "$work/clone" "$work/first"
tar -xf "$work"/first/*.tar.gz -C "$work"
build "$work"/gpunn-*/ "$work/second"
for path in "$work"/first/*; do
  cmp -- "$path" "$work/second/${path##*/}"
done
"$work/builder/bin/twine" check --strict "$work"/first/*
"$work/builder/bin/check-wheel-contents" "$work"/first/*.whl
mkdir -p dist
cp -- "$work"/first/* dist/
(cd "$work/first" && ls -l -- *)

# `environment PYTHON RESOLUTION NAME EXTRA...`: creates one with the wheel and its requirements, in the oldest or newest
# versions for this Python. Nothing is built from source, so that only gpunn is tried.
environment() {
  local folder=$work/$3 extras=("${@:4}")
  # Called in a condition, where `set -e` has no effect, like the two functions below.
  uv venv --clear --python "$1" "$folder" &&
    uv pip compile pyproject.toml --only-binary :all: --python "$folder/bin/python" --resolution "$2" \
      "${extras[@]/#/--extra=}" --output-file "$folder/requirements.txt" >/dev/null &&
    in_environment "$folder" install --only-binary :all: -r "$folder/requirements.txt" &&
    in_environment "$folder" install --no-deps "$work"/first/*.whl
}

table=""
failed=""
# `row WHAT COMMAND...`: runs the command, and records whether it passed.
row() {
  local status=passed
  printf '\n== %s\n' "$1"
  "${@:2}" || status=FAILED failed=1
  table+="$(printf '%-60s %s' "$1" "$status")"$'\n'
}

try() { # NAME
  local warnings=default # old releases of other packages warn about new ones
  [[ $1 != *-highest ]] || warnings=error
  mkdir -p "$work/empty" && cd "$work/empty" && rm -rf -- ./* &&
    PYTHONWARNINGS=$warnings "$work/$1/bin/python" "$repository/ci/try_wheel.py"
  local status=$?
  cd -- "$repository"
  return $status
}

suite() { # NAME
  rm -rf -- "$work/suite" && mkdir "$work/suite" &&
    cp -r "$work"/clone/{tests,scripts,pyproject.toml} "$work/suite" && cd "$work/suite" &&
    GPUNN_TEST_DEVICE="" "$work/$1/bin/python" -m pytest -q -m "not full" -p no:cacheprovider "${@:2}" \
      tests/test_*.py tests/{cli,config,data,interchange,layers,reporting,sklearn,storage,tables,tabular,training}
  local status=$?
  cd -- "$repository"
  return $status
}

tried=""
for python in "$@"; do
  version=$("$python" -c 'import sys, sysconfig
print(sys.version.split()[0] + "t" * bool(sysconfig.get_config_var("Py_GIL_DISABLED")))' 2>/dev/null) || continue
  tried=1
  for resolution in lowest-direct highest; do
    extras=(sklearn report onnx tune tensorboard)
    name=$version-$resolution
    row "$version, $resolution: without extras, installed" environment "$python" "$resolution" "$name"
    row "$version, $resolution: without extras, tried" try "$name"
    row "$version, $resolution: with extras, installed" environment "$python" "$resolution" "$name" "${extras[@]}"
    row "$version, $resolution: with extras, tried" try "$name"
    [[ -n $tests ]] || continue
    row "$version, $resolution: for tests, installed" environment "$python" "$resolution" "$name" test tensorboard
    # Old releases of other packages warn about new ones.
    old=()
    [[ $resolution == highest ]] || old=(-W default::DeprecationWarning)
    row "$version, $resolution: tests" suite "$name" "${old[@]}"
  done
done
printf '\n%s' "$table"
[[ -n $tried ]] || { echo "found no Python from 3.11 on" >&2 && exit 1; }
[[ -z $failed ]] || exit 1
