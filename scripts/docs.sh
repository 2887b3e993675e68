#!/usr/bin/env bash
# The documentation site: ./scripts/docs.sh [--external]
#
#   ./scripts/docs.sh               builds it in build/site; any warning stops the build
#   ./scripts/docs.sh --external    checks the links to other hosts
#
# The first call installs the extra `docs` into .venv. Later calls work offline.
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
    echo "Offline: links to other hosts were not checked"
  fi
else
  rm -rf build/site
  build --fail-on-warning --doctree-dir build/doctrees docs build/site
  echo "The site is in build/site; open file://$repository/build/site/index.html"
fi
