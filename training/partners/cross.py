"""Trains the partner with another vocabulary on the model's laws, after distil.py: cross.py --arrays FOLDER --teacher FOLDER.

A law over the model's tokens says which token of the partner's comes next: that with which the most probable tokens begin, in the
partner's pieces. So each row of features.py's dumps is written piece by piece as lib/decode/speculation/drafters/cross-vocabulary
writes what a target says, and where one of the model's tokens ends the partner learns the sum of the law over first pieces:
(1 - argmax) · cross-entropy of it + `argmax` · that of its most probable piece. Inside of a token it learns the piece that came.
"""
import argparse
import json
import os
import sys

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
import numpy as np
import torch

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, ".."))
from distil import batch
from evaluate import load
from learning import is_time_to_write, learn, write
from model import keep_heap_memory
from tokenizer import CHAR_TO_BYTE, SPECIALS, Tokenizer


def pieces_of(teacher, own):
    """Per token of the model its pieces in the partner's vocabulary."""
    out = []
    for token in teacher.tokens:
        if token in SPECIALS:
            out.append([own.ids[token]])
            continue
        data = bytes(CHAR_TO_BYTE[c] for c in token)
        try:
            out.append(own.encode(data.decode("utf-8")))
        except UnicodeDecodeError:
            out.append(list(data))  # the first 256 tokens are the bytes
    return out


def written(ids, weights, pieces, length):
    """Rows in the partner's tokens [n, length + 1], their weights, and for each of `length` places the row of the model's
    states whose law is that of the next piece, or -1 inside of a token."""
    rows = np.zeros((len(ids), length + 1), np.uint16)
    heavy = np.zeros((len(ids), length + 1), np.uint8)
    places = np.full((len(ids), length), -1, np.int16)
    for n, (row, weight) in enumerate(zip(ids, weights)):
        at = 0
        for k, token in enumerate(row):
            own = pieces[token][:length + 1 - at]
            rows[n, at:at + len(own)] = own
            heavy[n, at:at + len(own)] = weight[k]
            if 0 < at <= length:
                places[n, at - 1] = k - 1
            at += len(own)
            if at > length:
                break
    return rows, heavy, places


def loss_of(model, output, first, r, ids, weights, states, places):
    """The loss, and the share of the places at a token's end whose most probable piece is the law's."""
    chosen = (weights[:, 1:] > 0).flatten().nonzero().squeeze(1)
    own = torch.log_softmax(model.logits(model.states(ids[:, :-1]).flatten(0, 1)[chosen]), -1)
    wanted = ids[:, 1:].flatten()[chosen]
    rows, width = ids.shape[0], states.shape[1]
    place = places.flatten()[chosen].long()
    ends = place >= 0
    at = (torch.arange(rows)[:, None] * width).expand(rows, ids.shape[1] - 1).flatten()[chosen][ends] + place[ends]
    with torch.no_grad():
        law = torch.softmax(states.flatten(0, 1)[at].float() @ output.t(), -1)
        firsts = torch.zeros(len(law), own.shape[1]).index_add_(1, first, law)
        best = firsts.argmax(-1)
        firsts.mul_(1 - r["argmax"])
        firsts[torch.arange(len(best)), best] += r["argmax"]
    said = own[ends]
    loss = -(firsts * said).sum() - own[~ends].gather(1, wanted[~ends][:, None]).sum()
    return loss / len(chosen), (said.argmax(-1) == best).float().mean().item()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--arrays", required=True, help="the partner's folder, with what distil.py wrote")
    parser.add_argument("--teacher", required=True, help="the model's folder, with features")
    parser.add_argument("--model", default=os.path.join(HERE, "..", "..", "models", "vivace-tiny.gguf"))
    parser.add_argument("--file", help="what to write; default: the file that it began with")
    parser.add_argument("--steps", type=int)
    a = parser.parse_args()
    with open(os.path.join(HERE, "recipe.json"), encoding="utf-8") as handle:
        recipe = json.load(handle)
    r = {"seed": recipe["seed"], **recipe["other"], **recipe["other laws"]}
    r["steps"] = a.steps or r["steps"]
    torch.set_num_threads(1)
    keep_heap_memory()
    begin = os.path.join(a.arrays, r["name"] + "-f16.gguf")
    _, file, _, teacher = load(a.model)
    _, _, model, tk = load(begin)
    model.train()
    output = torch.from_numpy(file["output.weight"])
    pieces = pieces_of(teacher, tk)
    first = torch.tensor([own[0] for own in pieces])
    sets, places = {}, {}
    for name in recipe["features"]:
        ids, weights, states = (np.load(os.path.join(a.teacher, "features", "%s-%s.npy" % (name, part)), mmap_mode="r")
                                for part in ("ids", "weights", "states"))
        rows, heavy, at = written(ids, weights, pieces, r["long_length"] if name == "long" else r["length"])
        # What batch() takes for states is their row's number and the places, so that both are of the rows that it picks.
        sets[name] = (rows, heavy, np.concatenate((np.arange(len(rows))[:, None], at), 1))
        places[name] = states
    def step_of(step):
        ids, weights, numbered = batch(sets, r, step)
        wanted = {"long": r["long"]} if step % r["long_every"] == r["long_every"] - 1 else r["rows"]
        states, begin_row = [], 0
        for name, count in wanted.items():
            states.append(places[name][numbered[begin_row:begin_row + count, 0].numpy()])
            begin_row += count
        states = torch.from_numpy(np.concatenate(states))
        got = loss_of(model, output, first, r, ids, weights, states, numbered[:, 1:])
        return *got, ids.shape[0] * (ids.shape[1] - 1)
    for step, _ in learn(model, r, step_of):
        if is_time_to_write(step, r):
            note = "Drafts for vivace-tiny; same texts and exercises, what it says, and its laws; seed %d." % r["seed"]
            write(a.file or begin, model, r, tk, note)


if __name__ == "__main__":
    main()
