#!/bin/sh
# Makes models/experts/vivace-tiny-experts.gguf and scores.json from the embedded model and its texts: training/experts/run.sh
# war-and-peace.txt tinyshakespeare.txt austen.txt. Needs a built project; half an hour of one core.
set -e
[ $# -eq 3 ] || { echo "usage: training/experts/run.sh WAR-AND-PEACE TINYSHAKESPEARE AUSTEN" >&2; exit 2; }
here=$(dirname "$0")
python=${PYTHON:-/usr/bin/python3}
out=$here/../out/shared
"$python" "$here/../prepare.py" --text "$@" --out "$out" --short-rows 8000 --long-rows 400 --sums-rows 600 --stories 12000
"$python" "$here/train_experts.py" --arrays "$out" --resume
"$python" "$here/finish.py" --arrays "$out"
node "$here/../../bin/vivace.js" quantize --type Q8_0 "$out/vivace-tiny-experts-f16.gguf" "$here/../../models/experts/vivace-tiny-experts.gguf"
