"""Turns text files and the generators into token arrays in --out: tokenizer.json, text, stories and exercise rows."""
import argparse
import hashlib
import json
import os
import shutil
import statistics

import numpy as np

from exercises import Rng
from rows import RowMaker
from data.stories import story
from tokenizer import Tokenizer, train


def unwrap(text):
    """Joins the hard-wrapped lines of prose paragraphs; verse and plays (short lines) stay as they are."""
    lines = [line for line in text.split("\n") if line.strip()]
    if statistics.median(len(line) for line in lines) < 55:
        return text
    paragraphs = [" ".join(part.split()) for part in text.split("\n\n")]
    return "\n\n".join(part for part in paragraphs if part) + "\n"


def load_texts(paths, held_out):
    """[(name, wrapped training text, wrapped held-out tail)]; the tail starts at a line."""
    out = []
    for path in paths:
        with open(path, "rb") as handle:
            data = handle.read()
        text = data.decode("utf-8", errors="replace").replace("\r\n", "\n")
        cut = text.index("\n", int(len(text) * (1 - held_out))) + 1
        out.append({"name": os.path.basename(path), "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(),
                    "train": text[:cut], "tail": text[cut:]})
    return out


def save_stories(tokenizer, tales, path):
    stream = []
    for tale in tales:
        stream += tokenizer.encode(tale) + [tokenizer.eos, tokenizer.bos]
    np.save(path, np.array(stream, np.uint16))


def exercise_rows(tokenizer, name, seed, length, count, sentences):
    maker = RowMaker(tokenizer, seed, length, sentences)
    draw = maker.sums_row if name == "sums" else maker.row
    ids = np.zeros((count, length + 1), np.uint16)
    weights = np.zeros((count, length + 1), np.uint8)
    for i in range(count):
        ids[i], weights[i] = draw()
    return ids, weights


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--text", nargs="+", required=True, help="public-domain text files")
    parser.add_argument("--out", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "out"))
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--vocab", type=int, default=2048)
    parser.add_argument("--held-out", type=float, default=0.02)
    parser.add_argument("--short-rows", type=int, default=60000, help="exercise rows of 256 tokens")
    parser.add_argument("--long-rows", type=int, default=4000, help="exercise rows of 1024 tokens")
    parser.add_argument("--sums-rows", type=int, default=2000, help="rows of 256 tokens with sums only")
    parser.add_argument("--new-tokenizer", action="store_true", help="learn merges again instead of the committed ones")
    parser.add_argument("--merges-from", nargs="+", help="of --text, the files to learn merges from; default: all")
    parser.add_argument("--stories", type=int, default=30000)
    a = parser.parse_args()
    os.makedirs(a.out, exist_ok=True)
    texts = load_texts(a.text, a.held_out)
    plain = [unwrap(t["train"]) for t in texts]
    rng = Rng(a.seed)
    tales = [story(rng) for _ in range(a.stories)]

    path = os.path.join(a.out, "tokenizer.json")
    if not a.new_tokenizer:
        shutil.copy(os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "tokenizer.json"), path)
    else:
        # Word lists appear often enough that every list word becomes one or two tokens.
        maker = RowMaker(Tokenizer([]), a.seed, 1 << 16, ["hello"])
        practice = []
        for _ in range(20000):
            practice.append(" ".join(maker.case(maker.rng.pick(["copy", "sort", "add", "correct"]))) + "\n")
        lessons = [p for p, given in zip(plain, a.text) if given in (a.merges_from or a.text)]
        Tokenizer(train(lessons + tales[:3000] + practice[:6000], a.vocab)).save(path)
    tk = Tokenizer.load(path)
    print("tokenizer", len(tk.tokens), flush=True)

    np.save(os.path.join(a.out, "text.npy"), np.array(tk.encode("\n\n".join(plain)), np.uint16))
    np.save(os.path.join(a.out, "wrapped.npy"), np.array(tk.encode("\n\n".join(t["train"] for t in texts)), np.uint16))
    save_stories(tk, tales, os.path.join(a.out, "stories.npy"))
    rng = Rng(a.seed + 4)
    save_stories(tk, [story(rng, fresh=True) for _ in range(a.stories // 2)], os.path.join(a.out, "fresh.npy"))
    with open(os.path.join(a.out, "held-out.json"), "w", encoding="utf-8") as out:
        json.dump([{**{k: t[k] for k in ("name", "bytes", "sha256")}, "wrapped": t["tail"], "text": unwrap(t["tail"])}
                   for t in texts], out)
    print("text", len(np.load(os.path.join(a.out, "text.npy"))), "stories", len(np.load(os.path.join(a.out, "stories.npy"))), flush=True)

    sentences = [s.strip() + "." for p in plain for s in p.replace("\n", " ").split(".") if 20 < len(s) < 80]
    for i, (name, length, count) in enumerate((("short", 256, a.short_rows), ("long", 1024, a.long_rows),
                                               ("sums", 256, a.sums_rows))):
        ids, weights = exercise_rows(tk, name, a.seed + 1 + i, length, count, sentences)
        np.save(os.path.join(a.out, name + "-ids.npy"), ids)
        np.save(os.path.join(a.out, name + "-weights.npy"), weights)
        print(name, ids.shape, "answers %.2f" % (weights > 0).mean(), flush=True)


if __name__ == "__main__":
    main()
