"""Graphics cards by name: memory and power, beside the peaks of gpt.flops."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cockpit.sanitize import clean_line
from gpt.errors import ProfileError
from gpt.flops import datasheet_peak

GB = 10**9


@dataclass(frozen=True)
class Card:
    """A device to plan for."""

    name: str
    """As its driver names it, so that gpt.flops knows its peak."""
    memory_bytes: int | None
    watts: float | None
    """Board power by its datasheet."""

    def dtype(self) -> str:
        """What training would compute its products in: the lowest precision that the card is fast in."""
        return next((kind for kind in ("bfloat16", "float16") if datasheet_peak(self.name, kind)), "float32")

    def peak(self, dtype: str) -> float | None:
        """Dense FLOP/s in a dtype; float32 products run as TF32 where the card has it, as in training."""
        known = (dtype == "float32" and datasheet_peak(self.name, "tfloat32")) or datasheet_peak(self.name, dtype)
        return known[0] if known else None


# Memory as sold, in units of 2^30 bytes for GeForce and Tesla cards of that size; watts: total board power. Datasheets
# and product pages of NVIDIA and AMD, the same ones as in gpt.flops.
CARDS: tuple[Card, ...] = tuple(
    Card(name, round(memory * 2**30), watts)
    for name, memory, watts in (
        ("NVIDIA GeForce RTX 3060", 12, 170), ("NVIDIA GeForce RTX 3090", 24, 350),
        ("NVIDIA GeForce RTX 4070", 12, 200), ("NVIDIA GeForce RTX 4070 Ti", 12, 285),
        ("NVIDIA GeForce RTX 4080", 16, 320), ("NVIDIA GeForce RTX 4090", 24, 450),
        ("NVIDIA GeForce RTX 5090", 32, 575), ("Tesla T4", 16, 70), ("NVIDIA L4", 24, 72),
        ("Tesla V100-PCIE-16GB", 16, 250), ("NVIDIA A100-SXM4-40GB", 40, 400), ("NVIDIA A100-SXM4-80GB", 80, 400),
        ("NVIDIA H100 PCIe", 80, 350), ("NVIDIA H100 80GB HBM3", 80, 700), ("NVIDIA H200", 140, 700),
        ("NVIDIA B200", 180, 1000), ("AMD Instinct MI300X", 192, 750),
    )
)  # fmt: skip


def find_card(text: str) -> Card:
    """The card that a person means by `4070 Ti`, `h100` or the driver's full name.

    Raises ProfileError where none or several are meant.
    """
    words = _words(text)
    fitting = [card for card in CARDS if _holds(_words(card.name), words)]
    exact = [card for card in fitting if _words(card.name)[-len(words) :] == words]
    chosen = exact if len(exact) == 1 else fitting
    if len(chosen) == 1:
        return chosen[0]
    shown = clean_line(text)
    if chosen:
        raise ProfileError(
            f"--device {shown} may be {' or '.join(card.name for card in chosen)}; give more of its name"
        )
    known = ", ".join(card.name.removeprefix("NVIDIA ").removeprefix("GeForce ") for card in CARDS)
    raise ProfileError(f"--device {shown} is not known here; give --peak in TFLOP/s instead, or one of {known}")


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z]+|\d+[a-z]*|\w+", name.lower().replace("-", " "))


def _holds(words: list[str], wanted: list[str]) -> bool:
    """Whether the wanted words stand in that order in a name."""
    rest = iter(words)
    return bool(wanted) and all(any(word == have for have in rest) for word in wanted)
