"""Something else has the machine: a clock held down by heat or power, a neighbour on the processor."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cockpit.doctor.device import device_type, newest_mfu, pace, threads
from cockpit.doctor.diagnosis import Diagnosis, Rule
from cockpit.doctor.evidence import Evidence
from cockpit.doctor.speed import LOW

CROWDED = 0.20
"""Share of the processor by which what training wants and what others take exceed it: a screen, a browser and the
system's own work stay below."""
GPU_CROWDED = 0.85
"""Share of the processor that others take beside a card: its host thread and the reader need little, but need it."""
SLOWED = 1.15
"""Median step over the fastest tenth of the run's; a neighbour that slows nothing is none."""


def find_throttling(evidence: Evidence) -> Iterator[Diagnosis]:
    """A clock held down for most of a minute. A power cap is how a full card runs: only said where MFU is low."""
    telemetry = evidence.state.telemetry
    if telemetry is None or not telemetry.gpu_throttle:
        return
    held, share = telemetry.gpu_throttle, newest_mfu(evidence)
    if held == "power cap" and (share is None or share >= LOW):
        return
    celsius, watts = telemetry.gpu_celsius, telemetry.gpu_watts
    meters = [f"{celsius:.0f} °C" if celsius else "", f"{watts:.0f} W" if watts else ""]
    at = ", ".join(meter for meter in meters if meter)
    mend = {
        "heat": "Give it air: clean the fans, raise their speed, or move it from its neighbour; or lower its power "
        "limit (`nvidia-smi -pl`), which costs less speed than heat does.",
        "power brake": "The machine's power supply asks the card to slow down: look at its cables and at its rating.",
        "hardware slowdown": "Heat, power supply or a cable: `nvidia-smi -q -d PERFORMANCE` says which.",
        "power cap": "See what its power limit is (`nvidia-smi -q -d POWER`): a limit below the card's default is "
        "somebody's choice, `nvidia-smi -pl` changes it.",
    }
    yield Diagnosis(
        rule="throttled", severity="note" if held == "power cap" else "warning",
        title=f"The card's clock is held down: {held}" + (f", {at}" if at else ""),
        evidence={
            "gpu_throttle": held, "gpu_celsius": celsius, "gpu_watts": watts,
            "gpu_utilization": telemetry.gpu_utilization, "mfu": share,
        },
        why=f"In most readings of the last minute the driver gave {held} as the reason for a lower clock than the load "
        "asks for. Steps take longer by as much.",
        advice=mend.get(held, mend["hardware slowdown"]), reference="NVML, clocks event reasons",
    )  # fmt: skip


def find_neighbour(evidence: Evidence) -> Iterator[Diagnosis]:
    """Other programs that take the processor which training needs, and slow it."""
    state, cores, telemetry = evidence.state, evidence.host.cores, evidence.state.telemetry
    others = telemetry.others_cpu_percent if telemetry else None
    seconds, kind = pace(evidence), device_type(evidence)
    if others is None or not cores or seconds is None or state.state == "paused":
        return
    others /= 100
    wanted = (threads(evidence) or cores) / cores  # of several ranks each has its share of the cores, and no more
    if wanted + others < 1 + CROWDED if kind == "cpu" else others < GPU_CROWDED:
        return
    fastest = float(np.percentile(state.ms.y[np.isfinite(state.ms.y)], 10)) / 1e3
    if kind != "cpu" and seconds < SLOWED * fastest:
        return
    slower = seconds / fastest if fastest else 1.0
    left = max(1, round(cores * (1 - others)))
    fewer = f"; or leave it its cores: train.threads = {left}" if kind == "cpu" and left < wanted * cores else ""
    count = round(wanted * cores) if kind == "cpu" else 1
    used = f"{count} thread{'s' if count != 1 else ''}" if kind == "cpu" else "a thread that feeds the card"
    yield Diagnosis(
        rule="crowded_cpu", severity="warning",
        title=f"Other programs take {100 * others:.0f} % of the processor's {cores} cores",
        evidence={
            "others_cpu_share": others, "cores": cores, "threads": threads(evidence), "ms_per_step": 1e3 * seconds,
            "fastest_ms": 1e3 * fastest, "slower": slower,
        },
        why=f"Training wants {used}"
        + (", which wait for each other: one that has to share its core holds up all" if count > 1 else "")
        + f". Steps take {1e3 * seconds:,.4g} ms now, the fastest tenth took {1e3 * fastest:,.4g}.",
        advice=f"Look for it with `top`, and stop it or give it a lower priority (`renice 19 PID`){fewer}.",
        reference="gpt/runtime.py: two busy processes on two cores took a step from 40 ms to 100 ms",
    )  # fmt: skip


RULE = Rule("throttled", "a card's clock held down by heat or power", find_throttling)
NEIGHBOUR = Rule("crowded_cpu", "other programs on the processor that training needs", find_neighbour)
