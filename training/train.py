"""Trains the model from prepared arrays. Resumable; every step's rows follow from (seed, step) alone."""
import argparse
import json
import math
import os
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read once, on import; --threads below is PyTorch's own pool

import numpy as np
import torch

from circuits import plant
from model import CONFIG, Model, keep_heap_memory
from tokenizer import Tokenizer

SETS = ("short", "long", "sums")  # exercise rows by set, see rows.py
HERE = os.path.dirname(os.path.abspath(__file__))


class Muon(torch.optim.Optimizer):
    """Momentum whose matrix update is made nearly orthogonal by five Newton-Schulz steps (Keller Jordan, 2024)."""

    def __init__(self, params, lr, momentum=0.95, weight_decay=0.1):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                buffer = self.state[p].setdefault("buffer", torch.zeros_like(p))
                buffer.lerp_(p.grad, 1 - group["momentum"])
                x = p.grad.lerp(buffer, group["momentum"])
                tall = x.shape[0] > x.shape[1]
                x = x.t() if tall else x
                x = x / (x.norm() + 1e-7)
                for _ in range(5):
                    a = x @ x.t()
                    x = 3.4445 * x + (-4.7750 * a + 2.0315 * (a @ a)) @ x
                x = x.t() if tall else x
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(x, alpha=-group["lr"] * max(1.0, p.shape[0] / p.shape[1]) ** 0.5)


class Rows:
    """Picks the rows of a step: random windows of the text and story streams, and exercise rows in shuffled order."""

    def __init__(self, folder, seed, bos):
        def load(name):
            return np.load(os.path.join(folder, name + ".npy"), mmap_mode="r")
        self.streams = {name: load(name) for name in ("text", "wrapped", "stories", "fresh")}
        self.exercises = {name: (load(name + "-ids"), load(name + "-weights")) for name in SETS}
        self.seed, self.bos = seed, bos

    def step(self, step, phase):
        rng = np.random.default_rng([self.seed, step])
        length = phase["length"]
        ids, weights = [], []
        for kind in (k for k in ("text", "stories", "fresh") for _ in range(phase.get(k, 0))):
            # A quarter of the text keeps its hard line breaks, so that wrapped files are not foreign.
            wrapped = kind == "text" and rng.random() < 0.25
            stream = self.streams["wrapped" if wrapped else kind]
            at = rng.integers(0, len(stream) - length)
            ids.append(np.concatenate(([self.bos], stream[at:at + length])))
            weights.append(np.ones(length + 1, np.uint8))
        for name in SETS:
            all_ids, all_weights = self.exercises[name]
            count = phase.get(name, 0)
            first = step * count
            order = np.random.default_rng([self.seed, 99, first // len(all_ids)]).permutation(len(all_ids))
            for at in range(first, first + count):
                ids.append(all_ids[order[at % len(all_ids)]])
                weights.append(all_weights[order[at % len(all_ids)]])
        ids, weights = np.stack(ids).astype(np.int64), np.stack(weights).astype(np.int64)
        return torch.from_numpy(ids), torch.from_numpy(weights)


def rate(step, r):
    """Warm-up, flat, then linear decay to a fiftieth: the flat part lets a run be cut or extended while it goes."""
    left = (r["steps"] - step) / r["decay_steps"]
    return min((step + 1) / r["warmup_steps"], 1.0, max(left, 0.02))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", default=os.path.join(HERE, "out"))
    parser.add_argument("--recipe", default=os.path.join(HERE, "data", "recipe.json"))
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--stop", type=int, help="stop after this step (the schedule stays that of the recipe)")
    a = parser.parse_args()
    with open(a.recipe, encoding="utf-8") as handle:
        r = json.load(handle)
    torch.set_num_threads(a.threads)
    if a.device == "cpu":
        keep_heap_memory()
    torch.manual_seed(r["seed"])
    model = Model()
    plant(model, Tokenizer.load(os.path.join(a.out, "tokenizer.json")))
    model.to(a.device)
    matrices = [p for n, p in model.named_parameters() if p.dim() == 2 and n.startswith("layers")]
    others = [p for n, p in model.named_parameters() if p.dim() == 1]
    muon = Muon(matrices, r["matrix_lr"], weight_decay=r["weight_decay"])
    adam = torch.optim.AdamW([{"params": [model.token_embd.weight], "peak": r["embedding_lr"], "weight_decay": 0.0},
                              {"params": [model.output.weight], "peak": r["peak_lr"], "weight_decay": r["weight_decay"]},
                              {"params": others, "peak": r["peak_lr"], "weight_decay": 0.0}], betas=(0.9, 0.95))
    rows = Rows(a.out, r["seed"], CONFIG["vocab"] - 4)
    checkpoint = os.path.join(a.out, "checkpoint.pt")
    step, tokens, spent = 0, 0, 0.0
    if a.resume and os.path.exists(checkpoint):
        state = torch.load(checkpoint, map_location=a.device)
        model.load_state_dict(state["model"])
        muon.load_state_dict(state["muon"])
        adam.load_state_dict(state["adam"])
        step, tokens, spent = state["step"], state["tokens"], state["seconds"]

    def save():
        state = {"model": model.state_dict(), "muon": muon.state_dict(), "adam": adam.state_dict(), "step": step,
                 "tokens": tokens, "seconds": spent + time.time() - began, "torch": torch.__version__, "recipe": r,
                 "config": model.c, "device": a.device}
        torch.save(state, checkpoint + ".new")
        os.replace(checkpoint + ".new", checkpoint)

    began = last = time.time()
    total, seen = {"text": 0.0, "exercises": 0.0}, 0
    end = min(r["steps"], a.stop or r["steps"])
    while step < end:
        phase = next(p for p in r["phases"] if step < p["until"])
        ids, weights = (t.to(a.device) for t in rows.step(step, phase))
        factor = rate(step, r)
        for group in muon.param_groups:
            group["lr"] = r["matrix_lr"] * factor
        for group in adam.param_groups:
            group["lr"] = group["peak"] * factor
        each, w = model.losses(ids[:, :-1], ids[:, 1:], weights[:, 1:])
        loss = (each * w).sum() / w.sum()
        for p in model.parameters():
            p.grad = None
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), r["clip"])
        muon.step()
        adam.step()
        step += 1
        tokens += ids.shape[0] * phase["length"]
        seen += 1
        with torch.no_grad():
            plain = phase["text"] * phase["length"]  # text rows come first and all their tokens count
            total["text"] += each[:plain].mean().item()
            hard = w[plain:] == 2
            total["exercises"] += each[plain:][hard].mean().item()
        if step % 25 == 0:
            now = time.time()
            speed = 25 * phase["rows"] * phase["length"] / (now - last)
            print("step %d tokens %.1fM text %.3f answers %.3f norm %.2f lr %.3f tok/s %.0f min %.1f" % (
                step, tokens / 1e6, total["text"] / seen, total["exercises"] / seen, norm, factor, speed,
                (spent + now - began) / 60), flush=True)
            last, seen = now, 0
            total = {"text": 0.0, "exercises": 0.0}
        if step % 50 == 0 or step == end:
            save()
            if not math.isfinite(loss.item()):
                raise SystemExit("the loss is no longer finite")


if __name__ == "__main__":
    main()
