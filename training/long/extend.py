"""Extends the embedded model to long texts: extend.py --stage full|longgen --arrays FOLDER (which prepare.py made).

Stage `full` begins with models/vivace-tiny.gguf and a larger RoPE base; stage `longgen` with what `full` left, and gives the
layers outside the middle third sinks and a window. A step's rows follow from (seed, stage, step) alone; their lengths go round
the recipe's list. Writes OUT/STAGE.pt, from which `--resume` goes on.
"""
import argparse
import json
import math
import os
import sys
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
import numpy as np
import torch

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, ".."))
from evaluate import load
from long_rows import LongRows
from model import Model, keep_heap_memory
from train import Muon, rate

FILE = os.path.join(HERE, "..", "..", "models", "vivace-tiny.gguf")


class Rows:
    """The rows of a step, by the recipe's round: `text`, `stories` and `fresh` are windows of streams, `lookup` and `short` drawn."""

    def __init__(self, folder, seed, tk):
        def stream(name):
            return np.load(os.path.join(folder, name + ".npy"), mmap_mode="r")
        self.streams = {name: stream(name) for name in ("text", "wrapped", "fresh")}
        self.seed, self.tk = seed, tk
        begin = tk.decode(self.streams["text"][:200000].tolist()).replace("\n", " ")
        self.sentences = [s.strip() + "." for s in begin.split(".") if 20 < len(s) < 80]

    def step(self, step, wanted):
        rng = np.random.default_rng([self.seed, step])
        length = wanted["length"]
        rows = []
        for kind in ("text", "fresh"):
            for _ in range(wanted.get(kind, 0)):
                stream = self.streams["wrapped" if kind == "text" and rng.random() < 0.2 else kind]
                at = rng.integers(0, len(stream) - length)
                rows.append((np.concatenate(([self.tk.bos], stream[at:at + length])), np.ones(length + 1, np.int64)))
        maker = LongRows(self.tk, int(rng.integers(1 << 32)), length, self.sentences, self.streams["text"])
        rows += [maker.lookup_row() for _ in range(wanted.get("lookup", 0))]
        rows += [maker.row() for _ in range(wanted.get("short", 0))]
        ids, weights = (np.array([row[part] for row in rows], np.int64) for part in (0, 1))
        return torch.from_numpy(ids), torch.from_numpy(weights)


def begin(stage, recipe, out):
    """The model as the stage finds it, and the tokenizer."""
    _, _, given, tk = load(FILE)
    state, config = given.state_dict(), {**given.c, **recipe["config"]}
    if stage == "longgen":
        state = torch.load(os.path.join(out, "full.pt"), map_location="cpu")["model"]
        full = recipe["longgen"]["full_layers"]
        config["reach"] = [None if i in full else tuple(recipe["longgen"]["reach"]) for i in range(config["layers"])]
    model = Model(config)
    model.load_state_dict(state)
    return model, tk


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--stage", required=True, choices=("full", "longgen"))
    parser.add_argument("--arrays", default=os.path.join(HERE, "..", "out"))
    parser.add_argument("--out", default=os.path.join(HERE, "..", "out", "long"))
    parser.add_argument("--recipe", default=os.path.join(HERE, "recipe.json"))
    parser.add_argument("--resume", action="store_true")
    a = parser.parse_args()
    with open(a.recipe, encoding="utf-8") as handle:
        recipe = json.load(handle)
    r = recipe[a.stage]
    os.makedirs(a.out, exist_ok=True)
    torch.set_num_threads(1)
    keep_heap_memory()
    model, tk = begin(a.stage, recipe, a.out)
    matrices = [p for n, p in model.named_parameters() if p.dim() == 2 and n.startswith("layers")]
    norms = [p for n, p in model.named_parameters() if p.dim() == 1]
    muon = Muon(matrices, r["matrix_lr"], weight_decay=r["weight_decay"])
    adam = torch.optim.AdamW([{"params": [model.token_embd.weight], "peak": r["embedding_lr"], "weight_decay": 0.0},
                              {"params": [model.output.weight], "peak": r["peak_lr"], "weight_decay": r["weight_decay"]},
                              {"params": norms, "peak": r["peak_lr"], "weight_decay": 0.0}], betas=(0.9, 0.95))
    checkpoint = os.path.join(a.out, a.stage + ".pt")
    step, tokens, spent = 0, 0, 0.0
    if a.resume and os.path.exists(checkpoint):
        state = torch.load(checkpoint, map_location="cpu")
        model.load_state_dict(state["model"])
        muon.load_state_dict(state["muon"])
        adam.load_state_dict(state["adam"])
        step, tokens, spent = state["step"], state["tokens"], state["seconds"]
    rows = Rows(a.arrays, recipe["seed"] + (a.stage == "longgen"), tk)
    began = time.time()
    while step < r["steps"]:
        wanted = r["rounds"][step % len(r["rounds"])]
        ids, weights = rows.step(step, wanted)
        for group in muon.param_groups:
            group["lr"] = r["matrix_lr"] * rate(step, r)
        for group in adam.param_groups:
            group["lr"] = group["peak"] * rate(step, r)
        each, w = model.losses(ids[:, :-1], ids[:, 1:], weights[:, 1:])
        loss = (each * w).sum() / w.sum()
        if not math.isfinite(loss.item()):
            raise SystemExit("the loss is no longer finite")
        for p in model.parameters():
            p.grad = None
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), r["clip"])
        muon.step()
        adam.step()
        step += 1
        tokens += ids.shape[0] * wanted["length"]
        plain = wanted["text"] * wanted["length"]  # text rows come first
        seconds = spent + time.time() - began
        print("step %d length %d tokens %.2fM text %.3f answers %.3f norm %.2f min %.1f" % (
            step, wanted["length"], tokens / 1e6, each[:plain].mean(), each[plain:][w[plain:] > 1].mean(), norm,
            seconds / 60), flush=True)
        if step % 20 == 0 or step == r["steps"]:
            torch.save({"model": model.state_dict(), "muon": muon.state_dict(), "adam": adam.state_dict(), "step": step,
                        "tokens": tokens, "seconds": seconds, "torch": torch.__version__, "recipe": recipe,
                        "config": model.c}, checkpoint + ".new")
            os.replace(checkpoint + ".new", checkpoint)


if __name__ == "__main__":
    main()
