# SPDX-License-Identifier: GPL-3.0-or-later
"""What the variables of a role come to on a host, with no task of the role running there."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.template import Templar

ROLES = Path(__file__).parents[2] / "roles"
#: The role whose variables every other one sees.
COMMON = "celery"


ITSELF = "is made of itself, so it has no value; write the value, or the name of another variable"
#: Hosts share most of their values, so each is looked through once; kept with its result, or its id could come again.
_SEEN: dict[int, tuple[Any, bool]] = {}
_NAME = re.compile(r"\{\{ (\w+) \}\}")


class Unreadable(Exception):
    """A value that cannot be evaluated; its text says why, and shows nothing of the value."""


class Roles:
    """Defaults, internal variables and argument specifications of the collection's roles."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader
        self.names = sorted(path.name for path in ROLES.iterdir() if path.is_dir())
        self.options = {name: self._options(name) for name in self.names}
        self.known = {option for options in self.options.values() for option in options}
        self.defaults = {name: self._read(name, "defaults/main.yml") for name in self.names}
        self.internal = {name: self._read(name, "vars/main.yml") for name in self.names}

    def _read(self, role: str, file: str) -> Any:
        path = ROLES / role / file
        if not path.exists():
            return {}
        # "unsafe" is about copies only: nobody changes what is read here.
        return self._loader.load_from_file(str(path), unsafe=True, **trusted(self._loader)) or {}

    def _options(self, role: str) -> dict[str, Any]:
        specs = self._read(role, "meta/argument_specs.yml").get("argument_specs", {})
        return {name: option for entry in specs.values() for name, option in (entry.get("options") or {}).items()}

    def values(self, role: str) -> dict[str, Any]:
        """What the role's preflight hands to its rules, as it stands there."""
        found: dict[str, Any] = {}
        for task in self._read(role, "tasks/preflight.yml") or []:
            arguments = task.get("celeryops.stack.preflight") or {}
            if arguments.get("role") == role and isinstance(arguments.get("values"), Mapping):
                found.update(arguments["values"])
        return found


def trusted(loader: Any) -> dict[str, Any]:
    """Since ansible-core 2.19 a loader has to be told that a file may hold templates."""
    has = "trusted_as_template" in inspect.signature(loader.load_from_file).parameters
    return {"trusted_as_template": True} if has else {}


def is_plain(value: Any) -> bool:
    """Whether a value holds nothing to be evaluated."""
    if isinstance(value, str):
        return not any(sign in value for sign in ("{{", "{%", "{#"))
    if not isinstance(value, (dict, list)):
        return value is None or isinstance(value, (bool, int, float))
    if id(value) not in _SEEN:
        parts = [*value, *value.values()] if isinstance(value, dict) else value
        _SEEN[id(value)] = value, all(map(is_plain, parts))
    return _SEEN[id(value)][1]


def passed_on(value: Any) -> str:
    """The variable whose value this is; empty where it is something else."""
    name = _NAME.fullmatch(value) if isinstance(value, str) else None
    return str(name[1]) if name else ""


class Scope(Mapping[str, Any]):
    """Variables that are evaluated when they are asked for, and then remembered."""

    def __init__(self, loader: Any, *layers: Mapping[str, Any]) -> None:
        self.raw: dict[str, Any] = {}
        for layer in layers:
            self.raw.update(layer)
        self._templar = Templar(loader=loader, variables=self.raw)
        self._seen: dict[str, Any] = {}
        self._open: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        if name not in self._seen:
            if name in self._open:
                raise Unreadable(ITSELF)
            self._open.add(name)
            try:
                self._seen[name] = self.evaluate(self.raw[name])
            finally:
                self._open.discard(name)
        return self._seen[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.raw)

    def __len__(self) -> int:
        return len(self.raw)

    def __contains__(self, name: object) -> bool:
        return name in self.raw

    def evaluate(self, value: Any) -> Any:
        """What a value comes to here; what is plain, or only the name of a variable, needs no template engine."""
        if is_plain(value):
            return value
        if (name := passed_on(value)) in self.raw:
            return self[name]
        if isinstance(value, dict):
            return {key: self.evaluate(item) for key, item in value.items()}
        try:
            return self._templar.template(value)
        except AnsibleError as error:
            raise Unreadable(reason(error)) from None


class Quiet(Scope):
    """The same, where what cannot be evaluated is nothing; somebody else says so."""

    def __getitem__(self, name: str) -> Any:
        try:
            return super().__getitem__(name)
        except Unreadable:
            return None


def reason(error: AnsibleError) -> str:
    """Why something cannot be evaluated, in a few words that repeat no value."""
    text = " ".join(str(error).split())
    if missing := re.search(r"'([A-Za-z_][A-Za-z0-9_]*)' is undefined", text):
        return f"uses {missing[1]}, which is not defined; define it, or write the value itself"
    if missing := re.search(r"has no attribute '([A-Za-z0-9_]+)'", text):
        return f"asks something for its '{missing[1]}', which it has not; correct the expression"
    if missing := re.search(r"[Nn]o (filter|test) named '([A-Za-z0-9_.]+)'", text):
        return f"uses the {missing[1]} {missing[2]}, which does not exist; correct its name"
    if "recursi" in text.lower():
        return ITSELF
    if "vault" in text.lower():
        return "is encrypted, and the password that was given does not open it; give the right one to ansible-vault"
    if "yntax error" in text or "unexpected" in text:
        return "is no expression that Jinja can read; look for a missing bracket, quote or end"
    return "cannot be evaluated; correct its expression, and try it with ansible.builtin.debug"
