"""What ranks that train one run together cost each other, explained."""

from __future__ import annotations

from cockpit import format as fmt
from cockpit.doctor.evidence import Evidence
from cockpit.doctor.ranks import EXCESS
from cockpit.explaining.explanation import Explanation, lines
from gpt.events import Spread


def ranks(evidence: Evidence) -> Explanation:
    """How many ranks there are, and how far the slowest one is behind."""
    book = evidence.state.ranks
    newest, slow = book.newest, book.straggler()
    spreads: list[str] = []
    says = ""
    if newest and slow:
        own = newest.own_ms
        what = "waiting for data" if own is None else "own time"
        spreads = [f"step {_spread(newest.ms)}", f"data {_spread(newest.data_ms)}"]
        spreads += [] if own is None else [f"own {_spread(own)}"]
        spreads.append(
            f"rank {slow.rank}, the slowest in {slow.calls} of {slow.of}: {what} ({slow.own_ms:,.1f} - "
            f"{slow.others_ms:,.1f} of the median rank) / {slow.step_ms:,.1f} ms = {fmt.percent(slow.excess)} %"
        )
        says = (
            f"Rank {slow.rank} holds the others up." if slow.excess >= EXCESS and 2 * slow.calls > slow.of
            else "The ranks are alike."
        )  # fmt: skip
    return Explanation(
        id="ranks", name="ranks", value=fmt.number(newest.ranks if newest else None),
        meaning="Processes that train this run together, and how much longer the slowest one works than the median "
        "one before it first waits for the others, as a share of a step.",
        computation=lines(*spreads),
        usual=f"Cards of one kind differ by less than {100 * EXCESS:.0f} %. Where weights are sharded ranks meet in "
        "every layer, and only waiting for data tells them apart.",
        says=says, change="A clock that is held down, a neighbour on a card or its cores, a slower disk.",
    )  # fmt: skip


def _spread(spread: Spread) -> str:
    """`least 11.0, median 12.0, greatest 14.9 ms`."""
    return f"least {spread.least:,.1f}, median {spread.median:,.1f}, greatest {spread.greatest:,.1f} ms"
