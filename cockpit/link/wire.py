"""What crosses between a run's process and those who attach to it: one JSON object a line.

A line that begins with `{"link":` is a message of this module. Every other line from the run's process is a line of its
`events.jsonl`, byte for byte, in the order of the log: so a reader knows by their length how far in the log he is, and
what he has missed is to be read there.

    reader   Ask ──▶                          ──▶ Order, TakeControls
    process       ◀── Hello, lines of the log … ◀── Answer, GoOn, Over
                  ◀── Refused, and the connection is closed
"""

from __future__ import annotations

import msgspec

from gpt.commands import AnyCommand
from gpt.errors import UserError

PROTOCOL = 2
"""Raised whenever a reader of the one before would misunderstand."""
LONGEST_ORDER = 1 << 20
"""Bytes of a line from a reader, at most."""
LONGEST_LINE = 16 << 20
"""Bytes of a line to a reader, at most; as long as a line of the log can be."""
MARK = b'{"link":'
"""How a message begins; no event does."""


class LinkError(UserError):
    """A run cannot be attached to, or does not take what it was sent."""


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="link"):
    """Base of all messages."""


class Ask(Message, frozen=True, tag="ask", kw_only=True):
    """The first line of a reader: who it is, and what it wants."""

    protocol: int
    version: str
    """Of the reader's gpt-cockpit."""
    name: str
    """Who is there, in words: `ada on pts/3`."""
    screen: bool = False
    """Whether it is a screen, that can have the controls; a script acts beside whoever has them."""
    watch: bool = False
    """Whether it leaves the controls alone even where nobody has them."""


class Order(Message, frozen=True, tag="order", kw_only=True):
    """A command for the trainer."""

    number: int
    """The reader's own; the Answer has it too."""
    command: AnyCommand


class TakeControls(Message, frozen=True, tag="take", kw_only=True):
    """Let me be the pilot, whoever is it now."""


class Hello(Message, frozen=True, tag="hello", kw_only=True):
    """The reader is let in."""

    protocol: int
    version: str
    """Of the gpt-cockpit that trains."""
    run: str
    profile: msgspec.Raw
    """gpt.config.Profile that the sitting began with, as JSON."""
    pid: int
    """Of the process that trains."""
    seat: int
    """The reader's number within this sitting; 0 is the screen of the run itself."""
    pilot: int | None
    """Seat of who has the controls; None: nobody."""
    pilot_name: str = ""
    offset: int
    """Bytes of the log before the first line that follows."""
    over: bool = False
    """Whether the trainer has ended already."""


class Papers(Message, frozen=True, tag="papers", kw_only=True):
    """What a reader on another machine cannot see: the run's own files. Its whole log follows."""

    facts: dict[str, object]
    """run.json."""
    profile: str
    """profile.toml."""
    is_launched: bool = False
    """Whether a launcher holds the run for its ranks, which may be started anew."""


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint, as cockpit.saves.Save."""

    place: str
    """Its folder, from the run's `checkpoints` on."""
    step: int
    time: float
    """Unix time."""
    size: int
    """Bytes."""
    val_loss: float | None
    """nats/token."""
    is_best: bool
    abandoned: int | None
    profile: dict[str, object] | None
    """gpt.config.Profile, which may be another version's."""


class Saves(Message, frozen=True, tag="saves", kw_only=True):
    """The run's checkpoints by step: from beside the run, for a reader on another machine, once they have changed."""

    saves: list[Saved]


class Answer(Message, frozen=True, tag="answer", kw_only=True):
    """Whether an order is on its way to the trainer; what comes of it, the log says."""

    number: int
    refused: str = ""
    """Why it is not."""


class GoOn(Message, frozen=True, tag="go on", kw_only=True):
    """The lines that follow stand in the log from `offset` on. What the reader lacks before, it reads there: it was too
    slow to be told, or has only just been told the past."""

    offset: int


class Over(Message, frozen=True, tag="over", kw_only=True):
    """The trainer has ended; what may still follow are the meters' last readings."""


class Away(Message, frozen=True, tag="away", kw_only=True):
    """From beside the run, for one on another machine: its process has hung up, and its launcher may start another one,
    of which a Hello follows."""


class Gone(Message, frozen=True, tag="gone", kw_only=True):
    """From beside the run, for one on another machine: its process has hung up, and the log is told to its end."""

    in_use: bool
    """Whether a process has the run all the same."""


class Refused(Message, frozen=True, tag="refused", kw_only=True):
    """The last line before the connection is closed."""

    why: str


FromReader = Ask | Order | TakeControls
ToReader = Hello | Papers | Saves | Answer | GoOn | Over | Away | Gone | Refused

_encoder = msgspec.json.Encoder()
_from_reader = msgspec.json.Decoder(FromReader)
_to_reader = msgspec.json.Decoder(ToReader)


def encode(message: Message) -> bytes:
    """One line, its end included."""
    return _encoder.encode(message) + b"\n"


def from_reader(line: bytes) -> FromReader:
    """A reader's message. Raises LinkError for anything else."""
    try:
        return _from_reader.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise LinkError(f"not understood: {error}") from None


def to_reader(line: bytes) -> ToReader:
    """A message of the run's process. Raises LinkError for anything else."""
    try:
        return _to_reader.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise LinkError(f"the run's process sent what is no message ({error}); use the same gpt-cockpit") from None


class Lines:
    """Puts whole lines together from what comes in.

    Args:
        longest: bytes of a line at most.
    """

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._begun: list[bytes] = []
        self._size = 0  # of what has begun

    def feed(self, data: bytes) -> bytes:
        """The lines that are whole by now, in one piece. Raises LinkError where one is longer than is allowed."""
        whole, end, rest = data.rpartition(b"\n")
        if end:
            whole = b"".join((*self._begun, whole, end))
            self._begun, self._size = [], 0
            data = rest
        self._begun.append(data)
        self._size += len(data)
        if self._size > self._longest:
            raise LinkError(f"a line of more than {self._longest:,} bytes")
        return whole


def parts(block: bytes) -> list[bytes | ToReader]:
    """Whole lines from the run's process, in order: its messages, and stretches of the log's lines between them.

    Raises LinkError for a message that is none.
    """
    if MARK not in block:
        return [block] if block else []
    found: list[bytes | ToReader] = []
    log: list[bytes] = []
    for line in block.splitlines(keepends=True):
        if not line.startswith(MARK):
            log.append(line)
            continue
        if log:
            found.append(b"".join(log))
            log = []
        found.append(to_reader(line))
    return [*found, b"".join(log)] if log else found
