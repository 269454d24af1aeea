"""The profiles that come with the program: all valid, each explained, and each what its name says."""

from pathlib import Path

import pytest
import tomli

from cockpit import profile as profiles
from gpt.config import flatten
from gpt.flops import parameter_count

FOLDER = Path(profiles.__file__).parent.parent / "profiles"
ALL = sorted(FOLDER.glob("*.toml"))
VOCABULARY = {"byte": 256, "char": 65, "gpt2": 50257}


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_a_shipped_profile_loads_and_says_in_a_line_what_it_is(path: Path) -> None:
    loaded = profiles.load(path)
    assert loaded.profile.name == path.stem
    assert 20 < len(loaded.profile.description) < 120
    assert profiles.load(path).profile == loaded.profile
    assert tomli.loads(loaded.text)["model"]["n_layer"] == loaded.profile.model.n_layer


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_a_profile_that_needs_data_says_how_to_get_it(path: Path) -> None:
    loaded = profiles.load(path)
    if loaded.profile.data.name is None:
        assert "needs " in loaded.profile.description
        texts = [source.read_text() for source in loaded.sources]
        assert any("--set data." in text for text in texts)


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("shakespeare_char", 10.65), ("shakespeare_char_cpu", 0.80), ("openwebtext_30m", 29.94),
        ("gpt2_124m", 123.59), ("fineweb_124m", 123.59), ("modern_124m", 123.59),
    ],
)  # fmt: skip
def test_a_profile_has_the_parameters_nanogpt_prints_for_it(name: str, millions: float) -> None:
    profile = profiles.load(profiles.find(name)).profile
    vocab_size = profile.model.vocab_size or VOCABULARY[profile.data.tokenizer or "byte"]
    _, without_positions = parameter_count(profile.model, vocab_size)
    assert round(without_positions / 1e6, 2) == millions
    assert profile.expected_parameters == f"{millions:.2f}M"


@pytest.mark.parametrize(
    ("name", "tokens", "steps"),
    [
        ("shakespeare_char", 64 * 256, 5000), ("shakespeare_char_cpu", 12 * 64, 2000),
        ("openwebtext_30m", 64 * 512, 20_000), ("gpt2_124m", 491_520, 600_000), ("fineweb_124m", 524_288, 19_073),
        ("finetune_shakespeare", 32 * 1024, 20), ("modern_124m", 524_288, 19_073),
        ("shakespeare_char_cpu_modern", 12 * 64, 2000),
    ],
)  # fmt: skip
def test_a_profile_takes_the_steps_it_is_known_for(name: str, tokens: int, steps: int) -> None:
    profile = profiles.load(profiles.find(name)).profile
    assert (profile.tokens_per_step, profile.train.max_steps) == (tokens, steps)


@pytest.mark.parametrize(
    ("name", "rival"), [("modern_124m", "fineweb_124m"), ("shakespeare_char_cpu_modern", "shakespeare_char_cpu")]
)
def test_a_modern_profile_differs_from_its_rival_in_the_switches_alone(name: str, rival: str) -> None:
    modern, gpt2 = (profiles.load(profiles.find(each)).profile for each in (name, rival))
    switches = {f"model.{key}" for key in modern.model.departures()}
    ours, theirs = flatten(modern), flatten(gpt2)
    differing = {key for key in ours if ours[key] != theirs[key]}
    assert switches <= differing <= switches | {"name", "description", "expected_parameters"}
    counts = [parameter_count(model, model.vocab_size or 65)[0] for model in (modern.model, gpt2.model)]
    assert counts[0] == pytest.approx(counts[1], rel=0.025)


def test_all_of_them_are_listed_with_their_descriptions() -> None:
    listed = {name: description for _, name, description in profiles.shipped()}
    assert {path.stem for path in ALL} <= listed.keys()
    assert all(listed[path.stem] for path in ALL)
