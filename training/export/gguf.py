"""Writes a checkpoint as a GGUF v3 file: F16 matrices, F32 norms, tokenizer and chat template."""
import argparse
import os
import struct
import sys

import numpy as np
import torch

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, ".."))
from tokenizer import SPECIALS, Tokenizer

ALIGNMENT = 32
U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9  # GGUF value types
TENSOR_F32, TENSOR_F16 = 0, 1
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content']"
    " + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")


def string(text):
    data = text.encode("utf-8")
    return struct.pack("<Q", len(data)) + data


def value(kind, v):
    if kind == STRING:
        return string(v)
    if kind == ARRAY:
        element, items = v
        return struct.pack("<IQ", element, len(items)) + b"".join(value(element, item) for item in items)
    return struct.pack({U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}[kind], v)


def adjacent_pairs(matrix, heads):
    """Reorders the rows of each head so that halves (j, j + d/2) become neighbours (2j, 2j + 1): llama's rope in GGUF."""
    rows, width = matrix.shape
    d = rows // heads
    return matrix.reshape(heads, 2, d // 2, width).swapaxes(1, 2).reshape(rows, width)


def tensors(state, c):
    """(name, array, type) in file order"""
    arrays = {name: t.float().numpy() for name, t in state.items()}
    yield "token_embd.weight", arrays["token_embd.weight"], TENSOR_F16
    for i in range(c["layers"]):
        for part in ("attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down"):
            a = arrays["layers.%d.%s.weight" % (i, part)]
            if part in ("attn_q", "attn_k"):
                a = adjacent_pairs(a, c["heads"] if part == "attn_q" else c["kv_heads"])
            yield "blk.%d.%s.weight" % (i, part), a, TENSOR_F16 if a.ndim == 2 else TENSOR_F32
    yield "output_norm.weight", arrays["output_norm.weight"], TENSOR_F32
    if "output.weight" in arrays:
        yield "output.weight", arrays["output.weight"], TENSOR_F16


def pattern(reach):
    """LongGen's keys: the kind of each layer, and what those that do not see everything see."""
    (sinks, window), = {r for r in reach if r}
    kinds = ["sliding_attention" if r else "full_attention" for r in reach]
    return [("llama.longgen.layer_types", ARRAY, (STRING, kinds)), ("llama.longgen.sinks", U32, sinks),
            ("llama.longgen.sliding_window", U32, window)]


def metadata(c, tk, note, name="vivace-tiny", architecture="llama", extra=()):
    """`extra`: further keys of the architecture, without its name."""
    p = architecture + "."
    types = [3 if token in SPECIALS else 1 for token in tk.tokens]  # 3 control, 1 normal
    return [
        ("general.architecture", STRING, architecture),
        ("general.type", STRING, "model"),
        ("general.name", STRING, name),
        ("general.description", STRING, note),
        ("general.license", STRING, "mit"),
        ("general.alignment", U32, ALIGNMENT),
        ("general.file_type", U32, 1),
        (p + "vocab_size", U32, c["vocab"]),
        (p + "context_length", U32, c["context"]),
        (p + "embedding_length", U32, c["width"]),
        (p + "block_count", U32, c["layers"]),
        (p + "feed_forward_length", U32, c["hidden"]),
        (p + "attention.head_count", U32, c["heads"]),
        (p + "attention.head_count_kv", U32, c["kv_heads"]),
        (p + "attention.key_length", U32, c["head_dim"]),
        (p + "attention.value_length", U32, c["head_dim"]),
        (p + "attention.layer_norm_rms_epsilon", F32, c["norm_eps"]),
        (p + "rope.dimension_count", U32, c["head_dim"]),
        (p + "rope.freq_base", F32, c["rope_base"]),
        *((p + key, kind, v) for key, kind, v in extra),
        *(pattern(c["reach"]) if c.get("reach") else []),
        ("tokenizer.ggml.model", STRING, "gpt2"),
        ("tokenizer.ggml.pre", STRING, "llama-bpe"),
        ("tokenizer.ggml.tokens", ARRAY, (STRING, tk.tokens)),
        ("tokenizer.ggml.token_type", ARRAY, (I32, types)),
        ("tokenizer.ggml.merges", ARRAY, (STRING, ["%s %s" % pair for pair in tk.merges])),
        ("tokenizer.ggml.bos_token_id", U32, tk.bos),
        ("tokenizer.ggml.eos_token_id", U32, tk.eos),
        ("tokenizer.ggml.eot_token_id", U32, tk.im_end),
        ("tokenizer.ggml.padding_token_id", U32, tk.eos),
        ("tokenizer.ggml.add_bos_token", BOOL, True),
        ("tokenizer.ggml.add_eos_token", BOOL, False),
        ("tokenizer.chat_template", STRING, CHAT_TEMPLATE),
    ]


def padded(data):
    return data + b"\0" * (-len(data) % ALIGNMENT)


def write(path, entries, items):
    items = [(name, np.ascontiguousarray(a.astype("<f2" if t == TENSOR_F16 else "<f4")), t) for name, a, t in items]
    head = b"GGUF" + struct.pack("<IQQ", 3, len(items), len(entries))
    for key, kind, v in entries:
        head += string(key) + struct.pack("<I", kind) + value(kind, v)
    offset = 0
    for name, a, t in items:
        dims = a.shape[::-1]  # GGUF counts from the fastest axis
        head += string(name) + struct.pack("<I%dQIQ" % len(dims), len(dims), *dims, t, offset)
        offset += len(padded(a.tobytes()))
    with open(path, "wb") as out:
        out.write(padded(head))
        for _, a, _ in items:
            out.write(padded(a.tobytes()))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", default=os.path.join(HERE, "..", "out"))
    parser.add_argument("--file", default=os.path.join(HERE, "..", "..", "models", "vivace-tiny.gguf"))
    a = parser.parse_args()
    state = torch.load(os.path.join(a.out, "checkpoint.pt"), map_location="cpu")
    tk = Tokenizer.load(os.path.join(a.out, "tokenizer.json"))
    note = ("Tiny English model for tests and demonstrations; public-domain text and exercises with known answers; "
            "seed %d, %.1f million tokens." % (state["recipe"]["seed"], state["tokens"] / 1e6))
    write(a.file, metadata(state["config"], tk, note), list(tensors(state["model"], state["config"])))
    size = os.path.getsize(a.file)
    print("%s: %d bytes" % (os.path.normpath(a.file), size))
    if size > 8_000_000:
        raise SystemExit("the file is larger than 8 MB")


if __name__ == "__main__":
    main()
