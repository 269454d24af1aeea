"""Runs on machines, for the rules that look at them: sound ones, and what a test makes wrong of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from stories import START, evidence, played, profile

from cockpit.doctor.diagnosis import Diagnosis, Rule
from cockpit.doctor.evidence import Evidence
from cockpit.reducer import reduce_all
from gpt import events as ev
from gpt.config import Profile, replace
from gpt.live import LIVE_KEYS

GIB = 2**30


def on_card(
    settings: Profile | None = None, *, steps: int = 200, ms: float = 1000.0, beside: Iterable[ev.Event] = (),
    facts: dict[str, Any] | None = None, with_: dict[str, Any] | None = None, **more: Any,
) -> Evidence:  # fmt: skip
    """124M on an H200, compiled, in bfloat16, at 46 % MFU; `beside` comes last in its log, `with_` is evidence."""
    settings = settings or profile("fineweb_124m")
    state = played(settings, steps=steps, ms=ms, facts=facts, **more)
    return evidence(settings, reduce_all(state, beside), **(with_ or {}))


def on_cpu(
    settings: Profile | None = None, *, steps: int = 200, ms: float = 40.0, beside: Iterable[ev.Event] = (),
    facts: dict[str, Any] | None = None, with_: dict[str, Any] | None = None, **more: Any,
) -> Evidence:  # fmt: skip
    """Shakespeare by characters on 16 cores, a thread each."""
    settings = settings or profile("shakespeare_char_cpu")
    here = {
        "device": "AMD EPYC, 16 threads", "device_type": "cpu", "dtype": "float32", "compiled": False,
        "peak_flops": 3e11, "peak_source": "measured", "micro_batch_size": 12, "grad_accum_steps": 1,
    }  # fmt: skip
    state = played(settings, steps=steps, rows=65, ms=ms, facts=here | (facts or {}), train_tokens=1_000_000, **more)
    return evidence(settings, reduce_all(state, beside), **{"vocab_size": 65, **(with_ or {})})


def find_one(rule: Rule, about: Evidence) -> Diagnosis | None:
    """What a rule finds; at most one thing, in one line, and what would mend it can be set."""
    found = list(rule.find(about))
    assert len(found) <= 1
    for each in found:
        assert each.rule == rule.id and "\n" not in each.title and each.evidence and each.advice and each.reference
        if each.treatment and about.profile:
            replace(about.profile, dict(each.treatment.changes))
            assert each.treatment.kind != "live" or LIVE_KEYS.issuperset(each.treatment.changes)
    return found[0] if found else None


def meters(**readings: Any) -> ev.TelemetrySampled:
    """A healthy machine's, but for some."""
    sound: dict[str, Any] = dict(
        time=START + 10_000, rss=2 * GIB, host_memory_used=10 * GIB, host_memory_total=64 * GIB, cpu_percent=97.0,
        process_cpu_percent=1550.0, others_cpu_percent=2.0, gpu_throttle="",
    )  # fmt: skip
    return ev.TelemetrySampled(**{**sound, **readings})


def allocator(peak: float, total: float = 139.8, reserved: float | None = None) -> ev.MemorySampled:
    """What torch holds of a card, GiB."""
    most, held = round(peak * GIB), round((reserved or peak) * GIB)
    return ev.MemorySampled(time=START + 10_000, allocated=most, reserved=held, peak=most, total=round(total * GIB))


def slower_steps(ms: float, *, after: int = 200, count: int = 60) -> list[ev.Event]:
    """Steps that took so long each."""
    return [
        ev.StepDone(
            time=START + step, step=step, loss=3.0, lr=1e-4, grad_norm=0.4, ms=ms, tokens=step * 524288,
            tokens_per_s=524288 / ms * 1e3,
        )
        for step in range(after + 1, after + count + 1)
    ]  # fmt: skip


def console(text: str) -> ev.LogLine:
    return ev.LogLine(time=START, level="warning", text=text, source="console")


def saved(step: int, size: float = 1.5e9, *, best: bool = False) -> ev.CheckpointSaved:
    """A checkpoint of so many bytes."""
    return ev.CheckpointSaved(
        time=START + step, step=step, path=f"checkpoints/step-{step:08}", size=round(size), seconds=2.0, stall_s=0.2,
        reason="best" if best else "interval", best=best,
    )  # fmt: skip
