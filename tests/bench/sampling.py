"""How much faster a sample is with its keys and values kept than with the whole text read anew for each token.

    python tests/bench/sampling.py [--prompt 500] [--tokens 500] [--every 25] [--threads 1] [--shape 12,12,768]

The model is GPT-2's 124M shape in float32 on the CPU, with fresh weights: time does not depend on their values. Ours
is timed whole, token by token. The other, one full forward pass a token with the head on the last position only, as
nanoGPT's `generate`, is timed at every 25th length, twice, of which the faster counts, and integrated over the lengths
between by the trapezoid rule. Both are timed in turns, a piece of the one and a piece of the other, so that what else
the machine does weighs on both. Both draw with temperature 0.8 among the likeliest 200. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import time

import numpy as np
import torch

from gpt.config import ModelConfig
from gpt.draw import draw
from gpt.generate import generate
from gpt.model import GPT

VOCAB = 50257


@torch.inference_mode()
def uncached(model: GPT, ids: torch.Tensor, generator: torch.Generator) -> int:
    """One token by a full forward pass over (1, T) ids."""
    x = model._embed(ids)
    return draw(model._head(x[:, -1])[0], temperature=0.8, top_k=200, generator=generator)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--prompt", type=int, default=500)
    parser.add_argument("--tokens", type=int, default=500)
    parser.add_argument("--every", type=int, default=25)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--shape", default="12,12,768")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    n_layer, n_head, n_embd = map(int, options.shape.split(","))
    block_size = options.prompt + options.tokens
    torch.manual_seed(0)
    shape = ModelConfig(n_layer=n_layer, n_head=n_head, n_embd=n_embd, block_size=max(1024, block_size))
    model = GPT(shape, VOCAB).eval()
    text = torch.randint(VOCAB, (1, block_size), generator=torch.Generator().manual_seed(1))
    chance = torch.Generator().manual_seed(2)
    uncached(model, text[:, : options.prompt], chance)  # warms up
    next(generate(model, text[0, :9].tolist(), max_new_tokens=1, generator=chance))

    tokens = generate(model, text[0, : options.prompt].tolist(), max_new_tokens=options.tokens, generator=chance)
    ours: list[float] = []
    lengths, plain = [], []
    for drawn in range(options.tokens):
        if drawn % options.every == 0 or drawn == options.tokens - 1:
            ids = text[:, : options.prompt + drawn]
            lengths.append(drawn)
            plain.append(min(_seconds(lambda ids=ids: uncached(model, ids, chance)) for _ in range(2)))
        ours.append(_seconds(lambda: next(tokens)))
    others = float(np.trapezoid(plain, lengths)) + plain[0] / 2 + plain[-1] / 2  # each length counts once
    print(json.dumps({  # noqa: T201
        "prompt_tokens": options.prompt, "new_tokens": options.tokens, "parameters": model.count_parameters(),
        "cached_s": sum(ours), "cached_first_token_s": ours[0], "cached_ms_per_token": float(np.median(ours[1:])) * 1e3,
        "cached_ms_p95": float(np.percentile(ours[1:], 95)) * 1e3,
        "uncached_s": others, "uncached_timed_at": len(lengths), "uncached_is": "integrated over the lengths between",
        "uncached_ms_first": plain[0] * 1e3, "uncached_ms_last": plain[-1] * 1e3,
        "ratio": others / sum(ours), "threads": options.threads, "torch": torch.__version__,
        "load": os.getloadavg()[0],
    }))  # fmt: skip


def _seconds(what) -> float:
    start = time.perf_counter()
    what()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
