"""The model with experts in PyTorch: in every layer one MLP is shared by all tokens, and a router adds the best few of E experts.

Qwen2-MoE's layer with biases of zero: weights are probabilities over all E, not divided by their sum; the shared MLP has a gate.
A layer this small computes all experts and keeps those that were chosen: faster on a CPU than sorting tokens by expert.
"""
import os
import sys

import torch
import torch.nn as nn
import torch.nn.functional as F

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from model import Layer, Model


class ExpertLayer(Layer):
    def __init__(self, c):
        super().__init__(c)
        wide = c["experts"] * c["expert_hidden"]
        self.ffn_gate_inp = nn.Linear(c["width"], c["experts"], bias=False)
        self.ffn_gate_inp_shexp = nn.Linear(c["width"], 1, bias=False)
        # Expert e has rows [e · hidden, (e + 1) · hidden) of gate and up, and as many columns of down.
        self.ffn_gate_exps = nn.Linear(c["width"], wide, bias=False)
        self.ffn_up_exps = nn.Linear(c["width"], wide, bias=False)
        self.ffn_down_exps = nn.Linear(wide, c["width"], bias=False)

    def forward(self, x, cos, sin):
        """(stream, gate input, router's logits), each [rows, tokens, …]"""
        c = self.c
        x = self.attend(x, cos, sin)
        h = self.ffn_norm(x)
        shared = self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h))
        logits = self.ffn_gate_inp(h)
        p = torch.softmax(logits, -1)
        chosen = p.topk(c["experts_used"], -1).indices
        weights = p * torch.zeros_like(p).scatter_(-1, chosen, 1.0)
        inner = F.silu(self.ffn_gate_exps(h)) * self.ffn_up_exps(h)
        inner = (inner.unflatten(-1, (c["experts"], -1)) * weights.unsqueeze(-1)).flatten(-2)
        return x + torch.sigmoid(self.ffn_gate_inp_shexp(h)) * shared + self.ffn_down_exps(inner), h, logits


class ExpertModel(Model):
    def __init__(self, config):
        super().__init__(config)
        self.layers = nn.ModuleList(ExpertLayer(self.c) for _ in range(self.c["layers"]))
        self.routed = []

    def states(self, ids):
        """As Model.states; leaves each layer's (gate input, router's logits) in `routed`."""
        x = self.token_embd(ids)
        cos, sin = self.cos[:ids.shape[1]], self.sin[:ids.shape[1]]
        self.routed = []
        for layer in self.layers:
            x, h, logits = layer(x, cos, sin)
            self.routed.append((h, logits))
        return self.output_norm(x)


@torch.no_grad()
def grow(dense, config, seed):
    """An ExpertModel that computes exactly what the dense one does: config["from"] names the dense layer that each layer copies,
    and a layer that copies the same one again begins with outputs of zero.

    Experts begin as slices of the MLP, shuffled, with a `down` of zero; the gate of the shared MLP begins at one half, so its
    `down` is doubled.
    """
    model = ExpertModel(config)
    make = torch.Generator().manual_seed(seed)
    model.token_embd.weight.copy_(dense.token_embd.weight)
    model.output.weight.copy_(dense.output.weight)
    model.output_norm.weight.copy_(dense.output_norm.weight)
    for i, (layer, source) in enumerate(zip(model.layers, config["from"])):
        old = dense.layers[source]
        layer.load_state_dict(old.state_dict(), strict=False)
        layer.ffn_down.weight.mul_(2)
        wide = config["experts"] * config["expert_hidden"]
        order = torch.randperm(old.ffn_gate.weight.shape[0], generator=make)[:wide]
        layer.ffn_gate_exps.weight.copy_(old.ffn_gate.weight[order])
        layer.ffn_up_exps.weight.copy_(old.ffn_up.weight[order])
        layer.ffn_down_exps.weight.zero_()
        layer.ffn_gate_inp.weight.copy_(torch.randn(layer.ffn_gate_inp.weight.shape, generator=make) * 0.06)
        layer.ffn_gate_inp_shexp.weight.zero_()
        if source in config["from"][:i]:
            layer.attn_output.weight.zero_()
            layer.ffn_down.weight.zero_()
    return model


def agreement(model):
    """How far the next layer's router, given this layer's input, is from its own logits: the mean over layers of the squared
    difference divided by the variance of the logits. It teaches the routers alone, not the stream."""
    total = 0.0
    for (h, _), (after, _), layer in zip(model.routed, model.routed[1:], model.layers[1:]):
        router = layer.ffn_gate_inp
        own, early = router(after.detach()), router(h.detach())
        spread = (own - own.flatten(0, 1).mean(0)).square().sum(-1).mean()
        total = total + (own - early).square().sum(-1).mean() / spread
    return total / (len(model.layers) - 1)


def balance(model):
    """E · Σ share of the choices · mean probability, over layers: 1 when experts are used evenly."""
    used = model.c["experts_used"]
    total = 0.0
    for _, logits in model.routed:
        p = torch.softmax(logits, -1).flatten(0, 1)
        share = torch.zeros_like(p).scatter_(-1, p.topk(used, -1).indices, 1.0 / used).mean(0)
        total = total + p.shape[1] * (share * p.mean(0)).sum()
    return total / len(model.routed)


@torch.no_grad()
def recalls(model, extra):
    """Per layer but the first: the share of its chosen experts among the best used + extra that the layer before predicts."""
    used, out = model.c["experts_used"], []
    for (h, _), (_, logits), layer in zip(model.routed, model.routed[1:], model.layers[1:]):
        guess = layer.ffn_gate_inp(h).topk(used + extra, -1).indices
        chosen = logits.topk(used, -1).indices
        out.append((chosen.unsqueeze(-1) == guess.unsqueeze(-2)).any(-1).float().mean().item())
    return out


@torch.no_grad()
def reuse(model):
    """Per layer: the share of a token's experts that the token before it used, too."""
    out = []
    for _, logits in model.routed:
        chosen = logits.topk(model.c["experts_used"], -1).indices
        out.append((chosen[:, 1:].unsqueeze(-1) == chosen[:, :-1].unsqueeze(-2)).any(-1).float().mean().item())
    return out
