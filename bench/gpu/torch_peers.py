# What PyTorch reaches on the same card, as JSON: products of matrices, causal attention over 8192 tokens, and attention
# of one new token in each of several sequences.
#   python bench/gpu/torch_peers.py [SEQUENCESxCELLS …]
import json
import sys

try:
    import torch
except ImportError:
    sys.exit("torch_peers.py needs PyTorch: pip install torch")


def seconds(call, calls=10, turns=9):
    """Median time of one call; the first turn warms up."""
    times = []
    for turn in range(turns + 1):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(calls):
            call()
        end.record()
        end.synchronize()
        if turn > 0:
            times.append(begin.elapsed_time(end) / 1000 / calls)
    return sorted(times)[len(times) // 2]


def main():
    if not torch.cuda.is_available():
        sys.exit("torch_peers.py needs a CUDA device")
    results = []
    for dtype in (torch.float16, torch.bfloat16):
        name = str(dtype).removeprefix("torch.")
        for rows in (1, 16, 256, 4096):
            x = torch.randn(rows, 4096, device="cuda", dtype=dtype)
            weight = torch.randn(4096, 4096, device="cuda", dtype=dtype)
            taken = seconds(lambda: x @ weight.T)
            results.append(
                {"what": "matmul", "dtype": name, "rows": rows, "in": 4096, "out": 4096,
                 "microseconds": taken * 1e6, "teraflops": 2 * rows * 4096 * 4096 / taken / 1e12}
            )
        heads, tokens, width = 32, 8192, 128
        q, k, v = (torch.randn(1, heads, tokens, width, device="cuda", dtype=dtype) for _ in range(3))
        taken = seconds(lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True), calls=3)
        # Two products over the lower half.
        results.append(
            {"what": "causal attention", "dtype": name, "heads": heads, "tokens": tokens, "head_dim": width,
             "microseconds": taken * 1e6, "teraflops": 2 * heads * tokens * tokens * width / taken / 1e12}
        )
    for shape in sys.argv[1:]:
        sequences, cells = (int(number) for number in shape.split("x"))
        q = torch.randn(sequences, heads, 1, width, device="cuda", dtype=torch.float16)
        k, v = (torch.randn(sequences, heads, cells, width, device="cuda", dtype=torch.float16) for _ in range(2))
        taken = seconds(lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v))
        results.append({"what": "decoding", "sequences": sequences, "cells": cells, "microseconds": taken * 1e6})
        del k, v
    device = torch.cuda.get_device_name()
    print(json.dumps({"device": device, "torch": torch.__version__, "results": results}, indent=1))


main()
