"""Not the model you think."""

from __future__ import annotations

import pytest
from stories import PROFILES, evidence, profile

from cockpit import profile as profiles
from cockpit.doctor import size
from cockpit.doctor.diagnosis import Diagnosis
from gpt.config import Profile


def found(settings: Profile, source: str = "", **more: object) -> list[Diagnosis]:
    return list(size.find(evidence(settings, source=source, **more)))


def test_half_the_width_is_not_124m() -> None:
    """n_embd 384 for 768: 40.56M."""
    (one,) = found(profile("fineweb_124m", model__n_embd=384, expected_parameters="124M"))
    assert one.severity == "critical" and one.title == "40.56M parameters, not 124M"
    assert one.treatment is not None and one.treatment.changes == {"model.n_embd": 768}
    assert "n_embd 768 (it is 384)" in one.why


def test_a_small_claim_is_said_as_it_was_made() -> None:
    (one,) = found(profile("shakespeare_char_cpu", model__n_embd=32))
    assert one.title.endswith("M parameters, not 0.80M") and "says 0.80M" in one.why


@pytest.mark.parametrize(
    ("source", "fires"),
    [
        ("[model]\nn_embd = 384  # ~125M parameters", True),
        ("[model]\nn_embd = 384  # 40M parameters", False),
        ("[model]\nn_embd = 384  # 12 GB card, 8M tokens", False),
        ("[train]\nmax_steps = 5  # ~125M", False),
    ],
)
def test_a_comment_beside_the_sizes_is_a_claim(source: str, fires: bool) -> None:
    narrow = profile("fineweb_124m", model__n_embd=384, expected_parameters=None, name="mine")
    assert bool(found(narrow, source)) == fires


def test_a_name_is_a_claim_and_a_key_that_says_it_outright_outweighs_it() -> None:
    assert found(profile("fineweb_124m", model__n_embd=384, expected_parameters=None))
    assert not found(profile("fineweb_124m", model__n_embd=384, expected_parameters="40.56M"))


@pytest.mark.parametrize("file", sorted(PROFILES.glob("*.toml")), ids=lambda file: file.stem)
def test_no_shipped_profile_claims_what_it_is_not(file: object) -> None:
    loaded = profiles.load(file)  # pyright: ignore[reportArgumentType]
    rows = loaded.profile.model.vocab_size or {"char": 65, "gpt2": 50257}.get(loaded.profile.data.tokenizer or "", 256)
    assert not found(loaded.profile, loaded.text, vocab_size=rows)
