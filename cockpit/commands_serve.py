"""`gpt-cockpit serve`: the screen in a browser of this machine. Imports nothing heavy."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from cockpit.arguments import Data, ForkSource, NewRunName, Overrides, ProfileName, RunsDir
from cockpit.sanitize import shown
from gpt.errors import RunError


def serve(
    profile: ProfileName,
    /,
    *,
    port: Annotated[int, Parameter(help="Port to listen on; 0: any that is free.", show_default=True)] = 8000,
    host: Annotated[str, Parameter(help="127.0.0.1, ::1 or localhost; nothing else.", show_default=True)] = "127.0.0.1",
    overrides: Overrides = (),
    data: Data = (),
    run: NewRunName = None,
    runs_dir: RunsDir = Path("runs"),
    resume: Annotated[bool, Parameter(help="Go on with --run, or else with the profile's newest run.")] = False,
    fork: ForkSource = None,
    theme: Annotated[
        Literal["dark", "light", "colorblind"] | None, Parameter(help="Colours: dark, light or colorblind.")
    ] = None,
    readonly: Annotated[bool, Parameter(help="Only watch: every key that would change the run is refused.")] = False,
    thin: Annotated[bool, Parameter(help="Send the browser less: for a slow line.")] = False,
) -> int:
    """Trains a profile and shows its screen in a browser of this machine."""
    from cockpit import profile as profiles
    from cockpit.web.door import check_host

    check_host(host)
    if not 0 <= port <= 65535:
        raise RunError(f"--port takes 0 to 65535; got {port}")
    if find_spec("textual_serve") is None:
        raise RunError("serve needs textual-serve: pip install 'gpt-cockpit[web]'")
    loaded = profiles.load(profiles.find(profile), overrides)
    if data:  # before anybody is let in: its progress belongs on this terminal
        from cockpit.preparation import other_data

        overrides = (*overrides, other_data(data, loaded.profile.data))
    from cockpit.web import server

    try:
        listening = server.listen("127.0.0.1" if host == "localhost" else host, port)
    except OSError as error:
        raise RunError(f"port {port} of {host} cannot be had ({error.strerror}); give another one to --port") from None
    words = [str(loaded.path), "--runs-dir", str(runs_dir)]
    words += [word for override in overrides for word in ("--set", override)]
    words += ["--run", run] if run else []
    words += ["--fork", fork] if fork else []
    words += ["--theme", theme] if theme else []
    words += [flag for flag, asked in (("--resume", resume), ("--readonly", readonly), ("--thin", thin)) if asked]
    with listening:
        return server.serve(words, f"{shown(loaded.profile.name)} · gpt-cockpit", listening)
