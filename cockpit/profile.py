"""Profiles as files: TOML read strictly, inheritance, overrides, and the effective text that a run keeps.

A profile says `extends = "base.toml"` to start from another one (relative to its own folder) and names only what
differs. `--set section.key=value` comes last. What excludes each other (EXCLUSIVE) replaces what was inherited of it.
Every mistake is a ProfileError of one line that names the file and, where it is known, the line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import tomli
import tomlkit
from tomlkit.items import Item, Table

from cockpit.sanitize import shown
from cockpit.source import Source
from gpt.config import Profile, decode
from gpt.errors import ProfileError
from gpt.strict import nearest

MAX_BYTES = 1_000_000
"""A profile longer than this is some other file."""

EXCLUSIVE = (
    ("train.grad_accum_steps", "train.tokens_per_step"),
    ("data.input", "data.dir", "data.name"),
)
"""Keys of which a profile has one; setting another in a heir or by --set removes what was inherited."""

Tree = dict[str, Any]


@dataclass(frozen=True)
class Loaded:
    """A profile, and what it was made of."""

    profile: Profile
    path: Path
    """The file that was asked for."""
    text: str
    """The effective profile as TOML: complete, with the file's comments, without `extends`."""
    sources: tuple[Path, ...]
    """All files it came from, the one that was asked for first, its ancestors after it."""
    overrides: tuple[str, ...] = ()
    """The --set arguments that went into it."""


class Others(NamedTuple):
    """What a person may mean by a bare name where it need not be a profile's."""

    kind: str
    """Of these: `run`."""
    typed: Mapping[str, str]
    """By name, how a person says it."""
    listed: str
    """Where all of them are told."""


def load(path: Path, overrides: Sequence[str] = ()) -> Loaded:
    """The profile in a file, its ancestors and overrides included.

    Args:
        overrides: `section.key=value` each; the value is TOML, or a bare word, which is a string.

    Raises ProfileError, one line, for anything that is not a valid profile.
    """
    chain = _read_chain(path)
    asked = Source("--set", "", _parse_overrides(overrides))
    tree: Tree = {}
    for source in (*reversed([source for _, source in chain]), asked):
        source.check()
        if source is not asked:  # a heir is another profile: what its ancestor says of itself is not said of it
            tree = {key: value for key, value in tree.items() if key not in ("name", "description")}
        tree = _merged(tree, source.tree)
    tree.pop("extends", None)
    tree.setdefault("name", path.stem)
    try:
        profile = decode(tree)
        if profile.doctor.silence:
            from cockpit.doctor.examination import check_silenced

            check_silenced(profile.doctor.silence)
    except ProfileError as error:
        raise ProfileError(f"{shown(path)}: {error}") from None
    return Loaded(profile, path, _effective_text(chain, tree), tuple(file for file, _ in chain), tuple(overrides))


def inherited(path: Path) -> set[str]:
    """The dotted keys that what a file extends says. Raises ProfileError where one of them cannot be read."""
    trees = [source.tree for _, source in _read_chain(path)[1:]]
    return {
        f"{key}.{name}" if isinstance(value, dict) else key
        for tree in trees
        for key, value in tree.items()
        for name in (value if isinstance(value, dict) else [key])
    }


def find(name: str, others: Callable[[], Others] | None = None) -> Path:
    """The file of a path (`profiles/demo.toml`) or of a bare name (`demo`).

    A bare name is looked for in ./profiles, then among the profiles that came with the program. Raises ProfileError
    where there is none, with the nearest that exists; of `others`, too, which are asked for only then.
    """
    path = Path(name)
    if path.exists() and not path.is_dir():
        return path
    if path.name == name:
        for folder in _folders():
            candidate = folder / (name if path.suffix == ".toml" else f"{name}.toml")
            if candidate.is_file():
                return candidate
    if path.is_dir():
        raise ProfileError(f"{shown(path)} is a folder; name a profile in it, a .toml file")
    files = {file.stem: file for folder in reversed(_folders()) for file in _profiles_in(folder)}
    files |= {file.stem: file for file in _profiles_in(path.parent) if _looks_like_one(file)}
    typed = {stem: str(short(file)) for stem, file in files.items()}
    other = others() if others and path.name == name else Others("", {}, "")
    near = nearest(path.stem, {**other.typed, **typed})
    listed = [f"profiles are {', '.join(sorted(files))}" if files else "there are none", *filter(None, [other.listed])]
    advice = f"did you mean {typed.get(near) or other.typed[near]}?" if near else "; ".join(listed)
    raise ProfileError(f"no {' or '.join(filter(None, ('profile', other.kind)))} {shown(path)}; {advice}")


def shipped() -> list[tuple[Path, str, str]]:
    """(file, name, description) of every profile in ./profiles and of those that came with the program, by name."""
    found: dict[Path, tuple[Path, str, str]] = {}
    for folder in _folders():
        for file in _profiles_in(folder):
            found.setdefault(file.resolve(), _listed(file))
    return sorted(found.values(), key=lambda entry: (entry[1], entry[0]))


def short(path: Path) -> Path:
    """The path as one would type it here: relative where it lies below the current folder."""
    absolute, here = path.absolute(), Path.cwd()
    return absolute.relative_to(here) if absolute.is_relative_to(here) else absolute


def _listed(file: Path) -> tuple[Path, str, str]:
    try:
        tree = _read(file).tree
    except ProfileError as error:
        return file, file.stem, f"not readable: {error}"
    return file, str(tree.get("name", file.stem)), str(tree.get("description", ""))


def _folders() -> list[Path]:
    """Where profiles lie: the current folder's first, then the checkout's."""
    return [Path("profiles"), Path(__file__).resolve().parent.parent / "profiles"]


def _profiles_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.toml"))


def _looks_like_one(file: Path) -> bool:
    """Whether a file holds a key of a profile's, or cannot be read to tell: pyproject.toml lies in many a folder."""
    with suppress(ProfileError):
        return not {"extends", *Profile.__struct_fields__}.isdisjoint(_read(file).tree)
    return True


def _read_chain(path: Path) -> list[tuple[Path, Source]]:
    """The file and all that it extends, itself first."""
    chain: list[tuple[Path, Source]] = []
    file: Path | None = path
    while file is not None:
        source = _read(file, heir=chain[-1][1] if chain else None)
        if any(_same(file, seen) for seen, _ in chain):
            circle = " → ".join(shown(seen.name) for seen, _ in chain)
            raise ProfileError(f"{shown(path)}: extends goes in a circle, {circle} → {shown(file.name)}; cut it")
        chain.append((file, source))
        base = source.tree.get("extends")
        if base is not None and not (isinstance(base, str) and base):
            raise ProfileError(f"{source.where('extends')} extends must be the path of a profile; got {base!r:.60}")
        file = file.parent / base if base else None
    return chain


def _same(a: Path, b: Path) -> bool:
    return a.resolve() == b.resolve()


def _read(path: Path, heir: Source | None = None) -> Source:
    label = shown(path)
    by = f"{heir.where('extends')} extends " if heir else ""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else error
        same = [file for folder in _folders() for file in _profiles_in(folder) if heir and file.stem == path.stem]
        advice = f"; did you mean {short(same[0])}?" if same else ""
        raise ProfileError(f"{by}{label}: cannot be read: {reason}{advice}") from None
    if len(raw) > MAX_BYTES:
        raise ProfileError(f"{by}{label}: longer than {MAX_BYTES:,} bytes; that is no profile")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ProfileError(f"{by}{label}: not UTF-8 text (byte {error.start:,}); save it as UTF-8") from None
    try:
        return Source(label, text, tomli.loads(text))
    except tomli.TOMLDecodeError as error:
        raise ProfileError(f"{label}:{error.lineno}:{error.colno}: {error.msg}") from None
    except ValueError:
        raise ProfileError(f"{label}: a whole number has thousands of digits; no key takes that") from None
    except RecursionError:
        raise ProfileError(f"{label}: nested too deeply; a profile has sections and keys, no more") from None


def _parse_overrides(overrides: Sequence[str]) -> Tree:
    """The tree that --set arguments spell; of one key said twice the last counts."""
    tree: Tree = {}
    for override in overrides:
        key, equals, value = (part.strip() for part in override.partition("="))
        parts = key.split(".")
        if not equals or not value or not all(parts):
            raise ProfileError(f"--set takes section.key=value; got {shown(override)}")
        if key == "extends":
            raise ProfileError("--set extends is not possible; put it into a file of its own")
        branch = tree
        for part in parts[:-1]:
            branch = branch.setdefault(part, {})
            if not isinstance(branch, dict):
                raise ProfileError(f"--set {shown(key)}: {part} has been given a value of its own")
        branch[parts[-1]] = _toml_or_word(key, value)
    return tree


def _toml_or_word(key: str, value: str) -> Any:
    try:
        parsed = tomli.loads(f"value = {value}")
        if parsed.keys() == {"value"}:
            return parsed["value"]
    except (ValueError, RecursionError):  # not TOML, or a whole number of thousands of digits
        pass
    if value[0] in "\"'[{":
        raise ProfileError(f"--set {shown(key)}: {shown(value)} is not TOML; quote the argument for the shell")
    return value


def _merged(base: Mapping[str, Any], heir: Mapping[str, Any]) -> Tree:
    """`base` with what `heir` says instead, section by section."""
    tree: Tree = {key: dict(value) if isinstance(value, dict) else value for key, value in base.items()}
    for group in EXCLUSIVE:
        if any(_has(heir, key) for key in group):
            for key in group:
                section, name = key.split(".")
                tree.get(section, {}).pop(name, None)
    for key, value in heir.items():
        tree[key] = {**tree.get(key, {}), **value} if isinstance(value, dict) else value
    return tree


def _has(tree: Mapping[str, Any], key: str) -> bool:
    section, name = key.split(".")
    return name in tree.get(section, {})


def _effective_text(chain: Sequence[tuple[Path, Source]], tree: Tree) -> str:
    """The text of the file asked for, with what it inherits and what --set says worked in, comments kept."""
    document = tomlkit.parse(chain[0][1].text)
    inherited = [(file.name, tomlkit.parse(source.text)) for file, source in chain[1:]]
    document.pop("extends", None)
    for key, value in tree.items():
        if not isinstance(value, dict):
            if document.get(key) != value:
                document[key] = value
        else:
            if key not in document:
                document[key] = tomlkit.table()
            _fill(document[key], value, [(name, base.get(key, {})) for name, base in inherited])
    text = tomlkit.dumps(document)
    # A file may use forms (dotted keys, inline tables) that lose their comments, but never their values.
    return text if tomli.loads(text) == tree else tomlkit.dumps(tree)


def _fill(table: Any, values: Tree, inherited: Sequence[tuple[str, Any]]) -> None:
    """Makes a table of the document hold exactly `values`; what comes from an ancestor says so."""
    for name in [name for name in table if name not in values]:
        del table[name]
    said = ""
    with before_its_tail(table):
        for name, value in values.items():
            if name in table:
                if table[name] != value:
                    table[name] = value
                continue
            origin, item = next(_origins(name, value, inherited), ("", value))
            if origin and origin != said and isinstance(table, Table):
                table.add(tomlkit.comment(f"from {origin}"))
                said = origin
            table[name] = item


@contextmanager
def before_its_tail(table: Any) -> Iterator[None]:
    """New keys that a section of a tomlkit document gets inside the block follow its last one.

    The blank lines, and comments that belong to the section below, come after them.
    """
    body = table.value.body if isinstance(table, Table) else []
    last = max((index for index, (key, _) in enumerate(body) if key is not None), default=-1)
    tail = body[last + 1 :]
    del body[last + 1 :]
    yield
    body.extend(tail)


def _origins(name: str, value: Any, inherited: Sequence[tuple[str, Any]]) -> Iterator[tuple[str, Item]]:
    return ((origin, table[name]) for origin, table in inherited if table.get(name) == value)
