#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""peer_kvpress.py FOLDER REPEATS - ChunkKV of one layer by kvpress, for `make bench`.

Reads k.bf16 [heads, tokens, dim], v.bf16 and q.bf16 [query heads, window, dim]
and shape (one line: heads, query heads, tokens, dim, window, chunk, removed) from
FOLDER. Prints one JSON object: milliseconds of each repetition in bf16 and in
fp32, on one thread, after a warm-up, and the number of tokens kept. The queries
are taken as already rotated. Exit code 3: torch or kvpress cannot be imported.
"""
import json
import sys
import time

try:
    import torch
    from kvpress import ChunkKVPress, SnapKVPress
except Exception as why:                        # whatever a broken installation raises
    print(f"{type(why).__name__}: {why}".splitlines()[0], file=sys.stderr)
    sys.exit(3)


class Config:
    pass


class Layer(torch.nn.Module):
    """What a press asks of an attention layer, with queries as hidden states."""

    def __init__(self, heads, query_heads, dim):
        super().__init__()
        self.config = Config()
        self.config.num_attention_heads = query_heads
        self.config.num_key_value_heads = heads
        self.config.num_hidden_layers = 1
        self.head_dim = dim
        self.layer_idx = 0
        self.q_proj = torch.nn.Identity()


def load(folder, name, shape):
    with open(f"{folder}/{name}.bf16", "rb") as f:
        data = bytearray(f.read())
    return torch.frombuffer(data, dtype=torch.bfloat16).reshape(shape).clone()


def run(layer, press, k, v, hidden, window, repeats):
    rope = (torch.ones(1, window, k.shape[-1], dtype=k.dtype),
            torch.zeros(1, window, k.shape[-1], dtype=k.dtype))
    times = []
    for i in range(repeats + 2):                # the first two warm up
        start = time.perf_counter()
        kept, _ = press.compress(layer, hidden, k, v, None,
                                 {"position_embeddings": rope})
        times.append(1e3 * (time.perf_counter() - start))
    return times[2:], kept.shape[2]


def main():
    folder, repeats = sys.argv[1], int(sys.argv[2])
    with open(f"{folder}/shape") as f:
        heads, query_heads, tokens, dim, window, chunk, removed = f.read().split()
    heads, query_heads, tokens, dim, window, chunk = map(
        int, (heads, query_heads, tokens, dim, window, chunk))
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    k = load(folder, "k", (1, heads, tokens, dim))
    v = load(folder, "v", (1, heads, tokens, dim))
    q = load(folder, "q", (query_heads, window, dim))
    # One row more than the window: a press wants a prompt longer than that.
    hidden = q.transpose(0, 1).reshape(1, window, query_heads * dim)
    hidden = torch.cat([hidden[:, :1], hidden], dim=1)
    layer = Layer(heads, query_heads, dim)
    press = ChunkKVPress(SnapKVPress(compression_ratio=float(removed),
                                     window_size=window, kernel_size=5),
                         chunk_length=chunk)
    result = {"torch": torch.__version__}
    for name, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        times, kept = run(layer, press, k.to(dtype), v.to(dtype),
                          hidden.to(dtype), window, repeats)
        result[f"{name}_ms"] = times
        result[f"{name}_kept"] = kept
    json.dump(result, sys.stdout)


main()
