"""Scores the exported file: export check, perplexity on held-out text, accuracy per exercise, samples; → scores.json."""
import argparse
import json
import math
import os

import numpy as np
import torch

import exercises as ex
from export import read_back
from model import Model, keep_heap_memory
from tokenizer import Tokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
SAMPLES = ["Once upon a time", "The prince looked at", "It was a cold evening, and", "KING RICHARD:\n", "\"My dear,\" said"]
CHATS = ["hello", "what can you do?", "copy: river stone lamp", "sort: 5 3 9", "2+3=", "correct: teh cat watched the bird",
         "correct: the qiuck fox jumped over the lazy dog", "tell me a story"]


def load(path):
    """The file as a torch model (rows of q and k back in halves) and its tokenizer."""
    meta, w = read_back.read(path)
    p = "llama."
    c = {"vocab": len(meta["tokenizer.ggml.tokens"]), "width": meta[p + "embedding_length"], "layers": meta[p + "block_count"],
         "heads": meta[p + "attention.head_count"], "kv_heads": meta[p + "attention.head_count_kv"],
         "head_dim": meta[p + "attention.key_length"], "hidden": meta[p + "feed_forward_length"],
         "context": meta[p + "context_length"], "rope_base": meta[p + "rope.freq_base"],
         "norm_eps": meta[p + "attention.layer_norm_rms_epsilon"], "tied": "output.weight" not in w,
         "reach": read_back.reach(meta)}
    state = {}
    for name, a in w.items():
        if "attn_q" in name or "attn_k" in name:
            heads = c["heads"] if "attn_q" in name else c["kv_heads"]
            a = a.reshape(heads, c["head_dim"] // 2, 2, -1).swapaxes(1, 2).reshape(a.shape)
        state[name.replace("blk.", "layers.")] = torch.from_numpy(a.copy())
    model = Model(c)
    model.load_state_dict(state)
    tk = Tokenizer([tuple(m.split(" ")) for m in meta["tokenizer.ggml.merges"]])
    assert tk.tokens == meta["tokenizer.ggml.tokens"]
    return meta, w, model.eval(), tk


@torch.no_grad()
def accuracy(model, cases):
    """Share of cases whose greedy continuation is exactly the answer and its end: one forward pass decides it, since
    greedy decoding follows the answer for as long as every arg max along it agrees. cases: [(ids, first answer index)]"""
    right, order = 0, sorted(range(len(cases)), key=lambda i: len(cases[i][0]))
    while order:
        longest = len(cases[order[-1]][0])
        batch = [cases[order.pop()] for _ in range(min(len(order), max(1, 8192 // longest)))]
        ids = torch.zeros(len(batch), longest, dtype=torch.long)
        for row, (case, _) in enumerate(batch):
            ids[row, :len(case)] = torch.tensor(case)
        best = model(ids[:, :-1]).argmax(-1)
        for row, (case, first) in enumerate(batch):
            right += best[row, first - 1:len(case) - 1].tolist() == case[first:]
    return right / len(cases)


def plain_case(tk, kind, prompt, answer):
    """Recall ends with its value; the others with a line end."""
    ids = [tk.bos] + tk.encode(prompt)
    end = [] if kind in ("recall", "needle") else tk.encode("\n")
    return ids + tk.encode(answer) + end, len(ids)


def chat_prompt(tk, text):
    return [tk.bos] + tk.encode("<|im_start|>user\n%s<|im_end|>\n<|im_start|>assistant\n" % text, specials=True)


def chat_case(tk, prompt, answer):
    prompt, answer = ex.as_chat(prompt, answer)
    ids = chat_prompt(tk, prompt)
    return ids + tk.encode(answer) + [tk.im_end], len(ids)


@torch.no_grad()
def perplexity(model, tk, text):
    """Windows of the whole context behind begin-of-text, every token scored once."""
    ids = tk.encode(text)
    size, loss = model.c["context"] - 1, 0.0
    for at in range(0, len(ids), size):
        row = torch.tensor([[tk.bos] + ids[at:at + size]])
        loss += torch.nn.functional.cross_entropy(model(row[:, :-1])[0], row[0, 1:], reduction="sum").item()
    return {"tokens": len(ids), "bytes": len(text.encode()), "perplexity": round(math.exp(loss / len(ids)), 3),
            "bits_per_byte": round(loss / math.log(2) / len(text.encode()), 4)}


@torch.no_grad()
def generate(model, tk, ids, count, temperature, seed=1):
    torch.manual_seed(seed)
    ids = list(ids)
    first = len(ids)
    for _ in range(count):
        logits = model(torch.tensor([ids[-model.c["context"]:]]))[0, -1]
        if temperature:
            token = torch.multinomial(torch.softmax(logits / temperature, -1), 1).item()
        else:
            token = logits.argmax().item()
        if token in (tk.eos, tk.im_end):
            break
        ids.append(token)
    return tk.decode(ids[first:])


def export_check(meta, w, model, tk):
    """Largest difference of logits between the numpy forward of the file and the torch model, over two prompts."""
    worst = 0.0
    for text in ("The prince looked at her and smiled. " * 4, ex.make("recall", 1, pairs=12)[0]):
        ids = [tk.bos] + tk.encode(text)
        with torch.no_grad():
            ours = model(torch.tensor([ids]))[0].numpy()
        worst = max(worst, float(np.abs(read_back.forward(meta, w, np.array(ids)) - ours).max()))
    return worst


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--file", default=os.path.join(HERE, "..", "models", "vivace-tiny.gguf"))
    parser.add_argument("--out", default=os.path.join(HERE, "out"), help="folder with held-out.json and checkpoint.pt")
    parser.add_argument("--scores", default=os.path.join(HERE, "data", "scores.json"))
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    keep_heap_memory()
    meta, w, model, tk = load(a.file)
    scores = {"file_bytes": os.path.getsize(a.file), "parameters": sum(p.numel() for p in model.parameters())}
    checkpoint = os.path.join(a.out, "checkpoint.pt")
    if os.path.exists(checkpoint):
        state = torch.load(checkpoint, map_location="cpu")
        scores["training"] = {"seed": state["recipe"]["seed"], "steps": state["step"], "tokens": state["tokens"],
                              "wall_minutes": round(state["seconds"] / 60, 1), "torch": state["torch"],
                              "device": state["device"]}
    scores["export_check_largest_logit_difference"] = export_check(meta, w, model, tk)
    with open(os.path.join(a.out, "held-out.json"), encoding="utf-8") as handle:
        held_out = json.load(handle)
    scores["text"] = [{k: t[k] for k in ("name", "bytes", "sha256")} for t in held_out]
    scores["held_out"] = {t["name"]: perplexity(model, tk, t["text"]) for t in held_out}
    scores["held_out"]["hard-wrapped lines"] = perplexity(model, tk, "\n\n".join(t["wrapped"] for t in held_out))
    scores["held_out"]["all"] = perplexity(model, tk, "\n\n".join(t["text"] for t in held_out))

    def run(kind, n, chat=False, **size):
        cases = [ex.make(kind, 5000 + i, **size) for i in range(n)]
        return round(accuracy(model, [chat_case(tk, *c) if chat else plain_case(tk, kind, *c) for c in cases]), 4)

    scores["recall_by_pairs"] = {str(n): run("recall", a.cases, pairs=n) for n in (2, 4, 8, 16, 32, 64, 100, 150, 200)}
    scores["needle_by_words"] = {str(n): run("needle", a.cases, pairs=10, words=n) for n in (20, 100, 200, 400, 600)}
    scores["exercises"] = {kind: run(kind, a.cases) for kind in ex.KINDS}
    small = {"recall": {"pairs": 8}, "needle": {"pairs": 4, "words": 12}}
    scores["exercises_as_chat"] = {kind: run(kind, a.cases, chat=True, **small.get(kind, {})) for kind in ex.KINDS}
    with open(os.path.join(HERE, "data", "eval.jsonl"), encoding="utf-8") as handle:
        cases = [json.loads(line) for line in handle]
    scores["eval_jsonl"] = {kind: round(accuracy(model, [plain_case(tk, kind, c["prompt"], c["answer"])
                                                         for c in cases if c["kind"] == kind]), 4) for kind in ex.KINDS}
    scores["samples"] = {text: {"greedy": generate(model, tk, [tk.bos] + tk.encode(text), 60, 0),
                                "temperature 0.8": generate(model, tk, [tk.bos] + tk.encode(text), 60, 0.8)}
                         for text in SAMPLES}
    scores["chat_samples"] = {text: generate(model, tk, chat_prompt(tk, text), 60, 0) for text in CHATS}
    with open(a.scores, "w", encoding="utf-8") as out:
        json.dump(scores, out, indent=1, ensure_ascii=False)
        out.write("\n")
    print(json.dumps(scores, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
