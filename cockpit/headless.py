"""A run without a screen: a line for what happens, fit for a pipe, a CI log or a terminal, and a report at the end."""

from __future__ import annotations

import time
from contextlib import suppress
from shutil import get_terminal_size
from textwrap import fill
from typing import IO, Any

from cockpit import format as fmt
from cockpit.pace import pace
from cockpit.reducer import reduce
from cockpit.runs import Run
from cockpit.sanitize import clean, clean_line
from cockpit.state import RunState
from gpt import events as ev
from gpt.config import Profile
from gpt.events import PHASES, Event

BAR_SECONDS = 0.25
"""Least time between two drawings of the progress bar."""

_LEVELS = {"info": "note", "warning": "warn"}
_SPOKEN_OF_BY_THE_LOG = (
    ev.Resumed, ev.SpikeDetected, ev.CheckpointFailed, ev.Paused, ev.Continued, ev.ConfigChanged, ev.ConfigRefused,
    ev.DiagnosisMade, ev.DiagnosisEnded, ev.RanksRestarted, ev.Stalled, ev.StallEnded,
)  # fmt: skip


class HeadlessReporter:
    """Prints a run's events as aligned lines: whole lines, flushed, without escape codes.

    On a terminal a progress bar stands below them.

    Args:
        stream: where to print.
        run: its folder, for the report to say where things lie and how to go on; None: it says neither.
    """

    def __init__(self, profile: Profile, *, stream: IO[str], run: Run | None = None) -> None:
        self.state = RunState(max_steps=profile.train.max_steps)
        self._profile = profile
        self._run = run
        self._stream = stream
        self._printer = _Bar(stream) if stream.isatty() else _Lines(stream)
        self._log_interval = profile.train.log_interval
        self._closed = False

    def show(self, event: Event) -> None:
        """Prints what an event has to say, if anything. Raises OSError where nobody listens any more."""
        before = self.state.log
        self.state = reduce(self.state, event)
        match event:
            case ev.RunStarted():
                self._printer.line(_facts(event))
            case ev.StepDone() if self._is_due(event.step):
                self._printer.line(self._step_line(event))
            case ev.EvalDone():
                self._printer.line(self._eval_line(event))
            case ev.CheckpointSaved():
                self._printer.line(self._save_line(event))
            case ev.SampleDone():
                self._printer.line(f"{self._at('sample', event.step)}  {clean_line(repr(event.prompt))}")
                self._printer.line(_indented(event.prompt + event.text))
            case ev.ConfigChanged() if event.key == "train.log_interval":
                self._log_interval = int(event.new)
            case ev.LogLine() if event.source == "trainer":
                self._printer.line(f"{_LEVELS.get(event.level, event.level):<6} {clean_line(event.text)}")
        if isinstance(event, _SPOKEN_OF_BY_THE_LOG) and self.state.log is not before:
            record = self.state.log[-1]
            self._printer.line(f"{_LEVELS.get(record.level, record.level):<6} {clean_line(record.text)}")
        self._printer.progress(self.state)

    def to_file(self) -> None:
        """Draws no bar any more: the stream is no longer a terminal's."""
        with suppress(OSError):
            self._printer.close()
        self._printer = _Lines(self._stream)

    def close(self) -> None:
        """Prints the report of what was reached. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        self._printer.close()
        if report := self.report():
            self._printer.line(report)

    def report(self) -> str:
        """What was reached, in a few lines: losses, tokens, time, the last sample, where it lies, how to go on."""
        state = self.state
        if state.failed and state.failed.user_error and state.checkpoint is None:
            return ""  # the one line of the error says it all
        width = get_terminal_size().columns if self._stream.isatty() else None
        told = [_folded(line, width) for line in (_ending(state), *_results(state), *_found(state))]
        return "\n".join(["", *told, *_last_sample(state), *self._whereabouts()])

    def _is_due(self, step: int) -> bool:
        return step % self._log_interval == 0 or step in (self.state.start_step + 1, self.state.max_steps)

    def _at(self, what: str, step: int) -> str:
        """`step      250/2,000`: the start of a line, the same width in all of a run."""
        last = fmt.number(self.state.max_steps)
        return f"{what:<6} {step:>{len(last)},}/{last}"

    def _step_line(self, event: ev.StepDone) -> str:
        """The times are the median since the last line; a single step's would say little."""
        ms, tokens, mfu = pace(self.state, self._log_interval)
        rate, unit = fmt.count(tokens)
        started = self.state.started
        peak = " (measured peak)" if mfu is not None and started and started.peak_source == "measured" else ""
        return "  ".join((
            self._at("step", event.step), f"loss {fmt.loss(event.loss)}",
            f"val {fmt.loss(self.state.val_loss.last):<6}", f"lr {fmt.scientific(event.lr):>7}",
            f"{fmt.significant(ms):>6} ms/iter", f"{rate + unit:>6} tok/s", f"mfu {fmt.percent(mfu):>4} %{peak}",
            f"eta {fmt.duration(self.state.eta_seconds())}",
        ))  # fmt: skip

    def _eval_line(self, event: ev.EvalDone) -> str:
        spread = f" ± {fmt.loss(event.val_stderr)}" if event.val_stderr is not None else ""
        bpb = f"  bpb {fmt.number(event.bpb, 3)}" if event.bpb is not None else ""
        losses = f"train {fmt.loss(event.train_loss)}  val {fmt.loss(event.val_loss)}{spread}{bpb}"
        best = "  best so far" if event.best else ""
        whole = f"  on all {event.val_tokens:,} tokens" if event.whole and event.val_tokens else ""
        return f"{self._at('eval', event.step)}  {losses}{whole}  in {fmt.duration(event.seconds)}{best}{self._noise()}"

    def _noise(self) -> str:
        """`  noise scale 41.2k tokens`, where it is known."""
        if self.state.noise is None or self.state.noise.tokens is None:
            return ""
        value, unit = fmt.count(self.state.noise.tokens)
        return f"  noise scale {value}{unit} tokens"

    def _save_line(self, event: ev.CheckpointSaved) -> str:
        size = f"{event.size / 1e6:,.1f} MB in {fmt.saving_time(event.seconds, event.stall_s)}"
        return f"{self._at('save', event.step)}  {clean_line(event.path)}  {size} ({event.reason})"

    def _whereabouts(self) -> list[str]:
        if self._run is None:
            return []
        lines = [f"  run      {clean_line(str(self._run.path))}"]
        state = self.state
        if state.checkpoint or state.resumed:
            done = state.finished is not None and state.finished.reason == "max_steps"
            more = f" --set train.max_steps={2 * state.step}" if done else ""
            lines.append(f"  go on    {clean_line(self._run.resume_command())}{more}")
        return lines


class _Lines:
    """Plain lines, flushed."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def line(self, text: str) -> None:
        self._stream.write(f"{text}\n")
        self._stream.flush()

    def progress(self, state: RunState) -> None:
        pass

    def close(self) -> None:
        pass


class _Bar(_Lines):
    """Lines with a progress bar below. It is drawn only when there is something new, never by a thread of its own."""

    def __init__(self, stream: IO[str]) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        super().__init__(stream)
        self._console = Console(file=stream, highlight=False, markup=False, emoji=False)
        self._progress = Progress(
            TextColumn("{task.description:<10}", markup=False), BarColumn(bar_width=None),
            TextColumn("{task.fields[numbers]}", markup=False),
            console=self._console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False,
        )  # fmt: skip
        self._task: Any = self._progress.add_task("starting", total=None, numbers="")
        self._drawn = 0.0
        self._progress.start()

    def line(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)

    def progress(self, state: RunState) -> None:
        if time.monotonic() - self._drawn < BAR_SECONDS:
            return
        numbers = f"{state.step:,}/{fmt.number(state.max_steps)}  eta {fmt.duration(state.eta_seconds())}"
        self._progress.update(
            self._task,
            description=state.state,
            completed=state.step,
            total=state.max_steps,
            numbers=numbers,
            refresh=True,
        )
        self._drawn = time.monotonic()  # after drawing: a slow terminal gets fewer frames

    def close(self) -> None:
        self._progress.stop()


def _facts(event: ev.RunStarted) -> str:
    train, unit = fmt.count(event.train_tokens)
    compiled = " compiled" if event.compiled else ""
    lines = (
        f"run    {event.run} ({event.profile}) on {event.device}, {event.dtype}{compiled}",
        f"model  {event.parameters:,} parameters, context {event.block_size:,}, vocabulary {event.vocab_size:,}",
        f"data   {train} {unit} training tokens ({event.tokenizer}), {event.tokens_per_step:,} in a step",
    )
    return "\n".join(clean_line(line) for line in lines)


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in clean(text).rstrip().split("\n"))


def _together(words: str) -> str:
    """Words between which no line ends."""
    return words.replace(" ", "\N{NO-BREAK SPACE}")


def _folded(line: str, width: int | None) -> str:
    """A line of the report in rows of so many cells, the later ones below what its first word is about."""
    if width is not None and len(line) > width:
        line = fill(line, width, subsequent_indent=" " * 11, break_long_words=False, break_on_hyphens=False)
    return line.replace("\N{NO-BREAK SPACE}", " ")


def _ending(state: RunState) -> str:
    at = f"step {state.step:,} of {fmt.number(state.max_steps)}"
    if state.failed:
        return f"failed in {state.failed.phase} at {at}: {clean_line(state.failed.error)}"
    endings = {"max_steps": "all steps done", "stopped": "stopped and saved", "discarded": "stopped without saving"}
    how = endings.get(state.finished.reason, state.finished.reason) if state.finished else "ended"
    return f"{how}: {at}"


def _results(state: RunState) -> list[str]:
    finished, lines = state.finished, []
    if finished and (finished.train_loss is not None or finished.val_loss is not None):
        best = ""
        if finished.best_val_loss is not None:
            best = f"   best val {fmt.loss(finished.best_val_loss)} at step {fmt.number(finished.best_step)}"
        lines.append(f"  loss     train {fmt.loss(finished.train_loss)}   val {fmt.loss(finished.val_loss)}{best}")
    count, unit = fmt.count(state.tokens)
    epochs = f"   {fmt.significant(state.epochs)} epochs" if state.epochs is not None else ""
    lines.append(f"  tokens   {f'{count} {unit}'.strip()}{epochs}")
    if state.wall:
        shares = [(phase, state.ledger.get(phase, 0.0) / state.wall) for phase in PHASES]
        named = "  ".join(_together(f"{phase} {fmt.percent(share)} %") for phase, share in shares if share >= 0.001)
        lines.append(f"  time     {fmt.duration(state.wall)}: {named}")
    return lines


def _found(state: RunState) -> list[str]:
    """What the doctor leaves one with."""
    titles = [clean_line(finding.title) for finding in state.checkup.pressing]
    return [f"  {'' if number else 'doctor':<8} {title}" for number, title in enumerate(titles)]


def _last_sample(state: RunState) -> list[str]:
    done = [sample for sample in state.samples if sample.done]
    if not done:
        return []
    return [f"  sample   at step {done[-1].step:,}", _indented(done[-1].prompt + done[-1].text)]
