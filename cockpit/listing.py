"""What has been trained: one summary a run, from its log and its lock, as a table or as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cockpit import format as fmt
from cockpit.pace import pace
from cockpit.reducer import reduce_all
from cockpit.runs import Run
from cockpit.sanitize import clean_line
from cockpit.state import FINAL_STATES, RunState

Summary = dict[str, Any]


def summarize(run: Run) -> Summary:
    """The figures of a run; None is unknown. Losses in nats/token, mfu and goodput 0…1, the rest as the key says."""
    return figures(run, reduce_all(RunState(), run.read_past()))


def figures(run: Run, state: RunState) -> Summary:
    """The figures of a run of which a state is known already."""
    return {
        "run": run.name,
        **reached(state),
        "state": _state(run, state),
        "profile": state.started.profile if state.started else run.profile_name,
        "parameters": state.started.parameters if state.started else None,
        "device": state.started.device if state.started else None,
        "severity": state.checkup.worst,
        "unreadable_lines": run.skipped_lines,
    }


def reached(state: RunState) -> Summary:
    """How far a run has come, how well and how fast, by its log alone; the same keys wherever JSON tells of a run."""
    ms, rate, mfu = pace(state)  # the newest steps', also where this sitting made none yet
    evaluation = state.evaluation
    return {
        "state": state.state,
        "step": state.step,
        "max_steps": state.max_steps,
        "train_loss": evaluation.train_loss if evaluation else state.smoothed_loss.last,
        "val_loss": evaluation.val_loss if evaluation else None,
        "best_val_loss": state.best_val_loss,
        "best_step": state.best_step,
        "tokens": state.tokens,
        "ms_per_iter": ms,
        "tokens_per_s": rate,
        "mfu": mfu,
        "goodput": state.goodput,
        "ledger": state.ledger,
        "wall_s": state.wall or None,
    }


def as_json(summaries: Sequence[Summary]) -> str:
    """The summaries as a JSON list."""
    return json.dumps(summaries, indent=2)


def as_table(summaries: Sequence[Summary], runs_dir: Path) -> str:
    """The summaries as aligned columns, the run touched last at the end."""
    if not summaries:
        return f"no runs in {clean_line(str(runs_dir))}"
    rows = [
        ("run", "state", "step", "train", "val", "best", "tokens", "ms/iter", "MFU %", "goodput %", "time", "doctor")
    ]
    rows += [_row(summary) for summary in summaries]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(_aligned(row, widths)).rstrip() for row in rows)


def _row(summary: Summary) -> tuple[str, ...]:
    return (
        clean_line(summary["run"]), summary["state"],
        f"{fmt.number(summary['step'])}/{fmt.number(summary['max_steps'])}",
        fmt.loss(summary["train_loss"]), fmt.loss(summary["val_loss"]), fmt.loss(summary["best_val_loss"]),
        " ".join(fmt.count(summary["tokens"])).strip(), fmt.significant(summary["ms_per_iter"]),
        fmt.percent(summary["mfu"]), fmt.percent(summary["goodput"]), fmt.duration(summary["wall_s"]),
        summary["severity"] or "–",
    )  # fmt: skip


def _aligned(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Words to the left, numbers to the right."""
    cells = zip(row, widths, strict=True)
    return [cell.ljust(width) if column < 2 else cell.rjust(width) for column, (cell, width) in enumerate(cells)]


def _state(run: Run, state: RunState) -> str:
    """One of gpt.events.STATES, or `interrupted` where the process is gone and said no goodbye."""
    if run.in_use or state.state in FINAL_STATES:
        return state.state
    return "interrupted"
