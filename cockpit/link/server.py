"""Serves a run to those who attach to it: one thread in the process that trains, over a Unix socket.

What readers are sent are the lines of the log as they are made. One who takes them too slowly is no longer told; once
he has taken what was on its way, he learns from where in the log it goes on, and reads there what he lacks. So nobody
misses anything, nobody slows training, and what is kept for a reader is bounded.
"""

from __future__ import annotations

import collections
import errno
import os
import selectors
import socket
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress

import msgspec

from cockpit import __version__
from cockpit.eventlog import WRITE_SECONDS, EventLog
from cockpit.link import wire
from cockpit.link.place import Door, is_same_user
from cockpit.link.reader import Reader
from cockpit.runs import Run
from cockpit.sanitize import clean_line
from gpt.commands import Command, Leave
from gpt.config import Profile
from gpt.events import Event, LogLine, PilotChanged

WATCHED_SECONDS = 0.1
"""Time between two pieces of the log while somebody is attached."""
MOST_READERS = 256
LAST_SECONDS = 1.0
"""Time that readers have at the end to take what is on its way."""
FULL_SECONDS = 0.1
"""Time between two looks at the door while this process has no descriptor left for another reader."""
HERE = 0
"""Seat of the screen in this process."""

_PIECE = 1 << 16


class LinkServer:
    """Lets readers in, tells them what happens, and hands their pilot's commands to the trainer.

    Args:
        run: the run's folder, locked by the caller.
        profile: the settings that the sitting began with.
        log: tells what happens.
        obey: takes commands.
        tell: takes events that this makes.
        attended: whether there is a screen in this process; it has the controls, then.

    None of these may block.
    """

    def __init__(
        self, run: Run, profile: Profile, log: EventLog, *, obey: Callable[[Command], None],
        tell: Callable[[Event], None], attended: bool,
    ) -> None:  # fmt: skip
        self.pilot: int | None = HERE if attended else None
        """Seat of who has the controls."""
        self.pilot_name = ""
        self._run, self._profile, self._log = run, msgspec.Raw(msgspec.json.encode(profile)), log
        self._obey, self._tell = obey, tell
        self._attended = attended
        self._news: collections.deque[tuple[int, bytes]] = collections.deque()
        self._asked: collections.deque[Callable[[], None]] = collections.deque()  # by other threads
        self._readers: dict[int, Reader] = {}  # by seat; those that have not said who they are, too
        self._seats = HERE
        self._listening = False  # whether the log is to be kept for somebody
        self._over = self._closing = False
        self._door: Door | None = None
        self._selector = selectors.DefaultSelector()
        self._bell, self._ear = socket.socketpair()
        for end in (self._bell, self._ear):
            end.setblocking(False)
        self._thread = threading.Thread(target=self._serve, name="link", daemon=True)
        log.heard = self._hear

    # From other threads; none of these blocks

    def start(self) -> None:
        """Opens the door. Where that cannot be done, says so in the log; the run goes on."""
        try:
            self._door = Door(self._run)
        except (wire.LinkError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            self._tell(LogLine(level="warning", text=f"nobody can attach to this run: {reason}"))
            return
        assert self._door.socket is not None
        self._selector.register(self._door.socket, selectors.EVENT_READ)
        self._selector.register(self._ear, selectors.EVENT_READ)
        self._thread.start()

    def take_controls(self) -> None:
        """The screen in this process has the controls again."""
        self._ask(lambda: self._give_controls(HERE))

    def screen_left(self) -> None:
        """There is no screen in this process any more."""
        self._attended = False
        self._ask(self._release_controls)

    def trainer_ended(self) -> None:
        """Says so to all, once they have been told all before it."""
        self._ask(self._say_over)

    def close(self) -> None:
        """Hands out what there is, and ends. The log has been closed before."""
        self._closing = True
        self._ring()
        if self._thread.ident:
            self._thread.join()
        for end in (self._bell, self._ear):
            end.close()

    def _hear(self, offset: int, lines: bytes) -> None:
        if self._listening:
            self._news.append((offset, lines))
            self._ring()

    def _ask(self, what: Callable[[], None]) -> None:
        self._asked.append(what)
        self._ring()

    def _ring(self) -> None:
        with suppress(OSError):  # full: it rings already
            self._bell.send(b".")

    # The thread

    def _serve(self) -> None:
        try:
            while not self._closing:
                self._attend(None)
            self._hand_out()
            self._see_out()
        except Exception:  # a bug here is no reason to lose a run
            traceback.print_exc()  # into console.log
            self._tell(LogLine(level="error", text="the link failed; nobody can attach to this run any more"))
        finally:
            self._listening = False
            for reader in list(self._readers.values()):
                self._dismiss(reader)
            if self._door:
                self._door.close()
            self._selector.close()

    def _attend(self, timeout: float | None) -> None:
        """Waits for something, and does it."""
        for key, events in self._selector.select(timeout):
            if key.fileobj is self._ear:
                with suppress(BlockingIOError):
                    self._ear.recv(4096)
            elif key.data is None:
                self._let_in()
            else:
                self._serve_reader(key.data, events)
        while self._asked:
            self._asked.popleft()()
        self._hand_out()

    def _let_in(self) -> None:
        assert self._door and self._door.socket
        try:
            line, _ = self._door.socket.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                time.sleep(FULL_SECONDS)  # whoever knocks stays at the door, and would be found there at once again
            return  # or gone again
        line.setblocking(False)
        self._seats += 1
        reader = Reader(self._seats, line)
        self._readers[reader.seat] = reader
        self._selector.register(line, selectors.EVENT_READ, reader)
        if not is_same_user(line):
            self._refuse(reader, "this run is another user's")
        elif len(self._readers) > MOST_READERS:
            self._refuse(reader, f"{MOST_READERS} are attached already")

    def _serve_reader(self, reader: Reader, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE:
                self._push(reader)
            if events & selectors.EVENT_READ and reader.seat in self._readers:
                data = reader.line.recv(_PIECE)
                if not data:
                    self._dismiss(reader)
                for line in reader.lines.feed(data).splitlines():
                    if reader.seat in self._readers and not reader.is_refused:
                        self._take(reader, wire.from_reader(line))
        except BlockingIOError:
            pass
        except OSError:
            self._dismiss(reader)
        except wire.LinkError as error:
            self._refuse(reader, str(error))

    def _take(self, reader: Reader, message: wire.FromReader) -> None:
        match message:
            case wire.Ask() if reader.asked is None:
                self._welcome(reader, message)
            case wire.Order() if reader.asked:
                self._post(reader, wire.Answer(number=message.number, refused=self._obey_reader(reader, message)))
            case wire.TakeControls() if reader.asked and reader.asked.screen:
                self._give_controls(reader.seat)
            case _:
                self._refuse(reader, "that is not to be said here")

    def _welcome(self, reader: Reader, ask: wire.Ask) -> None:
        if ask.protocol != wire.PROTOCOL:
            ours, theirs = f"{__version__} (protocol {wire.PROTOCOL})", f"{ask.version} (protocol {ask.protocol})"
            self._refuse(reader, f"the run is trained by gpt-cockpit {ours}, and this is {theirs}; use the same")
            return
        reader.asked, reader.name = ask, clean_line(ask.name)[:80]
        self._listening = True
        self._log.interval = WATCHED_SECONDS
        offset, pending = self._log.position()
        self._post(reader, wire.Hello(
            protocol=wire.PROTOCOL, version=__version__, run=self._run.name, profile=self._profile, pid=os.getpid(),
            seat=reader.seat, pilot=self.pilot, pilot_name=self.pilot_name, offset=offset, over=self._over,
        ))  # fmt: skip
        reader.begin(offset, pending)
        self._push(reader)
        if ask.screen:
            self._tell(LogLine(level="info", text=f"attached: {reader.name}", source="link"))
            if self.pilot is None and not ask.watch:
                self._give_controls(reader.seat)

    def _obey_reader(self, reader: Reader, order: wire.Order) -> str:
        """Hands a command on; returns why not, if so."""
        if self._over:
            return "the run has ended"
        if isinstance(order.command, Leave):
            return "Leave is not for others to say"
        is_script = reader.asked is None or not reader.asked.screen
        if not is_script and reader.seat != self.pilot:
            who = f"{self.pilot_name or 'the screen of the run'} has" if self.pilot is not None else "nobody has"
            return f"{who} the controls; take them first"
        if is_script:
            text = f"{type(order.command).__name__} asked for by a script: {reader.name}"
            self._tell(LogLine(level="info", text=text, source="link"))
        self._obey(order.command)
        return ""

    # Who steers

    def _give_controls(self, seat: int) -> None:
        if seat != self.pilot:
            self.pilot = seat
            self.pilot_name = self._readers[seat].name if seat != HERE else ""
            self._tell(PilotChanged(pid=os.getpid(), seat=seat, pilot=self.pilot_name or "the screen of the run"))

    def _release_controls(self) -> None:
        """Takes them from whoever is gone: the screen of the run has them then, or nobody."""
        if self.pilot in self._readers or (self.pilot == HERE and self._attended) or self.pilot is None:
            return
        if self._attended:
            self._give_controls(HERE)
        else:
            self.pilot, self.pilot_name = None, ""
            self._tell(PilotChanged(pid=os.getpid(), seat=None))

    # What readers are sent

    def _hand_out(self) -> None:
        """Sends each reader what is new in the log."""
        told = [reader for reader in self._readers.values() if reader.asked]
        while self._news:
            offset, lines = self._news.popleft()
            for reader in told:
                reader.hear(offset, lines)
        for reader in told:
            self._push(reader)

    def _say_over(self) -> None:
        self._log.flush()
        self._hand_out()
        self._over = True
        for reader in list(self._readers.values()):
            if reader.asked:
                self._post(reader, wire.Over())

    def _post(self, reader: Reader, message: wire.Message) -> None:
        if reader.answer(message):
            self._push(reader)
        else:
            self._dismiss(reader)

    def _push(self, reader: Reader) -> None:
        """Sends a reader as much as it takes now."""
        if reader.seat not in self._readers:
            return
        try:
            while not reader.send_waiting() and reader.is_behind:
                reader.catch_up(*self._log.position())
        except OSError:
            self._dismiss(reader)
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if reader.is_waiting else 0)
        if wanted != reader.watched:
            reader.watched = wanted
            self._selector.modify(reader.line, wanted, reader)
        if reader.is_refused and not reader.is_waiting:
            self._dismiss(reader)

    def _refuse(self, reader: Reader, why: str) -> None:
        if reader.seat in self._readers:
            reader.is_refused = True
            reader.asked = None
            self._post(reader, wire.Refused(why=why))

    def _dismiss(self, reader: Reader) -> None:
        if self._readers.pop(reader.seat, None) is None:
            return
        self._selector.unregister(reader.line)
        reader.line.close()
        if reader.asked and reader.asked.screen and not self._closing:
            self._tell(LogLine(level="info", text=f"left: {reader.name}", source="link"))
        self._release_controls()
        self._listening = any(other.asked for other in self._readers.values())
        if not self._listening:
            self._log.interval = WRITE_SECONDS
            self._news.clear()

    def _see_out(self) -> None:
        """Gives those who still read a moment for what is on its way."""
        until = time.monotonic() + LAST_SECONDS
        while any(reader.is_waiting for reader in self._readers.values()) and time.monotonic() < until:
            self._attend(until - time.monotonic())
