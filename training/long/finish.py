"""Writes what extend.py made as GGUF files and scores them: finish.py [--stages full longgen] → OUT/NAME-f16.gguf, scores.json.

Scores are of the F16 files: accuracy of look-ups by length, asked one at a time at the very end of the text; the exercises of the
embedded model; and held-out text, by how much of it a token could see.
"""
import argparse
import json
import math
import os
import sys

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
import torch

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, ".."))
import exercises as ex
from evaluate import accuracy, export_check, load, plain_case
from export import gguf
from model import keep_heap_memory

NAMES = {"full": "vivace-tiny-long", "longgen": "vivace-tiny-longgen"}
LENGTHS = (1024, 2048, 4096, 8192)
BUCKETS = ((0, 1024), (1024, 2048), (2048, 4096), (4096, 8192))  # tokens before


def export(stage, out):
    """The file's path and what is known of its training."""
    state = torch.load(os.path.join(out, stage + ".pt"), map_location="cpu")
    _, _, _, tk = load(os.path.join(HERE, "..", "..", "models", "vivace-tiny.gguf"))
    note = {"full": "vivace-tiny, trained on to read 8192 tokens; same texts and exercises.",
            "longgen": "vivace-tiny-long, trained on with sinks and a window in all layers but the second."}[stage]
    path = os.path.join(out, NAMES[stage] + "-f16.gguf")
    gguf.write(path, gguf.metadata(state["config"], tk, note, NAMES[stage]), list(gguf.tensors(state["model"], state["config"])))
    return path, {"steps": state["step"], "tokens": state["tokens"], "wall_minutes": round(state["seconds"] / 60, 1),
                  "torch": state["torch"]}


def lookup(tk, seed, length, pairs):
    """The exercise `needle` with as many words as make a case of `length` tokens, answer included, or a few less."""
    words = length
    while True:
        prompt, answer = ex.make("needle", seed, pairs=pairs, words=words)
        case = plain_case(tk, "needle", prompt, answer)
        if len(case[0]) <= length:
            return case
        words -= max(1, (len(case[0]) - length) // 2)


@torch.no_grad()
def by_distance(model, tk, text, rows):
    """Perplexity of the tokens with so many before them, over rows of the whole context."""
    size = model.c["context"]
    ids = tk.encode(text)
    losses = []
    for at in range(0, min(rows * (size - 1), len(ids) - size), size - 1):
        row = torch.tensor([[tk.bos] + ids[at:at + size]])
        losses.append(torch.nn.functional.cross_entropy(model(row[:, :-1])[0], row[0, 1:], reduction="none"))
    each = torch.stack(losses)
    result = {"%d to %d" % (a, b): round(math.exp(each[:, a:b].mean().item()), 2) for a, b in BUCKETS}
    return {**result, "all": round(math.exp(each.mean().item()), 2), "tokens": each.numel()}


@torch.no_grad()
def in_windows(model, tk, text, rows, size=1023):
    """Perplexity as ../evaluate.py measures the embedded model's: windows of 1023 tokens, every token once."""
    ids = tk.encode(text)[:rows * size]
    loss = 0.0
    for at in range(0, len(ids), size):
        row = torch.tensor([[tk.bos] + ids[at:at + size]])
        loss += torch.nn.functional.cross_entropy(model(row[:, :-1])[0], row[0, 1:], reduction="sum").item()
    return round(math.exp(loss / len(ids)), 2)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--stages", nargs="+", default=["full", "longgen"], choices=tuple(NAMES))
    parser.add_argument("--arrays", default=os.path.join(HERE, "..", "out"), help="folder with held-out.json")
    parser.add_argument("--out", default=os.path.join(HERE, "..", "out", "long"))
    parser.add_argument("--scores", default=os.path.join(HERE, "scores.json"))
    parser.add_argument("--cases", type=int, default=50)
    parser.add_argument("--export-only", action="store_true")
    a = parser.parse_args()
    torch.set_num_threads(1)
    keep_heap_memory()
    scores = {}
    if os.path.exists(a.scores):
        with open(a.scores, encoding="utf-8") as handle:
            scores = json.load(handle)
    for stage in a.stages:
        path, training = export(stage, a.out)
        if a.export_only:
            continue
        meta, w, model, tk = load(path)
        with open(os.path.join(a.arrays, "held-out.json"), encoding="utf-8") as handle:
            text = "\n\n".join(t["text"] for t in json.load(handle))
        found = {"%d tokens, %d pairs" % (length, pairs): round(accuracy(model, [
            lookup(tk, 5000 + i, length, pairs) for i in range(a.cases)]), 4)
            for length in LENGTHS for pairs in (20, 100)}
        scores[NAMES[stage]] = {
            "training": training, "export_check_largest_logit_difference": export_check(meta, w, model, tk), "lookup": found,
            "exercises": {kind: round(accuracy(model, [plain_case(tk, kind, *ex.make(kind, 5000 + i)) for i in range(200)]), 4)
                          for kind in ex.KINDS},
            "perplexity_in_windows_of_1023": in_windows(model, tk, text, 60),
            "perplexity_by_tokens_before": by_distance(model, tk, text, 6)}
        print(json.dumps(scores[NAMES[stage]], indent=1), flush=True)
        with open(a.scores, "w", encoding="utf-8") as out:
            json.dump(scores, out, indent=1)
            out.write("\n")


if __name__ == "__main__":
    main()
