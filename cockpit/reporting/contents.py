"""What a report of a run says, from what is known of it. Pure: no disk, no screen, no torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cockpit import __version__
from cockpit import format as fmt
from cockpit.doctor.diagnosis import Diagnosis
from cockpit.doctor.evidence import Evidence
from cockpit.doctor.examination import examine
from cockpit.listing import reached
from cockpit.references import REFERENCES
from cockpit.reporting import tables
from cockpit.reporting.document import Block, Document, Figures, Finding, Paragraph, Sample, Section, Source
from cockpit.reporting.plots import ledger_bar, plots
from cockpit.reporting.tables import spread, when
from cockpit.state import RunState
from gpt.config import Profile, flatten, replace
from gpt.errors import ProfileError

PROMPTS, TEXTS = 6, 6
"""Prompts that are shown, and texts of each."""
_LONGEST = 1200
"""Characters of a text."""


@dataclass(frozen=True)
class Subject:
    """A run to report on."""

    run: str
    state: RunState
    profile: Profile | None
    """As it was begun; None where that cannot be read."""
    settings: Mapping[str, Any]
    """By dotted key, changes while running included; may be empty."""
    source: str = ""
    """The profile as the run keeps it, its text."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """run.json."""
    written: float | None = None
    """Unix time of the report."""

    @property
    def in_force(self) -> Profile | None:
        """The profile with what has changed since."""
        if self.profile is None:
            return None
        try:
            return replace(self.profile, dict(self.settings))
        except ProfileError:
            return self.profile

    def diagnoses(self) -> list[Diagnosis]:
        """What is wrong with it, the worst first."""
        return examine(Evidence(self.in_force, self.state, self.source))


def compose(subject: Subject, diagnoses: Iterable[Diagnosis]) -> Document:
    """The whole report."""
    state = subject.state
    sections = [
        Section("In short", [_figures(subject), *_ending(state)]),
        Section("Diagnoses", [_finding(each) for each in diagnoses]),
        Section("Curves", plots(state, _levels(subject))),
        _section("Evaluations", tables.evaluations(state)),
        _section("Where the time went", ledger_bar(state), tables.ledger(state)),
        _section("What was changed while it ran", tables.changes(state)),
        _section("What it went back from", tables.returns(state)),
        Section("Samples through the run", _samples(state)),
        _section("Settings that differ from the defaults", tables.settings(subject.profile, subject.settings)),
        _section("Model and data", tables.model(state.started) if state.started else None),
        _section("Checkpoints", tables.checkpoints(state)),
        _section("Sittings", tables.sittings(state)),
        _section("Warnings", tables.warnings(state)),
        _section("Origin", tables.facts(state, subject.facts)),
    ]
    if subject.source.strip():
        sections.append(Section("Profile", [Source("profile.toml", subject.source)], folded=True))
    return Document(
        title=subject.run, about=_about(subject), state=state.state, sections=[s for s in sections if s.blocks],
        made_by=f"gpt-cockpit {__version__}, {when(subject.written)}; replay the run with "
        f"gpt-cockpit replay {subject.run}",
    )  # fmt: skip


def _section(title: str, *blocks: Block | None) -> Section:
    return Section(title, [block for block in blocks if block is not None])


def _about(subject: Subject) -> str:
    started, state = subject.state.started, subject.state
    parts = [started.profile if started else (subject.profile.name if subject.profile else "")]
    if started:
        parts += [f"{' '.join(fmt.count(started.parameters)).strip()} parameters", started.device, started.dtype]
    if state.first_time is not None and state.last_time is not None:
        first, last = when(state.first_time), when(state.last_time)
        day = first[:11]
        parts.append(f"{first.removesuffix(' UTC')} to {last.removeprefix(day)}")
    return " · ".join(part for part in parts if part)


def _figures(subject: Subject) -> Figures:
    state = subject.state
    done, started = state.evaluation, state.started
    error = f"± {done.val_stderr:.4f}" if done and done.val_stderr is not None else ""
    best_at = f"at step {state.best_step:,}" if state.best_step is not None else ""
    perplexity = math.exp(done.val_loss) if done and done.val_loss is not None and done.val_loss < 50 else None
    bits = f"{done.bpb:.4f} bits per byte" if done and done.bpb is not None else ""
    share = f"{100 * state.step / state.max_steps:.0f} % of {state.max_steps:,}" if state.max_steps else ""
    each = f"{fmt.significant(state.tokens / started.parameters)} a parameter" if started else ""
    epochs = f", {fmt.significant(state.epochs)} epochs" if state.epochs is not None else ""
    speed = reached(state)
    peak = state.memory.peak if state.memory else state.telemetry.rss_peak if state.telemetry else None
    of = "on the device, at its peak" if state.memory else "of the process, at its peak"
    return Figures([
        ("val loss", fmt.loss(done.val_loss if done else None), f"nats/token {error}".strip()),
        ("best val loss", fmt.loss(state.best_val_loss), best_at),
        ("train loss, smoothed", fmt.loss(state.smoothed_loss.last), f"at step {state.step:,}"),
        ("perplexity", fmt.significant(perplexity, 4), bits),
        ("steps", f"{state.step:,}", share),
        ("tokens", " ".join(fmt.count(state.tokens)).strip(), each + epochs),
        ("wall time", fmt.duration(state.wall or None), f"goodput {fmt.percent(state.goodput)} %"),
        ("ms/iter", fmt.number(speed["ms_per_iter"], 1), "median of the newest steps"),
        ("tokens/s", fmt.number(speed["tokens_per_s"]), "at that speed"),
        ("MFU", f"{fmt.percent(speed['mfu'])} %" if speed["mfu"] is not None else fmt.UNKNOWN,
         f"{started.peak_source} peak" if started and started.peak_source and speed["mfu"] is not None else ""),
        ("memory", f"{fmt.gib(peak)} GiB" if peak else fmt.UNKNOWN, of if peak else ""),
        ("spikes", f"{len(state.spikes):,}", ""),
    ])  # fmt: skip


def _ending(state: RunState) -> list[Block]:
    if state.failed:
        text = f"Failed in {state.failed.phase} at step {state.failed.step:,}: {state.failed.error}"
        return [Paragraph(text, "critical")]
    if state.checkpoint_error:
        text = f"The newest checkpoint, of step {state.checkpoint_error.step:,}, failed: {state.checkpoint_error.error}"
        return [Paragraph(text, "critical")]
    if not state.is_final:
        return [Paragraph(f"The run had not ended when this was written: it was {state.state}.", "note")]
    return []


def _finding(found: Diagnosis) -> Finding:
    def word(value: object) -> str:
        if value is None or isinstance(value, bool | str):
            return fmt.UNKNOWN if value is None else str(value)
        assert isinstance(value, int | float)
        return f"{value:,.0f}" if isinstance(value, int) or abs(value) >= 1e5 else f"{value:,.5g}"

    evidence = [(name.replace("_", " "), word(value)) for name, value in found.evidence.items()]
    return Finding(found.severity, found.title, found.why, found.advice, evidence, found.reference)


def _levels(subject: Subject) -> list[tuple[str, float]]:
    names = subject.settings.get("screen.references") or []
    return [(name, REFERENCES[name].loss) for name in names if name in REFERENCES]


def _samples(state: RunState) -> list[Block]:
    """Of the prompts most often continued some texts each, spread over the run; those of earlier weights are left."""
    by_prompt = {
        prompt: [shot for shot in shots if shot.beside is None] for prompt, shots in state.gallery.by_prompt.items()
    }
    chosen = sorted(by_prompt, key=lambda prompt: -len(by_prompt[prompt]))[:PROMPTS]
    blocks: list[Block] = []
    for prompt in (prompt for prompt in by_prompt if prompt in chosen):
        for shot in spread(by_prompt[prompt], TEXTS):
            loss = f", {fmt.loss(shot.loss)} nats/token" if shot.loss is not None else ""
            text = shot.text if len(shot.text) <= _LONGEST else f"{shot.text[:_LONGEST]} …"
            blocks.append(Sample(f"step {shot.step:,}, {shot.tokens:,} tokens{loss}", prompt, text))
    left = len(by_prompt) - len(chosen)
    return [*blocks, *([Paragraph(f"{left} more prompts are in the run's log.", "note")] if left > 0 else [])]


def summary(subject: Subject) -> dict[str, Any]:
    """The main figures for scripts; units as in gpt.events."""
    return {
        "run": subject.run,
        **reached(subject.state),
        "settings": {key: value for key, value in subject.settings.items() if value != flatten(Profile()).get(key)},
    }
