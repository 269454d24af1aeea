"""A run on another machine: what stands for ssh here starts the far end on this one."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from acted_run import Actor, Seat, Stage, essence, put_save, stage
from played_runs import run_started, step_done, story

from cockpit.link import bridge, wire
from cockpit.link.shelf import told
from cockpit.link.ssh import Far, RemoteLink, far
from cockpit.reducer import reduce_all
from cockpit.runs import Run
from cockpit.saves import list_saves
from cockpit.state import RunState
from gpt import checkpoint
from gpt import commands as do
from gpt import events as ev
from gpt.errors import RunError
from tests.patience import wait_until

ROOT = Path(__file__).resolve().parents[2]

Ssh = Callable[[str], str]


@pytest.fixture
def ssh(tmp_path: Path) -> Ssh:
    """Makes a program that does in ssh's place what it is given, `$last` being the command for the far shell."""

    def make(does: str) -> str:
        path = tmp_path / "ssh"
        path.write_text(f"#!/bin/sh\nfor last; do :; done\n{does}\n")
        path.chmod(0o700)
        return str(path)

    return make


@pytest.fixture
def program(tmp_path: Path) -> str:
    path = tmp_path / "there" / "gpt-cockpit"
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m cockpit "$@"\n')
    path.chmod(0o700)
    return str(path)


@pytest.fixture
def acting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs have an actor for a trainer."""
    monkeypatch.setitem(sys.modules, "gpt.trainer", SimpleNamespace(Trainer=Actor))


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    with stage(tmp_path, monkeypatch) as played:
        yield played


def reach(scene: Stage, ssh: str, program: str) -> RemoteLink:
    target = Far("ada@there", scene.folder.name, str(scene.folder.path.parent))
    link = RemoteLink(target, watch=False, ssh=ssh, program=program)
    scene.links.append(link)
    link.start()
    return link


def test_a_run_there_is_shown_whole_steered_and_kept_byte_for_byte(scene: Stage, ssh: Ssh, program: str) -> None:
    events = story(300)
    half = len(events) // 2
    scene.actor.play(*events[:half])
    wait_until(lambda: scene.local._log.position()[0] > 10_000)
    link = reach(scene, ssh('echo Welcome to there; exec sh -c "$last"'), program)
    seat = Seat(link)
    scene.actor.play(*events[half:])
    seat.wait(lambda state: state.step == 300 and state.telemetry is not None and link.has_controls)
    assert essence(seat.state) == essence(reduce_all(RunState(), events))
    link.send(do.Pause())
    wait_until(lambda: scene.actor.heard == [do.Pause()])
    kept = link.run_dir
    assert (kept / "profile.toml").read_text() == (scene.folder.path / "profile.toml").read_text()
    wait_until(lambda: (kept / "events.jsonl").read_bytes() == scene.folder.events_path.read_bytes())
    link.close()
    assert not kept.exists()


def test_the_checkpoints_there_are_told_as_they_come_and_go(scene: Stage, ssh: Ssh, program: str) -> None:
    parent = scene.folder.checkpoints_path
    put_save(scene.folder, 10)
    put_save(scene.folder, 20, rate=3e-4)
    link = reach(scene, ssh('exec sh -c "$last"'), program)
    seat = Seat(link)
    scene.actor.play(run_started(), step_done(1, 3.0))
    seat.wait(lambda state: state.step == 1)
    there = list_saves(parent)
    assert [save.step for save in there] == [10, 20]
    assert told(link.saves(), link.run_dir / "checkpoints") == told(there, parent)
    checkpoint.set_aside(parent, 15)
    put_save(scene.folder, 30)
    checkpoint.point(parent, "best", 30)
    scene.actor.play(ev.CheckpointSaved(step=30, path="step-00000030", size=1, seconds=0.1, reason="asked"))
    seat.wait(lambda state: state.checkpoint is not None)
    assert [(save.step, save.abandoned, save.is_best) for save in link.saves()] == [
        (10, None, False), (20, 1, False), (30, None, True),
    ], "no later than the event that tells of it"  # fmt: skip


@pytest.mark.parametrize("where", ["there", "here"])
def test_ranks_that_are_started_anew_are_gone_on_with(
    where: str, tmp_path: Path, acting: None, ssh: Ssh, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Run.create(tmp_path / "runs", "amber-heron", "demo")
    with folder.lock(launching=True):
        first = Stage(folder)
        link = reach(first, ssh('exec sh -c "$last"'), program) if where == "there" else first.attach()
        seat, stood = Seat(link), list[str]()
        first.actor.play(run_started(), step_done(1, 3.0), step_done(2, 2.9))
        seat.wait(lambda state: state.step == 2 and link.has_controls)
        link.when_standing_changes(lambda: stood.append(link.standing))
        first.local._server.close()  # as at a kill: nothing is said
        seat.wait(lambda state: link.standing == "the ranks are started anew")
        first.end()
        monkeypatch.setattr(os, "getpid", os.getppid)  # it is another process
        second = Stage(folder)
        second.actor.play(run_started(step=1), ev.Resumed(step=1, exact=True), step_done(2, 2.8), step_done(3, 2.7))
        seat.wait(lambda state: state.step == 3 and link.has_controls and not link.standing)
        wait_until(lambda: stood[:1] == ["the ranks are started anew"] and stood[-1] == "", "told as it changes")
        assert seat.state.loss.y.tolist() == pytest.approx([3.0, 2.8, 2.7]), "what is told once is told once"
        link.send(do.Pause())
        wait_until(lambda: second.actor.heard == [do.Pause()])
        assert link.alive
        second.end()
    seat.wait(lambda state: not link.alive)
    assert seat.state.state == "stopped" and link.standing == ""
    link.close()


def test_a_line_that_breaks_is_not_taken_for_the_end_of_the_run(scene: Stage, ssh: Ssh, program: str) -> None:
    link = reach(scene, ssh('exec sh -c "$last"'), program)
    seat = Seat(link)
    scene.actor.play(run_started(), step_done(1, 3.0))
    seat.wait(lambda state: state.step == 1)
    link._client._line.close()
    state = seat.wait(lambda state: link.standing == "link lost" and state.log[-1].level == "error")
    assert not state.is_final and f"gpt-cockpit attach ada@there:{scene.folder.name}" in state.log[-1].text
    assert scene.local.alive


def test_a_process_there_that_is_gone_is_said_so(scene: Stage, ssh: Ssh, program: str) -> None:
    """Without a lock and without a goodbye, as a kill leaves it."""
    link = reach(scene, ssh(f'rm -f "{scene.folder.path}/lock"; exec sh -c "$last"'), program)
    seat = Seat(link)
    scene.actor.play(run_started(), step_done(1, 3.0))
    seat.wait(lambda state: state.step == 1)
    for reader in list(scene.local._server._readers.values()):
        reader.line.shutdown(socket.SHUT_RDWR)
    state = seat.wait(lambda state: state.failed is not None)
    assert "is gone without an ending" in (state.failed.error if state.failed else "") and not link.alive


@pytest.mark.parametrize(
    ("does", "words"),
    [
        ("echo 'ssh: connect to host there port 22: Connection refused' >&2; exit 255",
         r"ssh does not reach ada@there: .*Connection refused"),
        ("echo 'sh: 1: gpt-cockpit: not found' >&2; exit 127", "is not found on ada@there.*--remote-command"),
        ('exec sh -c "$last"', "no run nobody in"),
        ("echo 'gpt-cockpit: no profile link' >&2; exit 2", "ada@there: no profile link"),
        ("""echo '{"link":"refused","why":"the run is trained by gpt-cockpit 9 (protocol 9); use the same"}'; cat""",
         "gpt-cockpit 9 .protocol 9.; use the same"),
    ],
    ids=["refused", "not there", "no such run", "an old one there", "another version"],
)  # fmt: skip
def test_what_stands_in_the_way_is_said_in_a_line(
    does: str, words: str, ssh: Ssh, program: str, tmp_path: Path
) -> None:
    with pytest.raises(wire.LinkError, match=words):
        RemoteLink(Far("ada@there", "nobody", str(tmp_path)), watch=False, ssh=ssh(does), program=program)


def test_a_line_of_the_log_does_not_pass_for_a_message(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "amber-heron", "demo")
    step = ev.encode(step_done(1, 3.0))
    run.events_path.write_bytes(b'{"link":"over"}\n' + step)
    hello = wire.Hello(
        protocol=wire.PROTOCOL, version="1", run=run.name, profile=msgspec.Raw(b"{}"), pid=1, seat=1, pilot=None,
        offset=run.size_of_log(),
    )  # fmt: skip
    process, line = socket.socketpair()
    process.sendall(wire.encode(hello))
    process.close()
    told: list[bytes] = []
    teller = bridge._Teller(run, told.append)
    assert teller.relay(line)
    teller.conclude()
    line.close()
    _, papers, saves, log, go_on, gone = wire.parts(b"".join(told))
    assert (type(papers), saves, log) == (wire.Papers, wire.Saves(saves=[]), step)
    assert (type(go_on), gone) == (wire.GoOn, wire.Gone(in_use=False))


def test_a_machine_without_ssh_says_so(tmp_path: Path) -> None:
    with pytest.raises(wire.LinkError, match="cannot be started"):
        RemoteLink(Far("there", "any", "runs"), watch=False, ssh=str(tmp_path / "no ssh"), program="gpt-cockpit")


def test_a_target_names_host_folder_and_run_and_reaches_the_far_shell_quoted() -> None:
    assert far("ada@there:amber-heron", Path("runs")) == Far("ada@there", "amber-heron", "runs")
    assert far("there:work/runs/amber heron", Path("runs")) == Far("there", "amber heron", "work/runs/")
    assert far("there:", Path("runs")) == Far("there", None, "runs")
    command = Far("there", "a;b $(c)", "~/my runs").command("ssh -p 22", "gpt-cockpit")
    assert command == ["ssh", "-p", "22", "-C", "-T", "there", "gpt-cockpit link 'a;b $(c)' --runs-dir ~/'my runs'"]
    for wrong in ("-oProxyCommand=x:run", ":run", "a b:run", "there:../..", "there:.hidden"):
        with pytest.raises(RunError):
            far(wrong, Path("runs"))
