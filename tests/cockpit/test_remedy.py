"""A new profile that extends another one: what it says, that it is one, and that nothing is written over."""

from __future__ import annotations

from pathlib import Path

import pytest

from cockpit import profile as profiles
from cockpit import remedy
from gpt.errors import ProfileError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A profile with tokens_per_step, which excludes grad_accum_steps."""
    path = tmp_path / "mine.toml"
    path.write_text('[data]\nname = "python-stdlib"\n[train]\ntokens_per_step = 8192\nmicro_batch_size = 4\n')
    return path


def test_it_holds_the_changes_by_section_and_loads_as_a_profile(path: Path) -> None:
    changes = {"train.max_steps": 700, "model.bias": False, "train.eval_interval": 50, "expected_parameters": "10M"}
    made = remedy.draft(path, changes, "saturated: 61 tokens per parameter")
    assert made.text.startswith(
        '# saturated: 61 tokens per parameter\nextends = "mine.toml"\nexpected_parameters = "10M"'
    )
    assert "\n[train]\nmax_steps = 700" in made.text and made.text.count("[train]") == 1
    remedy.write(made)
    loaded = profiles.load(made.path).profile
    assert (loaded.name, loaded.train.max_steps, loaded.model.bias) == ("mine-fixed", 700, False)
    assert loaded.train.tokens_per_step == 8192


def test_what_excludes_something_inherited_replaces_it(path: Path) -> None:
    made = remedy.draft(path, {"train.grad_accum_steps": 3}, "why")
    remedy.write(made)
    train = profiles.load(made.path).profile.train
    assert (train.grad_accum_steps, train.tokens_per_step) == (3, None)


def test_what_cannot_be_said_or_does_not_hold_is_refused_in_one_line(path: Path) -> None:
    for changes, words in (
        ({"train.threads": None}, "cannot unset train.threads"), ({"model.n_embd": 7}, "n_embd"),
        ({"model.n_heads": 7}, "n_head"),
    ):  # fmt: skip
        with pytest.raises(ProfileError, match=words) as caught:
            remedy.draft(path, changes, "why")
        assert "\n" not in str(caught.value)
    assert [file.name for file in path.parent.iterdir()] == ["mine.toml"]


def test_a_file_that_is_there_is_never_written_over(path: Path) -> None:
    first, second = (remedy.draft(path, {"train.max_steps": steps}, "why") for steps in (700, 800))
    remedy.write(first)
    with pytest.raises(ProfileError, match="is there by now"):
        remedy.write(second)
    assert "700" in first.path.read_text()
    assert remedy.draft(path, {"train.max_steps": 800}, "why").path.name == "mine-fixed-2.toml"


def test_a_folder_that_takes_no_file_is_an_error_of_one_line(path: Path) -> None:
    made = remedy.draft(path, {"train.max_steps": 700}, "why")
    with pytest.raises(ProfileError, match=r"cannot be written: "):
        remedy.write(remedy.Remedy(path.parent / "none" / made.path.name, made.text))
