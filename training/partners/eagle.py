"""Trains a head that drafts from the model's own features (EAGLE-1, Li et al. 2024): eagle.py --arrays FOLDER.

Row t reads the token at t + 1 and the feature f_t (the state behind the model's last norm, from features.py); one llama layer
without a norm before its attention makes of fc([embedding; f_t]) an estimate of f_(t + 1), which the model's output matrix
turns into a law of the token at t + 2. Loss: SmoothL1 of the features + `laws` · cross-entropy of the two laws, in a first phase
as published. The second weighs the laws more and adds `argmax` to their most probable token, as distil.py does, for estimates
that are only near give flat laws, and a draft ends at a token that seems improbable. The features that are read get uniform
noise of up to `noise`, for a draft reads its own estimates. Written as a directory of the published layout: config.json and
model.safetensors in F16.
"""
import argparse
import json
import os
import struct
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
from evaluate import load
from model import Layer, keep_heap_memory
from train import Muon, rate

PUBLISHED = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
             "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj",
             "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}


class Head(nn.Module):
    def __init__(self, c):
        super().__init__()
        width = c["width"]
        self.fc = nn.Linear(2 * width, width, bias=False)
        self.layer = Layer(c)
        self.layer.attn_norm = nn.Identity()
        for name, p in self.named_parameters():
            if p.dim() == 2:
                nn.init.normal_(p, 0.0, 0.5 / p.shape[1] ** 0.5 / (2 if "output" in name or "down" in name else 1))
        with torch.no_grad():
            self.fc.weight[:, width:] += 0.5 * torch.eye(width)  # the next feature is most like this one
        theta = c["rope_base"] ** (-torch.arange(0, c["head_dim"], 2).float() / c["head_dim"])
        angle = torch.arange(c["context"]).float()[:, None] * theta
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)

    def forward(self, embedded, features):
        """[rows, tokens, width] each → estimates of the features one place on."""
        x = self.fc(torch.cat([embedded, features], -1))
        return self.layer(x, self.cos[:x.shape[1]], self.sin[:x.shape[1]])


def losses(head, embed, output, r, ids, weights, states, rng):
    """(feature loss, law loss, share of equal best tokens)"""
    states = states.float()
    read = states[:, :-1] + (torch.rand(states[:, :-1].shape, generator=rng) - 0.5) * (2 * r["noise"])
    chosen = (weights[:, 2:] > 0).flatten().nonzero().squeeze(1)
    own = head(embed[ids[:, 1:-1]], read).flatten(0, 1)[chosen]
    wanted = states[:, 1:].flatten(0, 1)[chosen]
    with torch.no_grad():
        law = torch.softmax(wanted @ output.t(), -1)
        best = law.argmax(-1)
        law.mul_(1 - r["argmax"])
        law[torch.arange(len(best)), best] += r["argmax"]
    logs = torch.log_softmax(own @ output.t(), -1)
    same = (logs.argmax(-1) == best).float().mean().item()
    return F.smooth_l1_loss(own, wanted), -(law * logs).sum(-1).mean(), same


def save_tensors(path, tensors):
    """A safetensors file of F16 tensors, but integers as they are."""
    header, data = {}, b""
    for name, t in tensors.items():
        integers = not t.dtype.is_floating_point
        part = t.detach().numpy().astype("<i8" if integers else "<f2").tobytes()
        kind = "I64" if integers else "F16"
        header[name] = {"dtype": kind, "shape": list(t.shape), "data_offsets": [len(data), len(data) + len(part)]}
        data += part
    head_bytes = json.dumps(header).encode()
    head_bytes += b" " * (-len(head_bytes) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(head_bytes)) + head_bytes + data)


def write(folder, head, r, vocab):
    c = r["config"]
    os.makedirs(folder, exist_ok=True)
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": c["width"],
              "intermediate_size": c["hidden"], "num_attention_heads": c["heads"], "num_key_value_heads": c["kv_heads"],
              "head_dim": c["head_dim"], "rms_norm_eps": c["norm_eps"], "rope_theta": c["rope_base"], "vocab_size": vocab,
              "num_hidden_layers": 1, "hidden_act": "silu", "max_position_embeddings": c["context"], "bias": False,
              "torch_dtype": "float16"}
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as out:
        json.dump(config, out, indent=2)
        out.write("\n")
    tensors = {"fc.weight": head.fc.weight}
    for ours, published in PUBLISHED.items():
        tensors["layers.0.%s.weight" % published] = getattr(head.layer, ours).weight
    save_tensors(os.path.join(folder, "model.safetensors"), tensors)


def read(folder, head):
    """The weights that `write` left."""
    with open(os.path.join(folder, "model.safetensors"), "rb") as handle:
        data = handle.read()
    (size,) = struct.unpack_from("<Q", data)
    ours = {published: name for name, published in PUBLISHED.items()}
    state = head.state_dict()
    for name, entry in json.loads(data[8:8 + size]).items():
        begin, end = entry["data_offsets"]
        a = np.frombuffer(data[8 + size + begin:8 + size + end], "<f2").reshape(entry["shape"]).astype(np.float32)
        part = name[len("layers.0."):-len(".weight")]
        state["layer.%s.weight" % ours[part] if part in ours else name] = torch.from_numpy(a)
    head.load_state_dict(state)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--arrays", required=True)
    parser.add_argument("--model", default=os.path.join(HERE, "..", "..", "models", "vivace-tiny.gguf"))
    parser.add_argument("--out", help="default: ARRAYS/NAME")
    parser.add_argument("--after", help="begin with the second phase and what is in this directory")
    a = parser.parse_args()
    with open(os.path.join(HERE, "recipe.json"), encoding="utf-8") as handle:
        recipe = json.load(handle)
    r = {"seed": recipe["seed"], **recipe["eagle"]}
    torch.set_num_threads(1)
    keep_heap_memory()
    torch.manual_seed(r["seed"])
    _, file, _, _ = load(a.model)
    embed, output = torch.from_numpy(file["token_embd.weight"]), torch.from_numpy(file["output.weight"])
    sets = rows_with_states(a, recipe)
    head = Head(r["config"])
    if a.after:
        read(a.after, head)
    print("%d parameters" % sum(p.numel() for p in head.parameters()), flush=True)
    done = 0
    for phase in r["phases"]:
        if not (a.after and done == 0):
            run(head, embed, output, sets, {**r, **phase}, done)
            write(a.out or os.path.join(a.arrays, r["name"]), head, r, output.shape[0])
        done += phase["steps"]


def run(head, embed, output, sets, r, done):
    """One phase; `done` steps came before."""
    muon = Muon([p for p in head.parameters() if p.dim() == 2], r["matrix_lr"], weight_decay=r["weight_decay"])
    adam = torch.optim.AdamW([p for p in head.parameters() if p.dim() == 1], r["peak_lr"], (0.9, 0.95), weight_decay=0.0)
    rng = torch.Generator().manual_seed(r["seed"] + done)
    began, seen, total = time.time(), 0, np.zeros(3)
    for step in range(r["steps"]):
        factor = rate(step, r)
        muon.param_groups[0]["lr"], adam.param_groups[0]["lr"] = r["matrix_lr"] * factor, r["peak_lr"] * factor
        ids, weights, states = batch(sets, r, done + step)
        for p in head.parameters():
            p.grad = None
        feature, law, same = losses(head, embed, output, r, ids, weights, states, rng)
        (feature + r["laws"] * law).backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), r["clip"])
        muon.step()
        adam.step()
        seen += 1
        total += (feature.item(), law.item(), same)
        if step % 25 == 24:
            print("step %d features %.4f laws %.3f same %.3f min %.1f" % (
                done + step + 1, *(total / seen), (time.time() - began) / 60), flush=True)
            seen, total = 0, np.zeros(3)


if __name__ == "__main__":
    main()
