"""Trains an EAGLE-3 head (Li et al. 2025): eagle3.py --arrays FOLDER (features.py's, for the model's laws).

Row t reads the token at t + 1 and what went into three of the model's layers at t; one layer makes of both a state whose law,
over the most frequent tokens only, is that of the token at t + 2. What follows a draft's first token reads that state instead
of the model's, so training goes on from its own states: step s reads the token at t + 1 + s and step s - 1's state, and
attends to the text's rows up to t and to the steps before it. Loss: sum over steps of `decay`^s · ((1 - argmax) ·
cross-entropy of the model's law over these tokens + `argmax` · of its most probable one), where that is one of them. Written as
a directory of the published layout: config.json and model.safetensors in F16, without the embedding, which is the model's own.
"""
import argparse
import json
import os
import sys
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, ".."))
from distil import batch, rows_with_states
from eagle import save_tensors
from evaluate import load
from model import RMSNorm, keep_heap_memory, rotate
from train import Muon, rate

PUBLISHED = {"q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj", "o": "self_attn.o_proj",
             "gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj", "input_norm": "input_layernorm",
             "hidden_norm": "hidden_norm", "ffn_norm": "post_attention_layernorm"}


class Head(nn.Module):
    def __init__(self, c, output, norm):
        """`output` [tokens, width], `norm` [width]: the model's, where the head begins."""
        super().__init__()
        self.c = c
        width, d = c["width"], c["head_dim"]
        def linear(n, m):
            return nn.Linear(n, m, bias=False)
        self.fc = linear(len(c["layers_read"]) * width, width)
        self.q, self.k, self.v = (linear(2 * width, n * d) for n in (c["heads"], c["kv_heads"], c["kv_heads"]))
        self.o = linear(c["heads"] * d, width)
        self.gate, self.up, self.down = linear(width, c["hidden"]), linear(width, c["hidden"]), linear(c["hidden"], width)
        self.input_norm, self.hidden_norm, self.ffn_norm, self.norm = (RMSNorm(width, c["norm_eps"]) for _ in range(4))
        self.lm_head = linear(width, output.shape[0])
        for name, p in self.named_parameters():
            if p.dim() == 2:
                nn.init.normal_(p, 0.0, 0.5 / p.shape[1] ** 0.5 / (2 if name[:2] in ("o.", "do") else 1))
        with torch.no_grad():
            self.fc.weight[:, -width:] += torch.eye(width)
            self.lm_head.weight.copy_(output)
            self.norm.weight.copy_(norm)

    def angles(self, first, count):
        c = self.c
        theta = c["rope_base"] ** (-torch.arange(0, c["head_dim"], 2).float() / c["head_dim"])
        angle = torch.arange(first, first + count).float()[:, None] * theta
        return angle.cos(), angle.sin()

    def states(self, embedded, features):
        """embedded: per step [rows, tokens, width]; features [rows, tokens, layers · width] → per step the state."""
        c = self.c
        rows, tokens = features.shape[:2]
        d, kv, group = c["head_dim"], c["kv_heads"], c["heads"] // c["kv_heads"]
        g, states, own = self.fc(features), [], []
        future = torch.full((tokens, tokens), float("-inf")).triu_(1)
        for step, e in enumerate(embedded):
            a = torch.cat([self.input_norm(e), self.hidden_norm(g)], -1)
            cos, sin = self.angles(step, tokens)
            def heads(x, n):
                return x.view(rows, tokens, n, d).transpose(1, 2)
            q = rotate(heads(self.q(a), c["heads"]), cos, sin).reshape(rows, kv, group, tokens, d) / d ** 0.5
            k, v = rotate(heads(self.k(a), kv), cos, sin)[:, :, None], heads(self.v(a), kv)[:, :, None]
            own.append((k, v))
            scores = [q @ own[0][0].transpose(-1, -2) + future] + [(q * k).sum(-1, keepdim=True) for k, _ in own[1:]]
            p = torch.softmax(torch.cat(scores, -1), -1)
            mixed = p[..., :tokens] @ own[0][1]
            for i, (_, v) in enumerate(own[1:]):
                mixed = mixed + p[..., tokens + i:tokens + i + 1] * v
            x = g + self.o(mixed.reshape(rows, c["heads"], tokens, d).transpose(1, 2).reshape(rows, tokens, -1))
            h = self.ffn_norm(x)
            g = x + self.down(F.silu(self.gate(h)) * self.up(h))
            states.append(g)
        return states


@torch.no_grad()
def read_layers(model, layers, ids):
    """What goes into these layers, side by side."""
    x, found = model.token_embd(ids), {}
    cos, sin = model.cos[:ids.shape[1]], model.sin[:ids.shape[1]]
    for i, layer in enumerate(model.layers[:max(layers) + 1]):
        found[i] = x
        x = layer(x, cos, sin)
    return torch.cat([found[i] for i in layers], -1)


def losses(head, model, output, tokens, r, ids, weights, states):
    """(loss, share of equal best tokens per step, those outside of the head's tokens counted as wrong)"""
    steps = r["steps_ahead"]
    count = states.shape[1] - steps
    features = read_layers(model, r["config"]["layers_read"], ids[:, :count])
    embedded = [model.token_embd.weight[ids[:, 1 + s:1 + s + count]].detach() for s in range(steps)]
    loss, same = 0.0, []
    for s, own in enumerate(head.states(embedded, features)):
        with torch.no_grad():
            wanted = states[:, 1 + s:1 + s + count].float().flatten(0, 1)
            logits = wanted @ output.t()
            best = logits.argmax(-1)
            asked = (weights[:, 2 + s:2 + s + count] > 0).flatten()
            place = torch.full((output.shape[0],), -1)
            place[tokens] = torch.arange(len(tokens))
            known = asked & (place[best] >= 0)
            law = torch.softmax(logits[known][:, tokens], -1) * (1 - r["argmax"])
            law[torch.arange(len(law)), place[best[known]]] += r["argmax"]
        logs = torch.log_softmax(head.lm_head(head.norm(own.flatten(0, 1)[known])), -1)
        loss = loss + r["decay"] ** s * -(law * logs).sum(-1).mean()
        same.append((logs.argmax(-1) == place[best[known]]).sum().item() / max(1, asked.sum().item()))
    return loss, same


def write(folder, head, r, tokens, vocab):
    c = r["config"]
    os.makedirs(folder, exist_ok=True)
    config = {"architectures": ["LlamaForCausalLMEagle3"], "model_type": "llama", "hidden_size": c["width"],
              "intermediate_size": c["hidden"], "num_attention_heads": c["heads"], "num_key_value_heads": c["kv_heads"],
              "head_dim": c["head_dim"], "rms_norm_eps": c["norm_eps"], "rope_theta": c["rope_base"], "vocab_size": vocab,
              "draft_vocab_size": len(tokens), "num_hidden_layers": 1, "hidden_act": "silu",
              "max_position_embeddings": c["context"], "torch_dtype": "float16",
              "eagle_aux_hidden_state_layer_ids": c["layers_read"]}
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as out:
        json.dump(config, out, indent=2)
        out.write("\n")
    tensors = {"fc.weight": head.fc.weight, "norm.weight": head.norm.weight, "lm_head.weight": head.lm_head.weight}
    for ours, published in PUBLISHED.items():
        tensors["midlayer.%s.weight" % published] = getattr(head, ours).weight
    tensors["d2t"] = tokens - torch.arange(len(tokens))
    save_tensors(os.path.join(folder, "model.safetensors"), tensors)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--arrays", required=True)
    parser.add_argument("--model", default=os.path.join(HERE, "..", "..", "models", "vivace-tiny.gguf"))
    parser.add_argument("--out", help="default: ARRAYS/NAME")
    a = parser.parse_args()
    with open(os.path.join(HERE, "recipe.json"), encoding="utf-8") as handle:
        recipe = json.load(handle)
    r = {"seed": recipe["seed"], **recipe["eagle3"]}
    torch.set_num_threads(1)
    keep_heap_memory()
    torch.manual_seed(r["seed"])
    _, file, model, _ = load(a.model)
    output = torch.from_numpy(file["output.weight"])
    sets = rows_with_states(a, recipe)
    seen = sum(np.bincount(ids[weights > 0], minlength=output.shape[0]) for ids, weights, _ in sets.values())
    tokens = torch.from_numpy(np.sort(np.argsort(-seen, kind="stable")[:r["tokens"]]))
    print("%d tokens are %.4f of the text" % (len(tokens), seen[tokens.numpy()].sum() / seen.sum()), flush=True)
    head = Head(r["config"], output[tokens], torch.from_numpy(file["output_norm.weight"]))
    print("%d parameters" % sum(p.numel() for p in head.parameters()), flush=True)
    muon = Muon([p for n, p in head.named_parameters() if p.dim() == 2 and "lm_head" not in n], r["matrix_lr"],
                weight_decay=r["weight_decay"])
    adam = torch.optim.AdamW([p for n, p in head.named_parameters() if p.dim() == 1 or "lm_head" in n], r["peak_lr"],
                             (0.9, 0.95), weight_decay=0.0)
    began, count, total = time.time(), 0, np.zeros(1 + r["steps_ahead"])
    for step in range(r["steps"]):
        factor = rate(step, r)
        muon.param_groups[0]["lr"], adam.param_groups[0]["lr"] = r["matrix_lr"] * factor, r["peak_lr"] * factor
        ids, weights, states = batch(sets, r, step)
        for p in head.parameters():
            p.grad = None
        loss, same = losses(head, model, output, tokens, r, ids, weights, states)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), r["clip"])
        muon.step()
        adam.step()
        count += 1
        total += (loss.item(), *same)
        if step % 25 == 24:
            print("step %d loss %.3f same %s min %.1f" % (
                step + 1, total[0] / count, " ".join("%.3f" % s for s in total[1:] / count), (time.time() - began) / 60),
                flush=True)
            count, total = 0, np.zeros(1 + r["steps_ahead"])
        if step % 100 == 99 or step + 1 == r["steps"]:
            write(a.out or os.path.join(a.arrays, r["name"]), head, r, tokens, output.shape[0])


if __name__ == "__main__":
    main()
