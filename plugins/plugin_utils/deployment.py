# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole deployment as one thing: what every role of every host says about its values, on the controller alone."""

from __future__ import annotations

import importlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

from ansible_collections.celeryops.stack.plugins.module_utils import variables
from ansible_collections.celeryops.stack.plugins.module_utils.plan import KINDS, make_plan
from ansible_collections.celeryops.stack.plugins.module_utils.rules import app as app_rules
from ansible_collections.celeryops.stack.plugins.module_utils.rules import host as host_rules
from ansible_collections.celeryops.stack.plugins.module_utils.rules import inventory
from ansible_collections.celeryops.stack.plugins.module_utils.rules.celery import plan_or_problems
from ansible_collections.celeryops.stack.plugins.module_utils.rules.values import placeholder
from ansible_collections.celeryops.stack.plugins.module_utils.topology import make_topology, services_of
from ansible_collections.celeryops.stack.plugins.plugin_utils.scope import (
    COMMON,
    Quiet,
    Roles,
    Scope,
    Unreadable,
    passed_on,
)

RULES = "ansible_collections.celeryops.stack.plugins.module_utils.rules"
#: What playbooks/preflight.yml registers: the host as it is.
FACTS = "__preflight_host"
Finding = tuple[str, str]


def check(role: object, values: object) -> list[str]:
    """Return the sentences that role's rules have to say about values."""
    if not isinstance(role, str) or not re.fullmatch(r"[a-z_]+", role):
        return [f"preflight: role {role!r} is not the name of a role: write, for example, role: worker."]
    if not isinstance(values, Mapping):
        return ["preflight: values must be a mapping of the role's variables."]
    try:
        rules = importlib.import_module(f"{RULES}.{role}")
    except ModuleNotFoundError:
        return [f"preflight: role {role} has no rules: plugins/module_utils/rules/{role}.py is missing."]
    return [str(sentence) for sentence in rules.problems(values)]


class Host:
    """One host: its variables, and what each of its roles makes of them."""

    def __init__(self, deployment: Deployment, name: str, own: Mapping[str, Any]) -> None:
        self._all, self.name = deployment, name
        self.own = dict(own)
        self.plain = Quiet(deployment.loader, own)
        #: Variables that are wrong by themselves; the roles' defaults stand in for them, and nothing else is said.
        self._wrong: set[str] = set()

    def scope(self, role: str) -> Scope:
        """What the role's tasks would see here."""
        roles = self._all.roles
        own = {name: value for name, value in self.own.items() if name not in self._wrong}
        more = {"celery_topology": self._all.topology, "hostvars": self._all.hostvars}
        return Scope(
            self._all.loader,
            *(roles.defaults[name] for name in (COMMON, role)),
            own,
            *(roles.internal[name] for name in (COMMON, role)),
            more if role == COMMON else {**more, "celery_plan": self.plan or self._stand_in},
        )

    @property
    def services(self) -> list[str]:
        """The roles of this host, besides the common one."""
        groups = [kind for kind in KINDS if self.name in (self._all.groups.get(kind) or ())]
        return services_of(groups, str(self.plain.get("celery_broker") or "rabbitmq"))

    def variables(self, role: str, names: Iterable[str]) -> Iterator[str]:
        """What is wrong with each of the role's variables by itself, where the inventory sets it."""
        scope, options = self.scope(role), self._all.roles.options[role]
        for name in names:
            if name not in self.own:
                continue
            try:
                value = scope[name]
            except Unreadable as problem:
                said = [f"{name} {problem}"]
            else:
                wrong = variables.mistyped(name, value, options[name])
                said = [wrong] if wrong else placeholder(name, value) if options[name].get("no_log") else []
            if said:
                self._wrong.add(name)
                yield from said

    @cached_property
    def _planned(self) -> tuple[dict[str, Any], list[str]]:
        try:
            self.declaration: dict[str, Any] = self.scope(COMMON)["__celery_values"]
        except Unreadable as problem:
            self.declaration = {}
            return {}, [f"the declaration {problem}"]
        return plan_or_problems(self.declaration)

    @property
    def plan(self) -> dict[str, Any]:
        """The host's plan; empty where the declaration contradicts itself."""
        return self._planned[0]

    def declared(self) -> Iterator[str]:
        """What is wrong with the declaration."""
        yield from self._unless_wrong(self._planned[1])

    @cached_property
    def _stand_in(self) -> dict[str, Any]:
        """A plan like the one that cannot be made, so that the values that follow from it can be looked at."""
        broker = self.plain.get("celery_broker")
        return make_plan(
            {
                "celery_app": "stand.in:app",
                "celery_workers": {"default": {}},
                "celery_broker": broker if broker in ("rabbitmq", "redis") else "rabbitmq",
            },
            self.name,
        )

    def service(self, role: str, found: dict[str, Mapping[str, Any]]) -> Iterator[str]:
        """What is wrong with a role's values; they are put into ``found``."""
        scope, values = self.scope(role), {}
        for name, value in self._all.roles.values(role).items():
            if name == "declaration":
                values[name] = {**self.declaration, "__planned": (self.plan, [])}
                continue
            try:
                values[name] = scope.evaluate(value)
            except Unreadable as problem:
                yield from self._unless_wrong([f"{name} {problem}"])
                return
        found[role] = values
        yield from self._unless_wrong(self._as_set(role, check(role, values)))

    def sources(self) -> Iterator[str]:
        """What the application's sources tell, where there are some on this machine."""
        scope = self.scope("app")
        try:
            source, more = scope.evaluate("{{ app_source }}"), scope.evaluate("{{ app_requirements }}")
        except Unreadable:
            return  # the rules of app say so
        if self.plan and isinstance(source, str) and isinstance(more, list):
            yield from app_rules.of_sources(self.plan, source, more)

    def _as_set(self, role: str, sentences: Iterable[str]) -> Iterator[str]:
        """Sentences that name what the inventory sets, where the role's own variable only passes it on."""
        origins = {
            name: str(origin)
            for name, default in self._all.roles.defaults[role].items()
            if name not in self.own and (origin := passed_on(default)) in self.own
        }
        for sentence in sentences:
            yield re.sub(r"\w+", lambda word: origins.get(word[0], word[0]), sentence)

    def _unless_wrong(self, sentences: Iterable[str]) -> Iterator[str]:
        for sentence in sentences:
            if not self._wrong.intersection(re.findall(r"\w+", sentence)):
                yield sentence


class Deployment:
    """All hosts of the inventory's groups."""

    def __init__(
        self,
        loader: Any,
        task_vars: Mapping[str, Any],
        more: Mapping[str, Any],
        passing: Mapping[str, Collection[str]],
    ) -> None:
        """Read the inventory.

        Args:
            loader: Ansible's, for files and templates.
            task_vars: Ansible's, of any host.
            more: variables of the play and of the command line.
            passing: names that the run itself gave to hosts' variables, by registering them for example.
        """
        self.loader, self.hostvars, self.groups = loader, task_vars["hostvars"], task_vars["groups"]
        self.roles = Roles(loader)
        everyone = dict.fromkeys(name for kind in KINDS for name in self.groups.get(kind) or ())
        self.hosts = {name: Host(self, name, {**self.hostvars.raw_get(name), **more}) for name in everyone}
        within = set(task_vars.get("ansible_play_hosts") or ())
        self.checked = [host for name, host in self.hosts.items() if name in within]
        self._passing = passing

    @cached_property
    def topology(self) -> dict[str, Any]:
        return make_topology(self.groups, {name: host.plain for name, host in self.hosts.items()})

    def problems(self, services: bool = True) -> list[str]:
        """Everything that is wrong, as one sentence each; without the services, only what the plan needs."""
        found = [("", said) for said in inventory.problems(self.groups, self._plain())]
        found += self._unknown()
        for host in self.checked:
            found += [(host.name, said) for said in self._of(host, services)]
        return variables.together(found, [host.name for host in self.checked])

    def _plain(self) -> dict[str, Mapping[str, Any]]:
        return {name: host.plain for name, host in self.hosts.items()}

    def _unknown(self) -> Iterator[Finding]:
        for host in self.checked:
            passing = {*(host.own.get("ansible_facts") or ()), *(self._passing.get(host.name) or ())}
            names = [name for name in host.own if name not in passing]
            own = host.plain.get("celery_own_variables")
            for said in variables.unknown(names, self.roles.known, self.roles.names, own):
                yield host.name, said

    def _of(self, host: Host, services: bool) -> Iterator[str]:
        roles = self.roles
        names = roles.options[COMMON] if services else roles.internal[COMMON]["__celery_values"]
        yield from host.variables(COMMON, [name for name in names if name in roles.options[COMMON]])
        for role in host.services if services else ():
            yield from host.variables(role, roles.options[role])
        yield from host.declared()
        if not services:
            yield from host.sources() if "app" in host.services else ()
            return
        values: dict[str, Mapping[str, Any]] = {}
        for role in host.services:
            yield from host.service(role, values)
        yield from host_rules.same_port(values)
        facts = host.own.get(FACTS)
        if isinstance(facts, Mapping) and "system" in facts:
            common = host.scope(COMMON)
            names = [str(common[name]) for name in ("celery_deployment", "celery_replaces")]
            yield from host_rules.problems(facts, values, host.plan, common["celery_clock_skew"], names)
