"""Trains heads that each say one token further on (Medusa-1, Cai et al. 2024): medusa.py --arrays FOLDER.

Head i reads the feature f_t (the state behind the model's last norm, from features.py), puts it through blocks
x + SiLU(W x + b), and multiplies it by the model's own output matrix, which is frozen: its law is of the token at t + 2 + i.
Loss, summed over heads with weights `decay`^i: (1 - argmax) · cross-entropy of the model's own law there + `argmax` · of its
most probable token. Written as a directory of the published layout: config.json and medusa_lm_head.safetensors in F16, without
matrices from states to tokens (`original_lm_head`).
"""
import argparse
import json
import os
import sys
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, ".."))
from distil import batch, rows_with_states
from eagle import save_tensors
from evaluate import load
from model import keep_heap_memory
from train import Muon, rate


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.linear = nn.Linear(width, width)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x):
        return x + F.silu(self.linear(x))


def losses(heads, output, r, weights, states, rng):
    """(loss, share of equal best tokens per head)"""
    states = states.float()
    rows, length = states.shape[:2]
    ends = length - len(heads)
    places = torch.randint(rows * ends, (r["places"],), generator=rng)
    row, at = places // ends, places % ends
    loss, same = 0.0, []
    for i, head in enumerate(heads):
        # Not where the text was given: nobody drafts there.
        known = weights[row, at + 2 + i] > 0
        own, wanted = states[row, at][known], states[row, at + 1 + i][known]
        with torch.no_grad():
            law = torch.softmax(wanted @ output.t(), -1)
            best = law.argmax(-1)
            law.mul_(1 - r["argmax"])
            law[torch.arange(len(best)), best] += r["argmax"]
        logs = torch.log_softmax(head(own) @ output.t(), -1)
        loss = loss + r["decay"] ** i * -(law * logs).sum(-1).mean()
        same.append((logs.argmax(-1) == best).float().mean().item())
    return loss, same


def write(folder, heads, r, width, vocab):
    os.makedirs(folder, exist_ok=True)
    config = {"medusa_num_heads": len(heads), "medusa_num_layers": r["layers"], "hidden_size": width, "vocab_size": vocab,
              "original_lm_head": True, "base_model_name_or_path": "vivace-tiny", "torch_dtype": "float16"}
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as out:
        json.dump(config, out, indent=2)
        out.write("\n")
    save_tensors(os.path.join(folder, "medusa_lm_head.safetensors"),
                 {name: p for name, p in heads.named_parameters()})


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--arrays", required=True)
    parser.add_argument("--model", default=os.path.join(HERE, "..", "..", "models", "vivace-tiny.gguf"))
    parser.add_argument("--out", help="default: ARRAYS/NAME")
    a = parser.parse_args()
    with open(os.path.join(HERE, "recipe.json"), encoding="utf-8") as handle:
        recipe = json.load(handle)
    r = {"seed": recipe["seed"], **recipe["medusa"]}
    torch.set_num_threads(1)
    keep_heap_memory()
    torch.manual_seed(r["seed"])
    _, file, _, _ = load(a.model)
    output = torch.from_numpy(file["output.weight"])
    vocab, width = output.shape
    sets = rows_with_states(a, recipe)
    heads = nn.ModuleList(nn.Sequential(*[Block(width) for _ in range(r["layers"])]) for _ in range(r["heads"]))
    print("%d parameters" % sum(p.numel() for p in heads.parameters()), flush=True)
    muon = Muon([p for p in heads.parameters() if p.dim() == 2], r["matrix_lr"], weight_decay=r["weight_decay"])
    adam = torch.optim.AdamW([p for p in heads.parameters() if p.dim() == 1], r["peak_lr"], (0.9, 0.95), weight_decay=0.0)
    rng = torch.Generator().manual_seed(r["seed"])
    began, seen, total = time.time(), 0, np.zeros(1 + len(heads))
    for step in range(r["steps"]):
        factor = rate(step, r)
        muon.param_groups[0]["lr"], adam.param_groups[0]["lr"] = r["matrix_lr"] * factor, r["peak_lr"] * factor
        _, weights, states = batch(sets, r, step)
        for p in heads.parameters():
            p.grad = None
        loss, same = losses(heads, output, r, weights, states, rng)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(heads.parameters(), r["clip"])
        muon.step()
        adam.step()
        seen += 1
        total += (loss.item(), *same)
        if step % 25 == 24:
            print("step %d loss %.3f same %s min %.1f" % (
                step + 1, total[0] / seen, " ".join("%.3f" % s for s in total[1:] / seen), (time.time() - began) / 60),
                flush=True)
            seen, total = 0, np.zeros(1 + len(heads))
        if step % 200 == 199 or step + 1 == r["steps"]:
            write(a.out or os.path.join(a.arrays, r["name"]), heads, r, width, vocab)


if __name__ == "__main__":
    main()
