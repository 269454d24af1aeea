"""Runs on disk: names, the lock, the facts, reading the log, and what may be thrown away."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cockpit import cli, listing, naming, runlock, watching
from cockpit.runs import Run, latest, list_runs
from gpt import events as ev
from gpt.errors import RunError


def create(
    tmp_path: Path, name: str | None = None, profile: str = "demo", *, checkpoint_at: float | None = None
) -> Run:
    """A run with a profile and facts, and perhaps a checkpoint of that Unix time."""
    run = Run.create(tmp_path / "runs", name, profile)
    run.write_profile(f'name = "{profile}"\n')
    run.write_facts({"run": run.name})
    if checkpoint_at is not None:
        state = run.checkpoints_path / "step-00000010" / "state.json"
        state.parent.mkdir()
        state.write_text("{}")
        os.utime(state, (checkpoint_at, checkpoint_at))
    return run


def test_a_run_without_a_name_gets_a_readable_one_of_its_own(tmp_path: Path) -> None:
    names = {create(tmp_path, profile="my profile/é").name for _ in range(20)}
    assert len(names) == 20
    assert all(name.startswith("my-profile-") and name.count("-") == 3 for name in names)


def test_names_do_not_run_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(naming, "_COLOURS", ("red",))
    monkeypatch.setattr(naming, "_ANIMALS", ("fox",))
    assert len({create(tmp_path).name for _ in range(3)}) == 3


def test_making_a_name_leaves_the_global_generator_as_it_was(tmp_path: Path) -> None:
    import random

    before = random.getstate()
    create(tmp_path)
    assert random.getstate() == before


def test_a_runs_folder_is_its_owners_alone(tmp_path: Path) -> None:
    assert create(tmp_path).path.stat().st_mode & 0o777 == 0o700


def test_a_fresh_start_into_an_existing_run_is_refused_with_both_ways_out(tmp_path: Path) -> None:
    checkpoint = create(tmp_path, "mine").checkpoints_path / "step-00000001"
    checkpoint.mkdir()
    (checkpoint / "state.json").touch()
    with pytest.raises(RunError, match=r"run mine exists .* --resume --run mine, or give another name to --run"):
        create(tmp_path, "mine")


def test_a_run_with_nothing_to_go_on_from_is_not_offered_for_that(tmp_path: Path) -> None:
    create(tmp_path, "mine")
    with pytest.raises(
        RunError, match=r"run mine exists .* no checkpoint to go on from: delete .*mine, or give another"
    ):
        create(tmp_path, "mine")


@pytest.mark.parametrize(
    "name", ["", "..", ".", "../x", "a/b", "a\\b", ".hidden", "-flag", "a\nb", "a\x1b[0m", " a", "x" * 101, "a\u202eb"]
)
def test_a_name_that_is_no_folders_name_is_refused_in_one_clean_line(tmp_path: Path, name: str) -> None:
    for attempt in (lambda: Run.create(tmp_path, name, "demo"), lambda: Run.open(tmp_path, name)):
        with pytest.raises(RunError) as caught:
            attempt()
        assert str(caught.value).isprintable()
    assert not list(tmp_path.iterdir())


def test_opening_a_run_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run mine in"):
        Run.open(tmp_path, "mine")


def test_runs_that_cannot_be_written_are_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(RunError, match=r"no run can be made in .*: File exists"):
        create(tmp_path, "mine")


def test_a_lock_keeps_others_out_and_names_its_holder(tmp_path: Path) -> None:
    run = create(tmp_path, "mine")
    with run.lock():
        assert run.in_use
        with pytest.raises(RunError, match=f"run mine is in use by process {os.getpid()}"), run.lock():
            pass
    assert not run.in_use
    with run.lock():
        pass


def test_a_killed_process_leaves_no_lock_behind(tmp_path: Path) -> None:
    run = create(tmp_path, "mine")
    code = (
        "import sys; from pathlib import Path; from cockpit.runs import Run\n"
        "with Run(Path(sys.argv[1])).lock():\n    print('locked', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(run.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None and holder.stdout.readline() == "locked\n"
    with pytest.raises(RunError, match=f"process {holder.pid}"), run.lock():
        pass
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    with run.lock():
        assert (run.path / "lock").read_text().startswith(f"{os.getpid()}\n")


def test_a_longer_process_number_of_before_leaves_no_digits_behind(tmp_path: Path) -> None:
    run = create(tmp_path, "mine")
    (run.path / "lock").write_text("123456789012\n")
    with run.lock():
        assert (run.path / "lock").read_text().startswith(f"{os.getpid()}\n")


def test_of_many_starters_exactly_one_gets_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = create(tmp_path, "mine")
    monkeypatch.setattr(runlock, "_PATIENCE", 0.0)
    outcomes: list[bool] = []
    together, done = threading.Barrier(8), threading.Barrier(8)

    def start() -> None:
        together.wait(30)
        try:
            with Run(run.path).lock():
                outcomes.append(True)
                done.wait(30)
        except RunError:
            outcomes.append(False)
            done.wait(30)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False] * 7 + [True]


def test_facts_come_back_as_they_were_and_damage_reads_as_nothing(tmp_path: Path) -> None:
    run = create(tmp_path)
    run.write_facts({"run": run.name, "git": None, "text": "é"})
    assert run.read_facts() == {"run": run.name, "git": None, "text": "é"}
    (run.path / "run.json").write_text("{")
    assert run.read_facts() == {}
    assert [path.name for path in run.path.iterdir() if path.name.startswith(".")] == []


def test_reading_the_log_drops_a_torn_end_and_counts_what_is_no_event(tmp_path: Path) -> None:
    run = create(tmp_path)
    whole = [ev.encode(ev.Paused(step=step)) for step in (1, 2)]
    run.events_path.write_bytes(
        whole[0] + b'{"event":"OfTheFuture"}\n\xff\n' + b"[" * 5000 + b"\n" + whole[1] + b'{"event":"Pau'
    )
    assert [event.step for event in run.read_events()] == [1, 2]  # type: ignore[union-attr]
    assert run.skipped_lines == 3


def test_a_run_without_a_log_has_no_events(tmp_path: Path) -> None:
    assert list(create(tmp_path).read_events()) == []


def test_the_latest_run_is_the_profiles_own_with_the_newest_checkpoint(tmp_path: Path) -> None:
    old, new = create(tmp_path, checkpoint_at=1000.0), create(tmp_path, checkpoint_at=2000.0)
    create(tmp_path)  # newer, but with nothing to go on from
    create(tmp_path, profile="other", checkpoint_at=3000.0)
    found = latest(tmp_path / "runs", "demo")
    assert found is not None and found.name == new.name != old.name
    assert latest(tmp_path / "runs", "nothing") is None
    assert latest(tmp_path / "nowhere", "demo") is None


def test_a_run_that_took_no_step_can_be_discarded_with_the_folder_made_for_it(tmp_path: Path) -> None:
    run = create(tmp_path)
    run.events_path.write_bytes(ev.encode(ev.StateChanged(state="starting")))
    with run.lock():
        assert run.discard()
    assert not list(tmp_path.iterdir())


def test_a_run_with_a_step_a_checkpoint_or_a_file_of_somebody_stays(tmp_path: Path) -> None:
    stepped, saved, mine = create(tmp_path), create(tmp_path, checkpoint_at=1.0), create(tmp_path)
    step = ev.StepDone(step=1, loss=1.0, lr=1.0, grad_norm=1.0, ms=1.0, tokens=1, tokens_per_s=1.0)
    stepped.events_path.write_bytes(ev.encode(step))
    (mine.path / "notes.txt").write_text("mine")
    assert not any(run.discard() for run in (stepped, saved, mine))
    assert stepped.events_path.exists() and (mine.path / "notes.txt").exists()
    assert list(saved.checkpoints_path.glob("*/state.json"))


def test_discarding_leaves_a_runs_folder_that_was_there_before(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    assert create(tmp_path).discard()
    assert (tmp_path / "runs").is_dir()


def test_the_resume_command_is_what_to_type_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = Run.create(Path("runs"), "my run", "demo")
    run.write_facts({"profile_path": str(tmp_path / "profiles" / "demo.toml")})
    assert run.resume_command() == "gpt-cockpit profiles/demo.toml --run 'my run' --resume"
    run.write_facts({"profile_path": str(tmp_path / "profiles" / "demo.toml"), "nproc": 2})
    assert run.resume_command() == "gpt-cockpit profiles/demo.toml --run 'my run' --nproc 2 --resume"
    other = Run.create(Path("other"), "x", "demo")
    assert other.resume_command() == "gpt-cockpit other/x/profile.toml --run x --runs-dir other --resume"


def test_a_summary_has_the_keys_that_scripts_rely_on(tmp_path: Path) -> None:
    run = create(tmp_path)
    events = [
        ev.StateChanged(state="running"),
        *(
            ev.StepDone(
                step=step, loss=3.0, lr=1e-3, grad_norm=1.0, ms=ms, tokens=100 * step, tokens_per_s=1e5 / ms, mfu=0.1
            )
            for step, ms in ((1, 10.0), (2, 10.0), (3, 20.0))
        ),
        ev.EvalDone(step=3, train_loss=2.0, val_loss=2.5, seconds=1.0, best=True),
        ev.LedgerUpdated(seconds={"train": 6.0, "data": 1.0, "evaluate": 3.0}, wall=10.0),
    ]
    run.events_path.write_bytes(b"".join(map(ev.encode, events)))
    summary = json.loads(listing.as_json([listing.summarize(run)]))[0]
    wanted = {
        "run": run.name, "state": "interrupted", "step": 3, "max_steps": None, "train_loss": 2.0, "val_loss": 2.5,
        "best_val_loss": 2.5, "best_step": 3, "tokens": 300, "ms_per_iter": 10.0, "tokens_per_s": 1e4, "mfu": 0.2,
        "goodput": 0.6, "ledger": {"train": 6.0, "data": 1.0, "evaluate": 3.0}, "wall_s": 10.0,
    }  # fmt: skip
    assert {key: summary[key] for key in wanted} == wanted
    with run.lock():
        assert listing.summarize(run)["state"] == "running"


def test_a_resumed_run_keeps_its_speed_until_it_has_made_a_step(tmp_path: Path) -> None:
    run = create(tmp_path)
    step = ev.StepDone(
        step=1, loss=3.0, lr=1e-3, grad_norm=1.0, ms=10.0, tokens=100, tokens_per_s=1e4, mfu=0.1
    )  # fmt: skip
    run.events_path.write_bytes(b"".join(map(ev.encode, [step, ev.Resumed(step=1, exact=True)])))
    told = listing.summarize(run)
    assert (told["ms_per_iter"], told["tokens_per_s"], told["mfu"]) == (10.0, 1e4, 0.1)


def test_a_replay_without_a_terminal_names_what_shows_the_run_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = create(tmp_path)
    monkeypatch.setattr(watching, "is_interactive", lambda: False)
    with pytest.raises(RunError, match=f"no terminal to draw on; gpt-cockpit report {run.name}"):
        watching.replay(run.name, run.path.parent, speed=1, at_end=False)


def test_a_replay_wears_the_theme_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, shown = create(tmp_path), []
    monkeypatch.setattr(watching, "is_interactive", lambda: True)
    monkeypatch.setattr(watching, "show", lambda app: shown.append(app) or 0)
    arguments = ["replay", run.name, "--theme", "light", "--runs-dir", str(run.path.parent)]
    with pytest.raises(SystemExit, match="0"):
        cli.main(arguments)
    assert [app.options.theme for app in shown] == ["light"]


def test_the_list_of_runs_says_the_worst_that_the_doctor_found(tmp_path: Path) -> None:
    found = [
        ev.DiagnosisMade(step=step, rule=rule, severity=severity, title="x")
        for step, rule, severity in ((1, "a", "note"), (2, "b", "critical"), (3, "c", "warning"))
    ]
    worst = {"none": [], "sound again": [*found, *(ev.DiagnosisEnded(step=4, rule=rule) for rule in "abc")]}
    worst |= {"mended": [*found, ev.DiagnosisEnded(step=4, rule="b")], "ill": found}
    for name, events in worst.items():
        create(tmp_path, name).events_path.write_bytes(b"".join(map(ev.encode, events)))
    summaries = [listing.summarize(Run(tmp_path / "runs" / name)) for name in worst]
    assert [summary["severity"] for summary in summaries] == [None, None, "warning", "critical"]
    lines = listing.as_table(summaries, tmp_path).splitlines()
    assert [line.split()[-1] for line in lines] == ["doctor", "–", "–", "warning", "critical"]


def test_the_table_of_runs_is_aligned_and_free_of_control_characters(tmp_path: Path) -> None:
    names = ["a", "longer"]
    for name in names:
        create(tmp_path, name)
    (tmp_path / "runs" / "e\x1b[0m").mkdir()
    (tmp_path / "runs" / "e\x1b[0m" / "run.json").write_text("{}")
    table = listing.as_table([listing.summarize(run) for run in list_runs(tmp_path / "runs")], tmp_path)
    assert table.replace("\n", "").isprintable()
    assert len({line.index("0/–") + 3 for line in table.splitlines()[1:]}) == 1
    assert listing.as_table([], tmp_path / "runs").startswith("no runs in")
