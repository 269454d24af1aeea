"""The machine's meters explained."""

from __future__ import annotations

from cockpit import format as fmt
from cockpit.doctor.evidence import Evidence
from cockpit.explaining.explanation import Explanation, lines
from gpt.memory import ACTIVATION_BYTES, estimate

CLOSE_TO_FULL = 0.9
"""Share of a card's memory from which on a fluctuation may be too much."""


def on_gpu(evidence: Evidence) -> bool:
    """Whether the run is on a CUDA device."""
    return evidence.state.started is not None and evidence.state.started.device_type == "cuda"


def memory(evidence: Evidence) -> Explanation:
    """Device memory on a GPU, this process's on a CPU."""
    held, meters = evidence.state.memory, evidence.state.telemetry
    if not on_gpu(evidence):
        return Explanation(
            id="memory", name="memory", value=f"{fmt.gib(meters.rss if meters else None)} GiB",
            meaning="Memory of this process, the screen and the program itself included.",
            computation=lines(
                f"peak {fmt.gib(meters.rss_peak)} GiB" if meters and meters.rss_peak else None, _by_parts(evidence)
            ),
            usual="About 0.4 GiB of program, and the model's share beside it.",
            says=_machine_share(evidence), change=_LESS,
        )  # fmt: skip
    total = (held.total if held else None) or (meters.gpu_memory_total if meters else None)
    formula = says = None
    if held:
        of = f" of {fmt.gib(total, 1)} GiB = {fmt.percent(held.peak / total)} %" if total else ""
        formula = f"peak {fmt.gib(held.peak)}{of}"
        if total and held.peak > CLOSE_TO_FULL * total:
            says = f"{fmt.gib(total - held.peak, 1)} GiB are left at the peak: close to running out."
        elif total and held.peak < 0.5 * total:
            says = "More than half of the card stays empty: a larger micro-batch would fit, and may be faster."
        elif total:
            says = "It fits, with room to spare."
    return Explanation(
        id="memory", name="GPU mem", value=f"{fmt.gib(held.allocated if held else None)} GiB",
        meaning="Memory that tensors take on the card between two steps; the peak, within a step, is what must fit.",
        computation=lines(formula, _by_parts(evidence)),
        usual="Weights, gradients and AdamW's two moments take 16 bytes a parameter; activations and logits grow with "
        "the micro-batch and mostly outweigh them.",
        says=says or "", change=_LESS,
    )  # fmt: skip


_LESS = (
    "train.micro_batch_size, with more grad_accum_steps for the same step; loss_chunk for the logits, "
    "activation_checkpointing for the layers."
)


def reserved(evidence: Evidence) -> Explanation:
    """What the allocator keeps on a GPU, what the whole machine uses on a CPU."""
    held, meters = evidence.state.memory, evidence.state.telemetry
    if not on_gpu(evidence):
        return Explanation(
            id="reserved", name="machine", value=f"{fmt.gib(meters.host_memory_used if meters else None)} GiB",
            meaning="Memory in use on the whole machine, all programs together.",
            computation=f"{fmt.gib(meters.host_memory_used)} of {fmt.gib(meters.host_memory_total)} GiB"
            if meters else "",
            usual="Under 90 %: beyond that systems begin to swap.", says=_machine_share(evidence),
            change="Ending other programs; else as memory.",
        )  # fmt: skip
    says = ""
    if held and held.reserved:
        unused = held.reserved - held.peak
        says = (
            f"{fmt.gib(max(0, unused), 1)} GiB of it are beyond the peak of tensors: pieces that do not fit together."
        )
    return Explanation(
        id="reserved", name="reserved", value=f"{fmt.gib(held.reserved if held else None)} GiB",
        meaning="Memory that torch's allocator has taken from the card and keeps for reuse.",
        computation=f"peak of tensors {fmt.gib(held.peak)} GiB, reserved {fmt.gib(held.reserved)} GiB" if held else "",
        usual="A tenth or so above the peak of tensors.", says=says, change=_LESS,
    )  # fmt: skip


def load(evidence: Evidence) -> Explanation:
    """How busy the device is."""
    meters = evidence.state.telemetry
    if not on_gpu(evidence):
        value = meters.cpu_percent if meters else None
        own = meters.process_cpu_percent / 100 if meters else None
        return Explanation(
            id="load", name="CPU load", value=f"{fmt.number(value)} %",
            meaning="Load of all cores together, all programs included.",
            computation=f"this run takes {own:.2f} cores of it" if own is not None else "",
            usual="Close to 100 % while training on a CPU with all its cores.",
            says="" if value is None else "All cores are busy." if value > 90
            else "Cores stand idle: train.threads may be set too low, or products are too small to share out.",
            change="train.threads; other programs.",
        )  # fmt: skip
    value = meters.gpu_utilization if meters else None
    watts = f"{meters.gpu_watts:,.0f} W" if meters and meters.gpu_watts is not None else None
    heat = f"{meters.gpu_celsius:.0f} °C" if meters and meters.gpu_celsius is not None else None
    return Explanation(
        id="load", name="GPU load", value=f"{fmt.number(value)} %",
        meaning="Share of time in which any kernel ran on the card (NVML). It says nothing of how well it is used: MFU "
        "does.",
        computation=", ".join(filter(None, [watts, heat])), usual="Above 95 % while training.",
        says="" if value is None else "The card is never idle." if value > 90
        else "The card waits at times: for data, for the CPU to launch kernels, or in evaluation and saving.",
        change="Compiling, larger micro-batches; power and heat limits show as fewer watts at the same load.",
    )  # fmt: skip


def process_load(evidence: Evidence) -> Explanation:
    """Cores that this process keeps busy."""
    meters, cores = evidence.state.telemetry, evidence.host.cores
    value = meters.process_cpu_percent / 100 if meters else None
    says = ""
    if value is not None and on_gpu(evidence):
        says = "One core feeds the card." if value < 1.5 else "More than the one core that feeds the card."
    elif value is not None and cores:
        says = f"{fmt.significant(value)} of {cores} cores" + (
            ": others take their share." if value < 0.7 * cores else "."
        )
    return Explanation(
        id="process_load", name="this run", value=f"{fmt.number(value, 2)} cores",
        meaning="Cores that this process keeps busy, the screen included.",
        computation=f"{meters.process_cpu_percent:,.0f} % of one core" if meters else "",
        usual="One on a GPU, all on a CPU.", says=says, change="train.threads; other programs on the machine.",
    )  # fmt: skip


def _by_parts(evidence: Evidence) -> str | None:
    """What a step is estimated to take, by part."""
    profile, rows, started = evidence.profile, evidence.rows, evidence.state.started
    if profile is None or not rows or started is None or started.dtype not in ACTIVATION_BYTES:
        return None
    held = estimate(
        profile, rows, device_type=started.device_type, dtype=started.dtype, micro_batch_size=started.micro_batch_size
    )  # fmt: skip
    parts = ", ".join(f"{part} {fmt.gib(size)}" for part, size in held.parts.items() if size)
    return f"a step by estimate: {parts} = {fmt.gib(held.peak)} GiB"


def _machine_share(evidence: Evidence) -> str:
    meters = evidence.state.telemetry
    if meters is None or not meters.host_memory_total:
        return ""
    share = meters.host_memory_used / meters.host_memory_total
    return f"The machine's memory is {fmt.percent(share, 0)} % full" + (
        ": close to its end." if share > CLOSE_TO_FULL else "."
    )
