"""Writes nanoGPT's `ckpt.pt`: what its train.py resumes from and its sample.py samples from.

The layout is that of nanoGPT's train.py: `model`, `optimizer`, `model_args`, `iter_num`, `best_val_loss`, `config`.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gpt import checkpoint
from gpt.config import Profile
from gpt.interop.trained import Trained
from gpt.model import GPT

ACTIVATIONS = ("gelu", "gelu_erf")

_NO_LOSS_YET = 1e9
"""nanoGPT's own best_val_loss before its first evaluation."""

_NO_MOMENTS = "the optimizer starts anew in nanoGPT, which has only AdamW"


def write_nanogpt(trained: Trained, folder: Path) -> list[str]:
    """Writes `ckpt.pt`, and `meta.pkl` where the ids are not GPT-2's; returns what its user should know.

    Raises CheckpointError where the model is none that nanoGPT has.
    """
    trained.need_gpt2("nanoGPT's", activations=ACTIVATIONS)
    notes = []
    if trained.model.activation == "gelu":
        notes.append(
            "nanoGPT computes the exact GELU and this model was trained with GPT-2's tanh form: logits there differ "
            "by up to some thousandths"
        )
    if trained.profile.optim.name != "adamw":
        notes.append(_NO_MOMENTS)
    if (schedule := trained.profile.optim.schedule) in ("linear", "wsd"):
        notes.append(
            f"nanoGPT decays by a cosine only: from this step on its rate would leave the {schedule} schedule; set "
            "learning_rate and min_lr, or decay_lr=False, before going on there"
        )
    dataset = trained.profile.name
    if meta := _meta(trained.tokenizer):
        with (folder / "meta.pkl").open("wb") as file:
            pickle.dump(meta, file)
        notes.append(f"for sample.py, copy meta.pkl to nanoGPT's data/{dataset}/")
        if trained.tokenizer["name"] == "byte":
            notes.append("its ids are bytes; meta.pkl reads them as Latin-1, so that only ASCII comes out right")
    elif trained.tokenizer["name"] != "gpt2":
        notes.append(f"sample.py cannot decode its {trained.tokenizer['name']} tokens; it takes them for GPT-2's")
    head = {} if "lm_head.weight" in trained.weights else {"lm_head.weight": trained.weights["transformer.wte.weight"]}
    document = {
        "model": trained.weights | head,
        "optimizer": _optimizer(trained),
        "model_args": {
            "n_layer": trained.model.n_layer, "n_head": trained.model.n_head, "n_embd": trained.model.n_embd,
            "block_size": trained.model.block_size, "bias": trained.model.bias, "vocab_size": trained.vocab_size,
            "dropout": trained.model.dropout,
        },
        "iter_num": trained.step,
        "best_val_loss": trained.state["evaluation"].get("best_val_loss") or _NO_LOSS_YET,
        "config": _config(trained.profile, dataset),
    }  # fmt: skip
    torch.save(document, folder / "ckpt.pt")
    return notes


def _optimizer(trained: Trained) -> dict[str, Any]:
    """AdamW's state_dict as nanoGPT's configure_optimizers numbers it: all matrices first, then all vectors.

    That is our own order, for both walk through the same modules. Muon's state has no place there: the moments are then
    left out, and begin as zeros.
    """
    with torch.device("meta"):
        model = GPT(trained.model, trained.vocab_size)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = sum(parameter.dim() >= 2 for parameter in parameters)
    numbers = [list(range(matrices)), list(range(matrices, len(parameters)))]
    saved = trained.state["optimizer_groups"]
    adamw = trained.profile.optim.name == "adamw"
    if adamw:
        assert [group["params"] for group in saved] == numbers
    template = {key: value for key, value in saved[-1].items() if key not in ("name", "params")}
    template["betas"] = tuple(template["betas"])
    groups = [
        {**template, "weight_decay": decay, "params": params}
        for decay, params in zip((trained.profile.optim.weight_decay, 0.0), numbers, strict=True)
    ]
    moments: dict[int, dict[str, Tensor]] = {}
    if adamw:
        for name, tensor in checkpoint.load_tensors(trained.path, "optimizer").items():
            kind, number, key = name.split(".", 2) if name.startswith("state.") else ("", "", "")
            if kind:
                moments.setdefault(int(number), {})[key] = tensor
    return {"state": dict(sorted(moments.items())), "param_groups": groups}


def _config(profile: Profile, dataset: str) -> dict[str, Any]:
    """The settings under nanoGPT's names; plain values, as its configurator.py leaves them."""
    model, train, optim = profile.model, profile.train, profile.optim
    return {
        "out_dir": "out", "init_from": "resume", "dataset": dataset, "batch_size": train.micro_batch_size,
        "gradient_accumulation_steps": profile.grad_accum_steps, "block_size": model.block_size,
        "n_layer": model.n_layer, "n_head": model.n_head, "n_embd": model.n_embd, "dropout": model.dropout,
        "bias": model.bias, "learning_rate": optim.learning_rate, "max_iters": train.max_steps,
        "weight_decay": optim.weight_decay, "beta1": optim.beta1, "beta2": optim.beta2, "grad_clip": optim.grad_clip,
        "decay_lr": optim.schedule != "constant", "warmup_iters": optim.warmup_steps,
        "lr_decay_iters": optim.decay_steps or train.max_steps,
        "min_lr": optim.learning_rate / 10 if optim.min_lr is None else optim.min_lr,
        "eval_interval": train.eval_interval or train.max_steps, "eval_iters": train.eval_steps or 200,
        "log_interval": train.log_interval,
    }  # fmt: skip


def _meta(tokenizer: dict[str, Any]) -> dict[str, Any] | None:
    """nanoGPT's character vocabulary; for bytes, the characters of the same numbers; None for any other tokenizer."""
    chars = tokenizer.get("chars") if tokenizer["name"] == "char" else None
    if tokenizer["name"] == "byte":
        chars = "".join(map(chr, range(256)))
    if not isinstance(chars, str):
        return None
    return {
        "vocab_size": len(chars),
        "itos": dict(enumerate(chars)),
        "stoi": {char: token for token, char in enumerate(chars)},
    }
