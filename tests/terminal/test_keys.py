"""Each key, pressed in the real program: its effect on the screen and in events.jsonl."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Cockpit

from gpt import events as ev

Start = Callable[..., Cockpit]


@pytest.fixture
def cockpit(start: Start) -> Cockpit:
    """The program, training."""
    cockpit = start()
    cockpit.wait_for("RUNNING")
    cockpit.wait_event(ev.StepDone, step=1)
    return cockpit


def test_space_pauses_and_continues(cockpit: Cockpit) -> None:
    cockpit.press(" ")
    cockpit.wait_for("PAUSED")
    paused = cockpit.wait_event(ev.Paused)
    cockpit.press(" ")
    cockpit.wait_for("RUNNING")
    assert cockpit.wait_event(ev.Continued).step == paused.step
    cockpit.wait_event(ev.StepDone, step=paused.step + 1)


def test_n_takes_one_step_while_paused(cockpit: Cockpit) -> None:
    cockpit.press(" ")
    cockpit.wait_for("PAUSED")
    step = cockpit.wait_event(ev.Paused).step
    for further in (1, 2):
        cockpit.press("n")
        cockpit.wait_event(ev.StepDone, step=step + further)
        cockpit.wait_for("PAUSED", f"{step + further:,} / 200,000")
    assert max(e.step for e in cockpit.events() if isinstance(e, ev.StepDone)) == step + 2


def test_n_does_nothing_while_running_and_says_so(cockpit: Cockpit) -> None:
    cockpit.press("n")
    cockpit.wait_for("press space first")
    assert not [e for e in cockpit.events() if isinstance(e, ev.CommandReceived) and e.command == "StepOnce"]


def test_s_continues_a_prompt_that_can_be_edited(cockpit: Cockpit) -> None:
    cockpit.press("s")
    cockpit.wait_for("1 +")
    cockpit.press("2 =\r")
    done = cockpit.wait_event(ev.SampleDone)
    assert done.prompt == "1 + 2 ="
    assert done.tokens == 40
    cockpit.wait_for("sample", "1 + 2 =")


def test_the_console_compares_with_a_checkpoint_and_ctrl_g_stops_what_is_drawn(start: Start) -> None:
    cockpit = start("sums.toml", "--set", "sample.max_new_tokens=900000")
    cockpit.wait_event(ev.StepDone, step=1)
    cockpit.press("c")
    step = cockpit.wait_event(ev.CheckpointSaved).step
    cockpit.press("s")
    cockpit.wait_for("beside step")
    cockpit.press("\x02")
    cockpit.wait_for(f"beside step {step}")
    cockpit.press("\r")
    cockpit.wait_event(ev.SampleText, sample=1)
    cockpit.wait_for("▌")
    cockpit.press("\x07")
    assert cockpit.wait_event(ev.SampleDone, sample=1).tokens < 900_000
    beside = cockpit.wait_event(ev.SampleStarted, beside=1)
    assert (beside.step, beside.prompt) == (step, "1 + ")
    assert cockpit.wait_event(ev.SampleDone, sample=2).tokens == 1
    cockpit.wait_for("▌", gone=True)
    cockpit.press("\x1b")
    cockpit.wait_for("ms/iter")


def test_t_shows_the_samples_of_the_run_and_their_tokens(cockpit: Cockpit) -> None:
    cockpit.press("t")
    cockpit.wait_for("nothing has been sampled yet")
    cockpit.press("p")
    cockpit.wait_event(ev.ConfigChanged, key="sample.alternatives")
    cockpit.press("s")
    cockpit.wait_event(ev.SampleScored)
    cockpit.wait_for("prompt 1 of 1", "1 + ", "perplexity")
    cockpit.press("\r")
    cockpit.wait_for("token 5 of", "likeliest")
    cockpit.press("a")
    assert cockpit.wait_event(ev.ConfigChanged, key="sample.at_evaluation").new == "true"
    cockpit.wait_for("sampled at each evaluation")


def test_i_shows_what_holds_memory_and_capital_t_where_the_time_went(cockpit: Cockpit) -> None:
    cockpit.wait_event(ev.StateMeasured)
    cockpit.wait_event(ev.TelemetrySampled)
    cockpit.press("i")
    cockpit.wait_for("estimate", "process", "weights", "what would free most", "activation_checkpointing")
    cockpit.press("\x1b")
    cockpit.wait_for("ms/iter")
    cockpit.press("T")
    cockpit.wait_for("whole run", "goodput", "0:00:00")
    cockpit.press("q")
    cockpit.wait_for("ms/iter")


def test_p_plans_the_run_and_the_equals_sign_compares_it_with_a_published_loss(cockpit: Cockpit) -> None:
    cockpit.press("p")
    cockpit.wait_for("this run", "as measured", "of them left", "per parameter")
    cockpit.press("q")
    cockpit.wait_for("ms/iter")
    cockpit.press("=")
    cockpit.wait_for("this run", "shakespeare-char-cpu", "gpt2-124m")
    cockpit.press("\r")  # with the reference under the bar
    cockpit.wait_for("Not ranked", "256 symbols against gpt2 tokens", "1,799 times as many")
    seen = cockpit.wait_event(ev.StepDone)
    cockpit.wait_event(ev.StepDone, step=seen.step + 20)
    cockpit.press("\x1b")
    cockpit.wait_for("ms/iter")


def test_g_shows_the_charts_and_their_keys_work_there_while_the_run_goes_on(cockpit: Cockpit) -> None:
    cockpit.press("g")
    cockpit.wait_for("charts", "grad norm", "one/all")
    cockpit.press("x")
    cockpit.wait_for("over tokens")
    cockpit.press("]")
    cockpit.wait_for("smoothing 0.99")
    cockpit.press("\x1b[D")  # the left arrow
    cockpit.wait_for("tokens/s", "FLOPs")
    cockpit.press("[")
    cockpit.wait_for("forgets all but 0.98")
    seen = cockpit.wait_event(ev.StepDone)
    cockpit.wait_event(ev.StepDone, step=seen.step + 20)
    cockpit.press("q")
    cockpit.wait_for("sample", "log")


def test_o_puts_a_published_loss_behind_the_curve(cockpit: Cockpit) -> None:
    cockpit.press("o")
    cockpit.wait_for("Behind the loss", "none in this folder yet", "gpt2-124m")
    cockpit.press(" ")
    cockpit.wait_for("● gpt2-124m")
    cockpit.press("o")
    cockpit.wait_for("gpt2-124m 3.12")


def test_c_saves_a_checkpoint(cockpit: Cockpit) -> None:
    cockpit.press("c")
    saved = cockpit.wait_event(ev.CheckpointSaved, reason="asked")
    cockpit.wait_for(f"step-{saved.step:08d}")
    assert (cockpit.run_dir / saved.path / "model.safetensors").exists()
    assert (cockpit.run_dir / "checkpoints" / "latest").resolve().name == f"step-{saved.step:08d}"


def test_e_evaluates(cockpit: Cockpit) -> None:
    cockpit.press("e")
    done = cockpit.wait_event(ev.EvalDone)
    cockpit.wait_for(f"{done.val_loss:.4f}")


def test_capital_e_evaluates_on_the_whole_validation_split(cockpit: Cockpit) -> None:
    cockpit.press("E")
    done = cockpit.wait_event(ev.EvalDone, whole=True)
    started = cockpit.wait_event(ev.RunStarted)
    assert done.val_tokens == started.val_tokens - 1
    cockpit.wait_for(f"{done.val_loss:.4f}", f"on all {done.val_tokens:,} tokens")


def test_r_shows_what_changed_in_the_profile_and_applies_what_can_change(cockpit: Cockpit, desk: Path) -> None:
    profile = desk / "sums.toml"
    text = (
        profile.read_text()
        .replace("learning_rate = 1e-3", "learning_rate = 5e-4")
        .replace("n_embd = 48", "n_embd = 64")
    )
    profile.write_text(text)
    cockpit.press("r")
    cockpit.wait_for("optim.learning_rate", "model.n_embd")
    cockpit.press("\r")
    changed = cockpit.wait_event(ev.ConfigChanged, key="optim.learning_rate")
    assert (changed.old, changed.new) == ("0.001", "0.0005")
    refused = cockpit.wait_event(ev.ConfigRefused, key="model.n_embd")
    assert "new run" in refused.reason
    after = cockpit.wait_event(ev.StepDone, step=changed.step + 20)
    assert after.lr <= 5e-4
    cockpit.wait_for("5.00e-4")


def test_w_cools_down_and_ends_the_run(cockpit: Cockpit) -> None:
    cockpit.press("w")
    cockpit.wait_for("cool down", "200,000 →")
    cockpit.press("30\r")
    end = int(cockpit.wait_event(ev.ConfigChanged, key="train.max_steps").new)
    cockpit.wait_for("FINISHED")
    assert cockpit.wait_event(ev.Finished).step == end
    rates = [event.lr for event in cockpit.events() if isinstance(event, ev.StepDone)][-30:]
    assert rates == sorted(rates, reverse=True) and rates[-1] < 0.2 * rates[0]


def test_plus_makes_the_run_longer(cockpit: Cockpit) -> None:
    cockpit.press("+")
    cockpit.wait_for("longer", "→ 220,000")
    cockpit.press("5\r")
    assert cockpit.wait_event(ev.ConfigChanged, key="train.max_steps").new == "200005"
    cockpit.wait_for("/ 200,005")


def test_r_with_a_broken_profile_says_where_and_changes_nothing(cockpit: Cockpit, desk: Path) -> None:
    (desk / "sums.toml").write_text("[optim\nlearning_rate = 1\n")
    cockpit.press("r")
    cockpit.wait_for("sums.toml:1")
    assert not [e for e in cockpit.events() if isinstance(e, ev.ConfigChanged)]
    cockpit.press(" ")
    cockpit.wait_for("PAUSED")


def test_question_mark_explains_the_keys(cockpit: Cockpit) -> None:
    cockpit.press("?")
    cockpit.wait_for("pause", "checkpoint", "evaluate")
    cockpit.press("\x1b")
    cockpit.wait_for("RUNNING")


def test_x_and_a_letter_explain_a_number(cockpit: Cockpit) -> None:
    cockpit.press("x")
    cockpit.wait_for("a letter explains its number")
    cockpit.press("u")
    cockpit.wait_for("Model FLOPs utilization")
    cockpit.press("\x1b[C")
    cockpit.wait_for("waited for its batch")
    cockpit.press("\x1b")
    cockpit.wait_for("waited for its batch", gone=True)
    cockpit.wait_for("RUNNING")


def test_ctrl_p_opens_the_palette_and_runs_an_action(cockpit: Cockpit) -> None:
    cockpit.press("\x10")
    cockpit.wait_for("all panes  (0)")
    cockpit.press("evaluate")
    cockpit.wait_for("all panes  (0)", gone=True)
    cockpit.wait_for("evaluate  (e)")
    cockpit.press("\r")
    cockpit.wait_event(ev.EvalDone)


def test_every_action_is_a_marker_on_the_chart(cockpit: Cockpit) -> None:
    cockpit.press("c")
    cockpit.wait_event(ev.CheckpointSaved, reason="asked")
    # On the axis, wherever that step is by now: steps are taken on while the screen is drawn.
    cockpit.wait_until(lambda: re.search(r"└[─┬]*◇", cockpit.text) is not None, "◇ on the axis")


def test_q_save_and_stop_leaves_a_checkpoint_and_a_report(cockpit: Cockpit) -> None:
    cockpit.press("q")
    cockpit.wait_for("save and stop")
    cockpit.press("\r")
    assert cockpit.wait_exit() == 0
    finished = cockpit.wait_event(ev.Finished)
    assert finished.reason == "stopped"
    assert cockpit.wait_event(ev.CheckpointSaved, reason="stop").step == finished.step
    assert "--resume" in cockpit.text
    assert cockpit.modes_restored()


def test_q_stop_without_saving_leaves_none(cockpit: Cockpit) -> None:
    cockpit.press("q")
    cockpit.wait_for("without saving")
    cockpit.press("x")
    assert cockpit.wait_exit() == 0
    assert cockpit.wait_event(ev.Finished).reason == "discarded"
    assert not [e for e in cockpit.events() if isinstance(e, ev.CheckpointSaved)]


def test_q_and_leaving_it_running_gives_the_prompt_back(start: Start) -> None:
    cockpit = start("sums.toml", "--set", "train.max_steps=600")
    cockpit.wait_event(ev.StepDone, step=1)
    cockpit.press("q")
    cockpit.wait_for("without a screen")
    cockpit.press("d")
    assert cockpit.wait_exit() == 0
    assert "goes on without a screen" in cockpit.text and "gpt-cockpit attach" in cockpit.text
    cockpit.wait_end()
    assert cockpit.wait_event(ev.Finished).reason == "max_steps"
    assert "all steps done" in (cockpit.run_dir / "console.log").read_text()


def test_q_and_escape_changes_nothing(cockpit: Cockpit) -> None:
    cockpit.press("q")
    cockpit.wait_for("save and stop")
    cockpit.press("\x1b")
    cockpit.wait_for("save and stop", gone=True)
    step = max(e.step for e in cockpit.events() if isinstance(e, ev.StepDone))
    cockpit.wait_event(ev.StepDone, step=step + 5)


def test_the_screen_stays_at_the_end_and_says_what_was_reached(start: Start) -> None:
    cockpit = start("sums.toml", "--set", "train.max_steps=30")
    cockpit.wait_for("FINISHED")
    finished = cockpit.wait_event(ev.Finished)
    cockpit.wait_for(f"{finished.val_loss:.4f}")
    assert cockpit.process.poll() is None
    cockpit.press("q")
    assert cockpit.wait_exit() == 0
    assert cockpit.modes_restored()


def test_capital_s_writes_a_report_while_the_run_goes_on_in_views_too(start: Start) -> None:
    cockpit = start()
    cockpit.wait_event(ev.StepDone, step=20)
    cockpit.wait_for("RUNNING")
    cockpit.press("S")
    cockpit.wait_until(lambda: len(reports(cockpit)) == 1, "a report")
    cockpit.wait_for("report.html")
    cockpit.press("g")
    cockpit.wait_for("esc back")
    cockpit.press("S")
    cockpit.wait_until(lambda: len(reports(cockpit)) == 2, "another report")
    for folder in reports(cockpit):
        page = (folder / "report.html").read_text()
        assert page.endswith("</html>\n") and "loss, nats/token" in page
        assert "RUNNING" in (folder / "screen.svg").read_text()
    step = max(event.step for event in cockpit.events() if isinstance(event, ev.StepDone))
    cockpit.wait_event(ev.StepDone, step=step + 5)


def reports(cockpit: Cockpit) -> list[Path]:
    return sorted(cockpit.run_dir.glob("report-*"))
