"""A line of nanoGPT's as something that can be explained, alone or in the light of a run or profile."""

from __future__ import annotations

import msgspec

from cockpit import nanogpt_log
from cockpit.doctor.evidence import Evidence
from cockpit.sanitize import shown
from gpt.config import Profile
from gpt.errors import ProfileError

EXAMPLE = "iter 5000: loss 0.8236, time 4446.83ms, mfu 9.99%"


def evidence_of(
    line: str, profile: Profile | None = None, rows: int | None = None, known: Evidence | None = None
) -> Evidence:
    """What one or a few lines of nanoGPT's tell.

    Args:
        profile, rows: the settings they were printed with, and rows of the embedding, where they are known.
        known: of a run that had those settings; its own figures are not mixed with the line's.

    Raises ProfileError where there is none of nanoGPT's lines in it.
    """
    found = list(nanogpt_log.parse(line))
    if not any(isinstance(each, nanogpt_log.Step | nanogpt_log.Evaluation) for each in found):
        raise ProfileError(
            f"--line {shown(line)} is not one of nanoGPT's; it prints `{EXAMPLE}` and "
            "`step 2000: train loss 3.6415, val loss 3.5696`"
        )
    profile, rows = (known.profile, known.rows) if known else (profile, rows)
    log = nanogpt_log.understand([line], profile, rows)
    state, printed = log.state, log.facts
    if known and known.state.started and state.started:  # how it was cut into micro-steps, and what an epoch is
        theirs = known.state.started
        state = msgspec.structs.replace(state, started=msgspec.structs.replace(
            state.started, micro_batch_size=theirs.micro_batch_size, grad_accum_steps=theirs.grad_accum_steps,
            tokens_per_epoch=theirs.tokens_per_epoch, bytes_per_token=theirs.bytes_per_token,
            tokenizer=theirs.tokenizer, train_tokens=theirs.train_tokens, val_tokens=theirs.val_tokens,
        ))  # fmt: skip
    step = max(each.step for each in found if not isinstance(each, nanogpt_log.Fact))
    per_step = printed.tokens_per_step or (profile.tokens_per_step if profile else None)
    state = msgspec.structs.replace(
        state, step=step, tokens=step * (per_step or 0), max_steps=profile.train.max_steps if profile else None
    )
    return Evidence(
        profile, state, vocab_size=printed.vocab_size or rows,
        printed_parameters=round(printed.parameters) if printed.parameters else None,
        printed_tokens_per_step=printed.tokens_per_step,
    )  # fmt: skip
