# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes a release impossible before it has begun."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.celeryops.stack.plugins.module_utils import needs, supported
from ansible_collections.celeryops.stack.plugins.module_utils.plan import did_you_mean
from ansible_collections.celeryops.stack.plugins.module_utils.rules import celery
from ansible_collections.celeryops.stack.plugins.module_utils.rules.values import count, shown

_PINNED = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*(\[[A-Za-z0-9,._ -]+\])?==[A-Za-z0-9][A-Za-z0-9.!+_-]*\Z")
_REQUIREMENT = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*(\[[A-Za-z0-9,._ -]+\])?\s*([<>=!~].*)?$")
#: Of celery_audit, and of an entry of celery_audit_accept.
MODES = ("enforce", "warn", "off")
ACCEPTANCE = ("id", "task", "reason")


def problems(values: Mapping[str, Any]) -> list[str]:
    """One sentence for each fault of the ``app_*`` variables."""
    plan, found = celery.plan_or_problems(values.get("declaration") or {})
    uses_redis = plan.get("uses_redis", True)
    source = str(values.get("app_source") or "")
    if values.get("app_release"):
        pass  # it is on the host already
    elif not source:
        found.append(
            "app_source is not set; write what to release: a directory or a wheel on this machine, "
            "or a pinned package such as shop==1.2.0"
        )
    elif problem := _source_problem(source):
        found.append(problem)
    else:
        found += of_sources(plan, source, values.get("app_requirements") or [])
    for requirement in values.get("app_requirements") or []:
        if not _PINNED.match(str(requirement)):
            found.append(
                f"app_requirements holds '{shown(str(requirement))}', which is not pinned; write it like redis==8.1.0"
            )
    found += supported.required_problems("app_requirements", map(str, values.get("app_requirements") or []), uses_redis)
    for number, pattern in enumerate(values.get("app_exclude") or []):
        if not str(pattern or "").removeprefix("!").strip("/"):
            found.append(
                f"app_exclude[{number}] is {pattern!r}, which means no file; write a name or a path, like /media"
            )
    for name in ("app_build", "app_audit", "app_once", "app_after"):
        found += _commands(name, values.get(name) or [])
    found += _audit(values.get("celery_audit", "enforce"), values.get("celery_audit_accept") or [])
    keep = str(values.get("app_keep", ""))
    if not keep.isdigit() or int(keep) < 2:
        found.append(f"app_keep is {keep!r}, which would leave nothing to go back to; write a whole number, 2 or more")
    found += count("app_free_space", values.get("app_free_space", 500), 0)
    return found


def of_sources(plan: Mapping[str, Any], source: str, more: Iterable[Any]) -> list[str]:
    """What the application's requirements tell before anything is built: versions that do not work, missing ones."""
    path = os.path.expanduser(source)
    found = []
    for where, requirements in supported.requirements_of(path):
        found += supported.required_problems(f"app_source: {where}", requirements, plan.get("uses_redis", True))
    return found + (needs.problems(plan, path, [str(each) for each in more]) if plan else [])


def _commands(name: str, value: Any) -> list[str]:
    """A command is a list of words, and several are a list of such lists."""
    if not isinstance(value, (list, tuple)):
        return [f"{name} is one text; write the command and its arguments as a list, like [python, -m, shop]"]
    listed = [isinstance(each, (list, tuple)) for each in value]
    words = [word for each in value for word in (each if isinstance(each, (list, tuple)) else [each])]
    if len(set(listed)) > 1 or not all(value) or not all(isinstance(word, (str, int, float)) for word in words):
        return [
            f"{name} mixes words and lists, or has an empty one; write each command as a list of texts, like "
            "[[python, manage.py, migrate], [python, manage.py, loaddata, countries]]"
        ]
    return []


def _audit(mode: Any, accepted: Any) -> list[str]:
    """What is accepted is accepted by somebody: an entry without a reason says nothing."""
    found = []
    if mode is not False and mode not in MODES:  # an off without quotes is false to YAML
        found.append(f"celery_audit is {mode!r}{did_you_mean(str(mode), MODES)}; write one of {', '.join(MODES)}")
    if not isinstance(accepted, (list, tuple)):
        return [*found, "celery_audit_accept is no list; write it like [{id: plain-logger, reason: nobody reads them}]"]
    for number, entry in enumerate(accepted):
        where = f"celery_audit_accept[{number}]"
        if not isinstance(entry, Mapping):
            found.append(f"{where} is {entry!r}; write a mapping, like {{id: plain-logger, reason: nobody reads them}}")
            continue
        for key in entry:
            if key not in ACCEPTANCE:
                hint = did_you_mean(str(key), ACCEPTANCE)
                found.append(f"{where} has an unknown key {str(key)!r}{hint}; the keys are {', '.join(ACCEPTANCE)}")
        if not entry.get("id"):
            found.append(f"{where} has no id; write the id of a finding, as docs/audit.md lists them")
        if not str(entry.get("reason") or "").strip():
            found.append(f"{where} ({entry.get('id')}) has no reason; write why the finding is right here")
    return found


def _source_problem(source: str) -> str | None:
    path = os.path.expanduser(source)
    if "://" in source or source.startswith("git@"):
        return (
            f"app_source is {shown(source)}, an address; fetch it first, and write the directory or the wheel that you "
            "have then, or a pinned package"
        )
    wheel, folder = source.endswith(".whl"), "/" in source or source.startswith((".", "~"))
    if (wheel or folder) and not os.path.isabs(path):
        return f"app_source is {source}; write the whole path, such as {{{{ inventory_dir }}}}/../../shop"
    if wheel:
        return (
            None if os.path.isfile(path) else f"app_source names the wheel {source}, which is not there; build it first"
        )
    if folder:
        if not os.path.isdir(path):
            return f"app_source names the directory {source}, which is not there; write the path of your project"
        known = ("pyproject.toml", "setup.py", "requirements.txt", "requirements.lock")
        if not any(os.path.isfile(os.path.join(path, name)) for name in known):
            return (
                f"app_source is {source}, which says nowhere what it needs; "
                "put a requirements.txt or a pyproject.toml into it"
            )
        return None
    if _PINNED.match(source):
        return None
    if _REQUIREMENT.match(source):
        name = re.split(r"[<>=!~\[\s]", source, maxsplit=1)[0]
        return f"app_source is '{source}', which could be another version tomorrow; pin it, like {name}==1.2.0"
    return f"app_source is '{source}', which is no directory, no wheel and no pinned package; write one of these"
