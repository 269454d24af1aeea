"""A training loop as most people write it, to measure ours against: same shape, same math, same batches, same weights.

    python tests/bench/plain_loop.py PROFILE.json FOLDER [--steps N] [--warmup N] [--take FD --give FD]

What is usual here and not in ours: a batch is stacked row by row from a memory map, AdamW is the default one (on a GPU
the fused one, as nanoGPT has it), the loss is read by `.item()` every step, clipping is torch's own. Device, precision,
threads and torch.compile are those that ours chooses, so that nothing else differs.

The first weights and the tokens are made by another process. Freeing what they take would teach malloc to keep memory
(glibc raises its thresholds at the first large piece that is freed), which a plain loop's process has not learnt: ours
sets it on purpose.

FOLDER is for those; whoever gives it takes it away. Prints one JSON object: ms_per_iter, losses. Ends with 2 and one
line where it cannot do the same work.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from gpt.config import DeviceConfig, ModelConfig, Profile
from gpt.data import BatchOrder, open_dataset
from gpt.device import Device, choose
from gpt.errors import UserError
from gpt.evaluate import finite
from gpt.ledger import TimeLedger
from gpt.schedule import learning_rate
from gpt.snapshot import build
from gpt.turns import Turns


class Attention(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.n_head, self.n_embd, self.dropout = config.n_head, config.n_embd, config.dropout
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd, bias=config.bias)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)
        self.resid_dropout = nn.Dropout(config.dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, c = x.size()
        q, k, v = self.c_attn(x).split(self.n_embd, dim=2)
        k = k.view(b, t, self.n_head, c // self.n_head).transpose(1, 2)
        q = q.view(b, t, self.n_head, c // self.n_head).transpose(1, 2)
        v = v.view(b, t, self.n_head, c // self.n_head).transpose(1, 2)
        dropout = self.dropout if self.training else 0
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=None, dropout_p=dropout, is_causal=True)
        return self.resid_dropout(self.c_proj(y.transpose(1, 2).contiguous().view(b, t, c)))


class MLP(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.c_fc = nn.Linear(config.n_embd, 4 * config.n_embd, bias=config.bias)
        self.gelu = nn.GELU(approximate="tanh")
        self.c_proj = nn.Linear(4 * config.n_embd, config.n_embd, bias=config.bias)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dropout(self.c_proj(self.gelu(self.c_fc(x))))


class Block(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, bias=config.bias)
        self.attn = Attention(config)
        self.ln_2 = nn.LayerNorm(config.n_embd, bias=config.bias)
        self.mlp = MLP(config)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Plain(nn.Module):
    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.transformer = nn.ModuleDict({
            "wte": nn.Embedding(vocab_size, config.n_embd), "wpe": nn.Embedding(config.block_size, config.n_embd),
            "drop": nn.Dropout(config.dropout), "h": nn.ModuleList(Block(config) for _ in range(config.n_layer)),
            "ln_f": nn.LayerNorm(config.n_embd, bias=config.bias),
        })  # fmt: skip
        self.lm_head = nn.Linear(config.n_embd, vocab_size, bias=False)
        self.transformer["wte"].weight = self.lm_head.weight

    def forward(self, idx: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        pos = torch.arange(0, idx.size(1), dtype=torch.long, device=idx.device)
        x = self.transformer["drop"](self.transformer["wte"](idx) + self.transformer["wpe"](pos))
        for block in self.transformer["h"]:
            x = block(x)
        logits = self.lm_head(self.transformer["ln_f"](x))
        return F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1), ignore_index=-1)


def batch(path: Path, starts: np.ndarray, block_size: int, device: Device) -> tuple[torch.Tensor, torch.Tensor]:
    data = np.memmap(path, dtype=np.uint16, mode="r")  # anew for each batch, as nanoGPT does
    x = torch.stack([torch.from_numpy(data[i : i + block_size].astype(np.int64)) for i in starts])
    y = torch.stack([torch.from_numpy(data[i + 1 : i + 1 + block_size].astype(np.int64)) for i in starts])
    if device.type == "cuda":
        x, y = x.pin_memory(), y.pin_memory()
    return x.to(device.torch_device, non_blocking=True), y.to(device.torch_device, non_blocking=True)


def prepare(profile: Profile, folder: Path) -> None:
    """Writes the weights that ours begins with, and train.bin where the profile has none, into `folder`."""
    if profile.model.init_from != "scratch":
        raise UserError("--baseline starts from fresh weights; add --set model.init_from=scratch")
    device = choose(profile)
    if device.dtype == "float16":
        raise UserError("--baseline has no gradient scaler; add --set train.dtype=float32")
    data = open_dataset(profile.data, profile.model)
    model = build(profile, device, data, TimeLedger("other")).model
    torch.save({**model.state_dict(), "lm_head.weight": model.transformer.wte.weight.detach()}, folder / "weights.pt")
    if not profile.data.dir:
        data.train.first(len(data.train)).astype(np.uint16).tofile(folder / "train.bin")


def train(
    profile: Profile, folder: Path, steps: int, warmup: int, turns: Turns | None = None
) -> tuple[list[float], list[float]]:
    """(losses, seconds) of all steps, from what `prepare` has written."""
    turns = turns or Turns()
    device = choose(msgspec.structs.replace(profile, device=DeviceConfig(peak_tflops=1.0)))  # or it would be measured
    torch.set_flush_denormal(False)  # ours alone switches it on
    weights = torch.load(folder / "weights.pt", map_location="cpu", weights_only=True)
    model = Plain(profile.model, len(weights["lm_head.weight"])).to(device.torch_device)
    model.load_state_dict(weights)
    del weights
    tokens = Path(profile.data.dir or folder) / "train.bin"
    optim, block_size = profile.optim, profile.model.block_size
    order = BatchOrder(tokens.stat().st_size // 2, block_size, profile.train.seed, profile.data.sampling)
    decay = [p for p in model.parameters() if p.dim() >= 2]
    rest = [p for p in model.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": optim.weight_decay}, {"params": rest, "weight_decay": 0.0}],
        lr=optim.learning_rate, betas=(optim.beta1, optim.beta2), fused=True if device.type == "cuda" else None,
    )  # fmt: skip
    forward = torch.compile(model) if device.compile else model
    size, accum = profile.micro_batch_size, profile.grad_accum_steps
    losses, seconds = [], []
    for step in range(warmup + steps):
        turns.wait()
        start = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, optim, profile.train.max_steps)
        total = torch.zeros((), device=device.torch_device)
        for micro_step in range(accum):
            first = (step * accum + micro_step) * size
            x, y = batch(tokens, order.starts(first, size), block_size, device)
            with device.autocast():
                loss = forward(x, y) / accum
            loss.backward()
            total += loss.detach()
        if optim.grad_clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), optim.grad_clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(total.item())  # on a GPU this waits for the step
        seconds.append(time.perf_counter() - start)
    turns.finish()
    return losses, seconds


def main() -> None:
    path, *options = sys.argv[1:]
    profile = msgspec.json.decode(Path(path).read_bytes(), type=Profile)
    try:
        if options[:1] == ["--prepare"]:
            return prepare(profile, Path(options[1]))
        folder, *options = options
        numbers = dict(zip(options[::2], map(int, options[1::2]), strict=True))
        steps, warmup = numbers.get("--steps", 50), numbers.get("--warmup", 10)
        turns = Turns(numbers.get("--take"), numbers.get("--give"))
        turns.wait()  # for the other's start, which is timed, too
        done = subprocess.run([sys.executable, "-P", __file__, path, "--prepare", folder], check=False)
        if done.returncode:
            sys.exit(done.returncode)
        losses, seconds = train(profile, Path(folder), steps, warmup, turns)
    except UserError as error:
        sys.exit(_refuse(str(error)))
    except torch.OutOfMemoryError:
        sys.exit(_refuse("the plain loop runs out of memory; lower train.micro_batch_size"))
    except KeyboardInterrupt:
        sys.exit(130)
    told = {"ms_per_iter": statistics.median(seconds[warmup:]) * 1e3, "losses": [finite(loss) for loss in losses]}
    print(json.dumps(told))  # noqa: T201


def _refuse(text: str) -> int:
    sys.stderr.write(f"{text}\n")
    return 2


if __name__ == "__main__":
    main()
