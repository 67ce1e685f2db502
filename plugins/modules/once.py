#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run commands, each once for a release."""

from __future__ import annotations

DOCUMENTATION = r"""
module: once
short_description: Run commands, each once for a release
description:
  - Runs them one after another. The first that fails ends it.
  - With O(release) they run through C(celery-run), as a worker would see the world. What has succeeded is noted in the
    release, and is not run again there.
  - With O(link) they run as they are, as commands of the host. What has succeeded is noted beside the link, and is not
    run again until the link is made anew.
author: celeryops.stack maintainers (@celeryops)
options:
  commands:
    description: The commands, each a list of the command and its arguments; a single one may stand alone.
    type: list
    elements: raw
    required: true
  release:
    description: Folder of the release.
    type: path
  link:
    description: Instead of O(release), the link to the one in use.
    type: path
  again:
    description: Whether to run, too, what has succeeded there before.
    type: bool
    default: false
  next:
    description: What the release's processes are about to get, as JSON with C(settings), C(credentials), C(etc) and
      C(runtime).
    type: str
    default: ""
  launcher:
    description: Command on the host that runs another one as a worker would see the world.
    type: path
    default: /usr/local/sbin/celery-run
attributes:
  check_mode:
    description: Says what it would run.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: Migrate the database, and load what is always there
  celeryops.stack.once:
    release: "{{ prepared.path }}"
    commands:
      - [python, manage.py, migrate, --no-input]
      - [python, manage.py, loaddata, countries]

- name: Restart a web server after each switch
  celeryops.stack.once:
    link: /opt/celery/app/current
    commands: [systemctl, restart, gunicorn.service]
"""

RETURN = r"""
lines:
  description: Each command that was run, and below it what it printed.
  type: list
  elements: str
  returned: success
output:
  description: The last lines that the command printed that did not succeed.
  type: str
  returned: when it printed more than one
"""

import json
import os
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryops.stack.plugins.module_utils.failures import Failure, ended
from ansible_collections.celeryops.stack.plugins.module_utils.releases import commands_of
from ansible_collections.celeryops.stack.plugins.module_utils.trial import trial

#: In the release, so that it goes with it.
DONE = "once.json"
#: The most lines of a command's output that are shown.
LONGEST = 100


class Notes:
    """What has succeeded: in a release, or since a link to one was made."""

    def __init__(self, release: str | None, link: str | None) -> None:
        self._path = Path(release, DONE) if release else Path(f"{link}.{DONE}")
        self._since = _made(str(link)) if link else None

    def read(self) -> list[list[str]]:
        """Those commands."""
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return []
        if self._since is None:
            return list(found)
        return list(found["done"]) if found["since"] == self._since else []

    def write(self, done: list[list[str]]) -> None:
        """Keep them."""
        content = done if self._since is None else {"since": self._since, "done": done}
        self._path.write_text(json.dumps(content) + "\n", encoding="utf-8")


def _made(link: str) -> int:
    """When a link was made; it is a new one each time that it leads elsewhere."""
    try:
        return os.lstat(link).st_mtime_ns
    except FileNotFoundError:
        return 0


def run(command: list[str], params: Mapping[str, Any]) -> list[str]:
    """Run one, and return what it printed."""
    launcher = [params["launcher"]] if params["release"] else []
    with trial(params["next"]) as following:
        try:
            done = subprocess.run(
                [*launcher, *command],
                env={**os.environ, **following, **({"CELERY_RELEASE": params["release"]} if launcher else {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                check=False,
            )
        except OSError as problem:
            mend = "; run site.yml first" if launcher else ""
            raise Failure(f"{[*launcher, *command][0]} cannot be run: {problem.strerror}{mend}.") from None
    if done.returncode:
        raise Failure(*ended(command, done.returncode, done.stdout))
    return done.stdout.splitlines()[-LONGEST:]


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "commands": {"type": "list", "elements": "raw", "required": True},
            "release": {"type": "path"},
            "link": {"type": "path"},
            "again": {"type": "bool", "default": False},
            "next": {"type": "str", "default": "", "no_log": True},
            "launcher": {"type": "path", "default": "/usr/local/sbin/celery-run"},
        },
        supports_check_mode=True,
        required_one_of=[("release", "link")],
        mutually_exclusive=[("release", "link")],
    )
    params = module.params
    notes = Notes(params["release"], params["link"])
    before = notes.read()
    due = [command for command in commands_of(params["commands"]) if params["again"] or command not in before]
    lines: list[str] = []
    for command in due:
        lines.append(f"$ {shlex.join(command)}")
        if module.check_mode:
            continue
        try:
            lines += run(command, params)
        except Failure as problem:
            module.fail_json(**problem.result())
        before = [*(other for other in before if other != command), command]
        notes.write(before)
    module.exit_json(changed=bool(due), lines=lines)


if __name__ == "__main__":
    main()
