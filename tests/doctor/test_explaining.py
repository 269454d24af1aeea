"""Explanations: their figures worked out by hand, and what they say of runs whose trouble is known."""

from __future__ import annotations

import pytest
from stories import evidence, played, profile

from cockpit.doctor.evidence import Evidence
from cockpit.explaining.expectations import data_set, expected_loss
from cockpit.explaining.line import EXAMPLE, evidence_of
from cockpit.explaining.numbers import NUMBERS, explain, explain_all
from cockpit.explaining.report import as_json, as_text
from cockpit.reducer import reduce_all
from cockpit.state import RunState
from cockpit.widgets import instruments
from gpt import events as ev
from gpt.config import Profile
from gpt.errors import ProfileError
from gpt.rollcall import summary

GPT2 = profile("gpt2_124m", train__eval_interval=100)
SHAKESPEARE = profile("shakespeare_char")


def of_line(line: str, settings: Profile | None = None, rows: int | None = None) -> Evidence:
    return evidence_of(line, settings, rows)


def sound() -> Evidence:
    return evidence(GPT2, played(GPT2, steps=300))


def test_a_loss_is_told_as_perplexity_as_probability_and_against_guessing() -> None:
    """e^0.8236 = 2.2787; 1 / 2.2787 = 43.9 %; ln 65 = 4.1744, less 0.8236 = 3.3508; e^3.3508 = 28.5."""
    told = explain(of_line(EXAMPLE, SHAKESPEARE, 65), "loss")
    assert told.value == "0.8236"
    assert "e^0.8236 = 2.279" in told.computation
    assert "43.9 %" in told.computation and "1 in 2.28" in told.computation
    assert "ln 65 = 4.17; 3.35 below" in told.computation and "28.5 times" in told.computation


def test_a_line_alone_is_held_against_both_vocabularies_and_all_references() -> None:
    """ln 50,304 = 10.83, less 0.8236 = 10.00; 9.99 % of an A100's 312 TFLOP/s = 31.17 TFLOP/s, which are
    31.17 / 80.2 = 38.9 % of a 4070 Ti's peak in bfloat16 and 31.17 / 165.2 = 18.9 % of a 4090's."""
    loss, time, mfu = explain_all(of_line(EXAMPLE))
    assert (loss.id, time.id, mfu.id) == ("loss", "ms_per_iter", "mfu")
    assert "10.83 with GPT-2's tokens" in loss.computation and "10.00 and 3.35 below" in loss.computation
    for known in ("3.12", "2.84", "2.67", "2.54", "2.85", "3.28", "1.4697", "1.88"):
        assert known in loss.usual
    assert "learnt by heart" in loss.says
    assert "31.17 TFLOP/s" in mfu.computation
    assert "RTX 4070 Ti 38.9 %" in mfu.says and "RTX 4090 18.9 %" in mfu.says


def test_the_step_of_4446_ms_is_found_to_hold_an_evaluation() -> None:
    """6 · 10,646,784 + 12·6·6·64·256 = 70,958,592 FLOPs a token, times 16,384 = 1.1626e12 a step; in 9.99 % of 312
    TFLOP/s that is 37.3 ms. 4,446.83 - 37.3 = 4,410. An evaluation of 2 × 200 batches, forward only: 400 / 3 · 37.3 =
    4,973 ms."""
    told = explain(of_line(EXAMPLE, SHAKESPEARE, 65), "ms_per_iter")
    assert "means about 37.3 ms" in told.says and "The other 4,410 ms" in told.says
    assert "an evaluation (every 250 steps): 2 × 200 batches" in told.says and "4,973 ms" in told.says


def test_a_step_of_nanogpts_own_time_is_not_suspected() -> None:
    told = explain(of_line("iter 4990: loss 0.8236, time 37.30ms, mfu 9.99%", SHAKESPEARE, 65), "ms_per_iter")
    assert "something else" not in told.says


def test_mfu_is_filled_in_and_names_the_card() -> None:
    """6 · 123,587,328 + 12·12·12·64·1,024 = 854,770,752 FLOPs a token (8.548e8); 491,520 tokens in 1 s make 4.2014e14
    FLOP/s, 42.46 % of 989.4e12."""
    told = explain(sound(), "mfu")
    assert "6 × 123,587,328 + 12 × 12 × 12 × 64 × 1,024 = 8.548e+08" in told.computation
    assert "491,520 tokens/s / 9.894e+14 FLOP/s = 42.46 %" in told.computation
    assert "NVIDIA H200: 989 TFLOP/s in bfloat16, by its datasheet" in told.meaning


def test_ms_per_iter_says_what_it_leaves_out() -> None:
    """300 steps of 1 s, three evaluations of 5 s: 15 s beside 300 s are 5 %, and 1,000 ms would read 1,050."""
    told = explain(sound(), "ms_per_iter")
    assert "evaluation 15 s; counted in, a step would read 1,050.0 ms" in told.computation
    assert "would have shown 6,000.00 ms at step 300: 1,000.0 of a step and 5,000.0 of the eval" in told.computation
    assert "leaves out evaluation" in told.meaning


def test_40_million_parameters_at_3_57_are_as_good_as_they_can_be() -> None:
    """n_embd 384 with 12 layers, step 14,500 of 524,288 tokens = 7.602e9; L(N, D) = 1.8172 + 482.01/N^0.3478 +
    2085.43/D^0.3658: 1.0890 + 0.5068 here (40.56e6), 0.7382 + 0.1329 for nanoGPT's 124e6 and 2.949e11. So
    2.85 + 1.5958 - 0.8711 = 3.5747; 3.5696 is 0.01 below."""
    settings = profile(
        "gpt2_124m", model__n_embd=384, model__dropout=0.1, train__tokens_per_step=524288, train__grad_accum_steps=None,
        train__micro_batch_size=8,
    )  # fmt: skip
    found = expected_loss("OpenWebText", 40.56e6, 14500 * 524288)
    assert found is not None and found[0] == pytest.approx(3.5747, abs=0.001)
    told = explain(of_line("step 14500: train loss 3.6415, val loss 3.5696", settings, 50304), "val_loss")
    assert "As expected (-0." in told.says and "from 3.57)" in told.says
    assert "0.07 below training" in told.says and "dropout 0.1" in told.says
    assert "3.5696 - 3.6415 = -0.0719" in told.computation


def test_shakespeare_known_by_heart_is_said_to_be() -> None:
    """1.7044 - 0.6224 = 1.0820; e^1.082 = 2.95; 1.7044 - 1.4697 = 0.23 above nanoGPT's."""
    told = explain(of_line("step 5000: train loss 0.6224, val loss 1.7044", SHAKESPEARE, 65), "val_loss")
    assert "= +1.0820" in told.computation and "2.95 times the perplexity" in told.computation
    assert "0.23 above nanoGPT 10.65M's 1.4697" in told.says
    assert "known by heart" in told.says and "more steps make it worse" in told.change


def test_a_validation_loss_past_its_best_says_so_and_one_within_its_error_does_not() -> None:
    """3.3 - 2.9 = 0.40; 2.91 - 2.9 is less than LEAST_GAP."""
    state = played(GPT2, steps=400, gap=lambda step: 0.1)
    lowest = ev.EvalDone(step=401, train_loss=2.9, val_loss=2.9, seconds=1.0, best=True)
    for val_loss, words in ((3.3, "0.40 worse than the 2.9000 of step 401"), (2.91, "No different from the best")):
        later = ev.EvalDone(step=402, train_loss=2.9, val_loss=val_loss, seconds=1.0, best=False)
        assert words in explain(evidence(GPT2, reduce_all(state, [lowest, later])), "val_loss").says


def test_a_loss_above_guessing_is_called_diverged_and_one_near_it_a_beginning() -> None:
    """ln 50,304 = 10.83."""
    started = played(GPT2, steps=20, loss=lambda step: 10.8)
    assert "next to nothing" in explain(evidence(GPT2, started), "loss").says
    diverged = played(GPT2, steps=20, loss=lambda step: 12.0)
    assert "diverged" in explain(evidence(GPT2, diverged), "loss").says


def test_references_count_only_for_their_text_with_their_tokens() -> None:
    assert data_set(GPT2) == "OpenWebText"
    assert data_set(SHAKESPEARE) == "Shakespeare"
    assert data_set(profile("finetune_shakespeare"), "gpt2") is None
    assert data_set(profile("fineweb_124m")) is None, "FineWeb-Edu is not FineWeb"
    assert data_set(profile("demo")) is None


def test_perplexity_and_bits_per_byte_have_their_formulas() -> None:
    """e^3.12 = 22.65; 3.12 / ln 2 / 4.5 = 1.000 bits a byte, an eighth of 8: 13 %."""
    state = played(GPT2, steps=10)
    done = ev.EvalDone(step=10, train_loss=3.1, val_loss=3.12, bpb=3.12 / 0.693147 / 4.5, seconds=1.0, best=False)
    known = evidence(GPT2, reduce_all(state, [done]))
    assert explain(known, "perplexity").value == "22.65"
    bits = explain(known, "bits_per_byte")
    assert bits.value == "1.000 bpb"
    assert "3.1200 nats / ln 2 / 4.50 bytes a token = 1.000" in bits.computation and "13 %" in bits.says


def test_the_rate_is_explained_by_its_place_on_the_schedule() -> None:
    """Cosine from 6e-4 to 6e-5 between 2,000 and 600,000: step 301,000 is half-way, ½·(1 + cos(π/2)) = ½: 3.3e-4.
    Warm-up: the 300th step has 6e-4 · 300/2,001 = 9.0e-5."""
    warm = explain(evidence(GPT2, played(GPT2, steps=300)), "learning_rate")
    assert "0.0006 × 300 / (2,000 + 1) = 9.00e-5" in warm.computation
    assert "Warming up until step 2,000" in warm.says
    half = explain(of_line("iter 301000: loss 3.1, time 100.0ms, mfu 40.0%", GPT2, 50304), "learning_rate")
    assert half.value == "3.30e-4"
    assert (
        "(301,000 - 2,000) / (600,000 - 2,000)" in half.computation and "settings have changed" not in half.computation
    )


def test_clipping_is_counted() -> None:
    """A norm of 4 with grad_clip 1: gradients × 1/4."""
    told = explain(evidence(GPT2, played(GPT2, steps=120, grad_norm=lambda step: 4.0)), "grad_norm")
    assert "min(1, 1 / 4.00) = × 0.25" in told.computation
    assert "100 % of them were clipped" in told.says


def test_the_noise_scale_says_what_a_step_should_hold() -> None:
    """tr(Σ)/|G|² = 480 / 0.5 = 960 sequences of 1,024 = 983,040 tokens, twice the 491,520 of a step: 1 + 2 = 3 times
    the fewest steps, 1 + ½ times the fewest tokens; 983,040 / (12 · 1,024) = 80 micro-steps."""
    noise = ev.NoiseScaleEstimated(
        step=100, sequences=960.0, tokens=983_040.0, tokens_per_step=491_520, gradient_square=0.5, noise_trace=480.0,
        measurements=9,
    )  # fmt: skip
    told = explain(evidence(GPT2, reduce_all(played(GPT2, steps=100), [noise])), "noise_scale")
    assert told.value == "983 k tokens"
    assert "480 / 0.5 = 960 sequences" in told.computation
    assert "3.00 times the fewest steps" in told.computation and "1.50 times the fewest tokens" in told.computation
    assert "train.grad_accum_steps = 80" in told.change


def test_tokens_epochs_and_parameters_stand_in_relation() -> None:
    """300 · 491,520 = 147,456,000 tokens; / 124.4e6 parameters = 1.19, 0.06 of 20; 10e9 / 491,520 = 20,345 steps."""
    known = sound()
    assert "= 147,456,000" in explain(known, "tokens").computation
    assert explain(known, "tokens").says.startswith("0.06 of what Chinchilla")
    assert "20,345 steps" in explain(known, "epochs").change
    assert "without positions, as nanoGPT counts: 123,587,328" in explain(known, "parameters").computation


def test_goodput_and_eta_add_up() -> None:
    """299.4 of 315 s = 95.0 %; (600,000 - 300) · 1 s · 315/300 = 629,685 s = 7 d 07 h."""
    known = sound()
    assert "train 299.4 s / wall 315.0 s = 95.0 %" in explain(known, "goodput").computation
    eta = explain(known, "eta")
    assert eta.value == "7 d 07 h" and "(600,000 - 300 steps) × 1,000.0 ms × 1.050" in eta.computation


def gpu_meters() -> list[ev.Event]:
    gib = 2**30
    return [
        ev.MemorySampled(allocated=61 * gib, reserved=64 * gib, peak=63 * gib, total=140 * gib),
        ev.TelemetrySampled(
            rss=gib, host_memory_used=gib, host_memory_total=9 * gib, cpu_percent=5.0, process_cpu_percent=90.0,
            gpu_utilization=98.0, gpu_memory_used=66 * gib, gpu_memory_total=140 * gib, gpu_watts=642.0,
            gpu_celsius=61.0,
        ),
    ]  # fmt: skip


def test_memory_says_how_much_is_left() -> None:
    """63 / 140 = 45 %."""
    known = evidence(GPT2, reduce_all(sound().state, gpu_meters()))
    told = explain(known, "memory")
    assert "peak 63.00 of 140.0 GiB = 45.0 %" in told.computation and "More than half" in told.says
    assert "weights 0.46" in told.computation


def test_every_instrument_has_an_explanation_with_its_own_value() -> None:
    state = reduce_all(sound().state, gpu_meters())
    known = evidence(GPT2, state)
    for column in instruments.LAYOUTS[4]:
        for read in column:
            shown, told = read(state), explain(known, read.__name__)
            assert told.name == shown.label
            assert told.value.startswith(shown.value), (told.value, shown.value)


def test_each_number_of_a_whole_run_is_told_in_all_five_ways() -> None:
    noise = ev.NoiseScaleEstimated(
        step=300, sequences=960.0, tokens=983_040.0, tokens_per_step=491_520, gradient_square=0.5, noise_trace=480.0,
        measurements=9,
    )  # fmt: skip
    done = ev.EvalDone(step=300, train_loss=4.6, val_loss=4.6, val_stderr=0.004, bpb=1.5, seconds=5.0, best=True)
    roll_call = summary(300, 10, [[1000.0, 2.0, 700.0], [1000.0, 2.0, 720.0]])
    known = evidence(GPT2, reduce_all(sound().state, [*gpu_meters(), noise, done, roll_call]))
    told = explain_all(known)
    assert [each.id for each in told] == list(NUMBERS)
    for each in told:
        missing = [part for part in ("meaning", "computation", "usual", "says", "change") if not getattr(each, part)]
        assert not missing, (each.id, missing)


def test_uneven_steps_are_said_to_be() -> None:
    """Every fifth step takes 4 s instead of 1."""
    state = sound().state
    assert "1,000.0 to 1,000.0 ms: steady" in explain(evidence(GPT2, state), "ms_per_iter").says
    slow = [
        ev.StepDone(
            step=step, loss=4.0, lr=6e-4, grad_norm=0.4, ms=1000.0 if step % 5 else 4000.0, tokens=491_520 * step,
            tokens_per_s=491_520.0,
        )
        for step in range(301, 351)
    ]  # fmt: skip
    assert "1,000.0 to 4,000.0 ms: uneven" in explain(evidence(GPT2, reduce_all(state, slow)), "ms_per_iter").says


def test_letters_are_one_to_a_number_and_leave_the_boxs_own_keys_alone() -> None:
    letters = [number.letter for number in NUMBERS.values()]
    assert len(set(letters)) == len(letters) and not {"q", "x"}.intersection(letters)


@pytest.mark.parametrize("name", NUMBERS)
def test_a_run_that_has_not_begun_is_explained_without_figures(name: str) -> None:
    for known in (Evidence(None, RunState()), evidence(GPT2), evidence(SHAKESPEARE, vocab_size=None)):
        told = explain(known, name)
        assert told.id == name and told.meaning and told.change


def test_a_loss_that_is_not_finite_breaks_nothing() -> None:
    known = of_line("iter 10: loss nan, time 30.0ms, mfu -100.00%", SHAKESPEARE, 65)
    assert "loss" not in [each.id for each in explain_all(known)]
    spiked = played(GPT2, steps=30, loss=lambda step: float("inf") if step == 30 else 3.0)
    assert explain(evidence(GPT2, spiked), "loss").value.startswith(("2.9", "3.0"))


def test_a_line_that_is_not_nanogpts_is_refused_in_one_line() -> None:
    with pytest.raises(ProfileError, match="--line hello is not one of nanoGPT's"):
        of_line("hello")


def test_the_line_is_read_with_a_runs_settings_and_not_with_its_figures() -> None:
    """gpt2_124m: 854,770,752 · 491,520 = 4.2014e14 FLOPs; 25 % of 312 TFLOP/s = 78 TFLOP/s make 5,386.4 ms of them."""
    known = evidence_of("iter 7: loss 9.5, time 5400.00ms, mfu 25.00%", known=sound())
    assert explain(known, "loss").value == "9.5000"
    assert "78.00 TFLOP/s: 4.201e+14 FLOPs a step in 5,386.4 ms" in explain(known, "mfu").computation
    assert explain(known, "val_loss").value == "–"


def test_text_is_wrapped_to_the_terminal_and_json_has_every_part() -> None:
    told = explain_all(sound())
    text = as_text(told, "amber-heron", 90)
    assert max(len(line) for line in text.splitlines()) <= 90
    assert text.startswith("amber-heron\n\nloss  ")
    keys = {"id", "name", "value", "meaning", "computation", "usual", "says", "change"}
    assert all(set(each) == keys for each in as_json(told))


def test_a_run_that_has_diverged_beyond_all_measure_is_still_explained() -> None:
    """e to 1e6 is no number."""
    lost = ev.EvalDone(step=20, train_loss=3.0, val_loss=1e6, seconds=1.0, best=False)
    told = explain(evidence(GPT2, reduce_all(played(GPT2, steps=20), [lost])), "val_loss")
    assert "diverged" in told.says and "1000000.0000 - 3.0000 = +999997.0000" in told.computation
