"""How a partner learns, whatever its loss is: Muon for matrices, AdamW for embeddings and norms, one schedule, a file now and then."""
import os
import sys
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
import numpy as np
import torch

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, ".."))
from export import gguf
from train import Muon, rate


def learn(model, r, step_of):
    """Takes r["steps"] steps with the rates of recipe.json, and yields (step, tokens so far) behind each. `step_of(step)` gives
    the loss, the share of guesses that hit, and the number of tokens."""
    matrices = [p for n, p in model.named_parameters() if p.dim() == 2 and n.startswith("layers")]
    norms = [p for p in model.parameters() if p.dim() == 1]
    muon = Muon(matrices, r["matrix_lr"], weight_decay=r["weight_decay"])
    adam = torch.optim.AdamW([{"params": [model.token_embd.weight], "peak": r["embedding_lr"]},
                              {"params": norms, "peak": r["peak_lr"]}], betas=(0.9, 0.95), weight_decay=0.0)
    began, seen, total, tokens = time.time(), 0, np.zeros(2), 0
    for step in range(r["steps"]):
        factor = rate(step, r)
        for group in muon.param_groups:
            group["lr"] = r["matrix_lr"] * factor
        for group in adam.param_groups:
            group["lr"] = group["peak"] * factor
        for p in model.parameters():
            p.grad = None
        loss, hits, count = step_of(step)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), r["clip"])
        muon.step()
        adam.step()
        tokens += count
        seen += 1
        total += (loss.item(), hits)
        if step % 25 == 24:
            print("step %d tokens %.1fM loss %.3f same %.3f min %.1f" % (
                step + 1, tokens / 1e6, total[0] / seen, total[1] / seen, (time.time() - began) / 60), flush=True)
            seen, total = 0, np.zeros(2)
        yield step, tokens


def write(path, model, r, tk, note):
    """The partner as a GGUF file with 16-bit weights."""
    tensors = gguf.tensors({k: v.detach() for k, v in model.state_dict().items()}, r["config"])
    gguf.write(path, gguf.metadata(r["config"], tk, note, r["name"]), list(tensors))


def is_time_to_write(step, r):
    return step % 200 == 199 or step + 1 == r["steps"]
