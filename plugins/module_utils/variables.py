# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be said about variables by their names and their argument specifications alone."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from ansible_collections.celeryops.stack.plugins.module_utils.plan import did_you_mean

#: What to write for a value of each type.
TYPES = {
    "str": "a text, in quotes",
    "path": "a path, in quotes",
    "int": "a whole number",
    "float": "a number such as 0.5",
    "bool": "true or false",
    "list": "a list, like [one, two]",
    "dict": "a mapping, like {name: value}",
}
_TRUTHS = ("true", "false", "yes", "no", "on", "off", "1", "0")
SHOWN = 60


def unknown(names: Iterable[str], known: Collection[str], roles: Iterable[str], own: object) -> list[str]:
    """A sentence for each name that looks like a role's variable and is none: a typo would silently do nothing."""
    patterns = [str(pattern) for pattern in own] if isinstance(own, (list, tuple)) else []
    prefixes = tuple(f"{role}_" for role in roles)
    return [
        f"{name} is no variable of this collection{did_you_mean(name, known)}; correct the name or remove it, "
        "or, if it is one of your own, name it in celery_own_variables"
        for name in sorted(names)
        if name.startswith(prefixes) and name not in known and not any(fnmatchcase(name, p) for p in patterns)
    ]


def mistyped(name: str, value: Any, option: Mapping[str, Any]) -> str | None:
    """What is wrong with a value's type, or with one that is none of the choices; a secret is never repeated."""
    kind = str(option.get("type", "str"))
    if kind == "raw" or (value is None and not option.get("default")):
        return None
    if not _is(kind, value):
        return f"{name} is {_shown(value, option)}; write {TYPES[kind]}"
    choices = option.get("choices")
    if choices and value not in choices:
        words = [str(choice) for choice in choices]
        return f"{name} is {_shown(value, option)}{did_you_mean(str(value), words)}; write one of {', '.join(words)}"
    element = option.get("elements")
    for number, item in enumerate(value if kind == "list" else (), 1):
        if element in TYPES and not _is(element, item):
            return f"{name}: entry {number} is {_shown(item, option)}; write {TYPES[element]}"
    return None


def _is(kind: str, value: Any) -> bool:
    text = str(value).strip() if isinstance(value, (str, int, float)) and not isinstance(value, bool) else ""
    if kind in ("str", "path"):
        return isinstance(value, (str, int, float)) and not isinstance(value, bool)
    if kind == "int":
        return bool(re.match(r"^[+-]?\d+$", text))
    if kind == "float":
        return bool(re.match(r"^[+-]?(\d+\.?\d*|\.\d+)$", text))
    if kind == "bool":
        return isinstance(value, bool) or text.lower() in _TRUTHS
    return isinstance(value, (list, tuple)) if kind == "list" else isinstance(value, Mapping)


def _shown(value: Any, option: Mapping[str, Any]) -> str:
    """A plain value as it is, anything that could hold a secret by its kind only."""
    if value is None:
        return "empty"
    if isinstance(value, (bool, int, float)) and not option.get("no_log"):
        return str(value).lower() if isinstance(value, bool) else str(value)
    if isinstance(value, str) and not option.get("no_log") and not re.search(r"//\S*[@?]", value):
        return repr(str(value) if len(value) <= SHOWN else f"{value[:SHOWN]}...")
    return kind_of(value)


def kind_of(value: Any) -> str:
    """What kind of value it is, as a reader would say; Ansible's own types have other names."""
    if isinstance(value, bool):
        return str(value).lower()
    kinds = (str, "a text"), ((int, float), "a number"), ((list, tuple), "a list"), (Mapping, "a mapping")
    return next((said for types, said in kinds if isinstance(value, types)), "of an odd kind")


def together(findings: Iterable[tuple[str, str]], hosts: Collection[str]) -> list[str]:
    """Sentences of hosts as lines: each once, with the hosts' names where it is not about all of them."""
    concerned: dict[str, list[str]] = {}
    for host, sentence in findings:
        names = concerned.setdefault(sentence, [])
        if host not in names:
            names.append(host)
    return [
        sentence if not set(hosts) - set(names) or names == [""] else f"{some(names)}: {sentence}"
        for sentence, names in concerned.items()
    ]


def some(names: list[str], most: int = 5) -> str:
    """A few names, and how many more."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
