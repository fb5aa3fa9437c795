"""Trains drafters of several sizes on several amounts of data, for `vivace scale-probe`: ladder.py --arrays FOLDER --out FOLDER.

Each is made as distil.py makes `vivace-tiny-draft`, of features.py's dumps, with the recipe's `ladder` in place of layers, rows and
steps, and a schedule of its own. OUT/ladder.json says what was made: [{"draftModel", "tokens"}], which scale-probe reads.
"""
import argparse
import json
import os
import sys

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
import torch

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, ".."))
from distil import batch, loss_of, rows_with_states, start
from evaluate import load
from learning import learn, write
from model import keep_heap_memory
from tokenizer import Tokenizer


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--arrays", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--model", default=os.path.join(HERE, "..", "..", "models", "vivace-tiny.gguf"))
    a = parser.parse_args()
    with open(os.path.join(HERE, "recipe.json"), encoding="utf-8") as handle:
        recipe = json.load(handle)
    rungs = recipe["ladder"]
    torch.set_num_threads(1)
    keep_heap_memory()
    os.makedirs(a.out, exist_ok=True)
    _, file, _, _ = load(a.model)
    output = torch.from_numpy(file["output.weight"])
    tk = Tokenizer.load(os.path.join(a.arrays, "tokenizer.json"))
    sets = rows_with_states(a, recipe)
    made = []
    for steps in rungs["steps"]:
        for layers in rungs["layers"]:
            r = {"seed": recipe["seed"], **recipe["draft"], "rows": rungs["rows"], "long_every": steps + 1, "steps": steps,
                 "warmup_steps": max(1, steps // 20), "decay_steps": max(1, steps * 3 // 5)}
            r["config"] = {**r["config"], "layers": layers}
            r["name"] = "ladder-%d-%d" % (layers, steps)
            torch.manual_seed(r["seed"])
            model = start(r, tk, file, r["config"]["width"])

            def step_of(step):
                ids, weights, states = batch(sets, r, step)
                return *loss_of(model, output, r, ids, weights, states), ids.shape[0] * (ids.shape[1] - 1)
            for _, tokens in learn(model, r, step_of):
                pass
            path = os.path.join(a.out, r["name"] + ".gguf")
            write(path, model, r, tk, "A rung of a ladder of drafters for vivace-tiny: %d layers, %d tokens." % (layers, tokens))
            made.append({"draftModel": os.path.basename(path), "tokens": tokens})
            print("%s: %d tokens" % (r["name"], tokens), flush=True)
            with open(os.path.join(a.out, "ladder.json"), "w", encoding="utf-8") as handle:
                json.dump(made, handle)


if __name__ == "__main__":
    main()
