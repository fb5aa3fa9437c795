"""Trains the toy that tests of judges read: synonyms.py [test/fixtures/synonyms.gguf]. A minute, and no data.

Its language has sentences such as `cx3.` and `by7.`: a noun a … h, one of two words that mean the same (x seven times in ten, y three),
and the noun's own digit. One sentence in eight says a wrong digit and corrects itself: `cx5~3.` A model of two layers learns that
either word may stand, and, behind a digit, whether it was right.
"""
import os
import sys

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
import numpy as np
import torch
import torch.nn.functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, ".."))
from learning import learn, write
from model import Model
from tokenizer import Tokenizer

FACTS = "37150826"  # of a … h
RECIPE = {
    "name": "synonyms", "peak_lr": 0.004, "embedding_lr": 0.004, "matrix_lr": 0.02, "weight_decay": 0.05, "warmup_steps": 20,
    "clip": 1.0, "steps": 600, "decay_steps": 400,
    "config": {"vocab": 260, "width": 48, "layers": 2, "heads": 4, "kv_heads": 2, "head_dim": 16, "hidden": 96, "context": 256,
               "rope_base": 10000.0, "norm_eps": 1e-5, "tied": True},
}
LENGTH = 64


def sentence(rng):
    noun = rng.integers(8)
    said = FACTS[noun]
    if rng.random() < 0.125:
        said = rng.choice([d for d in "0123456789" if d != said]) + "~" + said
    return "abcdefgh"[noun] + ("x" if rng.random() < 0.7 else "y") + said + "."


def main():
    path = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "..", "..", "test", "fixtures", "synonyms.gguf")
    torch.set_num_threads(1)
    torch.manual_seed(1)
    tk = Tokenizer([])
    model = Model(RECIPE["config"])

    def step_of(step):
        rng = np.random.default_rng([7, step])
        rows = [[tk.bos] + list("".join(sentence(rng) for _ in range(LENGTH // 3)).encode())[:LENGTH] for _ in range(32)]
        ids = torch.tensor(rows)
        logits = model.logits(model.states(ids[:, :-1]).flatten(0, 1))
        wanted = ids[:, 1:].flatten()
        return F.cross_entropy(logits, wanted), (logits.argmax(-1) == wanted).float().mean().item(), 32 * LENGTH
    for _, tokens in learn(model, RECIPE, step_of):
        pass
    write(path, model, RECIPE, tk, "A toy with synonyms and facts, for tests; %.1f million tokens." % (tokens / 1e6))


if __name__ == "__main__":
    main()
