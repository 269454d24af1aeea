"""What nanoGPT's train.py prints, read back: one line of it, or a whole log as the state of a run.

Such a log comes from elsewhere, by way of a terminal, a mail or a web page: colour codes, progress bars, time stamps
before the lines and everything else between them are passed over. Steps are numbered as the log numbers them. What it
does not say stays unknown; a profile, where there is one, says the rest.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import median

import msgspec

from cockpit.pace import NANOGPT
from cockpit.reducer import reduce_all
from cockpit.sanitize import shown
from cockpit.state import RunState
from gpt import events as ev
from gpt.config import Profile
from gpt.errors import DataError
from gpt.flops import flops_per_token, parameter_count
from gpt.schedule import learning_rate

PEAK_FLOPS = 312e12
"""What nanoGPT's mfu is measured against, whatever the card: an A100 in bfloat16 (model.py, estimate_mfu)."""
MOST_LINES = 100_000
"""Of a longer log every so-manieth step is taken in, and what stands out."""

_CHUNK = 1 << 22  # characters
_LONGEST = 1 << 16  # characters of a line; what is longer is none of nanoGPT's
_CODES = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))")
_COUNT = r"\d{1,12}"  # a longer one is no count of nanoGPT's, and no float could hold the longest
_NUMBER = r"[-+]?(?:nan|inf|\d+(?:\.\d*)?(?:e[-+]?\d+)?)"
_LINES = re.compile(
    rf"\bstep\s+(?P<eval_step>{_COUNT}):\s*train loss\s+(?P<train>{_NUMBER}),\s*val loss\s+(?P<val>{_NUMBER})"
    rf"|\biter\s+(?P<step>{_COUNT}):\s*loss\s+(?P<loss>{_NUMBER}),\s*time\s+(?P<ms>{_NUMBER})\s?ms"
    rf"(?:,\s*mfu\s+(?P<mfu>{_NUMBER})\s?%)?"
    rf"|\bnumber of parameters:\s*(?P<parameters>{_COUNT}(?:\.\d+)?)M"
    r"|\btokens per iteration will be:\s*(?P<tokens>\d[\d,]{0,20})(?![\d,])"
    rf"|\bfound vocab_size = (?P<found>{_COUNT})\b"
    rf"|\bdefaulting to vocab_size of GPT-2 to (?P<default>{_COUNT})\b"
    r"|(?P<compiled>\bcompiling the model)"
)


class Step(msgspec.Struct, frozen=True):
    """`iter 5000: loss 0.8236, time 4446.83ms, mfu 9.99%`."""

    step: int
    loss: float | None
    """Of the last micro-step alone, nats/token; None where it is not finite."""
    ms: float
    """From the end of one printed step's work to the next: with the evaluation, where one came before it."""
    mfu: float | None
    """0…1 of PEAK_FLOPS, a mean that remembers about ten printed steps; None before nanoGPT knows it."""


class Evaluation(msgspec.Struct, frozen=True):
    """`step 2000: train loss 3.6415, val loss 3.5696`. Both with dropout off, nats/token; None where not finite."""

    step: int
    train_loss: float | None
    val_loss: float | None


class Fact(msgspec.Struct, frozen=True):
    """A line from before the first step; what it does not say is None."""

    parameters: float | None = None
    """Without positions; printed to 10,000."""
    tokens_per_step: int | None = None
    vocab_size: int | None = None
    compiled: bool | None = None


class Log(msgspec.Struct, frozen=True):
    """A log that was read."""

    state: RunState
    """`started` is None without a profile: the log alone does not say enough."""
    facts: Fact
    """All that it said before its steps."""


def parse(text: str) -> Iterator[Step | Evaluation | Fact]:
    """What a text holds of nanoGPT's lines, in their order."""
    text = _CODES.sub("", text) if "\x1b" in text else text
    for match in _LINES.finditer("\n".join(filter(_may_count, text.splitlines()))):
        if (step := match["step"]) is not None:
            if (ms := _finite(match["ms"])) is not None:
                yield Step(int(step), _finite(match["loss"]), ms, _share(match["mfu"]))
        elif (step := match["eval_step"]) is not None:
            yield Evaluation(int(step), _finite(match["train"]), _finite(match["val"]))
        elif (parameters := match["parameters"]) is not None:
            yield Fact(parameters=float(parameters) * 1e6)
        elif (tokens := match["tokens"]) is not None:
            yield Fact(tokens_per_step=int(tokens.replace(",", "")))
        elif match["compiled"] is not None:
            yield Fact(compiled=True)
        else:
            yield Fact(vocab_size=int(match["found"] or match["default"]))


def _may_count(line: str) -> bool:
    """A quick look at a line, which is most often one of something else: fifty times as quick as the pattern."""
    return "loss" in line or "number of" in line or "tokens per" in line or "vocab_size" in line or "compiling" in line


def read(
    path: Path, profile: Profile | None = None, vocab_size: int | None = None, train_tokens: int | None = None
) -> Log:
    """A log file as the state of a run.

    Args:
        profile: the settings it was trained with, where they are known.
        vocab_size: rows of the embedding, where the log does not say.
        train_tokens: in the training split, where that is known.

    Raises DataError where the file cannot be read or holds no line of nanoGPT's.
    """
    try:
        return understand(_pieces(path), profile, vocab_size, train_tokens, path.stem)
    except OSError as error:
        raise DataError(
            f"{shown(path)} cannot be read: {error.strerror}; give the text that train.py printed"
        ) from None
    except _NothingFoundError:
        raise DataError(
            f"{shown(path)} holds no line of nanoGPT's, such as `iter 5000: loss 0.8236, time 95.12ms, mfu 9.99%` or "
            "`step 2000: train loss 3.6415, val loss 3.5696`; give the text that its train.py printed"
        ) from None


def understand(
    pieces: Iterable[str], profile: Profile | None = None, vocab_size: int | None = None,
    train_tokens: int | None = None, name: str = "nanogpt",
) -> Log:  # fmt: skip
    """The same of a text in pieces that end at a line's end. Raises _NothingFoundError where it holds nothing."""
    lines: list[Step | Evaluation] = []
    facts: dict[str, float | int | bool] = {}
    newest, every = None, 1
    for piece in pieces:
        for number, each in enumerate(parse(piece)):
            if isinstance(each, Fact):
                facts |= {key: value for key, value in msgspec.structs.asdict(each).items() if value is not None}
                continue
            if not number % every or _stands_out(each, lines[-1] if lines else None):
                lines.append(each)
            newest = each
        if len(lines) > MOST_LINES:
            every *= 2
            pairs = zip([None, *lines], lines, strict=False)
            lines = [each for number, (before, each) in enumerate(pairs) if number % 2 or _stands_out(each, before)]
    if newest is None and not facts:
        raise _NothingFoundError
    if newest is not None and lines[-1] is not newest:
        lines.append(newest)
    known = Fact(**facts)  # pyright: ignore[reportArgumentType]
    per_step = known.tokens_per_step or (profile.tokens_per_step if profile else None)
    rows = known.vocab_size or vocab_size or (profile.model.vocab_size if profile else None)
    told: list[ev.Event] = []
    if profile and rows and per_step:
        told.append(_started(name, profile, known, rows, per_step, train_tokens))
    told.append(ev.StateChanged(time=1.0, state="running"))
    told += _events(lines, profile, per_step)
    return Log(reduce_all(RunState(), told), known)


def _stands_out(line: Step | Evaluation, before: Step | Evaluation | None) -> bool:
    """What is kept of the longest log: evaluations, the steps timed with them, and where a loss ceases to be finite."""
    if isinstance(line, Evaluation) or before is None:
        return True
    if isinstance(before, Evaluation):
        return before.step == line.step
    return line.loss is None and before.loss is not None


class _NothingFoundError(Exception):
    pass


def _pieces(path: Path) -> Iterator[str]:
    """The file's text in pieces of whole lines. Windows' shells redirect as UTF-16; anything else reads as UTF-8."""
    with path.open("rb") as file:
        encoding = "utf-16" if file.read(2) in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
    rest = ""
    with path.open(encoding=encoding, errors="replace") as file:
        while text := file.read(_CHUNK):
            whole, newline, rest = (rest + text).rpartition("\n")
            yield whole + newline
            rest = rest[-_LONGEST:]
    yield rest


def _events(lines: list[Step | Evaluation], profile: Profile | None, per_step: int | None) -> Iterator[ev.Event]:
    """The events that a run of ours would have logged. A step that goes back: resumed, or begun anew."""
    steps = [each for each in lines if isinstance(each, Step)]
    evaluated = {each.step for each in lines if isinstance(each, Evaluation)}
    plain = [each.ms for each in steps if each.step not in evaluated]
    usual = median(plain) if plain else None
    longer = {each.step: each.ms - usual for each in steps if usual is not None and each.step in evaluated}
    at, before, best = 1.0, -1, math.inf
    for each in lines:
        if each.step < before:
            best = math.inf
            yield ev.Resumed(time=at, step=each.step - 1, exact=False, why="the log goes back")
        if isinstance(each, Evaluation):
            is_best = each.val_loss is not None and each.val_loss < best
            best = each.val_loss if is_best and each.val_loss is not None else best
            seconds = max(0.0, longer.get(each.step, 0.0)) / 1e3
            yield ev.EvalDone(
                time=at, step=each.step, train_loss=each.train_loss, val_loss=each.val_loss, seconds=seconds,
                best=is_best,
            )  # fmt: skip
        else:
            # Steps between two printed ones took as long as is usual.
            at += (each.ms + max(0, each.step - max(before, 0) - 1) * (usual or each.ms)) / 1e3
            rate = learning_rate(each.step, profile.optim, profile.train.max_steps) if profile else math.nan
            yield ev.StepDone(
                time=at, step=each.step, loss=each.loss, lr=rate, grad_norm=None, ms=each.ms, mfu=each.mfu,
                tokens=each.step * (per_step or 0), tokens_per_s=per_step / each.ms * 1e3 if per_step and each.ms
                else math.nan,
            )  # fmt: skip
        before = each.step
    if profile and before >= profile.train.max_steps:
        yield ev.StateChanged(time=at, step=before, state="finished")
        yield ev.Finished(time=at, step=before, reason="max_steps")


def _started(
    name: str, profile: Profile, known: Fact, rows: int, per_step: int, train_tokens: int | None
) -> ev.RunStarted:
    """The facts of the run. What was built outweighs what the profile would build; 0 tokens of data: unknown."""
    parameters, without = parameter_count(profile.model, rows)
    if known.parameters and abs(known.parameters - without) > 1e4:  # else the same, rounded
        parameters, without = round(known.parameters) + parameters - without, round(known.parameters)
    micro_batch = profile.micro_batch_size
    device = profile.train.device.partition(":")[0]
    return ev.RunStarted(
        time=1.0, run=name, profile=profile.name, step=0, max_steps=profile.train.max_steps, parameters=parameters,
        parameters_without_positions=without, block_size=profile.model.block_size, micro_batch_size=micro_batch,
        grad_accum_steps=max(1, per_step // (micro_batch * profile.model.block_size)), tokens_per_step=per_step,
        vocab_size=rows, tokenizer=profile.data.tokenizer or "unknown", train_tokens=train_tokens or 0, val_tokens=0,
        tokens_per_epoch=train_tokens,
        device="unknown", device_type="unknown" if device == "auto" else device,
        dtype="unknown" if profile.train.dtype == "auto" else profile.train.dtype, compiled=bool(known.compiled),
        flops_per_token=flops_per_token(profile.model, vocab_size=rows), peak_flops=PEAK_FLOPS, peak_source=NANOGPT,
        pid=0, versions="nanoGPT",
    )  # fmt: skip


def _share(percent: str | None) -> float | None:
    """0…1; nanoGPT prints -100 while it does not know."""
    value = _finite(percent)
    return value / 100 if value is not None and value >= 0 else None


def _finite(text: str | None) -> float | None:
    value = float(text) if text is not None else math.nan
    return value if math.isfinite(value) else None
