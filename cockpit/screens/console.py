"""The sample console: a prompt, how it is continued, and the texts as they are written, a checkpoint's beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from textual.binding import BindingType
from textual.containers import Horizontal
from textual.widget import Widget
from textual.widgets import Input, Static

from cockpit.sanitize import clean
from cockpit.screens.modal import text
from cockpit.screens.prompt import PromptEditor
from cockpit.screens.view import View
from cockpit.state import RunState
from cockpit.widgets import ink
from cockpit.widgets.answers import Answers
from cockpit.widgets.lineinput import LineInput
from gpt.commands import Sample
from gpt.config import Profile
from gpt.strict import find_mistake

if TYPE_CHECKING:
    from cockpit.app import CockpitApp

ALTERNATIVES = 5
"""Likeliest tokens that are asked for with a sample."""
HISTORY = 200
"""Prompts that are remembered."""


class Field(NamedTuple):
    """One setting of a sample."""

    key: str
    """Of [sample], or `against`."""
    label: str
    cells: int
    """What its value has room for."""
    kind: type
    """Of its value."""


FIELDS = (
    Field("temperature", "temp", 5, float), Field("top_k", "top-k", 5, int), Field("top_p", "top-p", 5, float),
    Field("max_new_tokens", "tokens", 6, int), Field("seed", "seed", 8, int), Field("count", "count", 3, int),
    Field("stop", "stop", 8, str), Field("against", "beside step", 9, int),
)  # fmt: skip
OPEN = {"seed": "new", "stop": "none", "against": "none"}
"""What stands dim in a field that is left open."""
FIRST_ROW = 4
"""How many of them stand in the first row."""


class Memory:
    """What the console remembers while the program runs."""

    def __init__(self) -> None:
        self.prompt: str | None = None
        self.values: dict[str, str] = {}
        """What was typed into fields, where it is not the profile's."""
        self.sent: list[str] = []
        """Prompts, oldest first."""
        self.since: int | None = None
        """Samples up to this number were there before the newest question; None: nothing was asked yet."""
        self.scores = True
        """Whether to ask how likely each token was."""


def open_console(app: CockpitApp) -> None:
    """Opens the console."""
    memory = app.memory.setdefault("console", Memory())
    app.open(ConsoleView(app, memory))


class ConsoleView(View[None]):
    """Asks, and shows the answers."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape", "close", "close"), ("ctrl+b", "beside", "beside"), ("ctrl+t", "scores", "probabilities"),
        ("pageup", "scroll(-1)", "back"), ("pagedown", "scroll(1)", "on"),
    ]  # fmt: skip

    def __init__(self, app: CockpitApp, memory: Memory) -> None:
        keys = [
            ("enter", "sample"), ("^g", "stop"), ("↑↓", "history"), ("tab", "fields"), ("^b", "beside"),
            ("^t", "scores"),
        ]  # fmt: skip
        super().__init__("sample console", keys)
        self._cockpit, self._memory = app, memory
        self._answers = Answers()
        self._answers.since, self._answers.scores = memory.since, memory.scores
        self._answers.prompt = memory.sent[-1] if memory.sent else None
        self._profile = {field.key: app.settings.get(f"sample.{field.key}") for field in FIELDS}
        self._profile["seed"] = None  # left open, each sample has one of its own
        self._history = _history(app, memory)
        self._turned = len(self._history)
        """Which prompt of the history is shown; its length: the one that is being written."""
        self._draft = ""

    def body(self) -> Iterable[Widget]:
        prompts = self._cockpit.settings["sample.prompts"] or self._cockpit.link.profile.sample.prompts
        prompt = prompts[0] if self._memory.prompt is None else self._memory.prompt
        yield PromptEditor(clean(prompt), id="prompt", soft_wrap=True, tab_behavior="focus", compact=True)
        for number, fields in enumerate((FIELDS[:FIRST_ROW], FIELDS[FIRST_ROW:])):
            yield Horizontal(*(widget for field in fields for widget in self._entry(field)), id=f"fields-{number}")
        yield self._answers

    def _entry(self, field: Field) -> Iterable[Widget]:
        yield Static(text((f" {field.label} ", ink.DIM)), classes="label")
        value = self._memory.values.get(field.key, _typed(self._profile[field.key]))
        entry = LineInput(
            value, id=f"field-{field.key}", placeholder=OPEN.get(field.key, ""),
            compact=True, select_on_focus=True,
        )  # fmt: skip
        entry.cursor_blink = False
        entry.styles.width = field.cells + 1
        yield entry

    def on_mount(self) -> None:
        super().on_mount()
        editor = self.query_one(PromptEditor)
        editor.cursor_blink = False
        editor.focus()
        editor.move_cursor(editor.document.end)

    def show_body(self, state: RunState) -> bool:
        return self._answers.show(state)

    # -- keys -------------------------------------------------------------------------------------------------------

    def on_prompt_editor_left(self) -> None:
        self.action_close()

    def on_prompt_editor_sent(self) -> None:
        self._ask()

    def on_input_submitted(self) -> None:
        self._ask()

    def on_prompt_editor_turned(self, event: PromptEditor.Turned) -> None:
        """Shows another prompt of the history; behind the newest one, what was being written."""
        editor = self.query_one(PromptEditor)
        if self._turned == len(self._history):
            self._draft = editor.text
        self._turned = max(0, min(len(self._history), self._turned + event.by))
        shown = self._draft if self._turned == len(self._history) else self._history[self._turned]
        editor.load_text(clean(shown))
        editor.move_cursor(editor.document.end)

    def on_prompt_editor_paged(self, event: PromptEditor.Paged) -> None:
        self.action_scroll(event.by)

    def action_beside(self) -> None:
        """Names the next older checkpoint to compare with, and after the oldest none."""
        steps = [str(save.step) for save in reversed(self._cockpit.link.saves()) if save.abandoned is None]
        entry = self.query_one("#field-against", Input)
        if not steps:
            self._say("there is no checkpoint yet to compare with: c on the main screen saves one", "warning")
        else:
            entry.value = ["", *steps][(steps.index(entry.value) + 2) % (len(steps) + 1) if entry.value in steps else 1]

    def action_scores(self) -> None:
        """Asks for each token's probability, or no more; colours the texts that have them."""
        self._memory.scores = self._answers.scores = not self._memory.scores
        self._say(f"probabilities of tokens are {'asked for and shown' if self._memory.scores else 'left out'}")
        self._answers.redraw()

    def action_scroll(self, pages: int) -> None:
        """Moves the texts."""
        self._answers.scroll(pages)

    def action_close(self) -> None:
        """Goes back; what is being drawn goes on, and the console keeps what was typed."""
        self._remember()
        self.dismiss(None)

    # -- asking -----------------------------------------------------------------------------------------------------

    def _ask(self) -> None:
        self._remember()
        command, mistake = command_of(
            self._memory.prompt or "", self._memory.values, self._profile, self._memory.scores
        )
        if self._cockpit.state.is_final:
            self._say("the run has ended: gpt-cockpit sample continues its checkpoints", "warning")
        elif command is None:
            self._say(mistake, "warning")
        else:
            self._memory.since = _newest(self._cockpit.state)
            self._answers.follow(self._memory.since, self._memory.prompt or "")
            if not self._memory.sent or self._memory.sent[-1] != command.prompt:
                self._memory.sent = [*self._memory.sent, self._memory.prompt or ""][-HISTORY:]
            self._history = _history(self._cockpit, self._memory)
            self._turned = len(self._history)
            self._cockpit.send(command)
            self._say("sampling after this micro-step")

    def _remember(self) -> None:
        """Keeps what is typed, for the next time."""
        self._memory.prompt = self.query_one(PromptEditor).text
        for field in FIELDS:
            value = self.query_one(f"#field-{field.key}", Input).value
            if value == _typed(self._profile[field.key]):
                self._memory.values.pop(field.key, None)
            else:
                self._memory.values[field.key] = value

    def _say(self, what: str, level: str = "info") -> None:
        self._cockpit.say(what, level)
        self._cockpit.frame(force=True)


def command_of(
    prompt: str, typed: Mapping[str, str], profile: Mapping[str, Any], scores: bool
) -> tuple[Sample | None, str]:
    """The command for what is typed, or None and why not.

    Args:
        typed: by key, what is not the profile's.
        profile: the profile's values, for those left empty.
    """
    asked: dict[str, Any] = {}
    for field in FIELDS:
        value = typed.get(field.key)
        if value is None or (value.strip() == "" and field.key != "stop"):
            continue
        try:
            asked[field.key] = _unescaped(value) if field.kind is str else field.kind(value.strip().replace(",", ""))
        except ValueError:
            return None, f"{field.label} must be a number; got {clean(value)}"
    against = asked.get("against")
    if against is not None and against < 0:
        return None, f"beside step must be a checkpoint's step; got {against}"
    settings = {key: value for key, value in asked.items() if key != "against"}
    if mistake := find_mistake({"sample": settings}, Profile):
        return None, mistake.text
    return Sample(prompt=prompt, alternatives=ALTERNATIVES if scores else None, **asked), ""


def _history(app: CockpitApp, memory: Memory) -> list[str]:
    """The profile's prompts, those sampled in this run, and what was asked here; each once, where it was last."""
    prompts = [*(app.settings["sample.prompts"] or []), *app.state.gallery.by_prompt, *memory.sent]
    return list(reversed(dict.fromkeys(reversed(prompts))))


def _newest(state: RunState) -> int:
    return max((sample.number for sample in state.samples), default=0)


def _typed(value: Any) -> str:
    """A value as it stands in a field; a stop string with its line ends written out."""
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value).replace("\\", "\\\\").replace("\n", "\\n")


def _unescaped(value: str) -> str:
    return value.replace("\\\\", "\0").replace("\\n", "\n").replace("\0", "\\")
