#!/usr/bin/env bash
# The documentation site: ./scripts/docs.sh [--external]
#
#   ./scripts/docs.sh               makes it in build/site; warnings are errors
#   ./scripts/docs.sh --external    asks other hosts whether the pages that docs/ links to are there
#
# The first call installs the extra `docs` into .venv. After that no network is needed.
set -euo pipefail

source "$(dirname -- "${BASH_SOURCE[0]}")/../ci/environment.sh"
prepare_environment docs
cd -- "$repository"

build() { "$environment_python" -m sphinx --quiet --fresh-env --conf-dir docs/_site "$@"; }

if [[ ${1:-} == --external ]]; then
  reachable='import socket; socket.create_connection(("www.python.org", 443), 5)'
  if "$environment_python" -I -c "$reachable" 2>/dev/null; then
    build --builder linkcheck docs build/links
  else
    echo "No network here: links to other hosts were not checked"
  fi
else
  rm -rf build/site
  build --fail-on-warning --doctree-dir build/doctrees docs build/site
  echo "The site is in build/site; open file://$repository/build/site/index.html"
fi
