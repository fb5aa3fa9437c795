"""Trains the model with experts from the embedded one: train_experts.py --arrays FOLDER (which prepare.py made) [--resume].

A step's rows follow from (seed, step) alone. Writes ARRAYS/experts.pt every 25 steps; finish.py turns it into a GGUF file.
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
from model import keep_heap_memory
from moe import ExpertModel, agreement, balance, grow, recalls, reuse
from train import Muon, Rows


def phase_of(r, step):
    """The rows of a step, in the words of train.py's phases."""
    if step % r["long_every"] == r["long_every"] - 1:
        return {"length": r["long_length"], **r["long_rows"]}
    return {"length": r["length"], **r["rows"]}


def rate(step, points):
    """What learning rates are multiplied by: straight lines between (step, factor)."""
    return float(np.interp(step, *zip(*points)))


def optimizers(model, r):
    named = list(model.named_parameters())
    routers = [p for n, p in named if "gate_inp" in n]
    muon = Muon([p for n, p in named if n.startswith("layers") and p.dim() == 2 and "gate_inp" not in n],
                r["matrix_lr"], weight_decay=r["weight_decay"])
    rest = [p for n, p in named if p.dim() == 1 or n == "output.weight"]
    adam = torch.optim.AdamW([{"params": routers, "peak": r["router_lr"]},
                              {"params": [model.token_embd.weight], "peak": r["embedding_lr"]},
                              {"params": rest, "peak": r["peak_lr"]}], betas=(0.9, 0.95), weight_decay=0.0)
    return muon, adam


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--arrays", required=True)
    parser.add_argument("--recipe", default=os.path.join(HERE, "recipe.json"))
    parser.add_argument("--file", default=os.path.join(HERE, "..", "..", "models", "vivace-tiny.gguf"))
    parser.add_argument("--checkpoint", help="default: ARRAYS/experts.pt")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--stop", type=int, help="stop after this step (the schedule stays that of the recipe)")
    a = parser.parse_args()
    with open(a.recipe, encoding="utf-8") as handle:
        r = json.load(handle)
    torch.set_num_threads(1)
    keep_heap_memory()
    torch.manual_seed(r["seed"])
    _, _, dense, tk = load(a.file)
    model = grow(dense, r["config"], r["seed"])
    muon, adam = optimizers(model, r)
    rows = Rows(a.arrays, r["seed"], tk.bos)
    checkpoint = a.checkpoint or os.path.join(a.arrays, "experts.pt")
    step, tokens, spent = 0, 0, 0.0
    if a.resume and os.path.exists(checkpoint):
        state = torch.load(checkpoint)
        model.load_state_dict(state["model"])
        muon.load_state_dict(state["muon"])
        adam.load_state_dict(state["adam"])
        step, tokens, spent = state["step"], state["tokens"], state["seconds"]
    print("%d parameters" % sum(p.numel() for p in model.parameters()), flush=True)

    began, total, seen = time.process_time(), np.zeros(4), 0
    end = min(r["steps"], a.stop or r["steps"])
    while step < end:
        phase = phase_of(r, step)
        ids, weights = rows.step(step, phase)
        factor = rate(step, r["rate"])
        for group in muon.param_groups:
            group["lr"] = r["matrix_lr"] * factor
        for group in adam.param_groups:
            group["lr"] = group["peak"] * factor
        each, w = model.losses(ids[:, :-1], ids[:, 1:], weights[:, 1:])
        even, apart = balance(model), agreement(model)
        loss = (each * w).sum() / w.sum() + r["balance"] * even + r["agreement"] * apart
        for p in model.parameters():
            p.grad = None
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), r["clip"])
        muon.step()
        adam.step()
        step += 1
        seen += 1
        tokens += ids.shape[0] * phase["length"]
        plain = phase["text"] * phase["length"]  # text rows come first and all their tokens count
        with torch.no_grad():
            hard = w[plain:] == 2
            total += (each[:plain].mean().item(), each[plain:][hard].mean().item(), even.item(), apart.item())
        if step % 25 == 0 or step == end:
            found = recalls(model, 1)
            print("step %d tokens %.2fM text %.3f answers %.3f balance %.3f apart %.4f recall+1 %s reuse %.2f min %.1f" % (
                step, tokens / 1e6, *(total / seen), " ".join("%.3f" % v for v in found), np.mean(reuse(model)),
                (spent + time.process_time() - began) / 60), flush=True)
            total, seen = np.zeros(4), 0
            if not math.isfinite(loss.item()):
                raise SystemExit("the loss is no longer finite")
            state = {"model": model.state_dict(), "muon": muon.state_dict(), "adam": adam.state_dict(), "step": step,
                     "tokens": tokens, "seconds": spent + time.process_time() - began, "recipe": r}
            torch.save(state, checkpoint + ".new")
            os.replace(checkpoint + ".new", checkpoint)


if __name__ == "__main__":
    main()
