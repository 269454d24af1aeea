"""Habits that cost speed on a CPU, and compiling for a run too short to win it back."""

from __future__ import annotations

from collections.abc import Iterator

from cockpit.doctor.device import (
    CPU_TOKENS,
    ENOUGH_STEPS,
    Portions,
    current_portions,
    device_type,
    dtype,
    is_foreign,
    pace,
    ranks,
    threads,
)
from cockpit.doctor.diagnosis import Diagnosis, Rule, Treatment
from cockpit.doctor.evidence import Evidence
from cockpit.format import duration

HALF = 0.5
"""Share of the logical cores below which threads leave some idle: the half of them are threads of the same cores."""
SHORT_TOKENS = 1024
"""Tokens of a micro-step below which joining some is: eight of 12 × 64 took 936 ms on two cores, four of 24 × 64 892,
two of 48 × 64 845."""
COMPILE_GAINS = {"cuda": 0.5, "mps": 0.2, "cpu": 0.1}
"""How much longer an uncompiled step takes, about: on a card 1.3 to 1.7 times, on a CPU 1.05 to 1.10 times."""
COMPILE_GAIN_SWITCHED = 0.4
"""The same on a CPU for another shape than GPT-2's, whose backward pass is not written out: 1.47 times was measured."""
COMPILE_PAYS_AFTER_STEPS = 500
"""On CUDA, as `auto` has it (gpt/compiling.py)."""
TINY_RUN = 120.0
"""Seconds under which nobody minds."""


def find_threads(evidence: Evidence) -> Iterator[Diagnosis]:
    """More threads than cores, or a profile that leaves half of them idle."""
    used, cores, kind = threads(evidence), evidence.host.cores, device_type(evidence)
    if used is None or not cores or kind != "cpu" or is_foreign(evidence):
        return
    asked = evidence.profile.train.threads if evidence.profile else None
    each = max(1, cores // ranks(evidence))
    if used > each:
        title = f"{used} threads on {each} core{'s' * (each > 1)}"
        why = (
            "The threads of a step wait for each other at each operator's end. Where two share a core, all wait for "
            "the one that is not running: a step can take many times as long."
        )
    elif asked is not None and used < HALF * each:
        title = f"{used} of {each} cores train"
        why = f"train.threads = {asked} leaves the other {each - used} idle."
    else:
        return
    yield Diagnosis(
        rule="cpu_threads", severity="warning" if used > each else "note", title=title,
        evidence={"threads": used, "cores": cores, "ranks": ranks(evidence), "asked": asked}, why=why,
        advice=f"Leave train.threads out (one a core), or set it to {each}; stop, then --resume with it.",
        treatment=Treatment("profile", "a thread a core", {"train.threads": None}),
        reference="gpt/runtime.py: two busy threads on one core took a step from 40 ms to 100 ms and more",
    )  # fmt: skip


def find_precision(evidence: Evidence) -> Iterator[Diagnosis]:
    """bfloat16 on a CPU that has no AMX; float32 on one that has."""
    kind, amx = dtype(evidence), evidence.host.has_amx
    if device_type(evidence) != "cpu" or amx is None or is_foreign(evidence):
        return
    asked = evidence.profile.train.dtype if evidence.profile else "auto"
    if kind == "bfloat16" and not amx:
        yield Diagnosis(
            rule="cpu_precision", severity="critical" if evidence.state.started is None else "warning",
            title="bfloat16 on a processor without AMX: 2.5 times slower than float32",
            evidence={"dtype": kind, "has_amx": amx, "speed_against_float32": 0.39},
            why="Without AMX the processor has no bfloat16 products: each is converted, computed and converted back. "
            "A run refuses to begin so.",
            advice='Set train.dtype = "auto": float32 here, bfloat16 where it is faster.',
            treatment=Treatment("profile", "choose the precision by the device", {"train.dtype": "auto"}),
            reference="measured on two cores without AMX: 0.39 times float32's speed",
        )  # fmt: skip
    elif kind == "float32" and amx and asked == "float32":
        yield Diagnosis(
            rule="cpu_precision", severity="note", title="float32 on a processor that multiplies bfloat16 in hardware",
            evidence={"dtype": kind, "has_amx": amx},
            why="AMX does many times as many bfloat16 products; how much of that a step gains hangs on its size.",
            advice='Try train.dtype = "auto" with `gpt-cockpit bench`, and compare.',
            treatment=Treatment("profile", "choose the precision by the device", {"train.dtype": "auto"}),
            reference="Intel AMX: TDPBF16PS",
        )  # fmt: skip


def find_short_compile(evidence: Evidence) -> Iterator[Diagnosis]:
    """Compiling that the run does not win back: as measured, or where it is asked for outright."""
    state, profile, kind = evidence.state, evidence.profile, device_type(evidence)
    steps, seconds = evidence.max_steps, pace(evidence)
    if is_foreign(evidence) or not steps or kind is None or profile is None:
        return
    gain = COMPILE_GAIN_SWITCHED if kind == "cpu" and profile.model.departures() else COMPILE_GAINS[kind]
    took = state.ledger.get("compile", 0.0)
    if state.started and state.started.compiled and took and seconds and len(state.ms) >= ENOUGH_STEPS:
        gained = steps * seconds * gain
        if took <= gained or took + steps * seconds < TINY_RUN:
            return
        title = f"Compiling took {duration(took)}, and all {steps:,} steps win back about {duration(gained)}"
        figures = {"compile_seconds": took, "seconds_won": gained, "steps": steps}
    elif state.started is None and profile.train.compile is True and kind == "cpu":
        title = "Compiling on a CPU, asked for outright: with dropout steps even become slower"
        figures = {"steps": steps}
    elif state.started is None and profile.train.compile is True and steps < COMPILE_PAYS_AFTER_STEPS:
        title, figures = f"Compiling for {steps:,} steps: about a minute, seldom won back", {"steps": steps}
    else:
        return
    yield Diagnosis(
        rule="short_compile", severity="note", title=title, evidence={**figures, "device_type": kind},
        why=f"A compiled step is about {100 * gain:.0f} % faster here at best, and each start waits for it.",
        advice='Set train.compile = "auto" for the next run: it compiles where that pays.',
        treatment=Treatment("profile", "compile where it pays", {"train.compile": "auto"}),
        reference="gpt/compiling.py; on two cores 1.05 to 1.47 times was measured, with dropout 0.85",
    )  # fmt: skip


def find_small_micro_batch(evidence: Evidence) -> Iterator[Diagnosis]:
    """Short micro-steps that are accumulated on a CPU, where fewer and longer ones do the same step sooner."""
    present, seconds = current_portions(evidence), pace(evidence)
    if present is None or device_type(evidence) != "cpu" or is_foreign(evidence) or evidence.profile is None:
        return
    tokens = present.micro_batch_size * present.block_size
    if present.grad_accum_steps % 2 or tokens >= SHORT_TOKENS or ranks(evidence) > 1:
        return
    better = present
    while better.grad_accum_steps % 2 == 0 and 2 * better.micro_batch_size * better.block_size <= CPU_TOKENS:
        better = Portions(2 * better.micro_batch_size, better.grad_accum_steps // 2, better.block_size)
    ms = f" One of them takes {1e3 * seconds / present.grad_accum_steps:,.3g} ms now." if seconds else ""
    yield Diagnosis(
        rule="small_micro_batch", severity="note",
        title=f"Micro-steps of {tokens:,} tokens are accumulated; fewer of "
        f"{better.micro_batch_size * better.block_size:,} do the same step",
        evidence={"tokens_per_micro_step": tokens, "micro_batch_size": present.micro_batch_size,
                  "grad_accum_steps": present.grad_accum_steps, "ms_per_step": 1e3 * seconds if seconds else None},
        why="What a micro-step costs beside its arithmetic is paid each time, and a micro-batch twice as large costs "
        f"as much a token, or less.{ms} The step stays the same, sequence by sequence.",
        advice=f"Set {better}; stop, then --resume with it.",
        treatment=Treatment("profile", f"micro-batch {better.micro_batch_size}", better.changes(evidence)),
        reference="measured on two cores, 6,144 tokens a step: 12 × 64 936 ms, 24 × 64 892 ms, 48 × 64 845 ms",
    )  # fmt: skip


THREADS = Rule("cpu_threads", "threads against cores", find_threads)
PRECISION = Rule("cpu_precision", "bfloat16 without AMX, or float32 with it", find_precision)
COMPILE = Rule("short_compile", "compiling for a run too short to win it back", find_short_compile)
MICRO_BATCH = Rule("small_micro_batch", "short micro-steps accumulated on a CPU", find_small_micro_batch)
