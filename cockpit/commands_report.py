"""`gpt-cockpit report`: a run as a page, for whoever has not the program. Imports nothing heavy."""

from __future__ import annotations

import sys
from json import dumps
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cockpit.arguments import AsJson, RunName, RunsDir
from cockpit.runs import DEFAULT_RUNS_DIR, Run
from cockpit.sanitize import shown


def report(
    run: RunName,
    /,
    *,
    out: Annotated[
        Path | None, Parameter(help="Folder to write, not there yet; else report-STEP in the run's.")
    ] = None,
    json: AsJson = False,
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
) -> int:
    """Writes a report: curves, evaluations, time, changes, samples and diagnoses, as HTML, and as Markdown with SVG."""
    opened = Run.open(runs_dir, run)
    from cockpit.reporting import stage
    from cockpit.reporting.contents import summary
    from cockpit.reporting.gathering import from_log
    from cockpit.reporting.writing import write

    subject = from_log(opened)
    written = write(subject, opened.path, stage.screen_of(subject), out)
    if json:
        diagnoses = [
            {"rule": each.rule, "severity": each.severity, "title": each.title, "evidence": dict(each.evidence),
             "advice": each.advice, "action": each.treatment.label if each.treatment else None}
            for each in subject.diagnoses()
        ]  # fmt: skip
        told = {"folder": str(written.folder), "files": list(written.files), "notes": list(written.notes)}
        sys.stdout.write(dumps(told | summary(subject) | {"diagnoses": diagnoses}, indent=1) + "\n")
        return 0
    lines = [shown(written.page), *(f"  {shown(note)}" for note in written.notes)]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0
