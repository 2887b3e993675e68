# shellcheck shell=bash
# Sourced by scripts/quickstart.sh and ci/test.sh: the repository's own virtual environment.
#
#   prepare_environment EXTRAS    makes .venv if need be and installs gpunn, editable, with EXTRAS ("" or "dev,fast")
#
# Sets `repository` and `environment` (.venv), both absolute paths, and `environment_python`, its interpreter.
#
# Python runs with -I below, so that neither the current folder nor PYTHON* variables decide what gets imported.

repository=$(CDPATH="" cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
environment=$repository/.venv
environment_python=$environment/bin/python

# Variables that would point the environment's interpreter at another one's packages.
unset PYTHONHOME PYTHONPATH

fail() {
  printf '%s: error: %s\n' "${0##*/}" "$1" >&2
  exit 1
}

# Prints "3.12" for an interpreter that runs and is new enough; otherwise prints what is wrong and fails.
python_version() {
  local version
  version=$("$1" -I -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || {
    echo "does not run"
    return 1
  }
  "$1" -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "is Python $version, which is too old"
    return 1
  }
  echo "$version"
}

# Like python_version, for an interpreter that must also be able to make a virtual environment.
usable_python_version() {
  local version
  version=$(python_version "$1") || {
    echo "$version"
    return 1
  }
  # Debian and its derivatives leave ensurepip out of the interpreter's own package.
  "$1" -I -c 'import ensurepip, venv' 2>/dev/null || {
    echo "is Python $version without venv and ensurepip" \
      "(on Debian and Ubuntu: apt install python3-venv, or python$version-venv)"
    return 1
  }
  echo "$version"
}

# Prints the path of the interpreter to make .venv with.
#
# $PYTHON, when set, is the user's order: that one or none. Otherwise `python3` comes first, being the interpreter that
# the user, a version manager or the distribution made the default; then named versions, newest first. Every match on
# PATH is tried, and judged by running it: a version manager's shim may stand there for a version that is not active
# and hide a working interpreter further on.
find_python() {
  local name candidate problem rejected=""
  if [[ -n ${PYTHON:-} ]]; then
    candidate=$(type -P -- "$PYTHON") || fail "PYTHON=$PYTHON: no such command"
    problem=$(usable_python_version "$candidate") ||
      fail "PYTHON=$PYTHON $problem; gpunn needs Python 3.11 or newer with venv and ensurepip"
    echo "$candidate"
    return
  fi
  for name in python3 python3.14 python3.13 python3.12 python3.11; do
    while IFS= read -r candidate; do
      if problem=$(usable_python_version "$candidate"); then
        echo "$candidate"
        return
      fi
      rejected+=$'\n'"  $candidate $problem"
    done < <(type -aP -- "$name")
  done
  fail "gpunn needs Python 3.11 or newer with venv and ensurepip, and found none on PATH.
Install one (on Debian and Ubuntu: apt install python3 python3-venv), or set PYTHON to the path of one.${rejected:+
Looked at:$rejected}"
}

# Keeps a .venv that works, unless $PYTHON asks for another version; one that does not work is made anew.
make_environment() {
  local python present wanted
  if present=$(python_version "$environment_python"); then
    [[ -n ${PYTHON:-} ]] || return 0
    python=$(find_python)
    wanted=$(python_version "$python")
    [[ $wanted != "$present" ]] || return 0
  else
    python=$(find_python)
  fi
  echo "Making the virtual environment $environment with $python (Python $(python_version "$python"))"
  "$python" -I -m venv --clear "$environment" || fail "could not make $environment with $python"
}

prepare_environment() {
  local extras=$1 stamp current
  make_environment

  # An editable install records the repository's path, so a copied or moved tree must be installed anew; so must one
  # whose interpreter the system has upgraded, as site-packages belong to one Python version.
  stamp=$environment/.gpunn-installed${extras:+-$extras}
  current="$(cksum <"$repository/pyproject.toml") $(python_version "$environment_python") $repository"
  [[ $(cat -- "$stamp" 2>/dev/null) != "$current" ]] || return 0

  echo "Installing gpunn${extras:+ with $extras} and what it needs into .venv (again only when pyproject.toml changes)"
  # Absent when making the environment was interrupted, or when another tool made it.
  "$environment_python" -I -c 'import pip' 2>/dev/null || "$environment_python" -I -m ensurepip >/dev/null ||
    fail "$environment has no pip; remove that folder and try again"
  # PIP_USER=0: a user-wide `user = true` in pip's settings is an error inside a virtual environment.
  PIP_USER=0 "$environment_python" -I -m pip install --quiet --no-input --disable-pip-version-check \
    --editable "$repository${extras:+[$extras]}" || fail "the installation failed; pip's message above says why"
  echo "$current" >"$stamp"
}
