"""Trains a smaller partner of the embedded model: distil.py --partner draft|other --arrays FOLDER [--teacher FOLDER].

A partner with the model's vocabulary learns its laws from what features.py dumped: (1 - argmax) · KL(model, partner) plus
`argmax` times the cross-entropy of the model's most probable token, which is what a greedy draft has to hit. A partner with
another vocabulary cannot see laws over its own tokens; it learns to continue what the model says (--teacher names the folder
with outputs.npy in the model's tokens) and the same texts and exercises.
"""
import argparse
import json
import os
import sys

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
import numpy as np
import torch
import torch.nn.functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, ".."))
from circuits import plant
from evaluate import load
from features import take
from learning import is_time_to_write, learn, write
from model import Model, keep_heap_memory
from tokenizer import Tokenizer


def other_outputs(path, teacher, tk):
    """What the model said, in the partner's tokens: one stream."""
    stream = []
    for row in np.load(os.path.join(path, "outputs.npy")):
        stream += tk.encode(teacher.decode(row), specials=True)
    return np.array(stream, np.uint16)


def rows_of_other(a, recipe, tk):
    """{name: (ids, weights)} for a partner whose tokens are its own."""
    path = os.path.join(a.arrays, "outputs.npy")
    if not os.path.exists(path):
        np.save(path, other_outputs(a.teacher, Tokenizer.load(os.path.join(a.teacher, "tokenizer.json")), tk))
    sets = {}
    for name, count in recipe["features"].items():
        ids, weights = take(a.arrays, name, count, recipe["seed"], tk.bos)
        sets[name] = (ids, weights, None)
    return sets


def rows_with_states(a, recipe):
    """{name: (ids, weights, states)} from features.py."""
    sets = {}
    for name in recipe["features"]:
        parts = [np.load(os.path.join(a.arrays, "features", "%s-%s.npy" % (name, part)), mmap_mode="r")
                 for part in ("ids", "weights", "states")]
        sets[name] = tuple(parts)
    return sets


def start(r, tk, file, width):
    """The planted model. Embeddings begin as the main directions of the model's output matrix where tokens are shared."""
    model = Model(r["config"])
    d = r["config"]["head_dim"]
    free = None
    if r["config"]["vocab"] == file["output.weight"].shape[0]:
        teacher = torch.from_numpy(file["output.weight"])
        teacher = teacher - teacher.mean(0)
        _, _, main = torch.linalg.svd(teacher, full_matrices=False)
        embed = teacher @ main[:width].t()
        model.token_embd.weight.data = embed * (0.5 * width ** 0.5 / embed.norm(dim=1).mean())
        free = torch.eye(width)[:, width - 2 * d:]
    plant(model, tk, free)
    return model


def batch(sets, r, step):
    """Rows of a step: (ids, weights, states or None); every `long_every`th step has long ones."""
    wanted = {"long": r["long"]} if step % r["long_every"] == r["long_every"] - 1 else r["rows"]
    rng = np.random.default_rng([r["seed"], step])
    ids, weights, states = [], [], []
    for name, count in wanted.items():
        at = np.sort(rng.choice(len(sets[name][0]), count, replace=False))
        ids.append(sets[name][0][at])
        weights.append(sets[name][1][at])
        if sets[name][2] is not None:
            states.append(sets[name][2][at])
    ids, weights = np.concatenate(ids).astype(np.int64), np.concatenate(weights)
    return torch.from_numpy(ids), torch.from_numpy(weights), torch.from_numpy(np.concatenate(states)) if states else None


def loss_of(model, output, r, ids, weights, states):
    """The loss, and the share of the tokens whose best guess is the model's (or the text's)."""
    chosen = (weights[:, 1:] > 0).flatten().nonzero().squeeze(1)
    logits = model.logits(model.states(ids[:, :-1]).flatten(0, 1)[chosen])
    if states is None:
        wanted = ids[:, 1:].flatten()[chosen]
        return F.cross_entropy(logits, wanted), (logits.argmax(-1) == wanted).float().mean().item()
    with torch.no_grad():
        law = torch.softmax(states.flatten(0, 1)[chosen].float() @ output.t(), -1)
        best = law.argmax(-1)
        law.mul_(1 - r["argmax"])
        law[torch.arange(len(best)), best] += r["argmax"]
    own = torch.log_softmax(logits, -1)
    return -(law * own).sum(-1).mean(), (own.argmax(-1) == best).float().mean().item()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--partner", required=True, choices=("draft", "other"))
    parser.add_argument("--arrays", required=True)
    parser.add_argument("--teacher", help="for `other`: the folder with the model's tokenizer.json and outputs.npy")
    parser.add_argument("--model", default=os.path.join(HERE, "..", "..", "models", "vivace-tiny.gguf"))
    parser.add_argument("--file", help="what to write; default: ARRAYS/NAME-f16.gguf")
    parser.add_argument("--steps", type=int)
    a = parser.parse_args()
    with open(os.path.join(HERE, "recipe.json"), encoding="utf-8") as handle:
        recipe = json.load(handle)
    r = {"seed": recipe["seed"], **recipe[a.partner]}
    r["steps"] = a.steps or r["steps"]
    torch.set_num_threads(1)
    keep_heap_memory()
    torch.manual_seed(r["seed"])
    _, file, _, _ = load(a.model)
    output = torch.from_numpy(file["output.weight"])
    tk = Tokenizer.load(os.path.join(a.arrays, "tokenizer.json"))
    model = start(r, tk, file, r["config"]["width"])
    print("%d parameters" % sum(p.numel() for p in model.parameters()), flush=True)
    sets = rows_with_states(a, recipe) if a.partner == "draft" else rows_of_other(a, recipe, tk)

    def step_of(step):
        ids, weights, states = batch(sets, r, step)
        return *loss_of(model, output, r, ids, weights, states), ids.shape[0] * (ids.shape[1] - 1)
    for step, tokens in learn(model, r, step_of):
        if is_time_to_write(step, r):
            note = "Drafts for vivace-tiny; same texts and exercises, and what it says; seed %d, %.1f million tokens." % (
                r["seed"], tokens / 1e6)
            write(a.file or os.path.join(a.arrays, r["name"] + "-f16.gguf"), model, r, tk, note)


if __name__ == "__main__":
    main()
