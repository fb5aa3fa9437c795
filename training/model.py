"""The llama-family model in PyTorch: RMSNorm, RoPE (rotating halves), grouped-query attention, SwiGLU, own head."""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

CONFIG = {"vocab": 2048, "width": 256, "layers": 4, "heads": 4, "kv_heads": 2, "head_dim": 64, "hidden": 512,
          "context": 1024, "rope_base": 500000.0, "norm_eps": 1e-5}
BLOCK = 256  # queries per attention block: keys beyond the block's end are never computed


def reached(start, end, reach):
    """Keys that queries [start, end) may see, as index ranges in order, and the mask over them [end - start, keys].

    Key j is seen by query p if j ≤ p and, where `reach` = (sinks, window) is given, j < sinks or p - j < window.
    """
    sinks, window = reach or (0, end)
    low = max(0, start - window + 1)
    ranges = [(0, end)] if low <= sinks else [(0, sinks), (low, end)] if sinks else [(low, end)]
    keys = torch.cat([torch.arange(a, b) for a, b in ranges])
    distance = torch.arange(start, end)[:, None] - keys
    seen = (distance >= 0) & ((keys < sinks) | (distance < window))
    return ranges, torch.zeros(seen.shape).masked_fill_(~seen, float("-inf"))


def gather(x, ranges):
    return x[:, ranges[0][0]:ranges[0][1]] if len(ranges) == 1 else torch.cat([x[:, a:b] for a, b in ranges], 1)


def spread(into, x, ranges):
    """Adds the rows of x back to where `gather` took them from."""
    at = 0
    for a, b in ranges:
        into[:, a:b] += x[:, at:at + b - a]
        at += b - a


class CausalAttention(torch.autograd.Function):
    """softmax(q kᵀ + mask) v in query blocks, kept small because PyTorch 1.13 has no fused CPU attention.

    q [n, group, tokens, d] already scaled; k, v [n, tokens, d]; n = rows · kv_heads; result like q. `reach`: see `reached`.
    """

    @staticmethod
    def forward(ctx, q, k, v, reach=None):
        n, group, tokens, d = q.shape
        out = torch.empty_like(q)
        kept = []
        for start in range(0, tokens, BLOCK):
            end = min(start + BLOCK, tokens)
            rows = end - start
            ranges, mask = reached(start, end, reach)
            part = q[:, :, start:end].reshape(n, group * rows, d)
            scores = torch.bmm(part, gather(k, ranges).transpose(1, 2))
            scores.view(n, group, rows, -1).add_(mask.to(q))
            p = torch.softmax(scores, -1)
            out[:, :, start:end] = torch.bmm(p, gather(v, ranges)).view(n, group, rows, d)
            kept.append(p)
        ctx.reach = reach
        ctx.save_for_backward(q, k, v, out, *kept)
        return out

    @staticmethod
    def backward(ctx, grad):
        q, k, v, out, *kept = ctx.saved_tensors
        n, group, tokens, d = q.shape
        dq, dk, dv = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        dots = (grad * out).sum(-1, keepdim=True)  # [n, group, tokens, 1] = Σ p·dp of each softmax row
        for index, p in enumerate(kept):
            start = index * BLOCK
            end = min(start + BLOCK, tokens)
            rows = end - start
            g = grad[:, :, start:end].reshape(n, group * rows, d)
            part = q[:, :, start:end].reshape(n, group * rows, d)
            ranges, _ = reached(start, end, ctx.reach)
            spread(dv, torch.bmm(p.transpose(1, 2), g), ranges)
            ds = torch.bmm(g, gather(v, ranges).transpose(1, 2))
            ds.sub_(dots[:, :, start:end].reshape(n, group * rows, 1)).mul_(p)
            dq[:, :, start:end] = torch.bmm(ds, gather(k, ranges)).view(n, group, rows, d)
            spread(dk, torch.bmm(ds.transpose(1, 2), part), ranges)
        return dq, dk, dv, None


class RMSNorm(nn.Module):
    def __init__(self, width, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight


class Layer(nn.Module):
    def __init__(self, c, reach=None):
        super().__init__()
        self.c, self.reach = c, reach
        d = c["head_dim"]
        self.attn_norm = RMSNorm(c["width"], c["norm_eps"])
        self.attn_q = nn.Linear(c["width"], c["heads"] * d, bias=False)
        self.attn_k = nn.Linear(c["width"], c["kv_heads"] * d, bias=False)
        self.attn_v = nn.Linear(c["width"], c["kv_heads"] * d, bias=False)
        self.attn_output = nn.Linear(c["heads"] * d, c["width"], bias=False)
        self.ffn_norm = RMSNorm(c["width"], c["norm_eps"])
        self.ffn_gate = nn.Linear(c["width"], c["hidden"], bias=False)
        self.ffn_up = nn.Linear(c["width"], c["hidden"], bias=False)
        self.ffn_down = nn.Linear(c["hidden"], c["width"], bias=False)

    def attend(self, x, cos, sin):
        """x + attention: the stream that the MLP reads."""
        c = self.c
        rows, tokens, _ = x.shape
        d, kv = c["head_dim"], c["kv_heads"]
        group = c["heads"] // kv
        h = self.attn_norm(x)
        q = rotate(self.attn_q(h).view(rows, tokens, c["heads"], d).transpose(1, 2), cos, sin) * (1 / math.sqrt(d))
        k = rotate(self.attn_k(h).view(rows, tokens, kv, d).transpose(1, 2), cos, sin)
        v = self.attn_v(h).view(rows, tokens, kv, d).transpose(1, 2)
        out = CausalAttention.apply(q.reshape(rows * kv, group, tokens, d), k.reshape(rows * kv, tokens, d),
                                    v.reshape(rows * kv, tokens, d), self.reach)
        return x + self.attn_output(out.view(rows, c["heads"], tokens, d).transpose(1, 2).reshape(rows, tokens, -1))

    def forward(self, x, cos, sin):
        x = self.attend(x, cos, sin)
        h = self.ffn_norm(x)
        return x + self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h))


def rotate(x, cos, sin):
    """RoPE on halves: pair (j, j + d/2). The export permutes rows so that readers may rotate adjacent pairs."""
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Model(nn.Module):
    def __init__(self, config=None):
        super().__init__()
        self.c = c = dict(config or CONFIG)
        self.token_embd = nn.Embedding(c["vocab"], c["width"])
        # `reach`: per layer None, or (sinks, window) where the layer sees those tokens only.
        self.layers = nn.ModuleList(Layer(c, reach) for reach in c.get("reach") or [None] * c["layers"])
        self.output_norm = RMSNorm(c["width"], c["norm_eps"])
        # A tied model multiplies by its embeddings instead.
        self.output = None if c.get("tied") else nn.Linear(c["width"], c["vocab"], bias=False)
        theta = c["rope_base"] ** (-torch.arange(0, c["head_dim"], 2).float() / c["head_dim"])
        angle = torch.arange(c["context"]).float()[:, None] * theta
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                # Embeddings are large enough to stay readable beside what the layers add to them.
                std = 0.5 if "embd" in name else 0.5 / math.sqrt(p.shape[1])
                if "attn_output" in name or "ffn_down" in name:
                    std /= math.sqrt(2 * c["layers"])
                nn.init.normal_(p, 0.0, std)
        if self.output is None:
            nn.init.constant_(self.output_norm.weight, 0.04)
        else:
            self.output.weight.data = 0.04 * self.token_embd.weight.data  # what a head copies is what gets predicted

    def states(self, ids):
        """ids [rows, tokens] → normalised states [rows, tokens, width]."""
        x = self.token_embd(ids)
        cos, sin = self.cos[:ids.shape[1]], self.sin[:ids.shape[1]]
        for layer in self.layers:
            x = layer(x, cos, sin)
        return self.output_norm(x)

    def logits(self, states):
        return F.linear(states, self.token_embd.weight) if self.output is None else self.output(states)

    def forward(self, ids):
        return self.logits(self.states(ids))

    def losses(self, ids, targets, weights):
        """Cross-entropy and weight of each position whose weight is not zero; the head runs only there."""
        chosen = weights.flatten().nonzero().squeeze(1)
        states = self.states(ids).flatten(0, 1).index_select(0, chosen)
        logits = self.logits(states)
        each = F.cross_entropy(logits, targets.flatten()[chosen], reduction="none")
        return each, weights.flatten()[chosen].to(each.dtype)


def keep_heap_memory():
    """Tells glibc to reuse big blocks instead of mapping fresh pages each time: measured on the CPU, see README."""
    import ctypes
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-4, 0)  # M_MMAP_MAX
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
        libc.mallopt(-2, 256 << 20)  # M_TOP_PAD
    except OSError:
        pass  # another C library: only slower
