"""A plan in words, as an aligned table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import Any

from cockpit import format as fmt
from cockpit.planning.plan import Best, Machine, Plan
from cockpit.planning.scaling import TOKENS_PER_PARAMETER
from cockpit.sanitize import clean_line
from gpt.config import as_toml

Line = tuple[str, str, str]
"""A label, a value, and what more there is to say."""


def as_json(plan: Plan, best: Best | None = None, others: Sequence[Plan] = ()) -> dict[str, Any]:
    """The figures that scripts read; None is unknown. Bytes, seconds, FLOPs."""
    result = _figures(plan)
    if best:
        result["best"] = {
            "flops": best.flops, "parameters": best.parameters, "tokens": best.tokens,
            "n_layer": best.shape[0], "n_head": best.shape[1], "n_embd": best.shape[2],
            "loss_gain": best.loss_gain, "source": best.source,
        }  # fmt: skip
    if others:
        result["devices"] = [_figures(other) for other in others]
    return result


def _figures(plan: Plan) -> dict[str, Any]:
    machine, remedy = plan.machine, plan.way_out.remedy
    return {
        "profile": plan.profile, "device": machine.name, "dtype": machine.dtype, "peak_flops": machine.peak_flops,
        "mfu": machine.share, "parameters": plan.parameters,
        "parameters_without_positions": plan.parameters_without_positions, "parameters_by_part": plan.parts,
        "flops_per_token": plan.flops_per_token, "flops_total": plan.flops_total, "tokens_total": plan.tokens_total,
        "chinchilla_tokens": plan.chinchilla_tokens, "tokens_per_parameter": plan.tokens_per_parameter,
        "tokens_per_step": plan.tokens_per_step, "steps": plan.steps, "micro_batch_size": plan.micro_batch_size,
        "grad_accum_steps": plan.grad_accum_steps, "memory_bytes": plan.memory.parts,
        "memory_capacity_bytes": machine.memory_bytes, "fits": plan.fits, "profile_fits": plan.asked_fits,
        "remedy": {**remedy.changes, "train.micro_batch_size": remedy.micro_batch_size} if remedy else None,
        "larger_device": plan.way_out.larger_card, "largest_size": plan.way_out.largest_size,
        "seconds": plan.seconds, "energy_kwh": plan.energy_kwh, "cost": plan.cost,
        "checkpoint_bytes": plan.checkpoint_bytes,
    }  # fmt: skip


def lines(plan: Plan) -> list[Line]:
    """The plan, a line a figure."""
    machine = plan.machine
    parts = ", ".join(f"{part} {_count(number)}" for part, number in plan.parts.items())
    ratio = plan.tokens_per_parameter
    verdict, suits = _verdict(ratio), _count(plan.chinchilla_tokens)
    made = [
        ("parameters", _count(plan.parameters), parts),
        ("tokens", _count(plan.tokens_total), f"{plan.steps:,} steps of {plan.tokens_per_step:,}"),
        ("per parameter", fmt.significant(ratio), f"Chinchilla: {TOKENS_PER_PARAMETER:.0f}, {suits} tokens; {verdict}"),
        ("arithmetic", f"{plan.flops_total:.2e} FLOPs", f"{plan.flops_per_token:.3g} a token"),
        *_memory(plan),
        ("time", fmt.duration(plan.seconds), _speed(machine, plan)),
    ]  # fmt: skip
    if plan.energy_kwh is not None:
        made.append(("energy", f"{fmt.significant(plan.energy_kwh)} kWh", f"at {machine.watts:.0f} W"))
    if plan.cost is not None:
        made.append(("cost", fmt.number(plan.cost, 2), "in the currency of the price"))
    made.append(("checkpoint", _bytes(plan.checkpoint_bytes), "weights and optimizer"))
    return made


def _verdict(ratio: float) -> str:
    if ratio > 2 * TOKENS_PER_PARAMETER:
        return f"{ratio / TOKENS_PER_PARAMETER:.1f} times that: a larger model would do better with this arithmetic"
    if ratio < TOKENS_PER_PARAMETER / 2:
        return "a smaller model would do better with this arithmetic"
    return "about right"


def _speed(machine: Machine, plan: Plan) -> str:
    if machine.tokens_per_s:
        return f"at {machine.tokens_per_s:,.0f} tokens/s, as measured"
    if not machine.peak_flops:
        return "the device's speed is unknown: name one with --device, or give --peak"
    tokens = machine.peak_flops * machine.share / plan.flops_per_token
    peak = f"{machine.peak_flops / 1e12:,.1f} TFLOP/s {machine.dtype}"
    return f"at {100 * machine.share:.0f} % of {peak}, {tokens:,.0f} tokens/s"


def _memory(plan: Plan) -> list[Line]:
    capacity = plan.machine.memory_bytes
    parts = ", ".join(f"{part} {_bytes(size)}" for part, size in plan.memory.parts.items() if size)
    of = f" of {_bytes(capacity)}" if capacity else ""
    made = [("memory", f"{_bytes(plan.memory.peak)}{of}", parts)]
    if plan.fits is False:
        made.append(("fits", "no", _way_out(plan)))
        return made
    accumulation = f"× grad_accum_steps {plan.grad_accum_steps:,} = {plan.tokens_per_step:,} tokens a step"
    if capacity is None:
        if plan.micro_batch_size:
            made.append(("micro-batch", f"{plan.micro_batch_size:,}", accumulation))
        return made
    note = ""
    if plan.asked_fits is False:
        note = f"; the profile's {plan.asked_micro_batch:,} does not fit"
    made.append(("micro-batch", f"{plan.micro_batch_size:,}", f"the largest that fits, {accumulation}{note}"))
    return made


def _way_out(plan: Plan) -> str:
    way = plan.way_out
    if way.remedy:
        changes = ", ".join(f"{key} = {as_toml(value)}" for key, value in way.remedy.changes.items())
        return f"not one sequence; with {changes} a micro-batch of {way.remedy.micro_batch_size:,} does"
    here = f"{way.largest_size} trains here" if way.largest_size else "no size of GPT-2 trains here"
    there = f"; this one wants {way.larger_card} or larger" if way.larger_card else "; this one wants several devices"
    return f"{_bytes(plan.memory.peak)} for one sequence; {here}{there}"


def best_lines(best: Best, days: float, machine: Machine) -> list[Line]:
    """What would be the best use of so many days."""
    layers, heads, width = best.shape
    shape = f"n_layer {layers}, n_head {heads}, n_embd {width}"
    made = [
        (f"in {days:g} days", f"{best.flops:.2e} FLOPs", f"at {100 * machine.share:.0f} % of the peak"),
        ("best size", _count(best.parameters), shape),
        ("best tokens", _count(best.tokens), f"{best.tokens / best.parameters:.0f} a parameter; {best.source}"),
    ]
    if best.loss_gain is not None and best.loss_gain >= 0.005:
        made.append(("worth", f"{best.loss_gain:.2f} nats", "less loss than this profile's size in the same days"))
    return made


def as_text(plan: Plan, extra: Sequence[Line] = (), notes: Sequence[str] = (), width: int | None = None) -> str:
    """The plan as aligned lines.

    Args:
        width: columns that what there is more to say is wrapped to; None: it is not.
    """
    machine = plan.machine
    head = f"{clean_line(plan.profile)} on {clean_line(machine.name)}, {machine.dtype}"
    rows = [*lines(plan), *extra]
    label, value = (max(len(row[column]) for row in rows) for column in (0, 1))
    indent = label + value + 6
    body: list[str] = []
    for name, what, more in rows:
        wrapped = wrap(more, max(20, width - indent)) if width else [more]
        body.append(f"  {name:<{label}}  {what:>{value}}  {wrapped[0] if wrapped else ''}".rstrip())
        body += [" " * indent + rest for rest in wrapped[1:]]
    return "\n".join([head, *body, *(f"  {note}" for note in notes)])


def table(plans: Sequence[Plan]) -> str:
    """Several devices side by side: one row each."""
    rows = [("device", "memory", "micro-batch", "accum", "tokens/s", "time", "kWh", "cost")]
    for plan in plans:
        machine = plan.machine
        speed = machine.peak_flops * machine.share / plan.flops_per_token if machine.peak_flops else None
        rows.append((
            clean_line(machine.name).removeprefix("NVIDIA ").removeprefix("GeForce "), _bytes(machine.memory_bytes),
            "does not fit" if plan.micro_batch_size is None else f"{plan.micro_batch_size:,}",
            fmt.number(plan.grad_accum_steps), fmt.number(speed),
            fmt.duration(plan.seconds if plan.fits else None), fmt.significant(plan.energy_kwh if plan.fits else None),
            fmt.number(plan.cost if plan.fits else None, 2),
        ))  # fmt: skip
    if all(row[-1] == fmt.UNKNOWN for row in rows[1:]):
        rows = [row[:-1] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  " + "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )  # fmt: skip


def _count(value: float) -> str:
    number, unit = fmt.count(value)
    return f"{number} {unit}".strip()


def _bytes(value: float | None) -> str:
    if value is not None and value < 2**30 / 10:
        return f"{fmt.significant(value / 2**20)} MiB"
    return fmt.UNKNOWN if value is None else f"{fmt.gib(value, 1)} GiB"
