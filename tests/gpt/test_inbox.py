"""Commands come in from any thread, and from signals, whatever those interrupt."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from gpt.commands import Command, Pause, Stop
from gpt.inbox import Inbox
from gpt.ranks import ALONE


def test_a_signal_in_the_middle_of_sending_may_send_too() -> None:
    """As when SIGTERM comes while the screen, that is being left, has the run saved."""
    inbox = Inbox(ALONE)
    sent: list[Command] = []

    def send(number: int, frame: object) -> None:
        inbox.put(Stop(save=True))
        sent.append(Stop(save=True))

    def give_up(number: int, frame: object) -> None:
        pytest.fail("the sender holds itself up for ever")

    before = {
        signal.SIGVTALRM: signal.signal(signal.SIGVTALRM, send),
        signal.SIGALRM: signal.signal(signal.SIGALRM, give_up),
    }
    signal.setitimer(signal.ITIMER_VIRTUAL, 1e-4, 1e-4)  # of the time that is computed: none where it is held up
    signal.setitimer(signal.ITIMER_REAL, 60)
    try:
        put = 0
        while len(sent) < 30:
            inbox.put(Pause())
            put += 1
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
    assert sum(isinstance(command, Stop) for command in inbox.take()) == len(sent)


def test_who_waits_is_woken_by_a_command_and_not_again_by_the_same() -> None:
    inbox = Inbox(ALONE)
    sender = threading.Timer(0.05, lambda: [inbox.put(Pause()) for _ in range(3)])
    sender.start()
    inbox.wait(60)
    sender.join()
    assert not inbox.is_empty
    inbox.wait(0)
    assert [*inbox.take()] == [Pause()] * 3
    began = time.monotonic()
    inbox.wait(0.05)
    assert time.monotonic() - began >= 0.05
