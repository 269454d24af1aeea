"""Settings that change while a run goes on: which can, which of a command's hold, why the others do not, and which
changes are risky. No torch."""

from __future__ import annotations

from typing import Any

from gpt.config import Profile, as_toml, flatten, replace
from gpt.errors import ProfileError
from gpt.events import ConfigChanged, ConfigRefused
from gpt.schedule import floor_of

LIVE_KEYS = frozenset({
    "optim.learning_rate", "optim.min_lr", "optim.warmup_steps", "optim.decay_steps", "optim.schedule",
    "optim.cooldown_steps", "optim.grad_clip", "optim.weight_decay",
    "train.max_steps", "train.eval_interval", "train.eval_steps", "train.log_interval",
    "train.noise_scale_interval", "train.stalled_after",
    "guard.policy", "guard.window", "guard.threshold", "guard.patience", "guard.rate_factor", "guard.max_rewinds",
    "checkpoint.interval", "checkpoint.keep", "checkpoint.best",
    "sample.prompts", "sample.interval", "sample.temperature", "sample.top_k", "sample.top_p",
    "sample.repetition_penalty", "sample.stop", "sample.count", "sample.max_new_tokens", "sample.seed",
    "sample.at_evaluation", "sample.alternatives",
    "screen.cpu_budget", "screen.theme", "screen.references", "device.peak_tflops", "device.price_per_hour",
    "doctor.silence", "name", "description", "expected_parameters",
})  # fmt: skip
"""Keys that can change while a run goes on."""

_FIXED_REASONS = {
    "model": "it shapes the weights; start a new run with it",
    "data": "the run has been trained on other data; start a new run with it",
    "train.micro_batch_size": "the step is built for it; stop, then --resume with it",
    "train.activation_checkpointing": "the step is built already; stop, then --resume with it",
    "train.loss_chunk": "the step is built already; stop, then --resume with it",
    "train.grad_accum_steps": "it changes the tokens in a step; start a new run with it",
    "train.tokens_per_step": "it changes the tokens in a step; start a new run with it",
    "train.seed": "it is the origin of the run's data order; start a new run with it",
    "train.device": "the weights are on the device already; stop, then --resume with it",
    "train.dtype": "the step is built for one precision; stop, then --resume with it",
    "train.compile": "the step is built already; stop, then --resume with it",
    "train.cuda_graphs": "the step is built already; stop, then --resume with it",
    "train.threads": "another number of threads gives other bits; stop, then --resume with it",
    "train.parallel": "the model is spread over the ranks already; stop, then --resume with it",
    "train.shard_ranks": "the model is spread over the ranks already; stop, then --resume with it",
    "track": "it is mirrored from its start; stop, then --resume with it",
    "optim.name": "its state belongs to one optimizer; start a new run with it",
    "optim.beta1": "its state was averaged with the old value; start a new run with it",
    "optim.beta2": "its state was averaged with the old value; start a new run with it",
}


def fixed_reason(key: str) -> str | None:
    """Why a dotted key cannot change while running, or None where it can."""
    if key in LIVE_KEYS:
        return None
    return _FIXED_REASONS.get(key) or _FIXED_REASONS.get(key.split(".")[0]) or "it is read only at the start"


def apply_changes(
    profile: Profile, changes: dict[str, Any], step: int
) -> tuple[Profile, list[ConfigChanged | ConfigRefused]]:
    """The profile with those changes that can be made live, and what to say of each, in the order given.

    What cannot change live, or is no valid value, is refused key by key; the others hold all the same.

    Args:
        step: the newest whole step; a change holds from the next one on.
    """
    flat = flatten(profile)
    live = {key: new for key, new in changes.items() if key in flat and fixed_reason(key) is None}
    try:
        profile, together = replace(profile, live), True  # some hold only together: a rate and its floor
    except ProfileError:
        together = False
    said: list[ConfigChanged | ConfigRefused] = []
    for key, new in changes.items():
        old = flat.get(key)
        reason = fixed_reason(key) if key in flat else None  # replace has words for an unknown one
        if reason is None and not (together and key in live):
            try:
                profile = replace(profile, {key: new})
            except ProfileError as error:
                reason = str(error)
        about = {"step": step, "key": key, "old": as_toml(old), "new": as_toml(new)}
        said.append(ConfigRefused(**about, reason=reason) if reason else ConfigChanged(**about))
    return profile, said


_RISKY = ("optim.", "guard.", "train.micro_batch_size", "train.grad_accum_steps", "train.tokens_per_step")
"""How the keys begin that decide how a step changes the weights."""


def risk(before: Profile, after: Profile) -> str | None:
    """Why a change of settings may spoil a run, so that a checkpoint is to be made before it; None where it cannot.

    Risky is what changes how steps change the weights. A lower rate alone is not: it is what mends a run.
    """
    old, new = flatten(before), flatten(after)
    changed = [key for key in old if old[key] != new[key] and key.startswith(_RISKY)]
    rates = {"optim.learning_rate", "optim.min_lr"}
    if rates.intersection(changed):
        peaks = before.optim.learning_rate, after.optim.learning_rate
        if peaks[1] > peaks[0] or floor_of(after.optim) > floor_of(before.optim):
            return "the learning rate rises"
        changed = [key for key in changed if key not in rates]
    if not changed:
        return None
    return f"{', '.join(changed)} {'decide' if len(changed) > 1 else 'decides'} how steps change the weights"
