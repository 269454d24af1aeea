"""Gate 8: the licences of all that is installed for the program to run, by the packages' own metadata."""

from __future__ import annotations

import importlib.metadata
import re

import tomli
from packaging.requirements import Requirement

from tests.chaos.gate import ROOT, Effort, Outcome, gate

PERMITTED = (
    "MIT", "BSD", "0BSD", "Apache", "ISC", "PSF", "CNRI", "Zlib", "BSL-1.0", "CC0", "Unlicense",
    "Mozilla Public License 2.0", "MPL-2.0",
)  # fmt: skip
"""How those begin that ask for no more than their own text, or, the last, for changes of their own files."""
_JOINTS = re.compile(r" AND | OR |, | WITH LLVM-exception")


@gate("8c", "licences of what is installed for it", unit="packages")
def licences(effort: Effort) -> Outcome:
    """By the packages' own metadata, offline: each has one, and it is one of those that are permitted."""
    project = tomli.loads((ROOT / "pyproject.toml").read_text())["project"]
    found: dict[str, str] = {}
    _collect(project["dependencies"], found)
    findings = [f"{name}: {wrong}" for name, licence in sorted(found.items()) if (wrong := wrong_with(licence))]
    note = " · ".join(f"{name} {licence}" for name, licence in sorted(found.items()))
    return Outcome(len(found), findings, note)


def wrong_with(licence: str) -> str:
    """Why a package's licence, as its metadata have it, will not do; empty: it will."""
    if not licence:
        return "names no licence"
    others = [part for part in _JOINTS.split(licence) if part and not part.strip("() ").startswith(PERMITTED)]
    return f"its licence is {', '.join(others)}" if others else ""


def _collect(requirements: list[str], found: dict[str, str]) -> None:
    """The licences of requirements and of what those require, by name; those that are not installed are left out."""
    for text in requirements:
        requirement = Requirement(text)
        name = requirement.name.lower()
        if name in found or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        try:
            package = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        found[name] = _licence(package)
        _collect(package.requires or [], found)


def _licence(package: importlib.metadata.Distribution) -> str:
    facts = package.metadata
    said = facts.get("License-Expression") or ""
    classified = [
        each.rpartition(" :: ")[2] for each in facts.get_all("Classifier") or [] if each.startswith("License ::")
    ]
    lines = (facts.get("License") or "").strip().splitlines()
    return said or ", ".join(classified) or (lines[0][:40] if lines else "")
