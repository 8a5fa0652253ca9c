"""Settings as YAML text: a file, a value on one line.

Read strictly (no key twice, no aliases) and with 1e-3 as a number; what is written is read as the same value.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from cacl.errors import UserError

_MOST_BYTES = 2**20  # of a settings file


def read_yaml(file: Path, *, mend: str = "name a YAML file of settings") -> dict[str, Any]:
    """A settings file as a tree. Raises UserError when it cannot be read or is no tree; ``mend`` says what to do."""
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise UserError(f"{file}: {file.stat().st_size} bytes are no settings; {mend}.")
        tree = read_value(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}); {mend}.") from error
    except ValueError as error:
        raise UserError(f"{file}: cannot be read as YAML ({error}); {mend}.") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise UserError(f"{file}: found {type(tree).__name__} where settings as 'section: …' are expected; {mend}.")
    return tree


def read_value(text: str) -> Any:
    """What YAML says. Raises ValueError with what is wrong, and in which line, without the text itself."""
    try:
        return yaml.load(text, _Loader)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        mark, what = getattr(error, "problem_mark", None), getattr(error, "problem", None) or error
        raise ValueError(" ".join(str(what).split()) + ("" if mark is None else f", line {mark.line + 1}")) from error


def value_text(value: Any) -> str:
    """A setting's value as YAML on one line."""
    for style in (None, '"'):  # plain where it can be, quoted where it would take several lines
        text = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, default_style=style, width=10**9)
        text = text.strip().removesuffix("\n...")
        if "\n" not in text:
            break
    return text


class _Loader(yaml.SafeLoader):
    """YAML in which 1e-3 is a number (YAML 1.1 wants 1.0e-3), and a key given twice or an alias is an error.

    Some lines of aliases of aliases can stand for more text than fits into any memory.
    """

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "settings have no aliases (*name)", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{key} is given twice", node.start_mark)
        return super().construct_mapping(node, deep=deep)


class _Dumper(yaml.SafeDumper):
    """Quotes what ``_Loader`` would take for a number."""


_FLOAT = re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$")
for _kind in (_Loader, _Dumper):
    _kind.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))
