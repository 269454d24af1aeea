"""nanoGPT's checkpoints: read without running them, and gone on from as nanoGPT itself would have."""

from __future__ import annotations

import math
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cockpit.cli import main
from cockpit.importing import import_nanogpt
from cockpit.runs import Run
from gpt import checkpoint
from gpt import events as ev
from gpt.config import Profile
from gpt.errors import CheckpointError, UserError
from gpt.order import BatchOrder
from gpt.trainer import Trainer

ARGS: dict[str, Any] = {
    "n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 8, "bias": False, "vocab_size": 50304, "dropout": 0.0,
}  # fmt: skip
CONFIG: dict[str, Any] = {
    "dataset": "sums", "batch_size": 4, "gradient_accumulation_steps": 2, "max_iters": 7, "learning_rate": 1e-3,
    "min_lr": 1e-4, "warmup_iters": 2, "lr_decay_iters": 20, "decay_lr": True, "weight_decay": 0.1, "beta1": 0.9,
    "beta2": 0.95, "grad_clip": 1.0, "eval_interval": 0, "eval_iters": 2, "log_interval": 1, "device": "cuda",
    "wandb_log": False, "out_dir": "out",
}  # fmt: skip


class Block(nn.Module):
    """As nanoGPT's model.py computes it, written out on its own."""

    def __init__(self) -> None:
        super().__init__()
        width = ARGS["n_embd"]
        self.ln_1 = nn.LayerNorm(width, bias=False)
        self.attn = nn.ModuleDict({
            "c_attn": nn.Linear(width, 3 * width, bias=False), "c_proj": nn.Linear(width, width, bias=False),
        })  # fmt: skip
        self.ln_2 = nn.LayerNorm(width, bias=False)
        self.mlp = nn.ModuleDict({
            "c_fc": nn.Linear(width, 4 * width, bias=False), "c_proj": nn.Linear(4 * width, width, bias=False),
        })  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        heads = ARGS["n_head"]
        q, k, v = self.attn["c_attn"](self.ln_1(x)).split(width, dim=2)
        q, k, v = (z.view(batch, length, heads, -1).transpose(1, 2) for z in (q, k, v))
        scores = q @ k.transpose(-2, -1) / math.sqrt(width // heads)
        scores = scores.masked_fill(torch.ones(length, length).triu(1).bool(), -math.inf)
        x = x + self.attn["c_proj"]((scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, length, width))
        return x + self.mlp["c_proj"](F.gelu(self.mlp["c_fc"](self.ln_2(x))))


class NanoGPT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.transformer = nn.ModuleDict({
            "wte": nn.Embedding(ARGS["vocab_size"], ARGS["n_embd"]),
            "wpe": nn.Embedding(ARGS["block_size"], ARGS["n_embd"]),
            "h": nn.ModuleList([Block(), Block()]), "ln_f": nn.LayerNorm(ARGS["n_embd"], bias=False),
        })  # fmt: skip
        self.lm_head = nn.Linear(ARGS["n_embd"], ARGS["vocab_size"], bias=False)
        self.transformer["wte"].weight = self.lm_head.weight

    def forward(self, ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        x = self.transformer["wte"](ids) + self.transformer["wpe"](torch.arange(ids.shape[1]))
        for block in self.transformer["h"]:
            x = block(x)
        logits = self.lm_head(self.transformer["ln_f"](x))
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def optimizer_for(model: NanoGPT) -> torch.optim.AdamW:
    parameters = list(dict(model.named_parameters()).values())
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": 0.1},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95))


def step(model: NanoGPT, optimizer: torch.optim.AdamW, windows: np.ndarray, rate: float) -> float:
    """One step of nanoGPT's loop over two micro-batches; returns its loss."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    total = 0.0
    for part in torch.from_numpy(windows.astype(np.int64)).chunk(2):
        loss = model(part[:, :-1], part[:, 1:]) / 2
        loss.backward()
        total += float(loss.detach())
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return total


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A nanoGPT checkout: data/sums with its tokens, out/ckpt.pt after five steps."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    (tmp_path / "data/sums").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    for split, count in (("train", 400), ("val", 100)):
        np.random.default_rng(len(split)).integers(0, 50257, count).astype("<u2").tofile(f"data/sums/{split}.bin")
    return tmp_path


def trained(path: Path, *, wrapped: bool = True, moments: bool = True) -> tuple[NanoGPT, torch.optim.AdamW]:
    """Trains five steps and saves them as nanoGPT's train.py does."""
    torch.manual_seed(2)
    model = NanoGPT()
    optimizer = optimizer_for(model)
    windows = np.random.default_rng(7).integers(0, 50257, (8, 9))
    for _ in range(5):
        step(model, optimizer, windows, 1e-3)
    prefix = "_orig_mod." if wrapped else ""
    torch.save({
        "model": {prefix + name: tensor for name, tensor in model.state_dict().items()},
        "optimizer": optimizer.state_dict() if moments else {},
        "model_args": ARGS, "iter_num": 5, "best_val_loss": torch.tensor(3.25), "config": CONFIG,
    }, path)  # fmt: skip
    return model, optimizer


@pytest.mark.parametrize("wrapped", [True, False])
def test_it_goes_on_as_nanogpt_itself_would_have(desk: Path, wrapped: bool) -> None:
    """Two more steps: the losses, and the weights in the end, are those of nanoGPT's own loop."""
    model, optimizer = trained(desk / "out/ckpt.pt", wrapped=wrapped)
    said = import_nanogpt(Path("out/ckpt.pt"), None, "mine", Path("runs"))
    assert "step 5, weights and optimizer" in said and "--run mine --resume" in said
    folder = Run.open(Path("runs"), "mine")
    path, state, _ = checkpoint.newest(folder.checkpoints_path)
    profile = ev_profile(state)
    events: list[ev.Event] = []
    Trainer(profile, folder.path, events.append, resume=path).run()
    losses = {event.step: event.loss for event in events if isinstance(event, ev.StepDone)}
    rates = {event.step: event.lr for event in events if isinstance(event, ev.StepDone)}

    tokens = np.fromfile("data/sums/train.bin", dtype="<u2")
    order = BatchOrder(len(tokens), 8, profile.train.seed, "replacement")
    for number in (5, 6):
        starts = order.starts(number * 8, 8)
        expected = step(model, optimizer, tokens[starts[:, None] + np.arange(9)], rates[number + 1])
        assert losses[number + 1] == pytest.approx(expected, abs=1e-5)
    saved = checkpoint.load_tensors(folder.checkpoints_path / "step-00000007", "model")
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(saved[name], parameter.detach(), atol=1e-5, rtol=1e-4)


def ev_profile(state: dict[str, Any]) -> Profile:
    import msgspec

    from gpt.config import replace

    profile = msgspec.convert(state["profile"], Profile)
    assert (profile.model.activation, profile.data.sampling) == ("gelu_erf", "replacement")
    assert (profile.optim.min_lr, profile.optim.decay_steps, profile.train.grad_accum_steps) == (1e-4, 20, 2)
    return replace(profile, {"train.device": "cpu", "train.threads": 1, "train.dtype": "float32"})


def test_without_an_optimizers_state_it_says_so(desk: Path) -> None:
    trained(desk / "out/ckpt.pt", moments=False)
    assert "weights only" in import_nanogpt(Path("out/ckpt.pt"), None, "mine", Path("runs"))


class Trap:
    """What a hostile pickle does: it runs a command when it is opened."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("sprung",)


def test_nothing_in_the_file_is_run_and_no_run_is_left_behind(desk: Path) -> None:
    (desk / "out/ckpt.pt").write_bytes(pickle.dumps({"model": Trap(), "model_args": ARGS}))
    with pytest.raises(CheckpointError, match="plain tensors"):
        import_nanogpt(Path("out/ckpt.pt"), None, "mine", Path("runs"))
    torch.save({"model": Trap(), "model_args": ARGS}, desk / "out/ckpt.pt")
    with pytest.raises(CheckpointError, match="plain tensors"):
        import_nanogpt(Path("out/ckpt.pt"), None, "mine", Path("runs"))
    assert not Path("sprung").exists() and not Path("runs").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_args": {**ARGS, "n_embd": 24}}, r"promise \(50304, 24\)"),
        ({"model_args": {"n_layer": 2}}, "lack n_head"),
        ({"model": {}}, "wte.weight is missing"),
        ({"iter_num": "five"}, "iter_num is None"),
        ({"config": {"dataset": "elsewhere"}}, "data/elsewhere is not at hand"),
        ({"optimizer": {"state": {0: {}}, "param_groups": [{"params": [0]}]}}, "AdamW"),
    ],
)
def test_what_is_wrong_with_it_is_one_line(desk: Path, change: dict[str, Any], said: str) -> None:
    trained(desk / "out/ckpt.pt")
    loaded = torch.load("out/ckpt.pt", weights_only=True)
    torch.save(loaded | change, "out/ckpt.pt")
    with pytest.raises(UserError, match=said) as refused:
        import_nanogpt(Path("out/ckpt.pt"), None, "mine", Path("runs"))
    assert "\n" not in str(refused.value) and not Path("runs/mine").exists()


def test_the_command_refuses_what_is_no_checkpoint(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["import", "data/sums/train.bin"])
    assert ended.value.code == 2
    assert "not a checkpoint of nanoGPT" in capsys.readouterr().err
