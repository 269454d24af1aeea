"""Profiles as files: strictness, inheritance, overrides, the effective text, and errors of one line."""

from pathlib import Path

import pytest
import tomli
from hypothesis import given, settings
from hypothesis import strategies as st

from cockpit import profile as profiles
from cockpit.screens.reload import differences
from gpt.config import flatten, replace
from gpt.errors import ProfileError

DATA = '[data]\nname = "python-stdlib"  # on every machine\n'


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(text: str, name: str = "demo.toml") -> Path:
    path = Path(name)
    path.write_text(text)
    return path


def load(text: str, *overrides: str) -> profiles.Loaded:
    return profiles.load(write(text), overrides)


def refusal(text: str, *overrides: str) -> str:
    with pytest.raises(ProfileError) as caught:
        load(text, *overrides)
    line = str(caught.value)
    assert line.isprintable(), "an error is one clean line"
    return line


def test_a_profile_is_named_after_its_file_unless_it_says_otherwise() -> None:
    assert load(DATA).profile.name == "demo"
    assert load('name = "other"\n' + DATA).profile.name == "other"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"{DATA}[optim]\nlerning_rate = 1", "demo.toml: unknown key optim.lerning_rate; did you mean learning_rate?"),
        (f"{DATA}[train]\nbatch_size = 8", "demo.toml: unknown key train.batch_size; did you mean micro_batch_size?"),
        (f"max_iters = 8\n{DATA}", "demo.toml: unknown key max_iters; did you mean train.max_steps?"),
        (f"{DATA}[optim]\nmax_steps = 8", "demo.toml: unknown key optim.max_steps; did you mean train.max_steps?"),
        (
            f"{DATA}[optim]\ninterval = 8",
            "demo.toml: unknown key optim.interval; did you mean checkpoint.interval or sample.interval?",
        ),
        (f"{DATA}[optm]\n", "demo.toml: unknown section [optm]; did you mean [optim]?"),
        (f"{DATA}[train]\nmax_step = 8", "demo.toml: unknown key train.max_step; did you mean max_steps?"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(text: str, line: str) -> None:
    assert refusal(text) == line


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ('max_steps = "many"', 'demo.toml:4: train.max_steps must be an integer ≥ 1; got "many"'),
        ("max_steps = 0", "demo.toml:4: train.max_steps must be an integer ≥ 1; got 0"),
        ("max_steps = 2.0", "demo.toml:4: train.max_steps must be an integer ≥ 1; got 2.0"),
        ("max_steps = true", "demo.toml:4: train.max_steps must be an integer ≥ 1; got true"),
        ("max_steps = {a = 1}", "demo.toml:4: train.max_steps must be an integer ≥ 1; got a table"),
        (
            "seed = 99999999999999999999",
            "demo.toml:4: train.seed must be an integer ≥ 0 and ≤ 1e+09; got 99999999999999999999",
        ),
        (
            'dtype = "fp32"',
            'demo.toml:4: train.dtype must be "auto", "float32", "bfloat16" or "float16"; got "fp32"',
        ),
        ("compile = 1", 'demo.toml:4: train.compile must be true or false or "auto"; got 1'),
    ],
)
def test_a_wrong_value_is_refused_with_its_line_what_is_wanted_and_what_was_got(setting: str, line: str) -> None:
    assert refusal(f"{DATA}[train]\n{setting}\n") == line


@pytest.mark.parametrize(
    ("key", "value"), [("lr", 1e-3), ("max_steps", 8), ("learning_rate", "x"), ("grad_clip", -1), ("beta1", 1.0)]
)
def test_a_file_an_override_and_a_live_change_say_the_same_words(key: str, value: object) -> None:
    with pytest.raises(ProfileError) as live:
        replace(load(DATA).profile, {f"optim.{key}": value})
    place = "demo.toml" if "unknown" in str(live.value) else "demo.toml:4"
    toml = f'"{value}"' if isinstance(value, str) else value
    assert refusal(f"{DATA}[optim]\n{key} = {toml}\n") == f"{place}: {live.value}"
    assert refusal(DATA, f"optim.{key}={toml}") == f"--set: {live.value}"


def test_a_number_of_thousands_of_digits_is_refused() -> None:
    assert refusal(f"{DATA}[train]\nmax_steps = {'9' * 5000}\n").startswith("demo.toml: a whole number has thousands")
    assert "train.max_steps must be an integer" in refusal(DATA, f"train.max_steps={'9' * 5000}")


@pytest.mark.parametrize("value", ["nan", "inf", "-1.0", "0"])
def test_a_learning_rate_is_a_finite_positive_number(value: str) -> None:
    assert refusal(f"{DATA}[optim]\nlearning_rate = {value}\n").startswith(
        "demo.toml:4: optim.learning_rate must be a number > 0; got "
    )


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("a = \n", "demo.toml:1:5: "),
        ("[train]\nmax_steps = 1\nmax_steps = 2\n", "demo.toml:3:14: "),
        pytest.param("a = " + "[" * 5000, "demo.toml: nested too deeply", id="nested"),
        pytest.param("#" * 1_000_001, "demo.toml: longer than 1,000,000 bytes", id="long"),
        ('"a\\nb\\u001b]52;c;aGk=\\u0007" = 1', "demo.toml: unknown key a⏎b"),
        ("train = 3\n", "demo.toml:1: train is a section, written [train]; got 3"),
        ("[[train]]\n", "demo.toml: train is a section"),
        ("extends = 3\n", "demo.toml:1: extends must be the path of a profile; got 3"),
        ('extends = "a\\u0000b"', "demo.toml:1: extends a"),
        ('extends = "nope.toml"', "demo.toml:1: extends nope.toml: cannot be read: No such file"),
        ("[model]\nn_embd = 100\nn_head = 7\n", "demo.toml: model.n_embd 100 is not divisible by model.n_head 7"),
    ],
)
def test_what_is_no_profile_is_refused_in_one_line(text: str, start: str) -> None:
    assert refusal(text).startswith(start)


def test_a_bare_name_to_extend_is_told_the_file_of_that_name() -> None:
    assert refusal('extends = "shakespeare_char"').endswith("profiles/shakespeare_char.toml?")


def test_a_file_that_is_not_utf_8_is_refused() -> None:
    Path("demo.toml").write_bytes(b"# caf\xe9\n")
    with pytest.raises(ProfileError, match="not UTF-8"):
        profiles.load(Path("demo.toml"))


def test_an_heir_says_only_what_differs_and_the_nearest_says_it_last() -> None:
    write(f"{DATA}[train]\nmax_steps = 1\nseed = 1\neval_steps = 1\n", "grand.toml")
    Path("sub").mkdir()
    write('extends = "../grand.toml"\n[train]\nmax_steps = 2\nseed = 2\n', "sub/base.toml")
    loaded = load('extends = "sub/base.toml"\n[train]\nmax_steps = 3\n')
    train = loaded.profile.train
    assert (train.max_steps, train.seed, train.eval_steps) == (3, 2, 1)
    assert [file.name for file in loaded.sources] == ["demo.toml", "base.toml", "grand.toml"]


def test_an_heir_does_not_bear_its_ancestors_name() -> None:
    write(f'name = "base"\ndescription = "the base"\n{DATA}', "base.toml")
    profile = load('extends = "base.toml"\n').profile
    assert (profile.name, profile.description) == ("demo", "")


def test_a_circle_of_ancestors_is_refused() -> None:
    write('extends = "demo.toml"\n', "base.toml")
    assert refusal('extends = "base.toml"\n') == (
        "demo.toml: extends goes in a circle, demo.toml → base.toml → demo.toml; cut it"
    )


def test_a_mistake_in_an_ancestor_is_reported_with_the_ancestors_name() -> None:
    write(f"{DATA}[train]\nmax_steps = 0\n", "base.toml")
    assert refusal('extends = "base.toml"\n').startswith("base.toml:4: train.max_steps must be")


@pytest.mark.parametrize(
    ("base", "heir", "left"),
    [
        ("[train]\ngrad_accum_steps = 4", "[train]\ntokens_per_step = 24576", {"tokens_per_step": 24576}),
        ("[train]\ntokens_per_step = 24576", "[train]\ngrad_accum_steps = 4", {"grad_accum_steps": 4}),
        ('[data]\nname = "python-stdlib"', '[data]\ninput = "x"', {"input": "x"}),
        ('[data]\ndir = "y"', '[data]\nname = "python-stdlib"', {"name": "python-stdlib"}),
    ],
)
def test_what_excludes_an_inherited_key_replaces_it(base: str, heir: str, left: dict[str, object]) -> None:
    section = base[1:].split("]")[0]
    rest = "" if section == "data" else DATA
    write(f"{rest}{base}\n", "base.toml")
    tree = tomli.loads(load(f'extends = "base.toml"\n{heir}\n').text)
    assert tree[section] == left


def test_keys_that_exclude_each_other_in_one_file_are_refused() -> None:
    assert "got data.input and data.name" in refusal(f'{DATA}input = "x"\n')
    assert "both set; keep one" in refusal(f"{DATA}[train]\ntokens_per_step = 12288\ngrad_accum_steps = 1\n")
    assert "got data.input and data.dir" in refusal(DATA, "data.input=x", "data.dir=y")


def test_overrides_are_toml_and_bare_words_are_strings() -> None:
    loaded = load(
        DATA,
        "train.max_steps=7", "optim.learning_rate=1e-3", "train.compile=false", "train.dtype=float32",
        "data.input=../some text.txt", 'sample.prompts=["a", "b"]', "name=mine", "train.max_steps = 8",
    )  # fmt: skip
    profile = loaded.profile
    assert (profile.train.max_steps, profile.optim.learning_rate, profile.train.compile) == (8, 1e-3, False)
    assert (profile.train.dtype, profile.data.input, profile.data.name) == ("float32", "../some text.txt", None)
    assert (profile.sample.prompts, profile.name) == (["a", "b"], "mine")


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("train.max_steps", "--set takes section.key=value; got train.max_steps"),
        ("train.max_steps=", "--set takes section.key=value; got train.max_steps="),
        (".max_steps=1", "--set takes section.key=value; got .max_steps=1"),
        ("train.max_stesp=1", "--set: unknown key train.max_stesp; did you mean max_steps?"),
        ("train.max_steps=many", '--set: train.max_steps must be an integer ≥ 1; got "many"'),
        ("data.dir=1984", "--set: data.dir must be a string; got 1984"),
        ("data.input=[1", "--set data.input: [1 is not TOML; quote the argument for the shell"),
        ("train.max_steps=1\nseed=2", '--set: train.max_steps must be an integer ≥ 1; got "1⏎seed=2"'),
        ("extends=other.toml", "--set extends is not possible; put it into a file of its own"),
    ],
)
def test_a_wrong_override_is_refused_in_one_line(override: str, line: str) -> None:
    assert refusal(DATA, override).replace("\\n", "⏎") == line


def test_the_effective_text_keeps_comments_and_says_what_was_inherited() -> None:
    write(f"{DATA}[optim]\nbeta1 = 0.5  # half\n", "base.toml")
    text = load(
        '# my profile\nextends = "base.toml"\n\n[train]\nmax_steps = 3  # three\n\n# about the optimizer\n[optim]\n'
        "beta2 = 0.7  # seventy\n",
        "train.seed=5",
    ).text
    assert text.startswith("# my profile\n")
    for line in ("max_steps = 3  # three\nseed = 5\n", "# from base.toml\nbeta1 = 0.5  # half", "# on every machine"):
        assert line in text
    assert "# about the optimizer\n[optim]" in text
    assert "extends" not in text


def test_an_override_that_removes_a_key_keeps_the_files_comments() -> None:
    text = load(f"{DATA}# mine\n[train]\nmax_steps = 3  # three\n", "data.input=x").text
    assert tomli.loads(text)["data"] == {"input": "x"}
    assert "# mine" in text and "# three" in text


def test_where_the_layout_cannot_be_kept_the_values_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "_fill", lambda *arguments: None)
    loaded = load(DATA, "train.max_steps=7")
    assert tomli.loads(loaded.text)["train"] == {"max_steps": 7}


@pytest.mark.parametrize(
    "text",
    [
        f"{DATA}[train]\nmax_steps = 3\n",
        'train.max_steps = 3\ntrain.seed = 1\ndata = {name = "python-stdlib"}\n',
        'data.name = "python-stdlib"\n\n[train]\nmax_steps = 3 # last line without an end',
        f"\ufeff{DATA}",  # some editors put a byte-order mark in front
    ],
)
def test_the_effective_text_is_the_same_profile_whatever_its_layout(text: str) -> None:
    write("[optim]\nbeta1 = 0.5\n[train]\nseed = 2\neval_steps = 3\n", "base.toml")
    for head in ("", 'extends = "base.toml"\n'):
        loaded = load(head + text.removeprefix("\ufeff") if head else text, "optim.beta2=0.5", "train.seed=9")
        again = profiles.load(write(loaded.text, "again.toml")).profile
        assert again == loaded.profile


_VALUES = {
    "train.max_steps": st.integers(1, 10**6), "optim.learning_rate": st.floats(1e-9, 10.0),
    "data.tokenizer": st.sampled_from(["byte", "char", "gpt2"]), "sample.prompts": st.lists(st.text(), min_size=1),
    "checkpoint.best": st.booleans(), "description": st.text(),
}  # fmt: skip


@settings(deadline=None)
@given(st.fixed_dictionaries({}, optional=_VALUES), st.fixed_dictionaries({}, optional=_VALUES))
def test_any_profile_survives_its_own_effective_text(base: dict[str, object], heir: dict[str, object]) -> None:
    import tomlkit

    def document(flat: dict[str, object], **top: str) -> str:
        tree: dict[str, object] = dict(top)
        for key, value in flat.items():
            *section, name = key.split(".")
            branch = tree.setdefault(section[0], {}) if section else tree
            branch[name] = value  # type: ignore[index]
        return tomlkit.dumps(tree)

    write(document({**base, "data.name": "python-stdlib"}), "base.toml")
    loaded = load(document(heir, extends="base.toml"))
    assert profiles.load(write(loaded.text, "again.toml")).profile == loaded.profile
    flat = flatten(loaded.profile)
    assert all(flat[key] == value for key, value in heir.items())
    inherited = {key: value for key, value in base.items() if key not in heir and key != "description"}
    assert all(flat[key] == value for key, value in inherited.items())


def test_a_difference_names_what_changed_and_nothing_else() -> None:
    old, new = flatten(load(DATA).profile), flatten(load(DATA, "optim.learning_rate=1e-3").profile)
    assert differences(old, new) == [("optim.learning_rate", 6e-4, 1e-3, None)]
    assert differences(old, old) == []


def test_a_bare_name_is_found_here_first_then_among_the_shipped() -> None:
    shipped = profiles.find("demo")
    assert shipped.is_file() and shipped.is_absolute()
    Path("profiles").mkdir()
    mine = write(DATA, "profiles/demo.toml")
    assert profiles.find("demo") == mine
    assert profiles.find("demo.toml") == mine
    assert profiles.find(write(DATA, "demo.toml").name) == Path("demo.toml")


@pytest.mark.parametrize("name", ["demmo", "profiles/demmo.toml", "demmo.toml"])
def test_a_missing_profile_names_the_nearest_that_exists(name: str) -> None:
    with pytest.raises(ProfileError, match=r"^no profile .*; did you mean .*demo\.toml\?$"):
        profiles.find(name)


def test_other_toml_beside_them_is_not_named_as_a_profile() -> None:
    write(DATA, "mine.toml")
    write('[project]\nname = "another"\n', "pyproject.toml")
    with pytest.raises(ProfileError, match=r"profiles are .*mine") as refused:
        profiles.find("xyzzy")
    assert "pyproject" not in str(refused.value)


def test_a_folder_is_no_profile() -> None:
    Path("here").mkdir()
    with pytest.raises(ProfileError, match="here is a folder; name a profile in it"):
        profiles.find("here")
