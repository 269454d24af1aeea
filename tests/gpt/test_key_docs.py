"""What the form says of each key is what gpt.config says."""

from __future__ import annotations

import pytest

from gpt.config import Profile, flatten
from gpt.keys import all_keys, section_docs
from gpt.live import LIVE_KEYS

BY_NAME = {key.key: key for key in all_keys()}


def test_every_key_of_a_profile_is_there_once_and_in_order():
    assert [key.key for key in all_keys()] == list(flatten(Profile()))


@pytest.mark.parametrize("key", all_keys(), ids=lambda key: key.key)
def test_every_key_is_explained(key):
    assert len(key.doc) > 10 and key.range
    assert (key.fixed is None) == (key.key in LIVE_KEYS)
    numeric = key.name.endswith(("_steps", "interval"))
    assert not numeric or key.unit, "a number of steps says so"


def test_a_doc_is_the_string_under_the_key_on_one_line():
    assert BY_NAME["optim.min_lr"].doc == "Rate after the decay; None: a tenth of learning_rate."
    assert "\n" not in BY_NAME["model.activation"].doc and "two" not in BY_NAME["model.bias"].doc


def test_ranges_units_and_choices_are_those_of_the_types():
    warmup, tokens, schedule = (BY_NAME[f"optim.{name}"] for name in ("warmup_steps", "min_lr", "schedule"))
    assert (warmup.range, warmup.unit, warmup.can_be_unset) == ("an integer ≥ 0", "steps", False)
    assert (tokens.range, tokens.unit, tokens.can_be_unset) == ("a number ≥ 0", "", True)
    assert schedule.choices == ("cosine", "linear", "constant", "wsd")
    assert BY_NAME["checkpoint.best"].choices == (True, False)
    assert BY_NAME["device.peak_tflops"].unit == "TFLOP/s"
    assert BY_NAME["optim.learning_rate"].default == 6e-4


def test_every_section_is_explained():
    assert section_docs()["optim"] == "the optimizer and its schedule."
    assert all(section_docs().values())
