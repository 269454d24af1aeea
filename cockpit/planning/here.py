"""What a plan is made for where the person named no device: this machine's card, or its processor."""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil

from cockpit.planning.devices import CARDS, Card, find_card
from cockpit.planning.plan import Machine, machine_of
from cockpit.reducer import reduce_all
from cockpit.runs import list_runs
from cockpit.state import RunState
from gpt import data
from gpt.config import Profile
from gpt.errors import DataError, ProfileError
from gpt.tokenizer import load_tokenizer

DEFAULT_SHARE = 0.4
"""MFU that is assumed where none was measured: about what one GPU reaches with a compiled 124M model."""
ASSUMED_CHARACTERS = 128
"""Rows of a character model's embedding where its text is not here; a few more or less change nothing."""


def choose_machine(
    profile: Profile, device: str | None, peak_tflops: float | None, share: float | None, memory_gb: float | None = None
) -> Machine:
    """The machine to plan for: the named card, a bare peak, or what is here.

    Args:
        device: part of a card's name; `cpu` for this machine's processor.
        peak_tflops: instead of the datasheet's, dense TFLOP/s in the dtype in use.
        share: MFU, 0…1.
        memory_gb: instead of the card's, GiB.

    Raises ProfileError for a card that is not known.
    """
    share = DEFAULT_SHARE if share is None else share
    if device is not None and device.lower() == "cpu":
        machine = _processor(profile, share)
    elif device is not None:
        machine = machine_of(find_card(device), profile, share)
    elif peak_tflops is not None:
        machine = Machine("given peak", _dtype(profile, "bfloat16"), None, None, share=share)
    elif profile.train.device == "cpu" or (card := card_here()) is None:
        machine = _processor(profile, share)
    else:
        machine = machine_of(card, profile, share)
    peak_tflops = peak_tflops or (profile.device.peak_tflops if device is None else None)
    changes = {}
    if peak_tflops is not None:
        changes["peak_flops"] = peak_tflops * 1e12
    if memory_gb is not None:
        changes["memory_bytes"] = round(memory_gb * 2**30)
    return Machine(**{**vars(machine), **changes})


def card_here() -> Card | None:
    """This machine's first card by its driver; None where there is none that answers."""
    with contextlib.suppress(Exception):  # no library, no driver, no permission
        import pynvml

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        name = pynvml.nvmlDeviceGetName(handle)
        name = name.decode() if isinstance(name, bytes) else name
        memory = int(pynvml.nvmlDeviceGetMemoryInfo(handle).total)
        watts = next((card.watts for card in CARDS if card.name == name), None)
        return Card(name, memory, watts)
    return None


def measured_speed(profile: Profile, runs_dir: Path) -> tuple[float, str] | None:
    """(tokens/s, run) of the newest run of the same model and micro-batch here; None where there is none."""
    for run in reversed(list_runs(runs_dir)):
        state = reduce_all(RunState(), run.read_events())
        started, median = state.started, state.median_ms()
        if started is None or not median or started.profile != profile.name:
            continue
        if started.block_size == profile.model.block_size and started.tokens_per_step == profile.tokens_per_step:
            return started.tokens_per_step / median * 1e3, run.name
    return None


def rows_of_embedding(profile: Profile) -> tuple[int, bool]:
    """(rows of the token embedding, whether that is certain): they follow from the data, which need not be here yet."""
    if (rows := data.rows_of_embedding(profile.data, profile.model)) is not None:
        return rows, True
    if profile.data.tokenizer == "char":
        return ASSUMED_CHARACTERS, False
    default = "gpt2" if profile.data.dir is not None else "byte"
    try:
        return load_tokenizer(profile.data.tokenizer or default).vocab_size, True
    except DataError as error:
        raise ProfileError(f"{error}; or set model.vocab_size") from None


def _processor(profile: Profile, share: float) -> Machine:
    return Machine(
        "this machine's CPU", _dtype(profile, "float32"), None, psutil.virtual_memory().total, None, "cpu", share
    )


def _dtype(profile: Profile, default: str) -> str:
    return default if profile.train.dtype == "auto" else profile.train.dtype
