"""Not the model you think: the built size against what the profile claims."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cockpit.doctor.diagnosis import Diagnosis, Rule, Treatment
from cockpit.doctor.evidence import Evidence
from cockpit.planning.plan import GPT2_SIZES
from gpt.config import ModelConfig, Profile
from gpt.flops import parameter_count

TOLERANCE = 0.10
"""Share by which a size may miss what is claimed: names round, and count positions or not."""

_SIZE = r"(?<![\w.])~?(\d+(?:\.\d+)?)\s?([mMbB])(?![\w%])"
_UNIT = {"m": 1e6, "b": 1e9}


def claims(profile: Profile, source: str) -> Iterator[tuple[str, float]]:
    """(where it stands, parameters) of every size that a profile says it has: by its key, or name and comments."""
    if profile.expected_parameters and (found := re.fullmatch(_SIZE, profile.expected_parameters.strip())):
        yield "expected_parameters", float(found[1]) * _UNIT[found[2].lower()]
        return  # what is said outright counts, not what can be read into words
    for number, unit in re.findall(r"(\d+(?:\.\d+)?)([mMbB])(?![a-zA-Z0-9])", profile.name):
        yield f"the name {profile.name}", float(number) * _UNIT[unit.lower()]
    section = ""
    for line in source.splitlines():
        if heading := re.match(r"\s*\[([\w.]+)\]", line):
            section = heading[1]
        if section != "model" or "#" not in line:
            continue
        comment = line.split("#", 1)[1]
        if re.search(r"param|~", comment, re.IGNORECASE):
            for number, unit in re.findall(_SIZE, comment):
                yield f"the comment #{comment.rstrip()}", float(number) * _UNIT[unit.lower()]


def find(evidence: Evidence) -> Iterator[Diagnosis]:
    """The first claim that neither way of counting comes near to."""
    profile, built, printed = evidence.profile, evidence.parameters, evidence.parameters_without_positions
    if profile is None or built is None or printed is None:
        return
    for where, claimed in claims(profile, evidence.source):
        if min(abs(built / claimed - 1), abs(printed / claimed - 1)) <= TOLERANCE:
            continue
        rows = evidence.rows or 0
        changed, size = _nearest_mend(profile.model, rows, claimed)
        words = ", ".join(f"{key} {value} (it is {getattr(profile.model, key)})" for key, value in changed.items())
        settings = ", ".join(f"{key} = {value}" for key, value in changed.items())
        yield Diagnosis(
            rule="model_size", severity="critical" if abs(printed / claimed - 1) > 0.3 else "warning",
            title=f"{printed / 1e6:.2f}M parameters, not {_millions(claimed)}",
            evidence={
                "parameters": built, "parameters_without_positions": printed, "claimed": claimed, "where": where,
                "n_layer": profile.model.n_layer, "n_head": profile.model.n_head, "n_embd": profile.model.n_embd,
                "vocab_size": rows,
            },
            why=f"{where} says {_millions(claimed)}; the settings build {printed / 1e6:.2f}M (as nanoGPT counts, "
            f"{built / 1e6:.2f}M with positions). {size} has {words}.",
            advice=f"For {_millions(claimed)} set {settings} and start again; or correct what it claims, "
            "and train it on tokens that suit its real size.",
            treatment=Treatment("profile", f"build {size}", {f"model.{key}": value for key, value in changed.items()}),
            reference="Radford et al. 2019, table 2: 12 layers of width 768 make GPT-2's 124M",
        )  # fmt: skip
        return


def _nearest_mend(model: ModelConfig, rows: int, claimed: float) -> tuple[dict[str, int], str]:
    """What to change to come to the claimed size: the width alone where that does it, else a size of GPT-2's."""
    width = min(range(64, 8193, 64), key=lambda width: abs(_size(model, rows, width) - claimed))
    known = min(GPT2_SIZES, key=lambda name: abs(_size_of(GPT2_SIZES[name], model, rows) - claimed))
    layers, heads, known_width = GPT2_SIZES[known]
    if abs(_size_of(GPT2_SIZES[known], model, rows) / claimed - 1) <= TOLERANCE:
        wanted = {"n_layer": layers, "n_head": heads, "n_embd": known_width}
        return {key: value for key, value in wanted.items() if getattr(model, key) != value}, known
    return {"n_embd": width}, f"a model of {_millions(claimed)} with these layers"


def _millions(claimed: float) -> str:
    """A claimed size as a person would write it: `124M`, and `0.80M` where whole millions would change it."""
    return f"{claimed / 1e6:.0f}M" if claimed >= 10e6 else f"{claimed / 1e6:.2f}M"


def _size(model: ModelConfig, rows: int, width: int) -> int:
    return _size_of((model.n_layer, max(1, width // 64), width), model, rows)


def _size_of(shape: tuple[int, int, int], model: ModelConfig, rows: int) -> int:
    layers, heads, width = shape
    config = ModelConfig(n_layer=layers, n_head=heads, n_embd=width, block_size=model.block_size, bias=model.bias)
    return parameter_count(config, rows)[1]


RULE = Rule("model_size", "the built parameters against what the profile, its name or a comment claims", find)
