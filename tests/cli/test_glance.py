"""What a list of runs reads of each: the ends of a log, and only what has changed since."""

from __future__ import annotations

import shutil
import sys
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "cockpit"))
from played_runs import START, finished_story, run_started, step_done, story
from runs_on_disk import write_run

from cockpit import glance, listing, logfile
from cockpit.deletion import delete
from cockpit.glance import Watcher, disk_size
from cockpit.logfile import blocks, changed_settings, sampled_steps, tail
from cockpit.runs import Run
from gpt import events as ev
from gpt.errors import RunError


def test_a_glance_at_a_short_log_has_the_figures_of_the_whole(tmp_path: Path) -> None:
    run = write_run(tmp_path, "done", finished_story())
    assert glance.glance(run).figures == listing.summarize(run)


def test_of_a_long_log_only_the_ends_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = [step_done(step, 5 - step / 10_000) for step in range(1, 20_001)]
    run = write_run(tmp_path, "long", [run_started(max_steps=30_000), *steps])
    decoded: list[bytes] = []
    real = logfile.decode
    monkeypatch.setattr(logfile, "decode", lambda line: decoded.append(line) or real(line))
    seen = glance.glance(run)
    assert len(decoded) < 300
    whole = listing.summarize(run)
    for key in ("state", "step", "max_steps", "tokens", "ms_per_iter", "tokens_per_s", "profile", "parameters"):
        assert seen.figures[key] == whole[key], key
    assert len(seen.losses) > 40 and list(seen.losses) == sorted(seen.losses, reverse=True)
    assert seen.losses[0] > 4.9 and seen.losses[-1] == pytest.approx(3.0, abs=0.01)


def test_a_long_pause_at_the_end_does_not_hide_the_steps_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = dict.fromkeys(ev.PHASES, 1.0)
    pause = [ev.LedgerUpdated(time=START + n, seconds=ledger, wall=9.0) for n in range(400)]
    run = write_run(tmp_path, "paused", [*story(), *pause])
    monkeypatch.setattr(glance, "TAILS", (4096, 1 << 20))
    assert glance.glance(run).figures["step"] == 900
    monkeypatch.setattr(glance, "TAILS", (4096,))
    seen = glance.glance(run)
    assert seen.figures["ms_per_iter"] and 850 < seen.figures["step"] < 900, "that of the last sample"


def test_what_the_end_of_the_log_does_not_tell_the_newest_checkpoint_does(tmp_path: Path) -> None:
    steps = [step_done(step, 2.0) for step in range(1, 3000)]
    seen = glance.glance(write_run(tmp_path, "a", [run_started(), *steps], checkpoint=2000))
    assert (seen.checkpoint, seen.figures["val_loss"], seen.figures["best_val_loss"]) == ("step-00002000", 1.7, 1.65)


def test_what_the_doctor_found_long_ago_is_known_and_what_a_return_took_back_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(step: int, rule: str, severity: str = "warning") -> ev.DiagnosisMade:
        return ev.DiagnosisMade(step=step, rule=rule, severity=severity, title=f"{rule} at {step}")

    steps = [step_done(step, 2.0) for step in range(1, 3000)]
    told = [made(1, "model_size", "critical"), made(2, "warmup"), made(2500, "spikes"),
            ev.DiagnosisEnded(step=2600, rule="warmup")]  # fmt: skip
    run = write_run(tmp_path, "a", [run_started(), *told, *steps])
    monkeypatch.setattr(glance, "TAILS", (4096,))
    seen = glance.glance(run)
    assert [each.rule for each in seen.checkup.findings] == ["model_size", "spikes"]
    assert seen.figures["severity"] == "critical" and seen.followed == run.events_path.stat().st_size
    read: list[int] = []
    real = glance.events_of
    monkeypatch.setattr(glance, "events_of", lambda path, kinds, start: read.append(start) or real(path, kinds, start))
    with run.events_path.open("ab") as log:
        log.write(ev.encode(ev.Resumed(step=2000, exact=True)) + ev.encode(made(2100, "min_lr", "note")))
    later = glance.glance(run, seen)
    assert [each.rule for each in later.checkup.findings] == ["model_size", "min_lr"] and read == [seen.followed]
    run.events_path.write_bytes(b"".join(ev.encode(step) for step in steps[:10]))
    assert not glance.glance(run, later).checkup.findings, "another log by that name is read from its beginning"


def test_only_runs_whose_files_changed_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [write_run(tmp_path, f"run-{number}", story(20)) for number in range(5)]
    watcher = Watcher(tmp_path)
    watcher.look()
    assert {seen.name for seen in watcher.glances} == {run.name for run in runs} and watcher.complete
    read: list[str] = []
    real = glance.glance
    monkeypatch.setattr(glance, "glance", lambda run, before: read.append(run.name) or real(run, before))
    version = watcher.version
    watcher.look()
    assert read == [] and watcher.version == version
    with runs[3].events_path.open("ab") as log:
        log.write(ev.encode(step_done(21, 3.0)))
    watcher.look()
    assert read == ["run-3"] and watcher.version > version
    shutil.rmtree(runs[0].path)
    watcher.look()
    assert "run-0" not in {seen.name for seen in watcher.glances}


def test_a_run_that_a_process_holds_is_live(tmp_path: Path) -> None:
    run = write_run(tmp_path, "held", story(20))
    watcher = Watcher(tmp_path)
    watcher.look()
    assert not watcher.glances[0].live and watcher.glances[0].figures["state"] == "interrupted"
    with run.lock():
        watcher.look()
        assert watcher.glances[0].live and watcher.glances[0].figures["state"] == "running"


def test_the_size_of_a_folder_does_not_follow_links(tmp_path: Path) -> None:
    (tmp_path / "run" / "below").mkdir(parents=True)
    (tmp_path / "run" / "below" / "file").write_bytes(b"x" * 1000)
    (tmp_path / "large").write_bytes(b"x" * 100_000)
    (tmp_path / "run" / "link").symlink_to(tmp_path / "large")
    assert 1000 <= disk_size(tmp_path / "run") < 2000


def test_stretches_of_a_log_are_whole_lines_and_make_up_all_of_it(tmp_path: Path) -> None:
    run = write_run(tmp_path, "a", story(50))
    whole = run.events_path.read_bytes()
    run.events_path.write_bytes(whole + b'{"event":"StepD')
    parts = list(blocks(run.events_path, size=700))
    assert b"".join(block for _, block in parts) == whole
    assert all(block.endswith(b"\n") and whole[at : at + len(block)] == block for at, block in parts)
    assert tail(run.events_path, 1000) == whole[-1000:][whole[-1000:].index(b"\n") + 1 :]
    assert list(blocks(tmp_path / "none")) == [] and tail(tmp_path / "none", 10) == b""


def test_samples_leave_out_what_a_resume_has_undone(tmp_path: Path) -> None:
    first = [step_done(step, 4.0) for step in range(1, 2001)]
    again = [step_done(step, 2.0) for step in range(501, 1001)]
    run = write_run(tmp_path, "a", [*first, ev.Resumed(step=500, exact=True), *again])
    found = sampled_steps(run.events_path, 48)
    assert [one.step for one in found] == sorted(one.step for one in found)
    assert found[-1].step == 1000 and {one.loss for one in found if one.step > 600} == {2.0}


def test_settings_changed_on_the_way_are_found_in_a_log(tmp_path: Path) -> None:
    change = [ev.ConfigChanged(step=n, key="optim.grad_clip", old="1.0", new=f"0.{n}") for n in (3, 5)]
    run = write_run(tmp_path, "a", [*story(10), *change])
    assert changed_settings(run.events_path) == {"optim.grad_clip": "0.5"}


def test_deleting_a_run_leaves_alone_what_its_links_point_to(tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs", "gone", story(10), checkpoint=10)
    other = write_run(tmp_path / "runs", "stays", story(10))
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("kept")
    (run.path / "link").symlink_to(tmp_path / "precious")
    delete(run)
    assert not run.path.exists() and other.path.exists()
    assert (tmp_path / "precious" / "file").read_text() == "kept"


def test_a_live_run_a_link_and_what_is_no_run_are_not_deleted(tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs", "held", story(10))
    (tmp_path / "runs" / "link").symlink_to(run.path)
    (tmp_path / "runs" / "photos").mkdir()
    with pytest.raises(RunError, match="holds no run"):
        delete(Run(tmp_path / "runs" / "photos"))
    with pytest.raises(RunError, match="is a link"):
        delete(Run(tmp_path / "runs" / "link"))
    refusals: list[str] = []

    def attempt() -> None:
        with pytest.raises(RunError) as caught:
            delete(run)
        refusals.append(str(caught.value))

    with run.lock():
        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join()
    assert "in use by process" in refusals[0]
    assert run.events_path.exists() and (run.path / "run.json").exists() and (tmp_path / "runs" / "photos").exists()
