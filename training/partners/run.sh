#!/bin/sh
# Makes the embedded model's partners in models/ from the texts it was trained on, in this order: training/partners/run.sh
# war-and-peace.txt tinyshakespeare.txt austen.txt. Needs a built project, 3 GB of disk in training/out, an hour of one core.
set -e
[ $# -eq 3 ] || { echo "usage: training/partners/run.sh WAR-AND-PEACE TINYSHAKESPEARE AUSTEN" >&2; exit 2; }
here=$(dirname "$0")
python=${PYTHON:-/usr/bin/python3}
out=$here/../out
models=$here/../../models
"$python" "$here/../prepare.py" --text "$@" --out "$out/shared" --short-rows 8000 --long-rows 400 --sums-rows 600 --stories 12000
"$python" "$here/../prepare.py" --text "$@" --out "$out/other" --short-rows 6000 --long-rows 300 --sums-rows 400 --stories 6000 \
  --new-tokenizer --merges-from "$2" "$3" --vocab 1024 --seed 37
node "$here/outputs.mjs" --arrays "$out/shared" --rows 8000
"$python" "$here/features.py" --arrays "$out/shared"
"$python" "$here/distil.py" --partner draft --arrays "$out/shared"
"$python" "$here/distil.py" --partner other --arrays "$out/other" --teacher "$out/shared"
"$python" "$here/cross.py" --arrays "$out/other" --teacher "$out/shared"
"$python" "$here/eagle.py" --arrays "$out/shared" --out "$models/vivace-tiny-eagle"
"$python" "$here/eagle3.py" --arrays "$out/shared" --out "$models/vivace-tiny-eagle3"
"$python" "$here/medusa.py" --arrays "$out/shared" --out "$models/vivace-tiny-medusa"
for name in draft other; do
  from=shared; [ $name = other ] && from=other
  node "$here/../../bin/vivace.js" quantize --type Q8_0 "$out/$from/vivace-tiny-$name-f16.gguf" "$models/vivace-tiny-$name.gguf"
done
node "$here/judge.mjs" "$models/vivace-tiny-judge.safetensors" 200
