"""Who is let in, what he is told when he is slow, and what cannot disturb the run."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from acted_run import Seat, Stage, essence, stage
from played_runs import run_started, step_done, story

from cockpit.link import place, reader, server, wire
from cockpit.link.client import Client, SocketLine, call
from cockpit.link.place import Door, knock
from cockpit.link.socket import SocketLink
from cockpit.reducer import reduce_all
from cockpit.runs import Run
from cockpit.state import RunState
from gpt import commands as do
from gpt import events as ev
from gpt.errors import UserError
from tests.patience import wait_until


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    with stage(tmp_path, monkeypatch) as played:
        yield played


def knocked(run: Run) -> socket.socket:
    line = knock(run)
    assert line is not None
    line.settimeout(20)
    return line


def all_from(line: socket.socket) -> bytes:
    """All that comes until the other end hangs up."""
    said = b""
    while data := line.recv(1 << 16):
        said += data
    return said


def test_the_socket_is_its_users_alone(scene: Stage) -> None:
    facts = (scene.folder.path / "control.sock").stat()
    assert stat.S_ISSOCK(facts.st_mode) and stat.S_IMODE(facts.st_mode) == 0o600
    assert stat.S_IMODE(scene.folder.path.stat().st_mode) == 0o700


def test_another_users_process_is_turned_away(scene: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "is_same_user", lambda line: place.peer_user(line) == os.getuid() + 1)
    said = all_from(knocked(scene.folder))
    assert wire.to_reader(said.rstrip()) == wire.Refused(why="this run is another user's")


def test_another_users_socket_is_not_talked_to(scene: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "peer_user", lambda line: os.getuid() + 1)
    with pytest.raises(wire.LinkError, match="another user"):
        knock(scene.folder)


def test_what_a_dead_process_left_is_replaced_and_a_link_in_its_place_is_refused(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "amber-heron", "demo")
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(run.path / "control.sock"))
    left.close()
    assert knock(run) is None  # nobody listens any more
    door = Door(run)
    assert knocked(run)
    door.close()
    assert list(run.path.glob("control.*")) == []
    (run.path / "control.sock").symlink_to(tmp_path / "elsewhere.sock")
    with pytest.raises(wire.LinkError, match=r"no socket of ours"):
        Door(run)
    with pytest.raises(wire.LinkError, match="not followed"):
        knock(run)


def test_a_run_whose_path_is_too_long_listens_elsewhere_and_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = Path(tempfile.mkdtemp())  # short, unlike pytest's
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(private))
    deep = tmp_path / ("deep" * 30)
    with stage(deep, monkeypatch) as scene:
        assert not (scene.folder.path / "control.sock").exists()
        seat = Seat(scene.attach())
        scene.actor.play(run_started(), step_done(1, 3.0))
        seat.wait(lambda state: state.step == 1)
        assert len(list((private / "gpt-cockpit").iterdir())) == 1
    assert list((private / "gpt-cockpit").iterdir()) == [] and not (scene.folder.path / "control.path").exists()
    shutil.rmtree(private)


def test_a_runtime_folder_that_others_can_write_to_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_to_all = tmp_path / "x" / "gpt-cockpit"
    open_to_all.mkdir(parents=True)
    open_to_all.chmod(0o777)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "x"))
    run = Run.create(tmp_path / ("deep" * 30), "amber-heron", "demo")
    with pytest.raises(wire.LinkError, match="yours alone"):
        Door(run)


def test_a_run_that_cannot_be_served_says_so_and_is_trained_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Run.create

    def with_a_link(runs_dir: Path, name: str | None, profile: str) -> Run:
        run = real(runs_dir, name, profile)
        (run.path / "control.sock").symlink_to("nowhere")
        return run

    monkeypatch.setattr(Run, "create", with_a_link)
    with stage(tmp_path, monkeypatch) as scene:
        seat = Seat(scene.local)
        scene.actor.play(run_started(), step_done(1, 3.0))
        state = seat.wait(lambda state: state.step == 1)
        assert any("nobody can attach" in line.text for line in state.log)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\xff\n", b"{}\n", b'{"link":"ask"}\n', b'{"link":"order","number":1,"command":{"command":"Pause"}}\n',
        b"x" * (wire.LONGEST_ORDER + 2), b"[" * 100_000 + b"\n",
    ],
    ids=["bytes", "nothing", "half an ask", "an order before an ask", "endless", "deep"],
)  # fmt: skip
def test_who_sends_what_is_no_message_is_told_so_and_the_run_goes_on(scene: Stage, garbage: bytes) -> None:
    line = knocked(scene.folder)
    line.sendall(garbage)
    assert isinstance(wire.to_reader(all_from(line).rstrip()), wire.Refused)
    seat = Seat(scene.attach())
    scene.actor.play(run_started(), step_done(1, 3.0))
    seat.wait(lambda state: state.step == 1)
    assert scene.actor.heard == []


def test_another_protocol_is_refused_with_both_versions(scene: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = wire.encode(wire.Ask(protocol=wire.PROTOCOL + 1, version="9.9", name="ada"))
    line = knocked(scene.folder)
    line.sendall(ask)
    refused = wire.to_reader(all_from(line).rstrip())
    assert isinstance(refused, wire.Refused) and "9.9" in refused.why and "use the same" in refused.why


def test_a_reader_that_stands_still_costs_a_bounded_memory_and_misses_nothing(
    scene: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads nothing while more is told than its line and its queue hold; then it is shown to lack nothing."""
    monkeypatch.setattr(reader, "MOST_WAITING", 1 << 14)
    skipped: list[int] = []
    real = reader.Reader.catch_up
    monkeypatch.setattr(
        reader.Reader, "catch_up", lambda slow, offset, lines: (skipped.append(offset), real(slow, offset, lines))
    )
    client = Client(SocketLine(knocked(scene.folder)), screen=True)
    steps = [step_done(step, 3.0) for step in range(1, 6001)]
    scene.actor.play(run_started(), *steps)
    wait_until(lambda: scene.local._log.position()[0] > 1_000_000)
    (slow,) = scene.local._server._readers.values()
    wait_until(lambda: slow.is_behind or bool(skipped))  # a piece that is too long by itself is left out at once
    assert slow.size <= 1 << 14
    link = SocketLink(scene.folder, client)
    scene.links.append(link)
    link.start()
    seat = Seat(link)
    scene.actor.play(ev.StateChanged(state="paused", step=6000))
    seat.wait(lambda state: state.state == "paused")
    assert essence(seat.state)["curve"] == essence(reduce_all(RunState(), steps))["curve"]
    assert len(seat.state.loss) == 6000


def test_one_who_orders_and_never_listens_is_sent_away(scene: Stage) -> None:
    line = knocked(scene.folder)
    line.sendall(wire.encode(wire.Ask(protocol=wire.PROTOCOL, version="1", name="ada")))
    order = wire.encode(wire.Order(number=1, command=do.StopSampling()))
    with pytest.raises(OSError):
        for _ in range(2000):
            line.sendall(order * 100)
    wait_until(lambda: not scene.local._server._readers)


def test_one_screen_steers_and_the_others_are_refused_until_they_take_the_controls(scene: Stage) -> None:
    first, second = Seat(scene.attach()), Seat(scene.attach(watch=True))
    first.wait(lambda state: first.link.has_controls)
    second.wait(lambda state: state.pilot is not None)
    assert not second.link.has_controls and "steers" in second.link.standing
    second.link.send(do.Pause())
    state = second.wait(lambda state: any("not done" in line.text for line in state.log))
    assert "take them first" in state.log[-1].text and scene.actor.heard == []
    second.link.take_controls()
    second.wait(lambda state: second.link.has_controls)
    first.wait(lambda state: not first.link.has_controls)
    second.link.send(do.Pause())
    wait_until(lambda: scene.actor.heard == [do.Pause()])
    second.link.close()
    first.wait(lambda state: state.pilot is not None and state.pilot.seat is None)
    kept = [event.seat for event in scene.folder.read_events() if isinstance(event, ev.PilotChanged)]
    assert kept[:2] == [1, 2]


def test_who_watches_is_told_that_nobody_steers_what_has_ended(scene: Stage) -> None:
    pilot, other = Seat(scene.attach()), Seat(scene.attach(watch=True))
    pilot.wait(lambda state: pilot.link.has_controls)
    other.wait(lambda state: "steers" in other.link.standing)
    stood: list[str] = []
    other.link.when_standing_changes(lambda: stood.append(other.link.standing))
    scene.local.send(do.Stop())
    wait_until(lambda: stood == [""], "told though the line is still there")
    assert scene.local._server._readers


def test_the_screen_of_the_run_has_the_controls_until_they_are_taken_and_gets_them_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stage(tmp_path, monkeypatch, attended=True) as scene:
        other = Seat(scene.attach())
        other.wait(lambda state: any("attached" in line.text for line in state.log))
        assert scene.local.has_controls and not other.link.has_controls
        stood: list[str] = []
        scene.local.when_standing_changes(lambda: stood.append(scene.local.standing))
        other.link.take_controls()
        wait_until(lambda: not scene.local.has_controls)
        assert "steers" in scene.local.standing
        scene.local.take_controls()
        other.wait(lambda state: state.pilot is not None and state.pilot.seat == 0)
        assert scene.local.has_controls and scene.local.standing == ""
        wait_until(lambda: ["steers" in each for each in stood] == [True, False], "told as it changes")
        scene.local.send(do.Leave())  # its screen goes
        other.wait(lambda state: state.pilot is not None and state.pilot.seat is None)


def test_a_script_acts_beside_the_pilot_and_the_screens_say_so(scene: Stage) -> None:
    seat = Seat(scene.attach())
    seat.wait(lambda state: seat.link.has_controls)
    script = call(scene.folder)
    script.order(do.Pause())
    wait_until(lambda: scene.actor.heard == [do.Pause()])
    seat.wait(lambda state: any("Pause asked for by a script" in line.text for line in state.log))
    assert seat.link.has_controls
    script.close()


def test_without_a_descriptor_left_the_door_is_not_asked_again_and_again(scene: Stage) -> None:
    looks: list[float] = []

    class Full(socket.socket):
        __slots__ = ()

        def accept(self) -> Any:
            looks.append(time.monotonic())
            if len(looks) < 4:
                raise OSError(errno.EMFILE, "Too many open files")
            return super().accept()

    door = scene.local._server._door
    assert door is not None and door.socket is not None
    door.socket.__class__ = Full
    Client(SocketLine(knocked(scene.folder))).close()
    assert len(looks) == 4 and looks[3] - looks[0] >= 3 * server.FULL_SECONDS


def test_nobody_is_found_where_nobody_trains(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "amber-heron", "demo")
    with pytest.raises(UserError, match="is not being trained"):
        call(run)
    with run.lock(), pytest.raises(UserError, match="cannot be attached to"):
        call(run, patience=0.1)


def test_a_process_that_is_gone_is_said_on_the_screen_with_all_that_it_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is free and the line is cut, as a kill leaves them; the log holds more than was told."""
    told = story(120)
    with stage(tmp_path, monkeypatch) as scene:
        seat = Seat(scene.attach())
        scene.actor.play(*told)
        seat.wait(lambda state: state.step == 120)
        with scene.folder.events_path.open("ab") as log:
            log.write(ev.encode(step_done(121, 2.0)))
        monkeypatch.setattr(Run, "in_use", property(lambda run: False))
        for attached in list(scene.local._server._readers.values()):
            attached.line.shutdown(socket.SHUT_RDWR)
        state = seat.wait(lambda state: state.failed is not None)
        assert state.step == 121 and "is gone without an ending" in (state.failed.error if state.failed else "")
        assert not seat.link.alive


def test_fifty_readers_are_all_told_all_of_it(scene: Stage) -> None:
    seats = [Seat(scene.attach()) for _ in range(50)]
    events = story(60)
    scene.actor.play(*events)
    began = time.monotonic()
    for seat in seats:
        seat.wait(lambda state: state.telemetry is not None and state.step == 60)
    assert all(essence(seat.state) == essence(reduce_all(RunState(), events)) for seat in seats), began
