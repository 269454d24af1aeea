"""A run without a screen: its lines, its report, and the bar on a terminal."""

import io
import re
from pathlib import Path

import msgspec
import pytest

from cockpit.headless import HeadlessReporter
from cockpit.runs import Run
from gpt import events as ev
from gpt.config import Profile, TrainConfig

PROFILE = Profile(name="demo", train=TrainConfig(max_steps=2000, log_interval=50))
STARTED = ev.RunStarted(
    run="demo-amber-heron", profile="demo", step=0, max_steps=2000, parameters=842_496,
    parameters_without_positions=826_112, block_size=128, micro_batch_size=16, grad_accum_steps=1, tokens_per_step=2048,
    vocab_size=256, tokenizer="byte", train_tokens=10_000_000, val_tokens=1_000_000, device="CPU, 2 threads",
    device_type="cpu", dtype="float32", compiled=False, flops_per_token=5e6, peak_flops=1e12, peak_source="measured",
    pid=1, versions="",
)  # fmt: skip
LEDGER = ev.LedgerUpdated(seconds={"train": 80.0, "evaluate": 20.0}, wall=100.0)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def step(number: int, **changes: object) -> ev.StepDone:
    event = ev.StepDone(
        step=number, loss=2.3456, lr=9.9e-4, grad_norm=1.0, ms=50.0, tokens=2048 * number, tokens_per_s=40_960.0,
        mfu=0.123,
    )  # fmt: skip
    return msgspec.structs.replace(event, **changes)


def shown(*events: ev.Event, profile: Profile = PROFILE) -> list[str]:
    """The lines these events print in a pipe."""
    stream = io.StringIO()
    reporter = HeadlessReporter(profile, stream=stream)
    for event in events:
        reporter.show(event)
    return stream.getvalue().splitlines()


def report(*events: ev.Event, run: Run | None = None) -> str:
    reporter = HeadlessReporter(PROFILE, stream=io.StringIO(), run=run)
    for event in events:
        reporter.show(event)
    return reporter.report()


def test_the_first_the_last_and_each_log_intervals_step_get_a_line() -> None:
    lines = shown(STARTED, *(step(number) for number in (1, 2, 49, 50, 51, 100, 1999, 2000)))
    assert [int(re.sub(r"\D", "", line[6:12])) for line in lines if line.startswith("step")] == [1, 50, 100, 2000]


def test_a_step_line_gives_every_figure_with_its_unit() -> None:
    assert shown(STARTED, step(50))[-1] == (
        "step      50/2,000  loss 2.3456  val –       lr 9.90e-4    50.0 ms/iter   41.0k tok/s  "
        "mfu 12.3 % (measured peak)  eta 1 m 38 s"
    )


def test_step_lines_have_their_figures_below_each_other() -> None:
    evaluation = ev.EvalDone(step=50, train_loss=2.0, val_loss=2.1, seconds=1.0, best=True)
    slow = step(2000, ms=1234.5, tokens_per_s=812.0, mfu=0.004)
    lines = [line for line in shown(STARTED, step(1), evaluation, step(50), slow) if line.startswith("step")]
    for word in ("loss", "val", "lr", "ms/iter", "tok/s", "mfu", "eta"):
        assert len({line.index(word) for line in lines}) == 1, word


def test_the_time_of_a_line_is_the_median_since_the_last_line() -> None:
    lines = shown(STARTED, *(step(number, ms=10.0, tokens_per_s=204_800.0) for number in range(1, 50)), step(50))
    assert "10.0 ms/iter    205k tok/s" in lines[-1]


def test_unknown_figures_are_dashes() -> None:
    line = shown(step(50, loss=None, mfu=None))[-1]
    assert "loss –" in line and "mfu    – %" in line and "peak" not in line


def test_a_log_interval_that_changed_live_counts_from_then_on() -> None:
    change = ev.ConfigChanged(step=50, key="train.log_interval", old="50", new="10")
    lines = shown(STARTED, step(50), change, step(60))
    assert lines[-1].startswith("step      60/2,000")
    assert "note   train.log_interval: 50 → 10 from step 51" in lines


def test_evaluations_checkpoints_samples_and_warnings_have_lines_of_their_own() -> None:
    lines = shown(
        STARTED,
        ev.EvalDone(step=100, train_loss=2.0, val_loss=2.1, val_stderr=0.01, bpb=3.03, seconds=1.2, best=True),
        ev.CheckpointSaved(step=100, path="checkpoints/step-00000100", size=9_800_000, seconds=0.04, reason="best"),
        ev.CheckpointFailed(step=150, error="no space"),
        ev.SampleDone(sample=1, step=200, prompt="def ", text="f():\n    pass\n\n", tokens=9, seconds=0.1),
        ev.LogLine(level="warning", text="something"),
        ev.LogLine(level="info", text="of the console", source="console"),
    )
    assert lines[3:] == [
        "eval     100/2,000  train 2.0000  val 2.1000 ± 0.0100  bpb 3.030  in 1.2 s  best so far",
        "save     100/2,000  checkpoints/step-00000100  9.8 MB in 0.04 s (best)",
        "error  checkpoint at step 150 failed: no space",
        "sample   200/2,000  'def '",
        "    def f():",
        "        pass",
        "warn   something",
    ]


def test_what_the_doctor_finds_has_a_line_when_it_is_made_and_when_it_ends() -> None:
    lines = shown(
        STARTED,
        ev.DiagnosisMade(step=0, rule="model_size", severity="critical", title="29.94M parameters, not 124M"),
        ev.DiagnosisMade(step=100, rule="saturated", severity="warning", title="61 tokens per parameter"),
        ev.DiagnosisMade(step=125, rule="saturated", severity="warning", title="76 tokens per parameter"),
        ev.DiagnosisMade(step=130, rule="vocabulary", severity="note", title="65 rows\x1b[2J"),
        ev.DiagnosisEnded(step=200, rule="saturated"),
    )
    assert lines[3:] == [
        "error  doctor: 29.94M parameters, not 124M",
        "warn   doctor: 61 tokens per parameter",
        "note   doctor: 65 rows�[2J",
        "note   doctor: saturated no longer stands: 76 tokens per parameter",
    ]


def test_a_sample_cannot_reach_the_terminal_with_escape_sequences() -> None:
    text = "\x1b]52;c;aGk=\x07\x9b31m\u202e\r"
    done = ev.SampleDone(sample=1, step=1, prompt=text, text=text, tokens=1, seconds=0.1)
    lines = shown(done, ev.LogLine(level="error", text=text))
    assert lines and all(line.isprintable() for line in lines)


def test_the_report_counts_epochs_where_their_length_is_known() -> None:
    started = msgspec.structs.replace(STARTED, tokens_per_epoch=2048 * 1000)
    assert "  tokens   3.07 M   1.50 epochs" in report(started, step(1500), LEDGER).splitlines()


def test_a_save_behind_training_says_for_how_long_training_stood_still() -> None:
    saved = ev.CheckpointSaved(step=9, path="x", size=1_493_800_000, seconds=3.42, stall_s=0.17, reason="interval")
    assert "1,493.8 MB in 3.42 s, stall 0.17 s (interval)" in shown(STARTED, saved)[-1]
    at_once = msgspec.structs.replace(saved, stall_s=3.42)
    assert "1,493.8 MB in 3.42 s (interval)" in shown(STARTED, at_once)[-1]


def test_the_report_says_what_was_reached_and_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = Run.create(Path("runs"), "demo-amber-heron", "demo")
    text = report(
        STARTED, step(1500), LEDGER,
        ev.SampleDone(sample=1, step=1500, prompt="def ", text="f():\n    pass", tokens=9, seconds=0.1),
        ev.CheckpointSaved(step=1500, path="checkpoints/x", size=1, seconds=0.1, reason="stop"),
        ev.Finished(step=1500, reason="stopped", train_loss=1.2, val_loss=1.3, best_val_loss=1.25, best_step=1400),
        run=run,
    )  # fmt: skip
    assert text.splitlines() == [
        "",
        "stopped and saved: step 1,500 of 2,000",
        "  loss     train 1.2000   val 1.3000   best val 1.2500 at step 1,400",
        "  tokens   3.07 M",
        "  time     1 m 40 s: train 80.0 %  evaluate 20.0 %",
        "  sample   at step 1,500",
        "    def f():",
        "        pass",
        "  run      runs/demo-amber-heron",
        "  go on    gpt-cockpit runs/demo-amber-heron/profile.toml --run demo-amber-heron --resume",
    ]


def test_on_a_terminal_a_long_line_of_the_report_goes_on_below_with_each_figure_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    stream = Terminal()
    reporter = HeadlessReporter(PROFILE, stream=stream)
    reporter.show(step(1))
    ledger = {"startup": 10.0, "train": 70.0, "evaluate": 15.0, "sample": 5.0}
    reporter.show(ev.LedgerUpdated(seconds=ledger, wall=100.0))
    told = reporter.report()
    assert "  time     1 m 40 s: startup 10.0 %  train 70.0 %\n           evaluate 15.0 %  sample 5.0 %" in told


def test_a_run_at_its_last_step_goes_on_only_with_more_steps(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "runs", "x", "demo")
    saved = ev.CheckpointSaved(step=2000, path="checkpoints/x", size=1, seconds=0.1, reason="end")
    text = report(STARTED, step(2000), saved, ev.Finished(step=2000, reason="max_steps"), run=run)
    assert text.endswith("--resume --set train.max_steps=4000")


def test_a_run_that_saved_nothing_does_not_promise_to_go_on(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "runs", "x", "demo")
    assert "go on" not in report(STARTED, step(10), ev.Finished(step=10, reason="discarded"), run=run)


def test_a_users_error_at_the_start_is_not_repeated_by_a_report() -> None:
    assert report(ev.Failed(step=0, phase="startup", error="no such file", user_error=True)) == ""


def test_a_failure_after_the_start_is_in_the_report() -> None:
    text = report(STARTED, step(10), ev.Failed(step=10, phase="train", error="CUDA out of memory"))
    assert "failed in train at step 10 of 2,000: CUDA out of memory" in text


def test_closing_twice_prints_one_report() -> None:
    stream = io.StringIO()
    reporter = HeadlessReporter(PROFILE, stream=stream)
    reporter.close()
    reporter.close()
    assert stream.getvalue().count("ended:") == 1


def test_a_pipe_gets_whole_lines_and_no_escape_codes() -> None:
    class Pipe(io.StringIO):
        flushed = ""

        def flush(self) -> None:
            self.flushed = self.getvalue()
            assert self.flushed.endswith("\n")

    stream = Pipe()
    reporter = HeadlessReporter(PROFILE, stream=stream)
    for event in (STARTED, step(50), LEDGER):
        reporter.show(event)
        assert stream.flushed == stream.getvalue()
    reporter.close()
    assert stream.flushed == stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_a_terminal_gets_the_same_lines_with_a_bar_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = Terminal()
    reporter = HeadlessReporter(PROFILE, stream=stream)
    reporter.show(ev.StateChanged(state="running"))
    reporter.show(step(50, loss=None))
    reporter.show(ev.SampleDone(sample=1, step=50, prompt="", text="[bold]a[/bold] :smile:", tokens=1, seconds=0.1))
    reporter.close()
    text = stream.getvalue()
    assert "\x1b[" in text and "━" in text
    assert "step      50/2,000  loss –" in text
    assert "[bold]a[/bold] :smile:" in text, "data is never markup"
    assert "\x1b[?25h" in text, "the cursor is shown again"


def test_a_spike_has_a_line_and_an_evaluation_gives_the_noise_scale_where_it_is_known() -> None:
    noise = ev.NoiseScaleEstimated(
        step=100, sequences=32.0, tokens=2048.0, tokens_per_step=2048, gradient_square=1.0, noise_trace=32.0,
        measurements=4,
    )  # fmt: skip
    hidden = msgspec.structs.replace(noise, sequences=None, tokens=None)
    evaluation = ev.EvalDone(step=100, train_loss=2.0, val_loss=2.1, seconds=1.2, best=False)
    fault = ev.SpikeDetected(step=101, kind="not finite", value=None, z=None, action="skipped")
    lines = shown(STARTED, noise, evaluation, hidden, evaluation, fault)
    assert lines[3:] == [
        "eval     100/2,000  train 2.0000  val 2.1000  in 1.2 s  noise scale 2.05k tokens",
        "eval     100/2,000  train 2.0000  val 2.1000  in 1.2 s",
        "warn   step 101: its loss or gradient is not finite; its update was left out",
    ]


def test_the_report_ends_with_what_the_doctor_still_finds() -> None:
    found = [
        ev.DiagnosisMade(step=1, rule=rule, severity=severity, title=f"{rule} of 4")
        for rule, severity in (("a", "warning"), ("b", "critical"), ("c", "note"), ("d", "warning"))
    ]
    lines = report(STARTED, *found, ev.DiagnosisEnded(step=9, rule="d")).splitlines()
    at = lines.index("  doctor   b of 4")
    assert lines[at + 1] == "           a of 4" and "c of 4" not in "".join(lines)
