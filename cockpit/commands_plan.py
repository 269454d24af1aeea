"""`gpt-cockpit plan`: what a profile's run takes, before it is begun."""

from __future__ import annotations

import sys
from json import dumps
from shutil import get_terminal_size
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from cockpit.arguments import AsJson, Overrides, ProfileName, RunsDir
from cockpit.quantity import count
from cockpit.runs import DEFAULT_RUNS_DIR


def plan(
    profile: ProfileName,
    /,
    *,
    overrides: Overrides = (),
    device: Annotated[
        tuple[str, ...],
        Parameter(help="Part of a card's name, or cpu; several are compared.", consume_multiple=True),
    ] = (),
    peak: Annotated[
        float | None, Parameter(help="Dense TFLOP/s of the device, instead.", validator=Number(gt=0))
    ] = None,
    memory: Annotated[float | None, Parameter(help="GiB of the device, instead.", validator=Number(gt=0))] = None,
    mfu: Annotated[
        float | None, Parameter(help="Share of the peak that training reaches, 0…1.", validator=Number(gt=0, lte=1))
    ] = None,
    tokens: Annotated[str | None, Parameter(help="To train on: 10B, 500M. Without it: as max_steps has it.")] = None,
    days: Annotated[
        float | None, Parameter(help="Also the best size and tokens for so many days.", validator=Number(gt=0))
    ] = None,
    price: Annotated[float | None, Parameter(help="Of an hour of the device.", validator=Number(gt=0))] = None,
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    json: AsJson = False,
) -> int:
    """Parameters, arithmetic, memory, time, energy and cost of a run, on this machine or any card.

    Without --device: this machine's card, or its CPU with the speed of the newest run of the same profile.
    """
    from cockpit import profile as profiles
    from cockpit.planning import here, report
    from cockpit.planning.plan import Machine, best_for, make_plan

    loaded = profiles.load(profiles.find(profile), overrides).profile
    wanted = count(tokens, "--tokens") if tokens is not None else None
    rows, certain = here.rows_of_embedding(loaded)
    machines = [here.choose_machine(loaded, name, peak, mfu, memory) for name in device or (None,)]
    notes = [] if certain else [f"The vocabulary follows from the text; {rows} characters are assumed."]
    if not device and peak is None and (measured := here.measured_speed(loaded, runs_dir)):
        machines = [Machine(**{**vars(machines[0]), "tokens_per_s": measured[0]})]
        notes.append(f"Speed as in the run {measured[1]}.")
    price = price if price is not None else loaded.device.price_per_hour
    first, *others = plans = [
        make_plan(loaded, rows, machine, tokens=wanted, price_per_hour=price) for machine in machines
    ]
    best = best_for(machines[0], days, rows, first.parameters) if days is not None else None
    if json:
        sys.stdout.write(f"{dumps(report.as_json(first, best, plans if others else ()), indent=1)}\n")
        return 0
    if days is not None and best is None:
        notes.append("The best size for those days needs the device's peak: --device or --peak.")
    extra = report.best_lines(best, days, machines[0]) if best and days is not None else []
    width = get_terminal_size().columns if sys.stdout.isatty() else None
    text = report.as_text(first, extra, notes, width)
    sys.stdout.write(f"{text}\n" + (f"\n{report.table(plans)}\n" if others else ""))
    return 0
