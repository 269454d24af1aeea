"""`gpt-cockpit bench`: how fast a profile's real step is here, alone, against a plain loop, and behind the screen.

Every measurement is a process of its own, and those that are compared take turns, so that a machine that drifts drifts
for both: on a CPU several times a second, both being there at once; elsewhere one after the other, for they might not
fit into the device's memory together.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from cockpit import format as fmt
from cockpit.front import die_with_parent
from cockpit.profile import Loaded
from cockpit.progress import Progress
from cockpit.pseudoterminal import kill_session
from cockpit.sanitize import clean_line
from cockpit.trial import LONG_LOG_STEPS, measure_screen
from cockpit.underway import MeasurementError, failure
from gpt import turns
from gpt.config import Profile
from gpt.data import check_source
from gpt.errors import RunError
from gpt.runtime import is_on_cpu

_ROOT = Path(__file__).resolve().parents[1]
_PLAIN_LOOP = _ROOT / "tests" / "bench" / "plain_loop.py"
_WIDTH = 80


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be measured."""

    steps: int = 100
    """Steps that are timed in each measurement."""
    warmup: int = 20
    """Steps before them that are not."""
    repeats: int = 3
    """Measurements of each kind."""
    baseline: bool = False
    """Also a plain loop doing the same work."""
    screen: bool = False
    """Also the program with and without its screen."""
    columns: int = 120
    rows: int = 35
    """Size of the screen."""
    seconds: float = 20.0
    """What is measured with the screen and without it, in each repeat."""

    def check(self) -> None:
        """Raises RunError for a number out of range."""
        for name, least in {"steps": 1, "warmup": 0, "repeats": 1, "columns": 40, "rows": 10, "seconds": 1}.items():
            if (value := getattr(self, name)) < least:
                raise RunError(f"--{name} must be at least {least}; got {value}")
        if self.baseline and not _PLAIN_LOOP.exists():
            raise RunError("--baseline needs the plain loop of the source checkout; install with pip install -e .")


def bench(loaded: Loaded, plan: Plan) -> dict[str, Any]:
    """Measures a profile; the keys are those of `gpt.bench.measure`, each figure the median over the repeats.

    The breakdown is that of the repeat in the middle, so that it adds up; ms_per_iter_runs has the median of each.

    With `baseline` also baseline_ms_per_iter, ratio (baseline / ours, the median over the pairs), ratios, and
    largest_loss_difference (nats/token, over all steps: the same work gives the same curve; None where a loss was not
    finite). With `screen` also the figures of `cockpit.screencost.measure_screen`.

    Raises RunError where the profile cannot be measured, MeasurementError for a bug of ours, other UserErrors for
    data or numbers that will not do.
    """
    plan.check()
    profile = loaded.profile
    if plan.baseline and (switched := profile.model.departures()):
        raise RunError(
            f"--baseline: the plain loop is GPT-2's, without model.{', model.'.join(switched)}; leave it out"
        )
    check_source(profile.data, profile.model)
    with _ended_by_signals(), tempfile.TemporaryDirectory(prefix="gpt-cockpit-bench-") as folder:
        path = Path(folder) / "profile.json"
        path.write_bytes(msgspec.json.encode(profile))
        options = ["--steps", str(plan.steps), "--warmup", str(plan.warmup)]
        ours, plain = [], []
        with closing(Progress(elsewhere=False)) as progress:

            def say(text: str) -> None:
                progress.tell(fit(text))

            commands = [["-m", "gpt.bench", str(path), *options]]
            if plan.baseline:
                commands.append([str(_PLAIN_LOOP), str(path), folder, *options])
            measure = _measure_in_turns if plan.baseline and is_on_cpu(profile.train.device) else _measure
            for number in range(1, plan.repeats + 1):
                say(f"step{' and plain loop' * plan.baseline}: measurement {number} of {plan.repeats}")
                results = measure(*commands)
                ours.append(results[0])
                plain += results[1:]
            result = combine(ours)
            if plan.baseline:
                result |= compare(ours, plain)
            if plan.screen:
                result |= measure_screen(
                    profile, loaded.text, columns=plan.columns, rows=plan.rows, seconds=plan.seconds,
                    repeats=plan.repeats, compiled=result["compiled"], environment=_environment(), say=say,
                )  # fmt: skip
    return result


def combine(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One result of several measurements of the same; losses are left out."""
    ordered = sorted(runs, key=lambda run: run["ms_per_iter"])
    middle = ordered[(len(ordered) - 1) // 2]
    result = middle | {
        key: statistics.median(run[key] for run in runs)
        for key, value in middle.items()
        if isinstance(value, float) and all(run[key] is not None for run in runs)
    }
    result["peak_memory_bytes"] = max(run["peak_memory_bytes"] for run in runs)
    result["ms_per_iter_runs"] = [run["ms_per_iter"] for run in runs]
    result["repeats"] = len(runs)
    del result["losses"]
    return result


def compare(ours: Sequence[dict[str, Any]], plain: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Our measurements beside those of the plain loop, pair by pair."""
    ratios = [b["ms_per_iter"] / a["ms_per_iter"] for a, b in zip(ours, plain, strict=True)]
    losses = list(zip(ours[0]["losses"], plain[0]["losses"], strict=True))
    known = all(loss is not None for pair in losses for loss in pair)
    return {
        "baseline_ms_per_iter": statistics.median(run["ms_per_iter"] for run in plain),
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "largest_loss_difference": max(abs(a - b) for a, b in losses) if known else None,
    }


def as_table(profile: Profile, result: dict[str, Any]) -> str:
    """The result in a few aligned lines of 80 columns at most."""
    compiled = f", compiled in {result['compile_s']:.1f} s" if result["compiled"] else ""
    known = f"{fmt.percent(result['mfu'])} % of the peak" if result["mfu"] is not None else "peak unknown"
    peak = fmt.significant(result["measured_peak_flops"] / 1e12)
    spread = f"5…95 % {result['ms_per_iter_p05']:.2f}…{result['ms_per_iter_p95']:.2f}"
    parts = [f"{'data wait' if part == 'data' else part} {ms:.2f}" for part, ms in result["breakdown"].items()]
    lines = [
        clean_line(f"{profile.name} on {result['device']}"),
        *_row("with", f"{result['dtype']}{compiled},", f"torch {result['torch']}"),
        *_row("ms/iter", f"{result['ms_per_iter']:.2f}  {spread}  {result['steps']} steps × {result['repeats']}"),
        *_row("a step", *parts),
        *_row("tokens/s", f"{result['tokens_per_s']:,.0f}"),
        *_row("MFU", f"{known};", f"{fmt.percent(result['mfu_measured_peak'])} % of the measured {peak} TFLOP/s"),
        *_row("memory", f"{fmt.gib(result['peak_memory_bytes'])} GiB at most"),
    ]
    if "ratio" in result:
        difference = result["largest_loss_difference"]
        losses = f"{difference:.1e} nats/token at most" if difference is not None else "unknown: not all are finite"
        lines += [
            *_row(
                "plain loop", f"{result['baseline_ms_per_iter']:.2f} ms/iter: ours is {result['ratio']:.2f}× as fast"
            ),
            *_row("", "pair by pair", *(f"{ratio:.2f}" for ratio in result["ratios"])),
            *_row("", f"losses differ by {losses}"),
        ]
    if "screen_cost" in result:
        lines += _screen_rows(result)
    return "\n".join(fit(line) for line in lines)


def _screen_rows(result: dict[str, Any]) -> list[str]:
    size, budget = f"{result['screen_columns']}×{result['screen_rows']}", fmt.percent(result["cpu_budget"])
    key, key_p95 = fmt.number(result["key_ms_p50"]), fmt.number(result["key_ms_p95"])
    cpu, rate = fmt.number(result["cpu_ms_per_frame"], 1), fmt.number(result["frames_per_s"], 1)
    opened, again = fmt.number(result["open_1m_steps_s"], 1), fmt.number(result["open_1m_again_s"], 1)
    each, sent = fmt.number(result["bytes_per_frame"]), fmt.number(result["bytes_per_s"])
    return [
        *_row("screen", f"takes {fmt.percent(result['screen_cost'])} % of tokens/s at {size}, budget {budget} %"),
        *_row("", "pair by pair", *(f"{fmt.percent(cost)} %" for cost in result["screen_costs"])),
        *_row("", f"{cpu} ms of CPU a frame, {rate} frames/s,", f"{fmt.percent(result['screen_share'])} % of a core"),
        *_row("", f"{each} bytes a frame, {sent} bytes/s"),
        *_row("", f"first seen after {fmt.number(result['first_frame_s'], 2)} s"),
        *_row("", f"a key is answered in {key} ms (95 % of them in {key_p95})"),
        *_row("", f"a log of {LONG_LOG_STEPS:,} steps is opened in {opened} s,", f"the second time in {again} s"),
    ]


def _row(label: str, *pieces: str) -> list[str]:
    """A label and what belongs to it, on as many lines as that takes; no piece is broken."""
    lines = [f"  {label:<10}"]
    for piece in pieces:
        if len(lines[-1]) + 2 + len(piece) > _WIDTH:
            lines.append(" " * 12)
        lines[-1] += f" {piece}" if len(lines[-1]) == 12 else f"  {piece}"
    return lines


def fit(line: str) -> str:
    """The line, its end cut off where it is too long for a terminal of 80 columns."""
    return line if len(line) <= _WIDTH else line[: _WIDTH - 1] + "…"


def _measure(*commands: list[str]) -> list[dict[str, Any]]:
    """The JSON object that each measurement prints on its last line, one after the other.

    Raises RunError and MeasurementError.
    """
    return [_Measurement(command).result() for command in commands]


def _measure_in_turns(*commands: list[str]) -> list[dict[str, Any]]:
    """The same of two that run at once and hand the machine to each other (gpt.turns)."""
    both, begun = turns.sides(), []
    try:
        try:
            for command, (take, give) in zip(commands, both, strict=True):
                begun.append(_Measurement([*command, "--take", str(take), "--give", str(give)], take, give))
        finally:
            for pipe in (*both[0], *both[1]):
                os.close(pipe)
        return [measurement.result() for measurement in begun]
    finally:
        for measurement in begun:
            measurement.end()


class _Measurement:
    """A process that measures, in a session of its own: what it starts ends with it.

    Args:
        pipes: file descriptors that it gets from us.
    """

    def __init__(self, command: list[str], *pipes: int) -> None:
        # Files: of two that wait for each other, neither may wait for us to read what it says.
        self._out, self._err = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115  # gone with this
        self._process = subprocess.Popen(
            [sys.executable, "-P", *command], stdin=subprocess.DEVNULL, stdout=self._out, stderr=self._err,
            env=_environment(), pass_fds=pipes, start_new_session=True, preexec_fn=die_with_parent,
        )  # fmt: skip

    def result(self) -> dict[str, Any]:
        """What it says in the end. Raises as `_measure` does."""
        try:
            code = self._process.wait()
        finally:
            self.end()
        for file in (self._out, self._err):
            file.seek(0)
        if code:
            complaint = self._err.read()
            error = failure(code, complaint)
            if isinstance(error, MeasurementError):
                sys.stderr.write(complaint.decode(errors="replace"))
            raise error
        return json.loads(self._out.read().strip().rpartition(b"\n")[2])

    def end(self) -> None:
        """Ends it where it has not ended by itself."""
        kill_session(self._process)


def _environment() -> dict[str, str]:
    """So that a child runs this very code, wherever it is started."""
    others = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(_ROOT), *([others] if others else [])])}


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP unwind the block as Ctrl-C does, so that no child is left behind."""

    def leave(number: int, frame: object) -> None:
        sys.exit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
