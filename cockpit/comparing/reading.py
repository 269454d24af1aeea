"""How those that are compared are read: a run from its folder, nanoGPT's log from a file, a reference from its name."""

from __future__ import annotations

import contextlib
import json
import math
from array import array
from bisect import bisect_right
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from cockpit import nanogpt_log
from cockpit import profile as profiles
from cockpit.comparing.entry import Curve, Data, Entry, Sitting
from cockpit.comparing.standing import known_name
from cockpit.naming import check_name
from cockpit.pilotage import from_toml
from cockpit.references import REFERENCES
from cockpit.runs import Run, list_runs
from cockpit.sanitize import shown
from cockpit.series import Points
from gpt import checkpoint
from gpt import events as ev
from gpt.config import Profile, flatten
from gpt.dataset_file import read_dataset_file
from gpt.errors import ProfileError, RunError, UserError
from gpt.flops import flops_per_token, parameter_count
from gpt.strict import nearest

STRETCHES = 200
"""Means that a training curve is made of."""
_MOST = 4096
"""Points of a log's curve, about."""
_RECENT = 50
"""Steps whose median is a speed."""


def read(name: str, runs_dir: Path, profile: Profile | None = None) -> Entry:
    """What a person means by a name: a run, a run's folder, nanoGPT's log, or a reference; looked for in that order.

    Args:
        profile: settings of a log.

    Raises RunError where there is no such thing, and DataError where a file is no such log.
    """
    path = Path(name).expanduser()
    if _is_run(runs_dir, name):
        return read_run(Run(runs_dir / name))
    if (path / "events.jsonl").is_file():
        return read_run(Run(path.resolve()))
    if path.is_file():
        return read_log(path, profile)
    if name.lower() in REFERENCES:
        return read_reference(name.lower())
    near = nearest(name, [*(run.name for run in list_runs(runs_dir)), *REFERENCES])
    advice = f"did you mean {shown(near)}?" if near else f"references are {', '.join(REFERENCES)}"
    raise RunError(f"{shown(name)} is neither a run in {shown(runs_dir)}, a file nor a reference; {advice}")


def _is_run(runs_dir: Path, name: str) -> bool:
    try:
        check_name(name)
    except RunError:
        return False
    return (runs_dir / name / "events.jsonl").is_file()


def read_reference(name: str) -> Entry:
    """A published figure as a run of one evaluation."""
    known = REFERENCES[name]
    nan = math.nan
    point = (known.steps or nan, known.tokens or nan, nan, known.loss, nan)
    return Entry(
        name, "reference", Data(known.data, known_name(known.data), known.tokenizer),
        val=Curve(*(np.array([float(value)]) for value in point)), steps=known.steps, tokens=known.tokens,
        parameters=known.parameters, about=known.about,
    )  # fmt: skip


class _Steps:
    """Columns that grow by a step, and are cut where a run goes back."""

    def __init__(self) -> None:
        self.step, self.tokens, self.loss, self.ms = (array("d") for _ in range(4))
        self.mfu, self.speed = array("d"), array("d")

    def append(self, event: ev.StepDone) -> None:
        figures = (event.step, event.tokens, event.loss, event.ms, event.mfu, event.tokens_per_s)
        for column, value in zip(self.columns, figures, strict=True):
            column.append(math.nan if value is None else value)

    @property
    def columns(self) -> tuple[array, ...]:
        return (self.step, self.tokens, self.loss, self.ms, self.mfu, self.speed)

    def cut(self, step: int) -> None:
        end = bisect_right(self.step, step)
        for column in self.columns:
            del column[end:]


def read_run(run: Run) -> Entry:
    """A run as its log tells it; steps that it went back from are left out. Raises RunError for a log without a start.

    A million steps take some seconds: on a screen, on a thread.
    """
    steps, evaluations, starts, resumes = _Steps(), [], [], {}
    changes: list[ev.ConfigChanged] = []
    wall = noise = None
    for event in run.read_events():
        match event:
            case ev.StepDone():
                steps.append(event)
            case ev.EvalDone(aside=False):
                evaluations.append(event)
            case ev.RunStarted():
                starts.append(event)
            case ev.Resumed():
                steps.cut(event.step)
                evaluations = [each for each in evaluations if each.step <= event.step]
                changes = [each for each in changes if each.step <= event.step]
                if event.left is None:
                    resumes[len(starts) - 1] = event  # it follows the sitting's RunStarted
            case ev.ConfigChanged():
                changes.append(event)
            case ev.LedgerUpdated():
                wall = event.wall
            case ev.NoiseScaleEstimated():
                noise = event.tokens
    if not starts:
        raise RunError(f"run {shown(run.name)} has not begun to train: its log has no start")
    started: ev.RunStarted = starts[-1]
    settings, fingerprint = _settings(run, changes)
    return Entry(
        run.name, "run", _data(started, settings, fingerprint),
        val=_evaluated(steps, evaluations), train=_stretches(steps), steps=int(steps.step[-1]) if steps.step else 0,
        tokens=int(steps.tokens[-1]) if steps.tokens else 0, seconds=float(np.nansum(np.asarray(steps.ms))) / 1e3,
        wall=wall, parameters=started.parameters_without_positions, flops_per_token=started.flops_per_token,
        micro_batch_size=started.micro_batch_size, grad_accum_steps=started.grad_accum_steps,
        block_size=started.block_size, tokens_per_step=started.tokens_per_step,
        tokens_per_s=_recent(steps.speed), mfu=_recent(steps.mfu), noise_tokens=noise, settings=settings,
        sittings=_sittings(steps, starts, resumes),
    )  # fmt: skip


def read_log(path: Path, profile: Profile | None = None) -> Entry:
    """What nanoGPT printed. Of its steps only some are printed, and the time of one with an evaluation counts that in:
    all are taken to last as long as the median of the others. Raises DataError where it holds nothing of the kind."""
    log = nanogpt_log.read(path, profile)
    facts, state = log.facts, log.state
    evaluated, printed, took = (series.points(least=_MOST) for series in (state.val_loss, state.loss, state.ms))
    plain = took.last[~np.isin(took.x, evaluated.x)]
    plain = plain if len(plain) else took.last
    usual = float(np.median(plain)) / 1e3 if len(plain) else None
    per_step = facts.tokens_per_step or (profile.tokens_per_step if profile else None)
    rows = facts.vocab_size or (profile.model.vocab_size if profile else None)
    settings = flatten(profile) if profile else {}
    steps = int(max([*printed.x[-1:], *evaluated.x[-1:]], default=0))
    parameters = round(facts.parameters) if facts.parameters else None
    per_token = 6.0 * parameters if parameters else None  # without attention's share, which the log does not tell
    if profile and rows:
        parameters = parameters or parameter_count(profile.model, rows)[1]
        per_token = flops_per_token(profile.model, vocab_size=rows)
    label, known = _label(settings)
    return Entry(
        path.stem, "log", Data(label, known, _tokenizer(settings), rows),
        val=_curve(evaluated, per_step, usual), train=_curve(printed, per_step, usual),
        steps=steps, tokens=steps * per_step if per_step else None, seconds=steps * usual if usual else None,
        parameters=parameters, flops_per_token=per_token, tokens_per_step=per_step,
        micro_batch_size=profile.micro_batch_size if profile else None,
        block_size=profile.model.block_size if profile else None,
        grad_accum_steps=profile.grad_accum_steps if profile else None,
        tokens_per_s=per_step / usual if per_step and usual else None, settings=settings,
    )  # fmt: skip


def _curve(points: Points, per_step: int | None, each: float | None) -> Curve:
    """Of points by step, where every step has as many tokens and seconds."""
    step = points.x
    unknown = np.full(len(step), math.nan)
    return Curve(step, step * (per_step or math.nan), step * (each or math.nan), points.last, unknown)


def _evaluated(steps: _Steps, evaluations: list[ev.EvalDone]) -> Curve:
    """The evaluations, each at the tokens and seconds that its step had."""
    newest = {each.step: each for each in evaluations}  # the last one of a step counts
    table = np.array([
        (step, *(math.nan if value is None else value for value in (each.val_loss, each.val_stderr)))
        for step, each in sorted(newest.items())
    ]).reshape(-1, 3)  # fmt: skip
    step, loss, error = table.T
    x = np.concatenate(([0.0], np.asarray(steps.step)))
    tokens = np.concatenate(([0.0], np.asarray(steps.tokens)))
    seconds = np.concatenate(([0.0], np.cumsum(np.nan_to_num(np.asarray(steps.ms))) / 1e3))
    return Curve(step, np.interp(step, x, tokens), np.interp(step, x, seconds), loss, error)


def _stretches(steps: _Steps) -> Curve:
    """The training losses as means of at most STRETCHES stretches, each at its last step."""
    loss = np.asarray(steps.loss)
    if not len(loss):
        return Curve(*(np.empty(0) for _ in range(5)))
    ends = np.unique(np.linspace(0, len(loss), min(STRETCHES, len(loss)) + 1).astype(int))
    seconds = np.cumsum(np.nan_to_num(np.asarray(steps.ms))) / 1e3
    means, errors = [], []
    for start, end in pairwise(ends):
        finite = loss[start:end][np.isfinite(loss[start:end])]
        means.append(finite.mean() if len(finite) else math.nan)
        errors.append(finite.std(ddof=1) / math.sqrt(len(finite)) if len(finite) > 2 else math.nan)
    last = ends[1:] - 1
    return Curve(
        np.asarray(steps.step)[last], np.asarray(steps.tokens)[last], seconds[last], np.array(means), np.array(errors)
    )


def _sittings(steps: _Steps, starts: list[ev.RunStarted], resumes: dict[int, ev.Resumed]) -> tuple[Sitting, ...]:
    """Each start of the program that a step is left of, on which device and in which precision."""
    made = []
    x = np.asarray(steps.step)
    for number, started in enumerate(starts):
        end = min((later.step for later in starts[number + 1 :]), default=int(x[-1]) if len(x) else started.step)
        inside = (x > started.step) & (x <= end)
        if not inside.any() and len(starts) > 1:
            continue
        resumed = resumes.get(number)
        made.append(Sitting(
            started.step, end, started.device, started.device_type, started.dtype, started.compiled,
            _recent(np.asarray(steps.speed)[inside]), resumed.exact if resumed else None,
            resumed.why if resumed else "",
        ))  # fmt: skip
    return tuple(made)


def _recent(values: array | np.ndarray) -> float | None:
    recent = np.asarray(values)[-_RECENT:]
    recent = recent[np.isfinite(recent)]
    return float(np.median(recent)) if len(recent) else None


def _settings(run: Run, changes: list[ev.ConfigChanged]) -> tuple[dict[str, Any], str | None]:
    """(the settings last in force, hash of the data): the profile that was kept, what the newest checkpoint went on
    with, and what its pilot has changed since."""
    settings: dict[str, Any] = {}
    with contextlib.suppress(ProfileError):
        settings = flatten(profiles.load(run.path / "profile.toml").profile)
    at, fingerprint = -1, None
    # A checkpoint may be damaged.
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        folder = checkpoint.list_newest_first(run.checkpoints_path)[:1]
        for path in folder:
            state = json.loads((path / "state.json").read_bytes())
            for section, value in state["profile"].items():
                inner = {f"{section}.{key}": each for key, each in value.items()} if isinstance(value, dict) else {}
                settings |= inner or {section: value}
            at, fingerprint = int(state["step"]), state.get("data_fingerprint")
    for change in changes:
        if change.step >= at:
            with contextlib.suppress(UserError, ValueError):
                settings[change.key] = from_toml(change.new)
    return settings, fingerprint


def _data(started: ev.RunStarted, settings: dict[str, Any], fingerprint: str | None) -> Data:
    label, known = _label(settings)
    return Data(
        label, known, started.tokenizer, started.vocab_size, started.train_tokens or None, started.val_tokens or None,
        started.bytes_per_token, fingerprint,
    )  # fmt: skip


def _label(settings: dict[str, Any]) -> tuple[str | None, str | None]:
    """(what the data is called, the name that everybody uses) by the settings, and `dataset.json` where it is here."""
    given = settings.get("data.name") or settings.get("data.dir") or settings.get("data.input")
    if not given:
        return None, None
    texts = [given] if isinstance(given, str) else [str(each) for each in given]
    source = ""
    if settings.get("data.dir"):
        with contextlib.suppress(UserError, OSError):
            dataset = read_dataset_file(Path(texts[0]).expanduser())
            source = dataset.source if dataset else ""
    label = ", ".join(Path(text).stem if "/" in text else text for text in texts[:3])
    return label, known_name(" ".join([*texts, source]))


def _tokenizer(settings: dict[str, Any]) -> str | None:
    return settings.get("data.tokenizer")
