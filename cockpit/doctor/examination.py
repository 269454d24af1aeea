"""All rules over one body of evidence, in order of weight, without what the profile has silenced."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cockpit.doctor import (
    batch,
    clock,
    dropout,
    evaluations,
    first_loss,
    gradients,
    habits,
    memory,
    overfitting,
    peak,
    ranks,
    rates,
    resuming,
    saturation,
    saving,
    schedule,
    size,
    speed,
    stability,
    throttling,
    vocabulary,
)
from cockpit.doctor.diagnosis import SEVERITIES, Diagnosis, Rule
from cockpit.doctor.evidence import Evidence
from gpt.errors import ProfileError
from gpt.strict import nearest

RULES: tuple[Rule, ...] = (
    size.RULE,
    saving.DISK,
    *memory.RULES,
    throttling.RULE,
    throttling.NEIGHBOUR,
    ranks.RULE,
    batch.RULE,
    speed.RULE,
    saving.INTERVAL,
    peak.RULE,
    habits.THREADS,
    habits.PRECISION,
    habits.COMPILE,
    habits.MICRO_BATCH,
    clock.RULE,
    speed.AUTOTUNE,
    overfitting.RULE,
    saturation.RULE,
    dropout.RULE,
    evaluations.NOISY,
    evaluations.COSTLY,
    *stability.RULES,
    *gradients.RULES,
    first_loss.RULE,
    *schedule.RULES,
    rates.RULE,
    resuming.RULE,
    *vocabulary.RULES,
)
"""One or a few to a module; those that weigh as much come in this order."""

IDS = tuple(rule.id for rule in RULES)


def examine(evidence: Evidence, rules: Sequence[Rule] = RULES) -> list[Diagnosis]:
    """What is wrong, the worst first."""
    silenced = {entry.partition(":")[0] for entry in evidence.profile.doctor.silence} if evidence.profile else set()
    found = [each for rule in rules if rule.id not in silenced for each in rule.find(evidence)]
    return sorted(found, key=lambda each: -SEVERITIES.index(each.severity))


def check_silenced(entries: Iterable[str]) -> None:
    """Of doctor.silence: raises ProfileError for a rule that there is none of, with the nearest."""
    for name in (entry.partition(":")[0] for entry in entries):
        if name not in IDS:
            near = nearest(name, IDS)
            advice = f"did you mean {near}?" if near else f"there are {', '.join(IDS)}"
            raise ProfileError(f"doctor.silence: no rule is named {name}; {advice}")
