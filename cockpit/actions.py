"""What a pilot can do: one list that the key bindings, the key bar, the help and the palette are made from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from textual.binding import Binding

from cockpit.state import RunState
from gpt.commands import Command, Continue, Evaluate, Pause, Save, StepOnce, StopSampling


def always(state: RunState) -> bool:
    """Whatever the state."""
    return True


def live(state: RunState) -> bool:
    """While the trainer has not ended."""
    return not state.is_final


def paused(state: RunState) -> bool:
    """While training stands still, whatever is done beside it: a key pressed then must not mean something else."""
    return state.stands_still


REBOUND: dict[str, tuple[str, ...]] = {}
"""Keys that the keymap (cockpit.keymap) gives to actions instead of their own; settled before the screen is made."""
_WRITTEN = {"question_mark": "?", "plus": "+", "left_square_bracket": "[", "right_square_bracket": "]", "slash": "/"}
"""How keys are written whose names are not what is printed on them."""


@dataclass(frozen=True)
class Action:
    """One thing a pilot can do."""

    id: str
    """Also the id of its key binding."""
    keys: str
    """Textual's names of its keys, separated by commas; the first one is shown. Empty: only the palette has it."""
    label: str
    """A word or two, for the key bar."""
    help: str
    """One or two sentences: what happens, and when it takes effect."""
    when: Callable[[RunState], bool] = live
    """Whether it can be done in a state."""
    command: Callable[[RunState], Command] | None = None
    """Makes the command it sends."""
    opens: str | None = None
    """`module:function`, called with the app; imported when it is first needed, so that the first frame need not wait
    for it. With neither a command nor this, the app has a method `do_<id>` for it."""
    said: Callable[[RunState], str] | None = None
    """What the notice line says once the command is on its way."""
    other_label: tuple[Callable[[RunState], bool], str] | None = None
    """A label to show instead in some states."""
    in_footer: bool = True
    footer_rank: int = 0
    """What goes first where the key bar is too short: the highest."""
    key_name: str | None = None
    """How its key is written; None: as Textual names it."""
    everywhere: bool = False
    """Whether its key works in a view that fills the screen too."""
    short: str | None = None
    """A shorter label, for a narrow key bar."""
    steers: bool | None = None
    """Whether it can lead to a command; None: if it has one itself. With --readonly such an action is refused."""

    @property
    def key_label(self) -> str:
        """How its key is written on screen: the first of them; empty where it has none."""
        if self.id in REBOUND:
            return _WRITTEN.get(REBOUND[self.id][0], REBOUND[self.id][0]) if REBOUND[self.id] else ""
        return self.key_name or self.keys.split(",")[0]

    @property
    def bound_keys(self) -> tuple[str, ...]:
        """Textual's names of the keys that it has now, those of the keymap if it names it."""
        return REBOUND.get(self.id, tuple(filter(None, self.keys.split(","))))

    @property
    def is_steering(self) -> bool:
        """Whether it can lead to a command to the run."""
        return self.command is not None if self.steers is None else self.steers

    @property
    def method(self) -> str:
        """Textual's action string."""
        return f"app.pilot('{self.id}')"

    def label_for(self, state: RunState) -> str:
        """Its label in a state."""
        if self.other_label and self.other_label[0](state):
            return self.other_label[1]
        return self.label


PANELS = {
    "chart": "loss chart", "instruments": "instruments", "time": "time bar", "sample": "sample", "log": "log",
}  # fmt: skip
"""Panes of the main screen by the number of their key, from 1 on."""

ACTIONS: tuple[Action, ...] = (
    Action(
        "pause", "space", "pause",
        "Stand still as soon as the micro-step under way is done; again to go on. Nothing is lost or repeated.",
        command=lambda state: Continue() if paused(state) else Pause(),
        said=lambda state: "going on" if paused(state) else "pausing after this micro-step",
        other_label=(paused, "resume"), footer_rank=1, everywhere=True,
    ),
    Action(
        "step", "n", "one step", "While paused, take one step and stand still again.",
        when=paused, command=lambda state: StepOnce(), said=lambda state: "taking one step", footer_rank=2,
    ),
    Action(
        "sample", "s", "sample",
        "Let the model continue a prompt that you can edit. Sampling has a random generator of its own: training goes "
        "on afterwards exactly as if nothing had been asked.",
        opens="cockpit.screens.console:open_console", footer_rank=3, steers=True,
    ),
    Action(
        "stop_sampling", "ctrl+g", "stop sampling",
        "End the samples that are being drawn, and those that were asked for. Training goes on.",
        command=lambda state: StopSampling(), said=lambda state: "sampling ends after this token", in_footer=False,
        everywhere=True,
    ),
    Action(
        "samples", "t", "samples",
        "The same prompts through the run, side by side; how likely each token was, and what would have stood there.",
        when=always, opens="cockpit.screens.samples:show_samples", in_footer=False,
    ),
    Action(
        "memory", "i", "memory", "What holds memory, by estimate and as measured, and what would free most of it.",
        when=always, opens="cockpit.screens.memory:show_memory", in_footer=False,
    ),
    Action(
        "time", "T", "time", "Where the time went: over the run, over its last minutes, and through time.",
        when=always, opens="cockpit.screens.time:show_time", in_footer=False,
    ),
    Action(
        "plan", "p", "plan",
        "What the run takes at the speed it has: time, memory, cards beside this one, and the best size for some days.",
        when=always, opens="cockpit.screens.plan:plan", in_footer=False,
    ),
    Action(
        "compare", "equals_sign", "compare",
        "This run beside others and published losses: at equal steps, tokens, FLOPs and seconds, and why they differ.",
        when=always, opens="cockpit.screens.compare:choose", in_footer=False, key_name="=",
    ),
    Action(
        "checkpoint", "c", "save", "Write a checkpoint at the next step boundary.",
        command=lambda state: Save(), said=lambda state: "saving a checkpoint at the next step boundary", footer_rank=4,
    ),
    Action(
        "evaluate", "e", "evaluate", "Estimate train and validation loss now, on batches of their own.",
        command=lambda state: Evaluate(), said=lambda state: "evaluating after this micro-step", footer_rank=5,
        short="eval",
    ),
    Action(
        "evaluate_whole", "E", "evaluate all",
        "Find the loss on the whole validation split, each token once, and on as many tokens of the training split. "
        "Leaves the curve and the best loss alone, which are of train.eval_steps batches.",
        command=lambda state: Evaluate(whole=True), in_footer=False,
        said=lambda state: "evaluating on the whole validation split after this micro-step",
    ),
    Action(
        "reload", "r", "reload",
        "Read the profile from disk again, show what differs, and apply what can change while the run goes on.",
        opens="cockpit.screens.reload:reload", footer_rank=6, steers=True,
    ),
    Action(
        "cooldown", "w", "cool down",
        "Let the rate fall from what it is now to its floor, and end the run there. A box shows the effect first.",
        opens="cockpit.screens.steer:cool_down", in_footer=False, steers=True,
    ),
    Action(
        "extend", "plus", "extend", "Make the run longer. A box shows first what the schedule makes of it.",
        opens="cockpit.screens.steer:extend", in_footer=False, steers=True, key_name="+",
    ),
    Action(
        "settings", "l", "settings",
        "Every setting with its meaning, unit and range. Those that can change while the run goes on are changed here, "
        "with the effect shown first; and saved back to the profile's file.",
        when=always, opens="cockpit.screens.settings:settings", steers=True, footer_rank=7,
    ),
    Action(
        "undo", "u", "undo", "Take back the newest change of settings, by making the opposite one.",
        opens="cockpit.screens.apply:undo", steers=True, in_footer=False,
    ),
    Action(
        "agenda", "a", "schedule",
        "Have something done at a step, or the run stopped at a step, a time or a loss. Lists what waits, and cancels "
        "it.",
        opens="cockpit.screens.agenda:agenda", steers=True, in_footer=False,
    ),
    Action(
        "rewind", "b", "back",
        "Choose a checkpoint on the loss curve and go on from there, with another rate if you like. The present is "
        "saved first; what is left stays in the chart, dimmed, and its checkpoints are kept.",
        opens="cockpit.screens.rewind:rewind", in_footer=False, steers=True,
    ),
    Action(
        "fork", "f", "fork",
        "Begin a new run from a checkpoint of this one, or from now. This one is saved and stops.",
        when=always, opens="cockpit.screens.rewind:fork", in_footer=False, steers=True,
    ),
    Action(
        "range_test", "L", "range test",
        "Try ever higher learning rates until the loss diverges, draw it, and suggest one. The training state is put "
        "back afterwards, bit for bit.",
        opens="cockpit.screens.rangetest:range_test", in_footer=False, steers=True,
    ),
    Action(
        "graph", "g", "charts",
        "The curves on a screen of their own: loss, rate, gradient, speed, memory, power, over steps, tokens, time or "
        "FLOPs, with zoom and the values at a step.",
        when=always, opens="cockpit.screens.graph:open_graph", footer_rank=8,
    ),
    Action(
        "overlays", "o", "overlays",
        "Choose what to see behind the loss: earlier runs, with how far ahead of each this one is, and published ones.",
        when=always, opens="cockpit.screens.overlays:choose_overlays", in_footer=False, everywhere=True,
    ),
    Action(
        "rougher", "left_square_bracket", "smooth less", "Smooth the curves less.",
        when=always, opens="cockpit.screens.graph:rougher", in_footer=False, key_name="[", everywhere=True,
    ),
    Action(
        "smoother", "right_square_bracket", "smooth more", "Smooth the curves more.",
        when=always, opens="cockpit.screens.graph:smoother", in_footer=False, key_name="]", everywhere=True,
    ),
    Action(
        "runs", "R", "runs",
        "Every run in this folder, live or ended: sort, filter, open, overlay, compare, resume, delete.",
        when=always, opens="cockpit.screens.runs:show_runs", in_footer=False,
    ),
    Action(
        "controls", "P", "controls",
        "Take the controls over from the screen that has them: of all that show a run, one steers it.",
        when=live, in_footer=False,
    ),
    Action(
        "log", "v", "log",
        "The whole log and the console, with search and levels.",
        when=always, opens="cockpit.screens.log:show_log", in_footer=False,
    ),
    Action(
        "doctor", "d", "doctor",
        "What is wrong with this run or worth knowing, each with the figures it rests on, why, what to do, and a key "
        "that does it.",
        when=always, opens="cockpit.screens.doctor:doctor", in_footer=False,
    ),
    Action(
        "report", "S", "report",
        "Write a report into the run's folder: curves, evaluations, time, changes, samples, diagnoses and this screen, "
        "as one HTML page, and as Markdown with pictures.",
        when=always, opens="cockpit.screens.report:save_report", in_footer=False, everywhere=True,
    ),
    Action(
        "switch_pane", "tab", "log/sample", "On a narrow screen: show the log instead of the sample, or back.",
        when=always, in_footer=False,
    ),
    *[
        Action(
            f"panel_{name}", str(number), f"{name} on/off", f"Hide or show the {what}; remembered.", when=always,
            opens=f"cockpit.screens.panels:toggle_{name}", in_footer=False,
        )
        for number, (name, what) in enumerate(PANELS.items(), start=1)
    ],
    Action(
        "panel_all", "0", "all panes", "Show every pane.", when=always, opens="cockpit.screens.panels:show_all",
        in_footer=False,
    ),
    Action(
        "jump", "j", "jump",
        "A letter on each pane; that letter gives the pane the whole screen. Escape, or a click on its first row, "
        "brings the others back.",
        when=always, opens="cockpit.screens.jump:jump", in_footer=False,
    ),
    Action(
        "explain", "x", "explain",
        "A letter on each number; that letter, or a click, opens what the number is, how it is computed, with this "
        "run's figures, what is usual, what it says and what would change it.",
        when=always, opens="cockpit.screens.explain:choose_number", in_footer=False,
    ),
    Action(
        "scroll_back", "pageup", "back", "Earlier lines of the log, or of the sample where that fills the screen.",
        when=always, opens="cockpit.screens.panels:scroll_back", in_footer=False,
    ),
    Action(
        "scroll_on", "pagedown", "on", "Later lines; at the end it follows what is new again.",
        when=always, opens="cockpit.screens.panels:scroll_on", in_footer=False,
    ),
    Action(
        "theme", "", "theme", "Choose the colours: dark, light, the terminal's own, or without red and green.",
        when=always, opens="cockpit.screens.looks:choose", in_footer=False, everywhere=True,
    ),
    Action(
        "help", "question_mark", "help", "Every key, and how to read the screen.",
        when=always, opens="cockpit.screens.help:show_help", footer_rank=2, key_name="?",
    ),
    Action(
        "palette", "ctrl+p", "palette", "Find an action by name.", when=always, in_footer=False, key_name="ctrl+p",
    ),
    Action(
        "quit", "q,ctrl+q,ctrl+c", "quit",
        "Save and stop, stop without saving, or go on without a screen. Once the run has ended: just leave.",
        when=always,
    ),
)  # fmt: skip

BY_ID = {action.id: action for action in ACTIONS}


def bindings(actions: Iterable[Action] = ACTIONS) -> list[Binding]:
    """The key bindings of actions."""
    return [
        Binding(key, action.method, action.label, tooltip=action.help, id=action.id if number == 0 else None)
        for action in actions
        for number, key in enumerate(action.bound_keys)
    ]
