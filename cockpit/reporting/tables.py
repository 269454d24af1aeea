"""The tables of a report, one function each: from what is known of a run to rows of text. None: nothing is known."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from cockpit import format as fmt
from cockpit.reporting.document import Table
from cockpit.state import RunState
from cockpit.widgets.timebar import PHASES
from gpt import events as ev
from gpt.config import Profile, as_toml, flatten

ROWS = 60
"""Of a table at most."""

Item = TypeVar("Item")


def when(unix: float | None) -> str:
    """A moment: `2026-11-21 14:03:22 UTC`."""
    if unix is None:
        return fmt.UNKNOWN
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(unix))
    except (OverflowError, OSError, ValueError):
        return fmt.UNKNOWN


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most `most` of them, evenly over all, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(n * (len(items) - 1) / (most - 1))] for n in range(most)]


def evaluations(state: RunState) -> Table | None:
    """Losses by step; of many some, the best always."""
    known = state.chronicle.evaluations
    if not known:
        return None
    shown = spread(known, ROWS)
    best = next((each for each in reversed(known) if each.best), None)
    if best is not None and best not in shown:
        shown = sorted([*shown, best], key=lambda each: each.step)
    rows = [
        [
            f"{each.step:,}", fmt.loss(each.train_loss), fmt.loss(each.val_loss), fmt.loss(each.val_stderr),
            fmt.number(each.bpb, 4), fmt.number(each.val_tokens), f"{each.seconds:.1f}",
            ", ".join(filter(None, ["best" * (each is best), "whole split" * each.whole, "aside" * each.aside])),
        ]
        for each in shown
    ]  # fmt: skip
    head = ("step", "train loss", "val loss", "± std. error", "bits per byte", "val tokens", "s", "")
    return Table(head, rows, frozenset(range(7)), _left_out(len(shown), len(known), "evaluations"))


def ledger(state: RunState) -> Table | None:
    """Seconds by phase."""
    total = sum(state.ledger.values())
    if total <= 0:
        return None
    rows = [
        [word, fmt.duration(seconds), f"{seconds:,.1f}", f"{fmt.percent(seconds / total)} %"]
        for phase, (word, _, _) in PHASES.items()
        if (seconds := state.ledger.get(phase, 0.0)) > 0
    ]
    rows.append(["all", fmt.duration(total), f"{total:,.1f}", "100.0 %"])
    return Table(("phase", "time", "seconds", "share"), rows, frozenset((1, 2, 3)))


def settings(profile: Profile | None, in_force: Mapping[str, Any]) -> Table | None:
    """What differs from the defaults, at the end; and what the run was begun with where that was something else."""
    if profile is None:
        return None
    usual, begun = flatten(Profile()), flatten(profile)
    rows = [
        [key, as_toml(value) + _before(value, begun.get(key, value)), as_toml(usual.get(key))]
        for key, value in in_force.items()
        if key not in ("name", "description") and value != usual.get(key)
    ]
    return Table(("setting", "value", "default"), rows) if rows else None


def _before(value: Any, begun: Any) -> str:
    return f" (begun with {as_toml(begun)})" if begun != value else ""


def changes(state: RunState) -> Table | None:
    """Settings changed while it ran."""
    known = state.chronicle.changes
    if not known:
        return None
    shown = spread(known, ROWS)
    rows = [[f"{each.step + 1:,}", each.key, each.old, each.new, when(each.time)] for each in shown]
    return Table(
        ("from step", "setting", "before", "after", "when"), rows, frozenset((0,)),
        _left_out(len(shown), len(known), "changes"),
    )  # fmt: skip


def returns(state: RunState) -> Table | None:
    """Where the run went back."""
    known = state.chronicle.returns
    if not known:
        return None
    rows = [[fmt.number(each.left), f"{each.step:,}", each.why or "on its pilot's word", when(each.time)]
            for each in spread(known, ROWS)]  # fmt: skip
    return Table(("from step", "to step", "why", "when"), rows, frozenset((0, 1)))


def checkpoints(state: RunState) -> Table | None:
    """What was saved; what has been deleted since is here too."""
    known = state.chronicle.saves
    if not known:
        return None
    shown = spread(known, ROWS)
    rows = []
    for each in shown:
        stall = fmt.UNKNOWN if each.stall_s is None else f"{each.stall_s:.2f}"
        why = each.reason + ", best" * (each.best and each.reason != "best")
        rows.append([f"{each.step:,}", each.path, f"{each.size / 1e6:,.1f}", f"{each.seconds:.2f}", stall, why])
    head = ("step", "path", "MB", "s", "stall, s", "why")
    return Table(head, rows, frozenset((0, 2, 3, 4)), _left_out(len(shown), len(known), "checkpoints"))


def sittings(state: RunState) -> Table | None:
    """Who trained it when, on what."""
    known = state.chronicle.sittings
    if not known:
        return None
    rows = []
    for each in spread(known, ROWS):
        facts, how = each.started, each.resumed
        went_on = fmt.UNKNOWN if how is None else "exact" if how.exact else f"not exact: {how.why}"
        rows.append([
            when(facts.time), when(each.end), f"{facts.step:,}", facts.device,
            facts.dtype + ", compiled" * facts.compiled, facts.versions, went_on,
        ])  # fmt: skip
    return Table(("began", "ended", "at step", "device", "precision", "versions", "went on"), rows, frozenset((2,)))


def warnings(state: RunState) -> Table | None:
    """The newest lines of the log that are not merely information."""
    found = [record for record in state.log if record.level in ("warning", "error")]
    began = state.first_time or 0.0
    rows = [[fmt.clock(record.time - began), record.level, record.text] for record in found[-30:]]
    note = f"the newest {len(rows)} of {len(found)}" if len(found) > len(rows) else ""
    return Table(("after", "", "what"), rows, frozenset((0,)), note) if rows else None


def facts(state: RunState, run_facts: Mapping[str, Any]) -> Table | None:
    """Where the run is from: run.json and what the run said of itself."""
    started = state.started
    git = run_facts.get("git")
    commit = (
        str(git.get("commit", "")) + ("" if git.get("clean") else ", with changes") if isinstance(git, dict) else ""
    )
    argv = run_facts.get("argv")
    command = " ".join(["gpt-cockpit", *map(str, argv)]) if isinstance(argv, list) else ""
    origin = started.forked_from if started else None
    rows = [
        ["created", when(created) if isinstance(created := run_facts.get("created"), int | float) else ""],
        ["command", command], ["profile", str(run_facts.get("profile_path") or "")],
        ["profile's SHA-256", str(run_facts.get("profile_sha256") or "")], ["git commit", commit],
        ["program", f"gpt-cockpit {run_facts['cockpit']}" if run_facts.get("cockpit") else ""],
        ["versions", started.versions if started else ""], ["system", str(run_facts.get("system") or "")],
        ["host", str(run_facts.get("host") or "")],
        ["forked from", f"{origin.run} at step {origin.step:,}" if origin else ""],
    ]  # fmt: skip
    known = [row for row in rows if row[1]]
    return Table(("", ""), known) if known else None


def model(started: ev.RunStarted) -> Table:
    """The model and its data."""
    peak = f"{started.peak_flops / 1e12:,.3g} TFLOP/s, {started.peak_source}" if started.peak_flops else fmt.UNKNOWN
    return Table(("", ""), [
        ["parameters", f"{started.parameters:,} ({started.parameters_without_positions:,} as nanoGPT counts)"],
        ["context", f"{started.block_size:,} tokens"],
        ["vocabulary", f"{started.vocab_size:,} ({started.tokenizer})"],
        ["training tokens", f"{started.train_tokens:,}"], ["validation tokens", f"{started.val_tokens:,}"],
        ["a step", f"{started.tokens_per_step:,} tokens: {started.micro_batch_size} sequences × "
                   f"{started.grad_accum_steps} micro-steps"],
        ["arithmetic", f"{fmt.scientific(started.flops_per_token)} FLOPs a token"],
        ["peak", peak],
    ])  # fmt: skip


def _left_out(shown: int, known: int, what: str) -> str:
    return f"{shown} of {known:,} {what}; gpt-cockpit export RUN --to csv has every step" if shown < known else ""
