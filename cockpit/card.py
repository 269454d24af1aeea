"""The model card: a README.md for Hugging Face's hub that says what a model is made of, and how well it does."""

from __future__ import annotations

import datetime
import json
import math
from typing import TYPE_CHECKING, Any

from cockpit import __version__
from cockpit.runs import Run
from cockpit.sanitize import clean_line
from gpt.config import Profile, as_toml, flatten
from gpt.flops import parameter_count

if TYPE_CHECKING:
    from gpt.interop.trained import Trained

_SETTINGS = ("model.", "data.", "train.", "optim.")


def model_card(trained: Trained, run: Run | None, notes: list[str]) -> str:
    """The card's text, Markdown with the hub's header. Unknown figures are left out.

    Args:
        run: whose checkpoint it is, where that is known.
        notes: what was said of the export.
    """
    profile = trained.profile
    title = _plain(run.name if run else profile.name)
    header = ["---", "library_name: transformers", "pipeline_tag: text-generation", "tags:", "- gpt2", "- gpt-cockpit"]
    table = [f"| {name} | {_plain(value)} |" for name, value in _facts(trained, run).items() if value]
    sections = [
        "\n".join([*header, "---"]),
        f"# {title}",
        f"A GPT-2 of its own shape, trained by gpt-cockpit {__version__} with the profile `{_code(profile.name)}`."
        + (f" {_plain(profile.description)}" if profile.description else ""),
        "\n".join(["| | |", "| --- | --- |", *table]),
        f"## Tokens\n\n{_about_tokens(trained.tokenizer)}",
        "## Use\n\n```python\nfrom transformers import AutoModelForCausalLM\n\n"
        'model = AutoModelForCausalLM.from_pretrained("PATH")  # this folder\n```',
    ]
    if notes:
        sections.append("## Notes\n\n" + "\n".join(f"- {_plain(note)}" for note in notes))
    sections.append(f"## Settings\n\n```toml\n{_settings(profile)}\n```")
    return "\n\n".join(sections) + "\n"


def _facts(trained: Trained, run: Run | None) -> dict[str, str | None]:
    state, profile, facts = trained.state, trained.profile, run.read_facts() if run else {}
    evaluation, optim, device = state["evaluation"], profile.optim, state["environment"]
    with_positions, without = parameter_count(trained.model, trained.vocab_size)
    val_loss = evaluation.get("val_loss")
    measured_at = f" at step {evaluation['step']:,}" if evaluation.get("step") is not None else ""
    perplexity = f", perplexity {math.exp(val_loss):.2f}" if val_loss is not None and val_loss < 50 else ""
    data = profile.data
    git = facts.get("git") or {}
    begun = facts.get("created")
    return {
        "data": _text(data.input or data.dir or data.name),
        "data's hash": state.get("data_fingerprint"),
        "steps": f"{trained.step:,} of {profile.train.max_steps:,}",
        "tokens seen": f"{state['tokens']:,} ({profile.tokens_per_step:,} a step)",
        "parameters": f"{with_positions:,} ({without:,} without positions)",
        "training loss": _nats(evaluation.get("train_loss"), measured_at),
        "validation loss": _nats(val_loss, f"{measured_at}{perplexity}"),
        "lowest validation loss": _nats(evaluation.get("best_val_loss"), f" at step {evaluation.get('best_step'):,}")
        if evaluation.get("best_step") is not None
        else None,
        "optimizer": f"{optim.name}, learning rate {optim.learning_rate:g}, schedule {optim.schedule}",
        "trained on": f"{device['device']}, {device['dtype']}, torch {device['torch']}",
        "weights' hash": f"sha256:{state['files']['model.safetensors']} (the checkpoint's file)",
        "profile's hash": f"sha256:{facts['profile_sha256']}" if facts.get("profile_sha256") else None,
        "commit": _text(git.get("commit")),
        "training began": _date(begun) if isinstance(begun, int | float) else None,
        "exported": _date(datetime.datetime.now(datetime.UTC).timestamp()),
    }  # fmt: skip


def _about_tokens(tokenizer: dict[str, Any]) -> str:
    match tokenizer["name"]:
        case "gpt2":
            return "GPT-2's byte pairs; 50256 ends a document."
        case "byte":
            return (
                "Id n is the byte n of the UTF-8 text, 256 ids and no special ones. `tokenizer.json` says so as byte "
                "pairs without merges."
            )
        case "char" if isinstance(chars := tokenizer.get("chars"), str):
            listed = json.dumps(chars)
            return (
                f"Each id is a character, {len(chars)} of them and no special ones; characters that are not among them "
                f"are left out. By id, as a JSON string:\n\n```json\n{_fenced(listed)}\n```"
            )
        case "bpe":
            return (
                "Byte pairs of a vocabulary of its own, split as `vocabulary.tiktoken.json` says. `tokenizer.json` and "
                "`vocabulary.tiktoken`, which tiktoken reads, hold the same tokens."
            )
        case _:
            return (
                f"As gpt-cockpit keeps it, for `transformers` has none like it:\n\n"
                f"```json\n{_fenced(json.dumps(tokenizer))}\n```"
            )


def _settings(profile: Profile) -> str:
    """What shaped the weights, one dotted key a line."""
    flat = {key: value for key, value in flatten(profile).items() if key.startswith(_SETTINGS)}
    return "\n".join(_fenced(f"{key} = {as_toml(value)}") for key, value in flat.items() if value is not None)


def _nats(loss: float | None, said: str) -> str | None:
    return None if loss is None else f"{loss:.4f} nats/token{said}"


def _date(time: float) -> str:
    return datetime.datetime.fromtimestamp(time, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")


def _text(value: object) -> str | None:
    if value is None:
        return None
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _plain(text: object) -> str:
    """Text of others as one line of Markdown that formats nothing and ends no table's cell."""
    line = clean_line(str(text))
    return "".join(f"\\{char}" if char in "\\`*_[]<>|#" else char for char in line)


def _code(text: str) -> str:
    return clean_line(text).replace("`", "'")


def _fenced(text: str) -> str:
    """A line that cannot end the block of code it stands in."""
    return text.replace("```", "`\u200b``")
