# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes the declaration itself unusable."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.celeryops.stack.plugins.module_utils import addresses
from ansible_collections.celeryops.stack.plugins.module_utils.plan import PlanError, make_plan
from ansible_collections.celeryops.stack.plugins.module_utils.variables import kind_of

NOTHING = "nothing: running tasks would be lost or killed"
#: systemd settings that the units write themselves, and where to write them instead.
OWNED = {
    "CPUWeight": "cpu_weight in celery_workers",
    "Environment": "celery_environment",
    "ExecStart": "celery_workers",
    "FinalKillSignal": NOTHING,
    "KillMode": NOTHING,
    "KillSignal": NOTHING,
    "LimitNOFILE": "nofile in celery_workers",
    "LoadCredential": "celery_secret_environment",
    "MemoryMax": "memory_max in celery_workers",
    "NotifyAccess": "nothing: a worker reports by itself when it consumes",
    "Restart": "nothing: a unit that ends is started again",
    "RestartSec": "nothing: a unit that ends is started again",
    "RuntimeDirectory": "celery_state_directory",
    "RuntimeMaxSec": NOTHING,
    "SendSIGKILL": NOTHING,
    "Slice": "cpu_weight in celery_workers",
    "StateDirectory": "celery_state_directory",
    "TasksMax": "tasks_max in celery_workers",
    "TimeoutSec": "stop_timeout in celery_workers",
    "TimeoutStartSec": "nothing: a worker that waits for its broker asks for more time by itself",
    "TimeoutStopFailureMode": NOTHING,
    "TimeoutStopSec": "stop_timeout in celery_workers",
    "Type": "nothing: a worker reports by itself when it consumes",
    "User": "celery_user",
    "WatchdogSec": "watchdog in celery_workers",
    "WorkingDirectory": "celery_app_dir",
}
#: Variables that every process of the application gets from elsewhere, and where.
TAKEN = {
    "BROKER_URL": "celery_broker",
    "CELERY_BROKER_URL": "celery_broker",
    "CELERY_BROKER_READ_URL": "celery_broker",
    "CELERY_BROKER_WRITE_URL": "celery_broker",
    "CELERYOPS_SETTINGS": "celery_settings",
    **dict.fromkeys(
        ("CREDENTIALS_DIRECTORY", "JOURNAL_STREAM", "NOTIFY_SOCKET", "RUNTIME_DIRECTORY", "STATE_DIRECTORY"),
        "nothing: systemd sets it",
    ),
    **dict.fromkeys(("WATCHDOG_PID", "WATCHDOG_USEC"), "watchdog in celery_workers"),
}
#: The same, unless the application itself says where results are.
TAKEN_RESULTS = dict.fromkeys(("CELERY_RESULT_BACKEND", "RESULT_BACKEND"), "celery_result_backend")
#: Variables that change what a process consumes, how many tasks it runs or how it stops, and what to write instead.
UNDOING = {
    r"REMAP_SIGTERM": "remove it, as a stop would kill running tasks",
    r"CELERY_LOADER|LOADER": "remove it, as the plan's settings come by it",
    r"FORKED_BY_MULTIPROCESSING": "remove it, as Celery sets it where it is true",
    r"CELERY_WORKER_(?!REVOKES_MAX|REVOKE_EXPIRES|SUCCESSFUL_MAX|SUCCESSFUL_EXPIRES).*": "write celery_workers",
    r"CELERY_BEAT_.*": "write the setting into celery_settings, such as beat_scheduler",
}
_USER = re.compile(r"^[a-z_][a-z0-9_-]{0,31}\Z")
_DIRECTORY = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*\Z")
#: What units can name: systemd reads a blank, a % or a line break as something else.
_PATH = re.compile(r"^(/(?!\.\.?(/|\Z))[A-Za-z0-9_.+@-]+)+/?\Z")
_SECONDS = re.compile(r"^([1-9][0-9]*(\.[0-9]+)?|0\.[0-9]*[1-9])\Z")
_VARIABLE = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*\Z")
_OPTION = re.compile(r"^[A-Z][A-Za-z0-9]*\Z")


def plan_or_problems(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The plan of the host that the values are of; or an empty one, and one sentence for each fault."""
    if "__planned" in values:  # the same host was asked before
        plan, problems = values["__planned"]
        return plan, list(problems)
    found = _options(values.get("celery_service_options"))
    taken = TAKEN if values.get("celery_result_backend") == "application" else TAKEN | TAKEN_RESULTS
    for variable in ("celery_environment", "celery_secret_environment"):
        found += _environment(variable, values.get(variable), taken)
    found += addresses.environment_problems("celery_environment", values.get("celery_environment"))
    found += addresses.settings_problems("celery_settings", values.get("celery_settings"))
    found += _places(values)
    authority = str(values.get("celery_tls_ca_certificate") or "")
    if authority and not os.path.isfile(authority):
        found.append(
            f"celery_tls_ca_certificate names {authority}, which is not on this machine; "
            "write the whole path of the CA's certificate"
        )
    try:
        return make_plan(values, str(values.get("inventory_hostname", "localhost"))), found
    except PlanError as error:
        return {}, [*error.problems, *found]


def problems(values: Mapping[str, Any]) -> list[str]:
    """One sentence for each fault of the ``celery_*`` variables."""
    return plan_or_problems(values)[1]


def _places(values: Mapping[str, Any]) -> list[str]:
    """Where things are put, as whom, and what is read on this machine; what is not given is not looked at."""
    found = []
    paths = [(name, values[name]) for name in ("celery_home", "celery_etc", "celery_python") if name in values]
    paths += [("celery_watch", path) for path in values.get("celery_watch") or ()]
    for name, path in paths:
        if not _PATH.match(str(path)):
            found.append(
                f"{name} is {path!r}; write a whole path of letters, digits, '_', '.', '+', '@' and '-', such as "
                "/opt/celery"
            )
    user = str(values.get("celery_user", "celery"))
    if user == "root":
        found.append("celery_user is root, which would make every fault of a task one of the host; write another name")
    elif not _USER.match(user):
        found.append(f"celery_user is {user!r}; write a name of small letters, digits, '_' and '-', such as celery")
    directory = str(values.get("celery_state_directory", "celery"))
    if not _DIRECTORY.match(directory):
        found.append(f"celery_state_directory is {directory!r}; write a name below /var/lib, such as celery")
    bundle = str(values.get("celery_ca_bundle") or "")
    if bundle and not os.path.isfile(bundle):
        found.append(f"celery_ca_bundle names {bundle}, which is not on this machine; write the whole path of a file")
    if not _SECONDS.match(str(values.get("celery_clock_skew", 5))):
        found.append(f"celery_clock_skew is {values['celery_clock_skew']}; write a number of seconds, such as 5")
    return found


def _options(options: Any) -> list[str]:
    if not options:
        return []
    if not isinstance(options, Mapping):
        return ["celery_service_options is not a mapping; write systemd's names, like {PrivateTmp: false}"]
    found = []
    for name, value in options.items():
        values = value if isinstance(value, (list, tuple)) else [value]
        if name in OWNED:
            found.append(f"celery_service_options.{name} would overrule the plan; write {OWNED[name]}")
        elif not _OPTION.match(str(name)):
            found.append(f"celery_service_options has {str(name)!r}; write systemd's names, such as ReadWritePaths")
        elif any(not isinstance(each, (str, int, float)) or "\n" in str(each) for each in values):
            found.append(f"celery_service_options.{name} does not fit on one line; write a text, or a list of texts")
    return found


def _environment(variable: str, given: Any, taken: Mapping[str, str]) -> list[str]:
    """Every process of the application would refuse to start with a value that is no text. Values are not repeated."""
    if not given:
        return []
    if not isinstance(given, Mapping):
        return [f"{variable} is not a mapping; write names and texts, like {{LANG: C.UTF-8}}"]
    found = []
    for name, value in given.items():
        if not isinstance(name, str) or not _VARIABLE.match(name):
            found.append(f"{variable} has the name {str(name)!r}; write letters, digits and '_' only")
        elif name in taken:
            found.append(f"{variable}.{name} would be overruled by the plan; write {taken[name]}")
        elif remedy := next((remedy for names, remedy in UNDOING.items() if re.fullmatch(names, name)), None):
            found.append(f"{variable}.{name} would change how workers or beat run, against the plan; {remedy}")
        elif "\0" in str(value):
            found.append(f"{variable}.{name} contains a zero byte, which no environment can hold; remove it")
        elif isinstance(value, bool) or not isinstance(value, (str, int, float)):
            found.append(f"{variable}.{name} is {kind_of(value)}; write a text in quotes, such as '1'")
    return found
