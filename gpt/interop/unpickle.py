"""Opens a nanoGPT `ckpt.pt` and writes what is in it as plain files. A program of its own:

    python -m gpt.interop.unpickle CKPT FOLDER

A pickle is a program too. This one goes through torch's restricted reader (`weights_only=True`), which builds tensors,
numbers, texts, lists and dicts and refuses all else; and should a hostile file find a hole in that, or fill the memory,
it does so in a process that holds nothing and ends soon.

Writes `weights.safetensors`, `moments.safetensors` (where the optimizer's state is there) and `facts.json`.
Exit code 2 and one line on standard error where the file is no such checkpoint.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

WRAPPER = "_orig_mod."
"""What torch.compile puts before each parameter's name."""


class _Refused(Exception):
    """Why a file is not a checkpoint of nanoGPT."""


def main() -> None:
    """Reads the first argument's file, writes into the second's folder."""
    source, folder = Path(sys.argv[1]), Path(sys.argv[2])
    try:
        extract(source, folder)
    except _Refused as refused:
        sys.stderr.write(f"{refused}\n")
        sys.exit(2)


def extract(source: Path, folder: Path) -> None:
    """Writes the plain files. Raises _Refused with one line."""
    import torch
    from safetensors.torch import save_file

    try:
        loaded: Any = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # of many kinds, none of them promised
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise _Refused(f"it cannot be read as plain tensors and numbers ({reason[:200]})") from None
    if not isinstance(loaded, dict) or not {"model", "model_args"} <= loaded.keys():
        raise _Refused("it lacks nanoGPT's entries model and model_args")
    model, arguments = loaded["model"], loaded["model_args"]
    if not isinstance(model, dict) or not isinstance(arguments, dict):
        raise _Refused("its entries model and model_args are not dicts")
    weights = {}
    for name, tensor in model.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise _Refused("its entry model is not a dict of tensors by name")
        weights[name.removeprefix(WRAPPER)] = tensor.detach().float().contiguous().clone()  # tied ones share memory
    save_file(weights, folder / "weights.safetensors")
    facts = {
        "model_args": _plain(arguments),
        "config": _plain(loaded.get("config") or {}),
        "iter_num": _number(loaded.get("iter_num", 0)),
        "best_val_loss": _number(loaded.get("best_val_loss")),
        "groups": None,
    }
    optimizer = loaded.get("optimizer")
    if isinstance(optimizer, dict) and optimizer.get("state"):
        moments, facts["groups"] = _optimizer(optimizer)
        save_file(moments, folder / "moments.safetensors")
    (folder / "facts.json").write_text(json.dumps(facts, allow_nan=False))


def _optimizer(optimizer: dict[str, Any]) -> tuple[dict[str, Any], list[list[int]]]:
    """(AdamW's state as `NUMBER.NAME` → tensor, the parameters' numbers by group)."""
    import torch

    try:
        groups = [[int(number) for number in group["params"]] for group in optimizer["param_groups"]]
        moments = {
            f"{int(number)}.{name}": torch.as_tensor(entry[name]).detach().float().contiguous().clone()
            for number, entry in optimizer["state"].items()
            for name in ("exp_avg", "exp_avg_sq", "step")
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        raise _Refused("its entry optimizer is not AdamW's state") from None
    return moments, groups


def _plain(values: Any) -> dict[str, Any]:
    """Those entries of a dict that are numbers, truth values, texts or None."""
    if not isinstance(values, dict):
        raise _Refused("its settings are not a dict")
    return {
        key: value
        for key, value in values.items()
        if isinstance(key, str)
        and (
            value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value))
        )
    }


def _number(value: Any) -> float | int | None:
    """A number, which may come as a tensor of one; None for what is not one."""
    if hasattr(value, "item"):
        value = value.item() if value.numel() == 1 else None
    if isinstance(value, int):
        return value
    return value if isinstance(value, float) and math.isfinite(value) else None


if __name__ == "__main__":
    main()
