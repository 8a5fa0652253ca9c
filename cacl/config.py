"""Settings from a preset, a YAML file and the command line, with the origin of every value.

A preset, then a YAML file, then ``--set a.b=c``, then flags: the later wins. ``resolve`` merges them, checks everything
at once and lists all problems in one error. Settings objects are read only where things are put together; everything
below takes plain arguments with the settings' names. Types and bounds are in ``settings.py``, the presets in
``presets.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from cacl.errors import UserError, did_you_mean
from cacl.presets import PRESETS, PUBLISHED, published
from cacl.settings import (
    METHODS,
    Augment,
    Data,
    Frames,
    Model,
    Optim,
    Run,
    Section,
    Settings,
    method_settings,
    settings_of,
)
from cacl.settings_yaml import read_value, read_yaml, value_text

__all__ = [
    "Augment",
    "Data",
    "Frames",
    "Model",
    "Optim",
    "Resolved",
    "ResolvedOf",
    "Run",
    "Settings",
    "differences",
    "load_resolved",
    "load_resolved_as",
    "read_yaml",
    "resolve",
    "resolve_as",
]

Tree = TypeVar("Tree", bound=Section)


@dataclass(frozen=True)
class ResolvedOf(Generic[Tree]):
    """Settings with the origin of every value (``preset small``, ``file x.yaml``, ``--set``, ``flag``, ``auto: …``)."""

    settings: Tree
    origins: Mapping[str, str]

    def with_auto(self, values: Mapping[str, tuple[Any, str]]) -> ResolvedOf[Tree]:
        """Replace ``auto`` values; each comes with the reason that is written beside it."""
        tree = self.settings.model_dump()
        for key, (value, _) in values.items():
            _put(tree, key, value)
        reasons = {key: f"auto: {reason}" for key, (_, reason) in values.items()}
        return ResolvedOf(_validate(type(self.settings), tree), {**self.origins, **reasons})

    def to_yaml(self) -> str:
        """The whole tree as YAML, each line with its origin as a comment."""
        lines, section = list[str](), tuple[str, ...]()
        for path, value in _leaves(self.settings.model_dump(mode="json")):
            for depth, name in enumerate(path[:-1]):
                if path[: depth + 1] != section[: depth + 1]:
                    lines.append("  " * depth + f"{name}:")
            section = path[:-1]
            line = f"{'  ' * (len(path) - 1)}{path[-1]}: {value_text(value)}"
            origin = self.origins.get(".".join(path), "")
            # one line that YAML can read, and never two blanks in it
            origin = " ".join("".join(c if c.isprintable() else " " for c in origin).split())
            lines.append(f"{line.ljust(46)}  # {origin}".rstrip())
        return "\n".join(lines) + "\n"


Resolved = ResolvedOf[Settings]
"""The settings of a pretraining."""


def resolve(
    preset: Mapping[str, Any],
    *,
    file: Path | None = None,
    ablation: Mapping[str, Any] | None = None,
    assignments: tuple[str, ...] = (),
    flags: Mapping[str, Any] | None = None,
) -> Resolved:
    """``resolve_as`` for the settings of a pretraining, whose method may be another than the preset's.

    Where ``method.name`` says so, the whole group ``method`` is that method's, with its defaults under the preset.
    """
    name = names_method(file, assignments, flags)
    if name is not None and name != preset["method"]["name"]:
        preset = with_method(preset, name)
    return resolve_as(Settings, preset, file=file, ablation=ablation, assignments=assignments, flags=flags)


def names_method(file: Path | None, assignments: Sequence[str], flags: Mapping[str, Any] | None) -> str | None:
    """The ``method.name`` that they give, the later winning; None where they give none."""
    given = [{} if file is None else read_yaml(file), dict(_assignments(tuple(assignments), [])), flags or {}]
    names = [str(value) for values in given for key, value in _flat(values) if key == "method.name"]
    return names[-1] if names else None


def with_method(preset: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A preset's tree with another method's settings. Raises UserError where there is no such method."""
    if name not in METHODS:
        raise UserError(f"method.name is {name}; there are {', '.join(METHODS)}.{did_you_mean(name, METHODS)}")
    if preset["preset"] == PUBLISHED:
        return {**preset, "method": published(name)["method"]}
    own = PRESETS[preset["preset"]]["method"]
    if name == own["name"]:
        return {**preset, "method": own}
    kind = method_settings(name)
    given = {"name": name, **kind.presets.get(preset["preset"], {})}
    return {**preset, "method": kind.model_validate(given).model_dump(mode="json")}


def resolve_as(
    kind: type[Tree],
    preset: Mapping[str, Any],
    *,
    file: Path | None = None,
    ablation: Mapping[str, Any] | None = None,
    assignments: tuple[str, ...] = (),
    flags: Mapping[str, Any] | None = None,
) -> ResolvedOf[Tree]:
    """Merge preset < ablation < file < ``--set`` < flags, and check the whole.

    Args:
        kind: the class of the settings.
        preset: a complete tree (``presets.PRESETS[name]``).
        file: YAML with any part of the tree.
        ablation: dotted keys and values (``presets.ablation``).
        assignments: ``a.b=value`` as YAML scalars.
        flags: dotted keys and values, from the command line or from Python; ``None`` is a value as any other.

    Raises:
        UserError: one sentence a problem, all of them listed.
    """
    tree: dict[str, Any] = {}
    origins: dict[str, str] = {}
    problems: list[str] = []
    given = {} if file is None else read_yaml(file)
    layers: list[tuple[Mapping[str, Any], str]] = [(preset, f"preset {preset['preset']}")]
    layers.append((ablation or {}, "method"))
    layers.append((given, "" if file is None else f"file {file.name}"))
    layers.append((dict(_assignments(assignments, problems)), "--set"))
    layers.append((flags or {}, "flag"))
    known = dict(_flat(preset))
    for values, origin in layers:
        for key, value in _flat(values):
            if key not in known:
                problems.append(_unknown(key, value, known, origin))
            elif key == "preset" and value != preset["preset"]:
                problems.append(f"preset is {preset['preset']}, but {origin} says {value}: choose it with --preset.")
            else:
                _put(tree, key, value)
                origins[key] = origin
    problems = [problem for problem in problems if problem]
    try:
        settings = _validate(kind, tree)
    except UserError as error:
        problems.append(str(error))
    if problems:
        raise UserError("\n".join(problems))
    return ResolvedOf(settings, origins)


def load_resolved(file: Path) -> Resolved:
    """The settings of a pretraining that ``Resolved.to_yaml`` wrote, with the origins from its comments."""
    return load_resolved_as(Settings, file)


def load_resolved_as(kind: type[Tree], file: Path) -> ResolvedOf[Tree]:
    """The same for settings of any class."""
    tree = _of_today(read_yaml(file, mend="put it back as cacl wrote it, or begin a new run"))
    try:
        settings = _validate(kind, tree)
    except UserError as error:
        problems = str(error).rstrip(".").split(".\n")
        found = "; ".join(problems[:_NAMED])
        found += f"; and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
        raise UserError(
            f"{file} was written by another version of cacl, or changed since ({found}): put it back, or begin a "
            "new run."
        ) from error
    origins, stack = {}, list[str]()
    for line in file.read_text(encoding="utf-8").split("\n"):
        depth = (len(line) - len(line.lstrip())) // 2
        stack = [*stack[:depth], line.strip().split(":", 1)[0]]
        if "  # " in line:
            origins[".".join(stack)] = line.rsplit("  # ", 1)[1]
    return ResolvedOf(settings, origins)


def _of_today(tree: dict[str, Any]) -> dict[str, Any]:
    """A run's settings of an earlier version: its method had no name, and one setting more that no preset used."""
    if isinstance(method := tree.get("method"), dict):
        known = {key: value for key, value in method.items() if (key, value) != ("symmetric", False)}
        tree = {**tree, "method": {"name": "cacl", **known}}
    return tree


def differences(old: Section, new: Section) -> dict[str, tuple[Any, Any]]:
    """Dotted keys whose values differ, with both values."""
    a, b = dict(_flat(old.model_dump())), dict(_flat(new.model_dump()))
    return {key: (a[key], b[key]) for key in a if a[key] != b[key]}


def _validate(kind: type[Tree], tree: Mapping[str, Any]) -> Tree:
    if issubclass(kind, Settings):
        given = tree.get("method")
        name = given.get("name", "cacl") if isinstance(given, Mapping) else "cacl"
        if name not in METHODS:
            raise UserError(f"method.name is {name}; there are {', '.join(METHODS)}.{did_you_mean(str(name), METHODS)}")
        kind = settings_of(name)  # type: ignore[assignment]
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        found: dict[str, Any] = {}
        wanted: dict[str, list[str]] = {}
        sentences: list[str] = []
        for problem in error.errors():
            if problem["type"] == "value_error":  # of settings together: says their names itself
                sentences += [f"{line}." for line in str(problem["ctx"]["error"]).splitlines()]
                continue
            # behind the names of settings come places in a list, and which type of a union was tried
            key = ".".join(str(part) for part in problem["loc"] if str(part).isidentifier())
            if problem["type"] == "extra_forbidden":
                sentences.append(f"{key} is not a setting of this version of cacl.")
                continue
            if problem["type"] == "missing" and isinstance(problem["loc"][-1], str):
                sentences.append(f"{key} is missing.")
                continue
            found[key] = problem["input"]
            words = _wanted(problem["type"], problem["msg"])
            wanted.setdefault(key, []).append("a finite number" if _not_finite(problem) else words)
        for key, value in found.items():
            shown = list(value) if isinstance(value, tuple) else value
            sentences.append(f"{key} must be {' or '.join(dict.fromkeys(wanted[key]))} (found {shown!r}).")
        raise UserError("\n".join(sentences)) from error


def _not_finite(problem: Mapping[str, Any]) -> bool:
    """Whether nan or inf stands for a number; YAML takes them for text, its own words are .nan and .inf."""
    return problem["type"] == "float_type" and str(problem["input"]).lower().lstrip("+-") in ("nan", "inf", "infinity")


def _wanted(kind: str, message: str) -> str:
    """pydantic's message as what follows "must be"."""
    if kind in _WANTED:
        return _WANTED[kind]
    message = message.removeprefix("Input should be ").replace("greater than 0", "above 0")
    return re.sub(r"(greater|less) than or equal to (\S+)", lambda m: f"{m[2]} or {_MORE[m[1]]}", message)


def _unknown(key: str, value: Any, known: Mapping[str, Any], origin: str) -> str:
    """The problem with a key that is no setting; none when it is a section with nothing in it."""
    parts = sorted(name for name in known if name.startswith(f"{key}."))
    if parts and value is None:
        return ""
    if parts:
        return f"{key} is a group of settings, not one: set {parts[0]} and so on. ({origin})"
    if key.startswith("method.") and "method.name" in known and key in dict(_flat(PRESETS["paper"])):
        return f"{key} is a setting of the method cacl, not of {known['method.name']}: add --method cacl. ({origin})"
    return f"{key} is not a setting.{_near(key, known)} ({origin})"


def _near(key: str, known: Mapping[str, Any]) -> str:
    """What was perhaps meant: a name like it in its group, the same name in another group; or what there is."""
    group, _, name = key.rpartition(".")
    own = [other.removeprefix(f"{group}.") for other in known if group and other.startswith(f"{group}.")]
    if own:
        part = [other for other in own if other in name or (name and name in other)]
        slip = did_you_mean(name, own, cutoff=0.8)
        if near := slip or did_you_mean(name, part, cutoff=0) or did_you_mean(name, own):
            return near.replace("'", f"'{group}.", 1)
    elif group and (near := did_you_mean(key, known)):
        return near
    if same := [f"'{other}'" for other in known if other.rpartition(".")[2] == name]:
        return f" Did you mean {' or '.join(same)}?"
    if own:
        return f" In {group} there are {', '.join(own)}."
    groups = dict.fromkeys(other.partition(".")[0] for other in known if "." in other)
    return did_you_mean(key, known) or f" The groups of settings are {', '.join(groups)}."


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _leaves(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*path, name))
        else:
            yield (*path, name), value


def _put(tree: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    for name in path:
        tree = tree.setdefault(name, {})
    tree[last] = value


def _assignments(texts: tuple[str, ...], problems: list[str]) -> Iterator[tuple[str, Any]]:
    for text in texts:
        key, sign, value = text.partition("=")
        if not sign or not key.strip():
            problems.append(f"--set {text}: expected KEY=VALUE, for example --set method.temperature=0.1.")
            continue
        try:
            yield key.strip(), read_value(value)
        except ValueError as error:
            problems.append(f"--set {text}: the value is not YAML ({error}).")


_NAMED = 3  # problems of a run's settings that a sentence names
_MORE = {"greater": "more", "less": "less"}
_WANTED = {
    "missing": "a longer list",
    "too_long": "a shorter list",
    "tuple_type": "a list",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "string_pattern_mismatch": "auto, cpu, mps, cuda or cuda:0, cuda:1 …",
}
