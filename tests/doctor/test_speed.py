"""Low MFU, and its causes."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import pytest
from machines import console, find_one, meters, on_card, on_cpu
from stories import evidence, played, profile

from cockpit.doctor import speed
from cockpit.doctor.diagnosis import Diagnosis
from gpt.config import replace


def slow(**changes: Any) -> Diagnosis | None:
    """What is said of 124M on an H200 at 15 % MFU, or with some of its settings and facts otherwise."""
    return find_one(speed.RULE, on_card(ms=3000.0, **changes))


def test_a_step_that_is_not_compiled_is_named_as_the_cause() -> None:
    found = slow(facts={"compiled": False})
    assert found is not None and found.severity == "warning"
    assert found.title == "MFU 15.1 %: compile is off"
    assert found.treatment is not None and found.treatment.changes == {"train.compile": True}


def test_float32_is_told_beside_what_the_card_does_in_16_bits() -> None:
    found = slow(facts={"dtype": "float32", "peak_flops": 989.4e12})
    assert found is not None and "float32" in found.title and "989.4 TFLOP/s" in found.why
    assert found.treatment is not None and found.treatment.changes["train.dtype"] == "auto"


def test_short_micro_steps_are_joined_into_what_fits() -> None:
    """2 × 1,024 tokens at a time on 139 GiB: 64 × 1,024 fit, and keep 524,288 a step."""
    settings = profile("fineweb_124m", train__micro_batch_size=2)
    found = slow(settings=settings, facts={"micro_batch_size": 2, "grad_accum_steps": 256})
    assert found is not None and found.title == "MFU 15.1 %: micro-steps of 2,048 tokens"
    assert found.treatment is not None
    better = replace(settings, dict(found.treatment.changes))
    assert (better.micro_batch_size, better.tokens_per_step) == (64, 524288)


def test_nanogpts_480_sequences_are_joined_without_a_rest() -> None:
    settings = profile("gpt2_124m", train__micro_batch_size=4, train__grad_accum_steps=120)
    found = slow(settings=settings, facts={"micro_batch_size": 4, "grad_accum_steps": 120})
    assert found is not None and found.treatment is not None
    better = replace(settings, dict(found.treatment.changes))
    assert (better.micro_batch_size, better.grad_accum_steps) == (60, 8)


def test_an_own_clock_that_is_held_down_is_the_first_cause() -> None:
    found = slow(beside=[meters(gpu_throttle="heat", gpu_celsius=91.0)])
    assert found is not None and found.title == "MFU 15.1 %: the clock is held down (heat)"


def test_waiting_for_data_is_told_on_any_device() -> None:
    """With the share from the ledger, whatever the MFU."""
    found = find_one(speed.RULE, on_cpu(data_ms=10.0, ms=40.0))
    assert found is not None and found.severity == "warning" and found.title == "25 % of each step waits for data"
    assert find_one(speed.RULE, on_cpu(data_ms=3.0, ms=40.0)) is None


def test_a_few_steps_of_a_sitting_say_nothing_of_waiting_for_data() -> None:
    """The first batch of a sitting is always waited for."""
    waiting = on_cpu(data_ms=10.0, ms=40.0)
    assert speed.waiting_share(waiting) == pytest.approx(0.25, abs=0.01)
    resumed = dataclasses.replace(
        waiting, state=msgspec.structs.replace(waiting.state, start_step=waiting.state.step - 20)
    )
    assert speed.waiting_share(resumed) is None


def test_torch_saying_that_tf32_is_off_is_heard() -> None:
    said = "UserWarning: TensorFloat32 tensor cores for float32 matrix multiplication available but not enabled."
    found = slow(facts={"dtype": "float32"}, beside=[console(said)])
    assert found is not None and found.evidence["tf32"] is False


def test_a_model_too_small_for_its_card_is_only_a_note() -> None:
    """0.8 M parameters, 12 × 64 tokens: launching 160 kernels takes longer than this card's arithmetic of them."""
    small = profile("shakespeare_char_cpu")
    facts = {"micro_batch_size": 12, "grad_accum_steps": 1, "compiled": False}
    state = played(small, steps=200, rows=65, ms=3.0, data_ms=0.01, facts=facts)
    (found,) = speed.RULE.find(evidence(small, state, vocab_size=65))
    assert found.severity == "note" and "too small for the card" in found.title
    assert found.evidence["launch_ms_per_micro_step"] == pytest.approx(0.8)


def test_a_compiled_step_without_a_cause_is_only_a_note() -> None:
    found = slow()
    assert found is not None and found.severity == "note" and found.treatment is None


@pytest.mark.parametrize(
    "near_miss",
    [
        {"ms": 1000.0, "facts": {"compiled": False}},  # 45.6 %
        {"ms": 1700.0, "facts": {"compiled": False}},  # 26.8 %
        {"ms": 3000.0, "steps": 20, "facts": {"compiled": False}},  # its first steps
        {"ms": 3000.0, "facts": {"compiled": False, "peak_flops": None}},  # a card that is not known
    ],
)
def test_what_is_no_low_mfu(near_miss: dict[str, Any]) -> None:
    assert find_one(speed.RULE, on_card(**near_miss)) is None


def test_compile_is_no_cause_where_nothing_is_left_to_win() -> None:
    """40 steps of 3 s."""
    found = slow(settings=profile("fineweb_124m", train__max_steps=120), facts={"compiled": False}, steps=100)
    assert found is not None and "compile" not in found.title


def test_the_compilers_message_is_explained_as_harmless() -> None:
    line = "W0101 12:00:00 torch/_inductor/utils.py:1436] [0/0] Not enough SMs to use max_autotune_gemm mode"
    said = find_one(speed.AUTOTUNE, on_card(beside=[console(line)]))
    assert said is not None and said.severity == "note" and "slows nothing" in said.title
    assert find_one(speed.AUTOTUNE, on_card(beside=[console("Autotuning done")])) is None
