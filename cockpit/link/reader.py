"""One who is attached to a run, as its server sees him: what is on its way to him, and how far in the log he is."""

from __future__ import annotations

import collections
import selectors
import socket

from cockpit.link import wire

MOST_WAITING = 1 << 20
"""Bytes of the log that wait for a reader at most, before he is no longer told."""
MOST_ANSWERS = 1000
"""Messages that wait for a reader at most: one who orders and does not listen is sent away."""


class Reader:
    """One who is attached.

    Args:
        seat: his number.
        line: his socket; does not block.
    """

    def __init__(self, seat: int, line: socket.socket) -> None:
        self.seat, self.line = seat, line
        self.name = ""
        self.asked: wire.Ask | None = None
        """What he said he is; None: he has not yet, or has been refused."""
        self.lines = wire.Lines(wire.LONGEST_ORDER)
        self.watched = selectors.EVENT_READ
        """What his socket is watched for."""
        self.is_behind = self.is_refused = False
        self._waiting: collections.deque[memoryview] = collections.deque()
        self._size = 0  # bytes that wait
        self._answers = 0  # messages since nothing waited
        self._told = 0  # bytes of the log that he has been sent, or will be

    @property
    def is_waiting(self) -> bool:
        """Whether something is on its way to him."""
        return bool(self._waiting)

    @property
    def size(self) -> int:
        """Bytes that wait for him."""
        return self._size

    def begin(self, offset: int, lines: bytes) -> None:
        """Tells him of the log from here on.

        Args:
            offset, lines: the log on disk, and what of it is not there yet and can be read nowhere else.
        """
        self.is_behind, self._told = False, offset
        self._tell(lines)

    def hear(self, offset: int, lines: bytes) -> None:
        """Takes lines of the log for him; those that he was sent already are left out."""
        if self.is_behind or offset < self._told:
            return
        if offset > self._told or self._size + len(lines) > MOST_WAITING:
            self.is_behind = True
        else:
            self._tell(lines)

    def answer(self, message: wire.Message) -> bool:
        """Takes a message for him; False where he has long stopped listening."""
        self._put(wire.encode(message))
        self._answers += 1
        return self._answers <= MOST_ANSWERS

    def send_waiting(self) -> bool:
        """Sends as much as is taken; True where some still waits. Raises OSError where nobody is there any more."""
        while self._waiting:
            try:
                sent = self.line.send(self._waiting[0])
            except BlockingIOError:
                return True
            self._size -= sent
            if sent < len(self._waiting[0]):
                self._waiting[0] = self._waiting[0][sent:]
                return True
            self._waiting.popleft()
        self._answers = 0
        return False

    def catch_up(self, offset: int, lines: bytes) -> None:
        """Says from where in the log it goes on, to one who was too slow; nothing is told twice.

        Args:
            offset, lines: as in `begin`.
        """
        known = max(0, self._told - offset)
        self._put(wire.encode(wire.GoOn(offset=offset + known)))
        self.begin(offset + known, lines[known:])

    def _tell(self, lines: bytes) -> None:
        if lines:
            self._put(lines)
            self._told += len(lines)

    def _put(self, data: bytes) -> None:
        self._waiting.append(memoryview(data))
        self._size += len(data)
