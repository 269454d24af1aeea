"""Cannot resume: the profile builds another shape than the newest checkpoint of its run holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cockpit.doctor.diagnosis import Diagnosis, Rule, Scalar, Treatment
from cockpit.doctor.evidence import Evidence, Saved
from cockpit.planning.plan import GPT2_SIZES
from gpt.config import HUB_NAMES, ModelConfig, Profile

SHRINKS = {"block_size"}
"""What a model that begins from another's weights may have less of (gpt.interop.huggingface.load_gpt2)."""
GROWS = {"vocab_size"}


def differences(profile: Profile, saved: Saved) -> dict[str, tuple[Any, Any]]:
    """(in the checkpoint, in the profile) by dotted key, of all that a resume would be refused for."""
    model = profile.model
    found: dict[str, tuple[Any, Any]] = {}
    for key, there in saved.model.items():
        here = model.kv_heads if key == "n_kv_head" else getattr(model, key, None)
        if key == "n_kv_head" and here == model.n_head and there == saved.model.get("n_head"):
            continue  # follows from n_head
        if here is not None and here != there:
            found[f"model.{key}"] = (there, here)
    if saved.optimizer is not None and saved.optimizer != profile.optim.name:
        found["optim.name"] = (saved.optimizer, profile.optim.name)
    return found


def find(evidence: Evidence) -> Iterator[Diagnosis]:
    """The profile as it is asked for now, held against the checkpoint."""
    profile, saved = evidence.asked or evidence.profile, evidence.saved
    if profile is None or saved is None or not (differs := differences(profile, saved)):
        return
    shape = any(key.startswith("model.") for key in differs)
    words = ", ".join(f"{key} {there} there, {here} here" for key, (there, here) in differs.items())
    back: dict[str, Scalar] = {key: there for key, (there, _) in differs.items()}
    settings = ", ".join(f"{key} = {there}" for key, there in back.items())
    what = "its shape" if shape else "the optimizer"
    ways = [f"set {settings} again and resume", "start again from step 0 (--run with another name)"]
    if fork := _fork(profile.model, saved, differs):
        ways.append(f"fork with {fork}")
    figures: dict[str, Scalar] = {"run": saved.run, "step": saved.step}
    for key, (there, here) in differs.items():
        figures |= {f"{key} there": there, f"{key} here": here}
    yield Diagnosis(
        rule="cannot_resume", severity="note" if saved.finished else "warning",
        title=f"cannot go on with {saved.run} at step {saved.step:,}: {what} changed",
        evidence=figures, why=f"The checkpoint holds another {'shape' if shape else 'optimizer'}: {words}. "
        + ("Weights of one shape say nothing in another." if shape else "Its moments mean something else."),
        advice=f"{_sentence(ways)}.",
        treatment=Treatment("profile", "back to the checkpoint's shape" if shape else "back to its optimizer", back),
        reference="a resume restores weights and moments tensor by tensor (gpt.snapshot)",
    )  # fmt: skip


def _fork(model: ModelConfig, saved: Saved, differs: dict[str, tuple[Any, Any]]) -> str | None:
    """What init_from could begin with in the new shape; None where there is nothing of that shape."""
    keys = {key.partition(".")[2] for key in differs if key.startswith("model.")}
    smaller = all(int(differs[f"model.{key}"][1]) < int(differs[f"model.{key}"][0]) for key in keys & SHRINKS)
    larger = all(int(differs[f"model.{key}"][1]) > int(differs[f"model.{key}"][0]) for key in keys & GROWS)
    if keys and keys <= SHRINKS | GROWS and smaller and larger and not model.departures():
        return (
            f"init_from = FOLDER, where gpt-cockpit export {saved.run} --to hf --out FOLDER has put its weights: "
            "a shorter block_size and a larger vocab_size fit"
        )
    for name, size in zip(HUB_NAMES, GPT2_SIZES.values(), strict=True):
        if (model.n_layer, model.n_head, model.n_embd) == size and model.block_size <= 1024 and not model.departures():
            return f'init_from = "{name}"' + ("" if model.bias else " and bias = true") + ", which has the new shape"
    return None


def _sentence(ways: list[str]) -> str:
    *most, last = ways
    text = f"{', '.join(most)}, or {last}"
    return text[0].upper() + text[1:]


RULE = Rule("cannot_resume", "a profile whose shape is not its checkpoint's any more", find)
