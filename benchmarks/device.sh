#!/usr/bin/env bash
# Checks and times jaxrnn on a bare machine with a GPU, JAX and PyTorch, without a network.
#
#   bash benchmarks/device.sh WHEELS OUT [--minutes 8] [--only PATTERN ...] [--rehearse]
#
# WHEELS has jaxrnn's wheel, built elsewhere by `pip wheel --no-deps -w WHEELS .`; the results
# go to OUT. The report of a run that was cut: `python -m benchmarks.device report OUT`.
set -euo pipefail
if [ $# -lt 2 ]; then
  sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
wheels=$1 out=$2
shift 2
root=$(cd "$(dirname "$0")/.." && pwd)
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python3}" -m benchmarks.device run "$out" --wheels "$wheels" "$@"
