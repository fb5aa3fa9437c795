#!/bin/sh
# Makes models/vivace-tiny.gguf and training/data/scores.json from public-domain text files: training/run.sh FILE…
set -e
[ $# -gt 0 ] || { echo "usage: training/run.sh TEXT-FILE…" >&2; exit 2; }
here=$(dirname "$0")
python=${PYTHON:-/usr/bin/python3}
"$python" "$here/prepare.py" --text "$@"
"$python" "$here/train.py" --resume
"$python" "$here/export/gguf.py"
"$python" "$here/evaluate.py"
