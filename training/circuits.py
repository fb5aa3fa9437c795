"""Plants a look-up circuit: heads that read the tokens one and two places back, and a head that matches what they read.

Gradient descent finds these heads by itself, but late (see README); planted, they are only a start and go on learning.
Layer 0, last key/value group: keys and queries depend on distance alone, so its two heads attend 2 and 1 tokens back
and write what they read (projected on the number tokens' main directions P) into two free subspaces A and B.
Layer 1, last group: its first head compares A of the query with A of the keys on the slowest RoPE pairs, prefers keys
whose previous token is `=v`, and writes the found token's own embedding (in P) back.
"""
import math

import torch


@torch.no_grad()
def plant(model, tokenizer, free=None):
    """`free` [width, 2 · head_dim]: directions that embeddings use least, for A and B. Default: any."""
    c, d, width = model.c, model.c["head_dim"], model.c["width"]
    group, per = c["kv_heads"] - 1, c["heads"] // c["kv_heads"]
    assert per == 2 and c["layers"] >= 2
    embed = model.token_embd.weight
    make = torch.Generator().manual_seed(5)
    first, second = model.layers[0], model.layers[1]

    # Every token gets the same component along e, for the queries and keys that depend on distance alone.
    size = embed.norm(dim=1).mean()
    e = torch.nn.functional.normalize(torch.randn(width, generator=make), dim=0)

    ids = [tokenizer.encode("%02d" % n)[0] for n in range(100)] + [tokenizer.encode(str(n))[0] for n in range(10)]
    marks = [tokenizer.ids[t] for t in ("=v", "v", "k")]
    numbers = embed[ids] - torch.outer(embed[ids] @ e, e)
    centred = torch.cat([numbers - numbers.mean(0), 3 * (embed[marks] - embed[marks].mean(0))])
    centred -= torch.outer(centred @ e, e)
    _, spread, main = torch.linalg.svd(centred, full_matrices=False)
    P = main[:d]  # [d, width], rows orthonormal and orthogonal to e
    free = torch.randn(width, 2 * d, generator=make) if free is None else free
    basis, _ = torch.linalg.qr(torch.cat([P.t(), e[:, None], free], 1))
    A, B = basis[:, d + 1:2 * d + 1], basis[:, 2 * d + 1:3 * d + 1]  # [width, d] each, orthogonal to P and e

    for taken in (A, B):
        embed -= embed @ taken @ taken.t()  # so that A and B hold only what the heads of layer 0 write
    embed -= torch.outer(embed @ e, e)
    embed.copy_(size * torch.nn.functional.normalize(embed, dim=1) + 0.7 * size * e)  # equal norms: equal constants

    theta = c["rope_base"] ** (-torch.arange(0, d, 2).float() / d)

    def turned(v, p):
        a, b = v[:d // 2], v[d // 2:]
        return torch.cat((a * (p * theta).cos() - b * (p * theta).sin(), b * (p * theta).cos() + a * (p * theta).sin()))

    # Layer 0: q at p and k at p - o agree best when q = R(-o) k; 72 makes the neighbours about exp(7) less likely.
    h = embed / embed.square().mean(1, keepdim=True).sqrt()
    constant = (h @ e).mean()
    u = torch.zeros(d)
    u[:16] = math.sqrt(72.0)
    read_e = e / first.attn_norm.weight / constant
    first.attn_k.weight[group * d:(group + 1) * d] = torch.outer(u, read_e)
    first.attn_v.weight[group * d:(group + 1) * d] = P / first.attn_norm.weight
    gain = size / (h[ids] @ P.t()).norm(dim=1).mean()  # what is read weighs as much as an embedding
    for place, (offset, into) in enumerate(((2, A), (1, B))):
        head = group * per + place
        first.attn_q.weight[head * d:(head + 1) * d] = torch.outer(turned(u, -float(offset)), read_e)
        first.attn_output.weight[:, head * d:(head + 1) * d] = into * gain

    # Layer 1. Code of a number: its whitened coordinates, on the slow pairs, where distance hardly turns it.
    slow = [j for j in range(d // 2) if theta[j] * c["context"] < 0.6]
    places = [j for j in slow] + [j + d // 2 for j in slow]
    mark, places = places[0], places[1:]
    count = len(places)
    white = torch.zeros(d, width)
    scale = math.sqrt(len(ids)) / spread[:count]
    white[places] = (scale[:, None] / math.sqrt(count)) * A.t()[:count]  # a number's code has length about 1
    unit = 1 / (gain * (1 / embed[ids].square().mean(1).sqrt()).mean())  # A holds gain · P h
    inner = math.sqrt(3.0) * size / math.sqrt(width)  # rough rms of the residual after layer 0
    reach = inner * unit / second.attn_norm.weight
    strength = math.sqrt(24.0 * math.sqrt(d))
    keys = strength * white * reach
    eq = h[tokenizer.ids["=v"]] @ P.t() - (h @ P.t()).mean(0)
    keys[mark] = 3.0 * (B @ eq) / eq.norm() / (gain * eq.norm()) * inner / second.attn_norm.weight
    head = group * per
    queries = strength * white * reach
    queries[mark] = 3.0 * math.sqrt(d) * e / (0.7 * size) * inner / second.attn_norm.weight
    second.attn_k.weight[group * d:(group + 1) * d] = keys
    second.attn_q.weight[head * d:(head + 1) * d] = queries
    second.attn_v.weight[group * d:(group + 1) * d] = P * inner / size / second.attn_norm.weight
    second.attn_output.weight[:, head * d:(head + 1) * d] = 1.5 * size * P.t()
