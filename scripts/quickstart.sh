#!/usr/bin/env bash
# From a fresh clone to a trained network: ./scripts/quickstart.sh [gpunn train options, such as --backend cupy]
#
# Needs only Python 3.11 or newer. PYTHON=/path/to/python3 chooses the interpreter.
set -euo pipefail

source "$(dirname -- "${BASH_SOURCE[0]}")/../ci/environment.sh"
prepare_environment ""

exec "$environment/bin/gpunn" train "$repository/scripts/configs/digits.toml" \
  --output "$repository/runs/quickstart" --overwrite "$@"
