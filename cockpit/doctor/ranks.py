"""A rank that all the others wait for."""

from __future__ import annotations

from collections.abc import Iterator

from cockpit.doctor.diagnosis import Diagnosis, Rule
from cockpit.doctor.evidence import Evidence

CALLS = 6
"""Roll calls of ranks before one of them is spoken of."""
MOSTLY = 0.75
"""Share of them in which it must be the slowest: by chance one of four is so in a quarter of them."""
EXCESS = 0.10
"""Share of a step by which its own work is longer than the median rank's: less is what cards of one kind differ by."""


def find(evidence: Evidence) -> Iterator[Diagnosis]:
    """One rank that is mostly the slowest, by enough to be worth looking after."""
    book = evidence.state.ranks
    slow, newest = book.straggler(), book.newest
    if slow is None or newest is None or slow.of < CALLS or slow.calls < MOSTLY * slow.of or slow.excess < EXCESS:
        return
    waits = newest.own_ms is None or slow.waits_ms > (slow.own_ms - slow.others_ms) / 2
    if waits:
        why = "Its tokens come later than the others': the difference is waiting for data."
        advice = (
            "Look at the disk and the neighbours of its machine: token files on a local disk, no other readers. "
            f"`console-rank{slow.rank}.log` has what it printed."
        )
    else:
        why = "Its device does the same work more slowly: heat, power, a neighbour on the card or on its cores."
        advice = (
            f"Look at that card: `nvidia-smi -q -d PERFORMANCE` on the machine of rank {slow.rank} says whether its "
            "clock is held down, `nvidia-smi` who else is on it. Resume without that machine if it cannot be mended."
        )
    what = "waits" if newest.own_ms is None else "takes"
    yield Diagnosis(
        rule="straggler", severity="warning",
        title=f"Rank {slow.rank} {what} {slow.own_ms:,.3g} ms a step by itself, the others {slow.others_ms:,.3g}: "
        "all wait for it",
        evidence={
            "rank": slow.rank, "ranks": newest.ranks, "own_ms": slow.own_ms, "others_own_ms": slow.others_ms,
            "waits_longer_ms": slow.waits_ms, "ms_per_step": slow.step_ms, "share_of_step": slow.excess,
            "slowest_in": slow.calls, "of_calls": slow.of,
        },
        why=f"It was the slowest in {slow.calls} of the newest {slow.of} roll calls, by {100 * slow.excess:.0f} % of a "
        f"step. {why}",
        advice=advice, reference="gpt/rollcall.py: the time before a rank first waits for another",
    )  # fmt: skip


RULE = Rule("straggler", "one of several ranks that the others wait for at every step", find)
