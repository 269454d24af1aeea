"""Events: what happened, in the past tense. They are all that leaves the engine.

Each is a small frozen value of scalars and text, so the same event can be drawn, written to `events.jsonl` as
one JSON line, or sent over a socket. `time` is Unix time in seconds. Losses are in nats/token, durations are in
the unit of their name, sizes in bytes. `None` means unknown.
"""

from __future__ import annotations

import time as _time

import msgspec

PHASES = ("startup", "compile", "data", "train", "evaluate", "checkpoint", "sample", "paused", "other")
"""The phases of a run's clock (gpt.ledger). Every second belongs to exactly one."""


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", omit_defaults=True):
    """Base of all events."""

    time: float = msgspec.field(default_factory=_time.time)


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run was forked from."""

    run: str
    """Name of the other run."""
    step: int
    """Of the checkpoint that is this one's first."""


class RunStarted(Event, frozen=True, tag=True, kw_only=True):
    """The model is built and the data is open; training is about to begin."""

    run: str
    profile: str
    step: int
    """Step the run starts at: 0, or the checkpoint's when resumed."""
    max_steps: int
    parameters: int
    parameters_without_positions: int
    """What nanoGPT prints as the number of parameters."""
    block_size: int
    micro_batch_size: int
    grad_accum_steps: int
    tokens_per_step: int
    vocab_size: int
    tokenizer: str
    train_tokens: int
    val_tokens: int
    tokens_per_epoch: int | None = None
    """Tokens trained on in one pass over the training split: its whole windows."""
    bytes_per_token: float | None = None
    """Mean bytes of text a validation token stands for; turns nats/token into bits per byte."""
    device: str
    """Human name of the device, e.g. `NVIDIA H200` or `AMD EPYC, 2 threads`."""
    device_type: str
    """`cuda`, `mps` or `cpu`."""
    device_uuid: str | None = None
    """The card's UUID as NVML knows it, `GPU-…`; None where it is not an NVIDIA card."""
    dtype: str
    compiled: bool
    flops_per_token: float
    """6N + 12·L·H·Q·T (PaLM, appendix B)."""
    peak_flops: float | None = None
    """Dense peak of the device for the dtype in use, FLOP/s."""
    peak_source: str | None = None
    """`datasheet`, `profile` or `measured`."""
    pid: int
    versions: str
    """`torch 2.13.0, python 3.11.7, …`"""
    forked_from: Origin | None = None
    """None for a run of its own."""


class Resumed(Event, frozen=True, tag=True, kw_only=True):
    """Training goes on from a checkpoint; anything logged for later steps is void."""

    step: int
    exact: bool
    """True where the continuation is bit-identical to never having stopped."""
    why: str = ""
    """Why it is not exact."""
    left: int | None = None
    """The step that a rewind went back from; None where a sitting was resumed."""


class StateChanged(Event, frozen=True, tag=True, kw_only=True):
    """What the trainer is doing now."""

    state: str
    """One of gpt.events.STATES."""
    step: int = 0
    detail: str = ""


STATES = (
    "starting", "compiling", "running", "evaluating", "saving", "sampling", "testing", "paused", "stopping",
    "finished", "stopped", "failed",
)  # fmt: skip
"""`finished`, `stopped` and `failed` are final."""


class StepDone(Event, frozen=True, tag=True, kw_only=True):
    """One optimizer step was taken."""

    step: int
    """Steps taken so far, this one included (1 for the first)."""
    loss: float | None
    """Mean training loss over all micro-steps, nats/token; None where it is not a finite number."""
    lr: float
    grad_norm: float | None
    """Global gradient norm before clipping; None where it is not a finite number."""
    ms: float
    """Time of this step: phases `train` and `data` only, ms."""
    data_ms: float = 0.0
    """Part of `ms` spent waiting for data."""
    tokens: int
    """Tokens seen since step 0."""
    tokens_per_s: float
    mfu: float | None = None
    """Model FLOPs utilization of this step, 0…1."""
    applied: bool = True
    """False where its update was left out: weights and optimizer are as before it."""


class SpikeDetected(Event, frozen=True, tag=True, kw_only=True):
    """A step's loss or gradient was not finite, or far above those of the steps before (gpt.guard)."""

    step: int
    kind: str
    """`loss`, `gradient` or `not finite`."""
    value: float | None
    """The loss in nats/token, or the gradient norm; None where it is not finite."""
    z: float | None
    """Robust deviations above the median of the steps before; None where it is not finite."""
    action: str
    """`warned`: its update was applied. `skipped`: it was left out. `rewind` or `pause`: left out, and this follows."""
    in_a_row: int = 1
    """Steps in a row without an update, this one included."""


class NoiseScaleEstimated(Event, frozen=True, tag=True, kw_only=True):
    """The gradient noise scale was measured (gpt.noise); smoothed over the measurements so far."""

    step: int
    sequences: float | None
    """Critical batch size, tr(Σ)/|G|², sequences in a step; None while noise hides the gradient."""
    tokens: float | None
    """The same in tokens."""
    tokens_per_step: int
    """What a step has now."""
    gradient_square: float
    """Smoothed estimate of |G|²; noise can bring it below 0."""
    noise_trace: float
    """Smoothed estimate of tr(Σ) of one sequence's gradient."""
    measurements: int
    """How many there have been; the means remember about ten."""


class EvalDone(Event, frozen=True, tag=True, kw_only=True):
    """Losses were estimated with dropout off, on batches of their own."""

    step: int
    train_loss: float | None
    val_loss: float | None
    val_stderr: float | None = None
    """Standard error of val_loss over the evaluation's batches, nats/token."""
    bpb: float | None = None
    """Bits per byte of the validation text."""
    val_tokens: int | None = None
    """Validation tokens that were predicted."""
    whole: bool = False
    """Each token of the validation split was predicted once."""
    aside: bool = False
    """Asked for, on other tokens than the run's own evaluations: no point of their curve, and never the best."""
    seconds: float
    best: bool
    """The lowest val_loss of the run so far."""


class CheckpointSaved(Event, frozen=True, tag=True, kw_only=True):
    """A checkpoint is whole and durable on disk."""

    step: int
    path: str
    """Relative to the run's folder."""
    size: int
    """Bytes."""
    seconds: float
    """From the request until it was durable."""
    stall_s: float | None = None
    """Part of `seconds` in which training stood still; the rest was written behind it."""
    reason: str
    """`interval`, `best`, `asked`, `change` (before a risky one), `safety` (before a rewind leaves the step), `stop`,
    `end`, `rewind` or `failed`."""
    best: bool = False


class CheckpointFailed(Event, frozen=True, tag=True, kw_only=True):
    """A checkpoint could not be written; the ones before it are untouched."""

    step: int
    error: str


class SampleStarted(Event, frozen=True, tag=True, kw_only=True):
    """The model began to continue a prompt."""

    sample: int
    """Number of the sample within the run, from 1."""
    step: int
    """Step of the weights that speak."""
    prompt: str
    seed: int | None = None
    """Of the generator it is drawn with."""
    beside: int | None = None
    """The sample by the present weights that this one, by those of an earlier checkpoint, is to be compared with."""


class SampleText(Event, frozen=True, tag=True, kw_only=True):
    """More text of a sample that is being drawn."""

    sample: int
    text: str


class SampleDone(Event, frozen=True, tag=True, kw_only=True):
    """A sample is complete."""

    sample: int
    step: int
    prompt: str
    text: str
    """The continuation, without the prompt."""
    tokens: int
    seconds: float


class RangeTestStarted(Event, frozen=True, tag=True, kw_only=True):
    """A learning-rate range test has begun, on a copy of the training state (gpt.rangetest)."""

    step: int
    low: float
    high: float
    """First and last rate it would try."""
    steps: int
    present: float
    """optim.learning_rate as it was."""


class RangeTestPoint(Event, frozen=True, tag=True, kw_only=True):
    """One step of a range test was taken."""

    rate: float
    loss: float | None
    """At this rate, before its update; nats/token, None where it is not finite."""
    smoothed: float | None
    """Exponential mean of the losses so far, nats/token."""


class RangeTestDone(Event, frozen=True, tag=True, kw_only=True):
    """A range test is over and the training state is again what it was before."""

    step: int
    points: int
    suggestion: float | None
    """A value for optim.learning_rate, by `rule`; None where the test shows none."""
    rule: str
    """How the suggestion was found, or why there is none."""
    diverged_at: float | None
    """The rate at which the loss diverged; None where it did not."""
    seconds: float


class ScoredToken(msgspec.Struct, frozen=True, array_like=True):
    """A token of a text, and what the model thought of it. Probabilities are the model's own, at temperature 1."""

    text: str
    """What it adds to the text; empty where it only begins a character."""
    probability: float | None
    """None for the first token, which nothing comes before."""
    others: list[tuple[str, float]]
    """The likeliest tokens in its place and their probabilities, the likeliest first, itself perhaps among them."""


class SampleScored(Event, frozen=True, tag=True, kw_only=True):
    """How likely the model found each token of a sample and of its prompt; told after SampleDone, where asked for."""

    sample: int
    step: int
    prompt_loss: float | None
    """Mean over the prompt's own tokens, the first one excepted, nats/token; None where there is no other."""
    loss: float | None
    """Mean over the continuation's tokens, nats/token."""
    prompt_tokens: int
    """How many of `tokens` are the prompt's."""
    tokens: list[ScoredToken]
    """At most gpt.likelihood.MOST_TOLD; the means are over all of them."""


class Paused(Event, frozen=True, tag=True, kw_only=True):
    """Training stands still at this step."""

    step: int


class Continued(Event, frozen=True, tag=True, kw_only=True):
    """Training goes on after a pause."""

    step: int


class CommandReceived(Event, frozen=True, tag=True, kw_only=True):
    """The trainer took up a command from its pilot."""

    command: str
    step: int


class ConfigChanged(Event, frozen=True, tag=True, kw_only=True):
    """A setting changed while running, from the next step on."""

    step: int
    key: str
    """Dotted, e.g. `optim.learning_rate`."""
    old: str
    """As TOML."""
    new: str
    """As TOML."""


class ConfigRefused(Event, frozen=True, tag=True, kw_only=True):
    """A setting cannot change while running."""

    step: int
    key: str
    old: str
    new: str
    reason: str


class CommandScheduled(Event, frozen=True, tag=True, kw_only=True):
    """Something is on the agenda (gpt.agenda): newly, or since before this sitting."""

    item: int
    """Its number within the run, from 1."""
    step: int
    """When it came there."""
    what: str
    """What will be done, in words: `set optim.learning_rate = 0.0003`."""
    when: str
    """`at step 5,000`, `when val_loss ≤ 3.28`, `when the run has taken 2 h 00 m`."""
    at_step: int | None = None
    """The step, where it waits for one."""


class CommandUnscheduled(Event, frozen=True, tag=True, kw_only=True):
    """Something is off the agenda."""

    item: int
    step: int
    why: str
    """`due`: it is being done. `cancelled`. `refused`: it never came there, and `reason` says why."""
    what: str = ""
    reason: str = ""


class PilotChanged(Event, frozen=True, tag=True, kw_only=True):
    """Somebody else has the controls now: of several screens that show a run, one steers it."""

    pid: int
    """Of the process that trains; with it a seat is of one sitting only."""
    seat: int | None
    """0: the screen of the run itself. 1 and above: one that is attached. None: nobody has them."""
    pilot: str = ""
    """Who that is, in words: `ada on pts/3`."""


class DiagnosisMade(Event, frozen=True, tag=True, kw_only=True):
    """The doctor has found something and stands by it; told again where its severity or its figures have changed."""

    step: int
    rule: str
    """Id of the rule that found it, as `doctor.silence` names it."""
    severity: str
    """`note`, `warning` or `critical`."""
    title: str
    """One line, with its main figure in it."""


class DiagnosisEnded(Event, frozen=True, tag=True, kw_only=True):
    """What a rule had found is no longer so, or has been silenced."""

    step: int
    rule: str


class LedgerUpdated(Event, frozen=True, tag=True, kw_only=True):
    """Where the time has gone since the run began, all sessions of a resumed run included."""

    seconds: dict[str, float]
    """Seconds by phase; the keys are PHASES."""
    wall: float
    """Wall time, seconds; the phases add up to it."""


class MemorySampled(Event, frozen=True, tag=True, kw_only=True):
    """What the framework's own allocator holds on the device, bytes."""

    allocated: int
    reserved: int
    peak: int
    total: int | None = None


class StateMeasured(Event, frozen=True, tag=True, kw_only=True):
    """What the training state itself takes on the device, once the optimizer has made its own; bytes."""

    weights: int
    optimizer: int


class TelemetrySampled(Event, frozen=True, tag=True, kw_only=True):
    """What the machine says of itself."""

    rss: int
    """Resident memory of this process, bytes."""
    rss_peak: int | None = None
    host_memory_used: int
    host_memory_total: int
    cpu_percent: float
    """Load of all cores together, 0…100."""
    process_cpu_percent: float
    """This process, 100 for one whole core."""
    others_cpu_percent: float | None = None
    """Load by everything else than this process of the cores that it may run on, 0…100, on average over the last
    minute; None until it is known over a third of one."""
    gpu_utilization: float | None = None
    """0…100 (NVML)."""
    gpu_memory_used: int | None = None
    gpu_memory_total: int | None = None
    gpu_watts: float | None = None
    gpu_celsius: float | None = None
    gpu_throttle: str | None = None
    """What held the card's clock down in most of the last minute's readings: `power cap`, `heat`, `power brake` or
    `hardware slowdown`; empty: nothing did; None: NVML does not say, or not for a third of a minute yet."""
    screen_frames: int | None = None
    """Frames that the screen in this process has drawn so far; None where there is none."""
    screen_cpu_s: float | None = None
    """CPU seconds that its thread has spent meanwhile."""


class Spread(msgspec.Struct, frozen=True, array_like=True):
    """Of a figure that every rank has."""

    least: float
    median: float
    greatest: float


class RankTime(msgspec.Struct, frozen=True, array_like=True):
    """What the steps of one rank took, means, ms."""

    rank: int
    ms: float
    data_ms: float
    """Part of `ms` spent waiting for data."""
    own_ms: float | None
    """Part of `ms` before it waited for another rank; None where ranks meet all along (`fsdp`, `hsdp`)."""

    @property
    def slowness(self) -> float:
        """What it is found slow by, ms: its own time, or where that is unknown its waiting for data."""
        return self.data_ms if self.own_ms is None else self.own_ms


class RanksTimed(Event, frozen=True, tag=True, kw_only=True):
    """What the newest steps took on each of several ranks: spreads, and the slowest by number (gpt.rollcall)."""

    step: int
    steps: int
    """How many the means are over."""
    ranks: int
    ms: Spread
    data_ms: Spread
    own_ms: Spread | None
    slowest: list[RankTime]
    """The slowest first, and not many, however many ranks there are."""


class RanksRestarted(Event, frozen=True, tag=True, kw_only=True):
    """A rank ended before its time, and all were started anew; told by the first rank that takes up the run again."""

    step: int
    """Of the checkpoint that they go on from; 0: there was none yet."""
    restart: int
    """Its number within the sitting, from 1."""
    most: int
    """Restarts that the launcher was allowed."""
    rank: int | None = None
    """Which one ended first; None where the launcher does not say."""
    how: str = ""
    """`signal SIGKILL`, `exit code 1`; empty where the launcher does not say."""


class Stalled(Event, frozen=True, tag=True, kw_only=True):
    """The run has given no sign of life for long (gpt.watchdog); the stacks of its threads are in console.log."""

    step: int
    phase: str
    """What it was doing, by its clock."""
    seconds: float
    """Since its last sign of life."""


class StallEnded(Event, frozen=True, tag=True, kw_only=True):
    """A run that had stalled goes on."""

    step: int
    phase: str
    """What it is doing now."""
    seconds: float
    """How long it had been silent."""


class LogLine(Event, frozen=True, tag=True, kw_only=True):
    """A line for the log pane."""

    level: str
    """`info`, `warning` or `error`."""
    text: str
    source: str = "trainer"
    """`trainer`, or `console` for what anything printed to fd 1 or 2."""


class Finished(Event, frozen=True, tag=True, kw_only=True):
    """The trainer ended in order."""

    step: int
    reason: str
    """`max_steps`, `stopped` (saved) or `discarded` (stopped without saving)."""
    train_loss: float | None = None
    val_loss: float | None = None
    best_val_loss: float | None = None
    best_step: int | None = None


class Failed(Event, frozen=True, tag=True, kw_only=True):
    """The trainer ended by an error."""

    step: int
    phase: str
    error: str
    """One line."""
    user_error: bool = False
    """True where it is the user's to mend (gpt.errors)."""
    rank_lost: bool = False
    """True where another rank is gone, and its end is the cause."""


AnyEvent = (
    RunStarted | Resumed | StateChanged | StepDone | SpikeDetected | NoiseScaleEstimated | EvalDone | CheckpointSaved
    | CheckpointFailed | SampleStarted | SampleText | SampleDone | SampleScored | RangeTestStarted | RangeTestPoint
    | RangeTestDone | Paused | Continued | CommandReceived | ConfigChanged | ConfigRefused | CommandScheduled
    | CommandUnscheduled | PilotChanged | DiagnosisMade | DiagnosisEnded | LedgerUpdated | MemorySampled | StateMeasured
    | TelemetrySampled | RanksTimed | RanksRestarted | Stalled | StallEnded | LogLine | Finished | Failed
)  # fmt: skip

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(AnyEvent)


def encode(event: Event) -> bytes:
    """One JSON line, newline included. Non-finite floats become null."""
    return _encoder.encode(event) + b"\n"


def decode(line: bytes | str) -> AnyEvent:
    """The event of one line. Raises msgspec.DecodeError (ValidationError) for anything else."""
    return _decoder.decode(line)


def decode_lines(lines: bytes) -> list[AnyEvent]:
    """The events of many lines, sooner than one by one. Raises as `decode` does where one of them is no event."""
    return _decoder.decode_lines(lines)
