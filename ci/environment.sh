# shellcheck shell=bash
# Sourced by scripts/quickstart.sh and ci/test.sh: the repository's own virtual environment.
#
#   prepare_environment EXTRAS    creates .venv if missing and installs gpunn, editable, with EXTRAS ("" or "dev,fast")
#   prepare_browser               then: if there is no browser, installs Chromium for the tests of pages, as root with
#                                 apt-get; not if GPUNN_INSTALL_BROWSER=no
#
# Sets `repository`, `environment` (.venv) and `environment_python`, its interpreter. Python runs with -I, so that
# neither the current folder nor PYTHON* variables affect imports.

repository=$(CDPATH="" cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
environment=$repository/.venv
environment_python=$environment/bin/python
unset PYTHONHOME PYTHONPATH
# Tests start about 280 interpreters, which all read the bytecode of the first.
unset PYTHONDONTWRITEBYTECODE

fail() {
  printf '%s: error: %s\n' "${0##*/}" "$1" >&2
  exit 1
}

# Prints the version of an interpreter that can create environments, or its problem. Debian has a separate package for
# ensurepip.
version_of() {
  "$1" -I -c 'import sys
if sys.version_info < (3, 11): sys.exit("is Python %d.%d, which is too old" % sys.version_info[:2])
import ensurepip, venv
print("%d.%d" % sys.version_info[:2])' 2>&1
}

prepare_environment() {
  local extras=$1 python version tried="" stamp=$environment/.installed${1:+-$1}
  set -- "$environment_python" python3 python3.14 python3.13 python3.12 python3.11
  [[ -z ${PYTHON:-} ]] || set -- "$PYTHON"

  # A version manager may put commands on PATH that do not run, so each candidate is run.
  for python in "$@" ""; do
    [[ -n $python ]] || fail "gpunn needs Python 3.11 or newer with venv and ensurepip. Install it (on Debian and Ubuntu: \
apt install python3 python3-venv), or set PYTHON to the path of an interpreter. Tried:$tried"
    version=$(version_of "$python") && break
    tried+=$'\n'"  $python: ${version##*: }"
  done
  if [[ $(version_of "$environment_python") != "$version" ]]; then
    echo "Creating the virtual environment $environment with $python (Python $version)"
    create_environment "$python" || fail "could not create $environment with $python"
  fi

  # An editable install contains the repository's path, so a copied or moved tree is installed again.
  version+=" $repository $(cksum <"$repository/pyproject.toml")"
  [[ $(cat -- "$stamp" 2>/dev/null) != "$version" ]] || return 0
  echo "Installing gpunn${extras:+ with $extras} and its requirements into .venv (repeated only when pyproject.toml changes)"
  install_editable "$extras" || fail "the installation failed; the message above has the reason"
  echo "$version" >"$stamp"
}

# Python compiles bytecode on import. PIP_USER=0, since `user = true` in pip's settings fails in a virtual environment.
pip_install=(pip install --quiet --no-input --disable-pip-version-check --no-compile)
export PIP_USER=0

# Creates .venv with pip and uv. The interpreter's own pip, if it has one, takes half of ensurepip's time.
create_environment() {
  "$1" -I -m venv --clear --without-pip "$environment" || return
  "$1" -I -m pip --python "$environment_python" "${pip_install[@]:1}" pip uv 2>/dev/null ||
    "$1" -I -m venv --clear "$environment"
}

# Installs gpunn, editable, with EXTRAS. uv takes a third of pip's time. It knows only the index of pip's settings, so
# pip is the second try.
install_editable() {
  local what=$repository${1:+[$1]} setting index=""
  # The extra `fast` installs numba, which builds the kernels later. So the build hook need not download it.
  [[ ,$1, != *,fast,* ]] || local -x GPUNN_KERNELS=off
  while IFS= read -r setting; do
    [[ ! $setting =~ \.index-url=\'(.*)\' ]] || index=${BASH_REMATCH[1]}
  done < <("$environment_python" -I -m pip config list 2>/dev/null)
  "$environment_python" -I -m uv --version &>/dev/null || "$environment_python" -I -m "${pip_install[@]}" uv || true
  env ${index:+"UV_DEFAULT_INDEX=$index"} \
    "$environment_python" -I -m uv pip install --quiet --python "$environment_python" --editable "$what" ||
    "$environment_python" -I -m "${pip_install[@]}" --editable "$what"
}

prepare_browser() {
  ! "$environment_python" "$repository/tests/browser.py" || return 0
  if [[ ${GPUNN_INSTALL_BROWSER:-yes} == no ]]; then
    echo "Found no browser, and GPUNN_INSTALL_BROWSER=no: tests of pages will be skipped"
  elif ((EUID)) || ! command -v apt-get >/dev/null; then
    echo "Found no browser: tests of pages will be skipped. Install Chromium or Chrome, or name one with GPUNN_BROWSER"
  else
    echo "Installing Chromium with apt-get for the tests of pages (GPUNN_INSTALL_BROWSER=no prevents that)"
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends \
      chromium-headless-shell fonts-dejavu-core >/dev/null ||
      echo "The installation failed: tests of pages will be skipped"
  fi
}
