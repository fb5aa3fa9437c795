"""An independent reader of the exported file: GGUF parser and a plain numpy forward pass that rotates adjacent pairs."""
import struct

import numpy as np

SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def scalar(self, code):
        (v,) = struct.unpack_from(code, self.data, self.at)
        self.at += struct.calcsize(code)
        return v

    def string(self):
        n = self.scalar("<Q")
        self.at += n
        return self.data[self.at - n:self.at].decode("utf-8")

    def value(self, kind):
        if kind == 8:
            return self.string()
        if kind == 9:
            element, n = self.scalar("<I"), self.scalar("<Q")
            return [self.value(element) for _ in range(n)]
        return self.scalar(SCALARS[kind])


def read(path):
    """(metadata, tensors as float32 arrays with the slowest axis first)"""
    with open(path, "rb") as handle:
        r = Reader(handle.read())
    assert r.data[:4] == b"GGUF"
    r.at = 4
    version, tensor_count, entry_count = r.scalar("<I"), r.scalar("<Q"), r.scalar("<Q")
    assert version == 3
    meta = {}
    for _ in range(entry_count):
        key = r.string()
        meta[key] = r.value(r.scalar("<I"))
    infos = []
    for _ in range(tensor_count):
        name, n = r.string(), r.scalar("<I")
        dims = [r.scalar("<Q") for _ in range(n)]
        infos.append((name, dims[::-1], r.scalar("<I"), r.scalar("<Q")))
    start = -(-r.at // meta["general.alignment"]) * meta["general.alignment"]
    arrays = {}
    for name, shape, kind, offset in infos:
        dtype = {0: "<f4", 1: "<f2"}[kind]
        arrays[name] = np.frombuffer(r.data, dtype, int(np.prod(shape)), start + offset).reshape(shape).astype(np.float32)
    return meta, arrays


def norm(x, w, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * w


def rotate_pairs(x, base):
    """x [tokens, heads, d]: the pair (2j, 2j + 1) turns by position · base^(-2j/d)."""
    tokens, _, d = x.shape
    angle = np.arange(tokens)[:, None] * base ** (-np.arange(0, d, 2) / d)
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    out = np.empty_like(x)
    out[..., 0::2] = x[..., 0::2] * cos - x[..., 1::2] * sin
    out[..., 1::2] = x[..., 0::2] * sin + x[..., 1::2] * cos
    return out


def reach(meta):
    """Per layer None or (sinks, window), as LongGen's keys say; None where the file has none."""
    if "llama.longgen.layer_types" not in meta:
        return None
    seen = (meta["llama.longgen.sinks"], meta["llama.longgen.sliding_window"])
    return [seen if kind == "sliding_attention" else None for kind in meta["llama.longgen.layer_types"]]


def forward(meta, w, ids):
    """Logits [tokens, vocab] in float64, one sequence."""
    w = {name: a.astype(np.float64) for name, a in w.items()}
    heads, kv = meta["llama.attention.head_count"], meta["llama.attention.head_count_kv"]
    d, base = meta["llama.attention.key_length"], meta["llama.rope.freq_base"]
    eps = meta["llama.attention.layer_norm_rms_epsilon"]
    n = len(ids)
    x = w["token_embd.weight"][ids]
    distance = np.arange(n)[:, None] - np.arange(n)
    layers = reach(meta) or [None] * meta["llama.block_count"]
    for i in range(meta["llama.block_count"]):
        p = {k[len("blk.%d." % i):-len(".weight")]: a for k, a in w.items() if k.startswith("blk.%d." % i)}
        h = norm(x, p["attn_norm"], eps)
        q = rotate_pairs((h @ p["attn_q"].T).reshape(n, heads, d), base)
        k = rotate_pairs((h @ p["attn_k"].T).reshape(n, kv, d), base)
        v = (h @ p["attn_v"].T).reshape(n, kv, d)
        out = np.empty_like(q)
        sinks, window = layers[i] or (0, n)
        hidden = np.where((distance >= 0) & ((np.arange(n) < sinks) | (distance < window)), 0, -np.inf)
        for head in range(heads):
            g = head // (heads // kv)
            s = q[:, head] @ k[:, g].T / np.sqrt(d) + hidden
            s = np.exp(s - s.max(-1, keepdims=True))
            out[:, head] = s / s.sum(-1, keepdims=True) @ v[:, g]
        x = x + out.reshape(n, -1) @ p["attn_output"].T
        h = norm(x, p["ffn_norm"], eps)
        gate = h @ p["ffn_gate"].T
        x = x + (gate / (1 + np.exp(-gate)) * (h @ p["ffn_up"].T)) @ p["ffn_down"].T
    return norm(x, w["output_norm.weight"], eps) @ w.get("output.weight", w["token_embd.weight"]).T
