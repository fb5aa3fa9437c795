#!/bin/sh
# Makes models/long/vivace-tiny-long.gguf and vivace-tiny-longgen.gguf and their scores.json: training/long/run.sh war-and-peace.txt tinyshakespeare.txt
# austen.txt. Needs the embedded model, a built project and 9 GB of memory; under an hour of one core.
set -e
[ $# -gt 0 ] || { echo "usage: training/long/run.sh TEXT-FILE…" >&2; exit 2; }
here=$(dirname "$0")
python=${PYTHON:-/usr/bin/python3}
out=$here/../out
"$python" "$here/../prepare.py" --text "$@" --out "$out/long" --short-rows 1 --long-rows 1 --sums-rows 1 --stories 12000
"$python" "$here/extend.py" --stage full --arrays "$out/long" --out "$out/long" --resume
"$python" "$here/extend.py" --stage longgen --arrays "$out/long" --out "$out/long" --resume
"$python" "$here/finish.py" --arrays "$out/long" --out "$out/long"
for name in vivace-tiny-long vivace-tiny-longgen; do
  node "$here/../../bin/vivace.js" quantize --type Q8_0 "$out/long/$name-f16.gguf" "$here/../../models/long/$name.gguf"
done
