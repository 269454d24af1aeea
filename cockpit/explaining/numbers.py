"""All numbers that can be asked about, and the letter of each on the screen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cockpit import format as fmt
from cockpit.doctor.evidence import Evidence
from cockpit.explaining import amounts, losses, machine, speed, together, updates, utilization
from cockpit.explaining.explanation import Explanation


@dataclass(frozen=True)
class Number:
    """One of them. Its id is the name of the instrument that shows it, where one does (cockpit.widgets.instruments)."""

    letter: str
    explain: Callable[[Evidence], Explanation]


NUMBERS: dict[str, Number] = {
    "loss": Number("l", losses.loss),
    "train_loss": Number("j", losses.train_loss),
    "val_loss": Number("v", losses.val_loss),
    "best": Number("b", losses.best),
    "perplexity": Number("p", losses.perplexity),
    "bits_per_byte": Number("y", losses.bits_per_byte),
    "ms_per_iter": Number("m", speed.ms_per_iter),
    "tokens_per_s": Number("s", speed.tokens_per_s),
    "mfu": Number("u", utilization.mfu),
    "data_wait": Number("w", speed.data_wait),
    "learning_rate": Number("r", updates.learning_rate),
    "grad_norm": Number("g", updates.grad_norm),
    "noise_scale": Number("z", updates.noise_scale),
    "tokens": Number("t", amounts.tokens),
    "epochs": Number("h", amounts.epochs),
    "parameters": Number("n", amounts.parameters),
    "memory": Number("k", machine.memory),
    "reserved": Number("a", machine.reserved),
    "load": Number("o", machine.load),
    "process_load": Number("c", machine.process_load),
    "ranks": Number("i", together.ranks),
    "goodput": Number("d", speed.goodput),
    "eta": Number("e", speed.eta),
}
"""By id, in the order in which they are told. No letter is one of those that close or scroll a box (q, x)."""


def explain(evidence: Evidence, number: str) -> Explanation:
    """What there is to say about one of NUMBERS. Pure; an unknown value is `–`."""
    return NUMBERS[number].explain(evidence)


def explain_all(evidence: Evidence) -> list[Explanation]:
    """All numbers that have a value, in order."""
    made = [explain(evidence, number) for number in NUMBERS]
    return [each for each in made if each.value.split()[0] != fmt.UNKNOWN]
