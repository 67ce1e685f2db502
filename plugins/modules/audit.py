#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the application on a host, and refuse what will break."""

from __future__ import annotations

DOCUMENTATION = r"""
module: audit
short_description: Read the application on a host, and refuse what will break
description:
  - Loads the application in its release's own environment, as a worker would, in a process with a time limit; reads
    its source; compares both with the plan, and with the broker where that answers.
  - Fails when a finding is certain and severe, was not accepted, and O(enforce) is set. Nothing is changed.
  - The same program runs without Ansible; its findings are explained in C(docs/audit.md).
author: celeryops.stack maintainers (@celeryops)
options:
  app:
    description: The Celery application, as C(celery --app) takes it.
    type: str
    required: true
  release:
    description: Folder of the release; empty for the one in use.
    type: str
    default: ""
  plan:
    description: The plan's part C(audit); and C(sentry), whether errors are reported.
    type: dict
    required: true
  next:
    description: What the release's processes are about to get, as JSON with C(settings), C(credentials), C(etc) and
      C(runtime);
      empty for what the host has.
    type: str
    default: ""
  accept:
    description: Findings that are right here, as C(id), C(task) (may be left out) and C(reason).
    type: list
    elements: dict
    default: []
  enforce:
    description: Whether a finding may fail this task.
    type: bool
    default: true
  broker:
    description: Whether to ask the broker.
    type: bool
    default: true
  import_timeout:
    description: Seconds that the import of the application may take.
    type: int
    default: 60
  program:
    description: Folder of the program.
    type: path
    default: /opt/celery/audit/celeryops_audit
  launcher:
    description: Command on the host that runs another one as a worker would see the world.
    type: path
    default: /usr/local/sbin/celery-run
attributes:
  check_mode:
    description: Does the same, except where there is no release yet.
    support: full
"""

EXAMPLES = r"""
- name: Audit | The release that was built
  celeryops.stack.audit:
    app: shop.celery:app
    release: "{{ prepared.path }}"
    plan: "{{ celery_plan.audit }}"
    accept:
      - id: plain-logger
        reason: its lines are counted, not read
"""

RETURN = r"""
lines:
  description: What was found, what is accepted and what is not known, as a table for a reader.
  type: list
  elements: str
  returned: when nothing stops
output:
  description: What the release is refused for.
  type: str
  returned: when there are several reasons
findings:
  description: Everything, one mapping each; C(blocks) tells whether it stops a deployment.
  type: list
  elements: dict
  returned: when nothing stops, and there was a release to look at
"""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryops.stack.plugins.module_utils.failures import Failure
from ansible_collections.celeryops.stack.plugins.module_utils.trial import trial

#: Exit codes of the program: nothing blocks, something does.
ANSWERED = (0, 1)
#: Seconds that it may take beside the import: reading source, and a broker that does not answer.
BESIDE = 120


def command(params: Mapping[str, Any]) -> list[str]:
    """What is run on the host."""
    asked = [params["launcher"], "python", params["program"], params["app"], "--request", "-", "--format", "json"]
    return [*asked, "--timeout", str(params["import_timeout"]), *(["--broker"] if params["broker"] else [])]


def answer(params: Mapping[str, Any]) -> dict[str, Any]:
    """Run the audit, and return its answer."""
    with trial(params["next"]) as following:
        release = {"CELERY_RELEASE": params["release"]} if params["release"] else {}
        return asked(params, {**os.environ, **following, **release})


def asked(params: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """What the program answers in this environment."""
    try:
        done = subprocess.run(
            command(params),
            env=environment,
            input=json.dumps({"plan": params["plan"], "accept": params["accept"]}),
            text=True,
            capture_output=True,
            check=False,
            timeout=params["import_timeout"] + BESIDE,
        )
    except subprocess.TimeoutExpired:
        raise Failure(f"it did not end within {params['import_timeout'] + BESIDE} seconds.") from None
    except OSError as problem:
        raise Failure(f"{params['launcher']} cannot be run: {problem.strerror}; run site.yml first.") from None
    try:
        told = json.loads(done.stdout) if done.returncode in ANSWERED else None
    except ValueError:
        told = None
    if not isinstance(told, dict):
        words = [line for line in done.stderr.splitlines() if line.strip()]
        last = words[-1].removeprefix("celeryops_audit: ") if words else f"it ended with exit code {done.returncode}"
        raise Failure(f"{last}.")
    return told


def refusal(app: str, blocking: Sequence[str]) -> Failure:
    """What a release is refused for; a single reason is in the sentence."""
    reasons = "1 reason" if len(blocking) == 1 else f"{len(blocking)} reasons"
    end = f": {blocking[0]}" if len(blocking) == 1 else "."
    return Failure(
        f"The audit of {app} refuses it for {reasons}; mend it, or accept it by id in celery_audit_accept "
        f"(docs/audit.md){end}",
        "\n".join(blocking),
    )


def is_there(params: Mapping[str, Any]) -> bool:
    """Whether there is something to look at; in a dry run nothing may have been built."""
    return all(not path or os.path.exists(path) for path in (params["release"], params["program"], params["launcher"]))


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "app": {"type": "str", "required": True},
            "release": {"type": "str", "default": ""},
            "plan": {"type": "dict", "required": True},
            "next": {"type": "str", "default": "", "no_log": True},
            "accept": {"type": "list", "elements": "dict", "default": []},
            "enforce": {"type": "bool", "default": True},
            "broker": {"type": "bool", "default": True},
            "import_timeout": {"type": "int", "default": 60},
            "program": {"type": "path", "default": "/opt/celery/audit/celeryops_audit"},
            "launcher": {"type": "path", "default": "/usr/local/sbin/celery-run"},
        },
        supports_check_mode=True,
    )
    params = module.params
    if module.check_mode and not is_there(params):
        module.exit_json(changed=False, lines=["Not audited: the release is not built in a dry run."])
    try:
        told = answer(params)
    except Failure as problem:
        module.fail_json(**problem.result("audit"))
    result = {
        "changed": False,
        "findings": told["findings"],
        "lines": told["table"].splitlines(),
    }
    if told["blocking"] and params["enforce"]:
        module.fail_json(**refusal(params["app"], told["blocking"]).result())
    module.exit_json(**result)


if __name__ == "__main__":
    main()
