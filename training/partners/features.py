"""Dumps what a model computes over rows of tokens, for partners that learn from it: features.py --arrays FOLDER.

The folder comes from prepare.py, and outputs.npy in it from outputs.mjs. Per set of rows (recipe.json says how many), in
FOLDER/features, to be opened with numpy's mmap_mode="r"; N rows of T = 256 tokens (1024 in `long`):

  NAME-ids.npy      uint16  [N, T + 1]      tokens; each row begins with begin-of-text
  NAME-weights.npy  uint8   [N, T + 1]      0: a token of an exercise's prompt, which nobody could know
  NAME-states.npy   float16 [N, T, width]   states behind the last norm, the input of the output matrix; row t has read
                                            tokens 0 … t and says token t + 1
  NAME-top.npy      uint16  [N, T, 16]      the most probable next tokens, first the best
  NAME-law.npy      float16 [N, T, 16]      their natural log-probabilities
"""
import argparse
import json
import os
import sys
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
import numpy as np
import torch

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, ".."))
from evaluate import load
from model import keep_heap_memory

TOP = 16


def take(folder, name, count, seed, bos):
    """ids and weights of `count` rows of a set: prepared rows in order, or windows of a stream at seeded places."""
    if name in ("short", "long", "sums"):
        ids = np.load(os.path.join(folder, name + "-ids.npy"), mmap_mode="r")[:count]
        return ids, np.load(os.path.join(folder, name + "-weights.npy"), mmap_mode="r")[:count]
    stream = np.load(os.path.join(folder, name + ".npy"), mmap_mode="r")
    if stream.ndim == 2:
        ids = stream[:count]
    else:
        places = np.random.default_rng([seed, len(name)]).integers(0, len(stream) - 256, count)
        ids = np.stack([np.concatenate(([bos], stream[at:at + 256])) for at in places]).astype(np.uint16)
    return ids, np.ones(ids.shape, np.uint8)


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--arrays", required=True)
    parser.add_argument("--file", default=os.path.join(HERE, "..", "..", "models", "vivace-tiny.gguf"))
    parser.add_argument("--recipe", default=os.path.join(HERE, "recipe.json"))
    a = parser.parse_args()
    torch.set_num_threads(1)
    keep_heap_memory()
    with open(a.recipe, encoding="utf-8") as handle:
        recipe = json.load(handle)
    _, _, model, tk = load(a.file)
    out = os.path.join(a.arrays, "features")
    os.makedirs(out, exist_ok=True)
    began = time.time()
    for name, count in recipe["features"].items():
        ids, weights = take(a.arrays, name, count, recipe["seed"], tk.bos)
        np.save(os.path.join(out, name + "-ids.npy"), ids)
        np.save(os.path.join(out, name + "-weights.npy"), weights)
        rows, length = ids.shape[0], ids.shape[1] - 1

        def file(part, kind, last):
            path = os.path.join(out, "%s-%s.npy" % (name, part))
            return np.lib.format.open_memmap(path, "w+", kind, (rows, length, last))
        states, top, law = file("states", "<f2", model.c["width"]), file("top", "<u2", TOP), file("law", "<f2", TOP)
        step = 4096 // length
        for at in range(0, rows, step):
            batch = torch.from_numpy(ids[at:at + step, :-1].astype(np.int64))
            got = model.states(batch)
            values, best = torch.log_softmax(model.logits(got), -1).topk(TOP)
            states[at:at + step], top[at:at + step], law[at:at + step] = got.numpy(), best.numpy(), values.numpy()
        print("%s: %d rows of %d, %.0f s" % (name, rows, length, time.time() - began), flush=True)


if __name__ == "__main__":
    main()
