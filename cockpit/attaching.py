"""A sitting at a run that another process trains."""

from __future__ import annotations

import sys
from pathlib import Path

from cockpit.app import CockpitApp
from cockpit.link.socket import SocketLink
from cockpit.longlog import Reader
from cockpit.options import ScreenOptions
from cockpit.recall import Recall
from cockpit.runs import Run
from cockpit.sanitize import clean_line
from cockpit.screens.attached import AttachedScreen
from cockpit.screens.quit import ATTACHED, QuitChoice
from cockpit.state import RunState
from cockpit.watching import need_terminal, show
from gpt.commands import Stop

_INSTEAD = "gpt-cockpit wait RUN waits for a run's end without one"


class AttachedApp(CockpitApp):
    """The cockpit of a run that goes on without it."""

    ways_out = ATTACHED

    def _leave(self, choice: QuitChoice | None) -> None:
        if choice in ("stop", "discard"):
            self.send(Stop(save=choice == "stop"))
        elif choice == "detach":
            self.exit(choice)


def attach(run: Run, ahead: Reader | None, options: ScreenOptions) -> int:
    """Shows a live run until its screen is left. Returns the exit code.

    Args:
        ahead: reads its log already.

    Raises RunError where there is no terminal, LinkError where it cannot be attached to.
    """
    need_terminal(_INSTEAD)
    from cockpit import keymap

    keymap.load(keymap.usual_path())
    back = " ".join(["gpt-cockpit attach", run.name, *run.where()])
    return show_link(SocketLink.attach(run, watch=options.readonly, ahead=ahead), options, back)


def attach_far(target: str, runs_dir: Path, options: ScreenOptions, *, ssh: str, program: str) -> int:
    """The same for a run on another machine, over ssh."""
    need_terminal(_INSTEAD)
    from cockpit import keymap
    from cockpit.link.ssh import RemoteLink, far

    keymap.load(keymap.usual_path())
    link = RemoteLink(far(target, runs_dir), watch=options.readonly, ssh=ssh, program=program)
    return show_link(link, options, f"gpt-cockpit attach {target}")


def show_link(link: SocketLink, options: ScreenOptions, back: str) -> int:
    """Shows a run through its link until the screen is left, and closes it. Returns the exit code.

    Args:
        back: what to type to come back to a run that goes on.
    """
    app = AttachedApp(link, options=options, recall=Recall.usual(), main=AttachedScreen(link, thin=options.thin))
    code = show(app, share=link.profile.screen.cpu_budget)
    sys.stdout.write(f"{clean_line(_parting(link, app.state, back))}\n")
    link.close()
    return code


def _parting(link: SocketLink, state: RunState, back: str) -> str:
    """What becomes of a run whose screen is left, and what to type next."""
    if not state.is_final:
        return f"{link.run} {'goes on at' if link.alive else 'was last seen at'} step {state.step:,}; {back} comes back"
    run = Run(link.run_dir)  # of one on another machine there are no checkpoints here
    can_go_on = state.state != "finished" and run.checkpoint_time() is not None
    how = f"; {run.resume_command()} goes on with it" if can_go_on else ""
    return f"{link.run} {state.state} at step {state.step:,}{how}"
