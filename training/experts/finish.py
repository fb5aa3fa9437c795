"""Writes the trained model with experts as GGUF and scores it: finish.py --arrays FOLDER → FOLDER/NAME-f16.gguf, scores.json.

Scores are those of the weights in 16 bits, before `vivace quantize`. Routing is measured on held-out text, exercises and stories.
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
import exercises as ex
from evaluate import accuracy, generate, perplexity, plain_case
from export import gguf
from model import keep_heap_memory
from moe import ExpertModel, recalls, reuse
from tokenizer import Tokenizer

SAMPLES = ["Once upon a time", "The prince looked at", "It was a cold evening, and"]


def extra(c):
    return [("expert_count", gguf.U32, c["experts"]), ("expert_used_count", gguf.U32, c["experts_used"]),
            ("expert_feed_forward_length", gguf.U32, c["expert_hidden"]),
            ("expert_shared_feed_forward_length", gguf.U32, c["hidden"])]


def tensors(model):
    """(name, array, type) in file order; experts are the slowest axis. Qwen2's biases of q, k and v are zero."""
    c = model.c
    state = {name: t.detach().float().numpy() for name, t in model.state_dict().items()}
    yield "token_embd.weight", state["token_embd.weight"], gguf.TENSOR_F16
    for i in range(c["layers"]):
        def part(name):
            return state["layers.%d.%s.weight" % (i, name)]

        def named(name, a, kind=gguf.TENSOR_F16):
            return "blk.%d.%s" % (i, name), a, kind
        yield named("attn_norm.weight", part("attn_norm"), gguf.TENSOR_F32)
        for name in ("attn_q", "attn_k", "attn_v"):
            yield named(name + ".weight", part(name))
            yield named(name + ".bias", np.zeros(part(name).shape[0], np.float32), gguf.TENSOR_F32)
        yield named("attn_output.weight", part("attn_output"))
        yield named("ffn_norm.weight", part("ffn_norm"), gguf.TENSOR_F32)
        yield named("ffn_gate_inp.weight", part("ffn_gate_inp"), gguf.TENSOR_F32)
        yield named("ffn_gate_inp_shexp.weight", part("ffn_gate_inp_shexp")[0], gguf.TENSOR_F32)
        for name in ("ffn_gate", "ffn_up", "ffn_down"):
            yield named(name + "_shexp.weight", part(name))
        experts, hidden = c["experts"], c["expert_hidden"]
        for name in ("ffn_gate_exps", "ffn_up_exps"):
            yield named(name + ".weight", part(name).reshape(experts, hidden, -1))
        down = part("ffn_down_exps").reshape(-1, experts, hidden)
        yield named("ffn_down_exps.weight", down.transpose(1, 0, 2))
    yield "output_norm.weight", state["output_norm.weight"], gguf.TENSOR_F32
    yield "output.weight", state["output.weight"], gguf.TENSOR_F16


@torch.no_grad()
def routing(model, rows):
    """Per layer: recall of its experts by the layer before with 0, 1 and 2 predictions too many, and reuse by the next token."""
    found = [np.zeros(len(model.layers) - 1) for _ in range(3)]
    again = np.zeros(len(model.layers))
    for row in rows:
        model.states(row)
        for extra_predictions in range(3):
            found[extra_predictions] += recalls(model, extra_predictions)
        again += reuse(model)
    names = ("recall", "recall, 1 more", "recall, 2 more")
    result = {name: [round(v / len(rows), 4) for v in values] for name, values in zip(names, found)}
    return {**result, "reuse": [round(v / len(rows), 4) for v in again]}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--arrays", required=True)
    parser.add_argument("--checkpoint", help="default: ARRAYS/experts.pt")
    parser.add_argument("--scores", default=os.path.join(HERE, "scores.json"))
    parser.add_argument("--cases", type=int, default=100)
    a = parser.parse_args()
    torch.set_num_threads(1)
    keep_heap_memory()
    state = torch.load(a.checkpoint or os.path.join(a.arrays, "experts.pt"))
    r = state["recipe"]
    model = ExpertModel(r["config"])
    model.load_state_dict(state["model"])
    for p in model.parameters():
        if p.dim() == 2:
            p.data = p.data.half().float()
    model.eval()
    tk = Tokenizer.load(os.path.join(a.arrays, "tokenizer.json"))
    note = ("Mixture of experts grown from vivace-tiny, for tests and measurements; same texts and exercises; "
            "seed %d, %.1f million tokens more." % (r["seed"], state["tokens"] / 1e6))
    path = os.path.join(a.arrays, r["name"] + "-f16.gguf")
    gguf.write(path, gguf.metadata(r["config"], tk, note, r["name"], "qwen2moe", extra(r["config"])), list(tensors(model)))
    print(path, os.path.getsize(path), flush=True)

    scores = {"parameters": sum(p.numel() for p in model.parameters()), "steps": state["step"], "tokens": state["tokens"],
              "minutes": round(state["seconds"] / 60, 1)}
    with open(os.path.join(a.arrays, "held-out.json"), encoding="utf-8") as handle:
        held_out = json.load(handle)
    scores["held_out"] = {t["name"]: perplexity(model, tk, t["text"]) for t in held_out}
    text = "\n\n".join(t["text"] for t in held_out)
    scores["held_out"]["all"] = perplexity(model, tk, text)
    print(json.dumps(scores), flush=True)
    ids = tk.encode(text)
    windows = [torch.tensor([[tk.bos] + ids[at:at + 255]]) for at in range(0, 16 * 1024, 1024)]
    stream = np.load(os.path.join(a.arrays, "fresh.npy"), mmap_mode="r")[-4096:].astype(np.int64)
    drawn = np.load(os.path.join(a.arrays, "short-ids.npy"), mmap_mode="r")[-16:, :256].astype(np.int64)
    scores["routing"] = {"text": routing(model, windows),
                         "stories": routing(model, [torch.from_numpy(stream[None, at:at + 256]) for at in range(0, 4096, 256)]),
                         "exercises": routing(model, [torch.from_numpy(row[None]) for row in drawn])}
    scores["exercises"] = {}
    for kind in ex.KINDS:
        cases = [plain_case(tk, kind, *ex.make(kind, 5000 + i)) for i in range(a.cases)]
        scores["exercises"][kind] = round(accuracy(model, cases), 4)
    scores["samples"] = {begin: generate(model, tk, [tk.bos] + tk.encode(begin), 50, 0) for begin in SAMPLES}
    with open(a.scores, "w", encoding="utf-8") as out:
        json.dump(scores, out, indent=1, ensure_ascii=False)
        out.write("\n")
    print(json.dumps(scores, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
