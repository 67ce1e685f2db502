#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask what a host needs of a broker or a result backend, and declare it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: broker_objects
short_description: Ask what a host needs of a broker or a result backend, and declare it
description:
  - Runs C(python -m celeryops_runtime declare) on the host, which declares over AMQP what is missing, as the
    application's own user.
  - Or runs C(python -m celeryops_runtime login), which tries whether broker and result backend let the application in,
    and keep something.
  - Fails with one sentence for everything that stands in the way. Where something exists with other properties,
    nothing is declared beside it.
author: celeryops.stack maintainers (@celeryops)
options:
  command:
    description: The program and its arguments.
    type: list
    elements: str
    required: true
  request:
    description:
      - What the program reads from its standard input, as one text of JSON; of a mapping Ansible would hide every value
        in the messages.
      - C(objects), lists of what is to be there; Celery's C(settings) and C(broker_url) where those of the host do not
        count.
    type: jsonarg
    required: true
  requires:
    description: Files without which there is nothing to do yet.
    type: list
    elements: path
    default: []
  timeout:
    description: Seconds that the program may take.
    type: int
    default: 120
attributes:
  check_mode:
    description: Whether something would be declared.
    details: In check mode the broker is not asked, and no change is reported.
    support: partial
"""

EXAMPLES = r"""
- name: Declare | What the application needs
  celeryops.stack.broker_objects:
    command: [/usr/local/sbin/celery-run, python, -m, celeryops_runtime, declare]
    request: "{{ {'objects': celery_plan.broker.objects} | to_json }}"
"""

RETURN = r"""
declared:
  description: What was missing, and is there now.
  type: list
  elements: str
  returned: success
  sample: [queue default]
output:
  description: The last lines that the command printed when it failed without a sentence.
  type: str
  returned: failure
"""

import os
import subprocess
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryops.stack.plugins.module_utils.failures import Failure, ended

DECLARED = "declared: "
SENTENCE = "celeryops: "


def run(params: Mapping[str, Any]) -> tuple[list[str], Failure | None]:
    """What was declared, and what is wrong."""
    name, timeout = params["command"][0], params["timeout"]
    try:
        done = subprocess.run(
            params["command"], input=params["request"], text=True, capture_output=True, check=False, timeout=timeout
        )
    except subprocess.TimeoutExpired:
        return [], Failure(f"{name} did not end within {timeout} s.")
    except OSError as problem:
        return [], Failure(f"{name} cannot be run: {problem.strerror}; run site.yml first.")
    declared = [line.removeprefix(DECLARED) for line in done.stdout.splitlines() if line.startswith(DECLARED)]
    if done.returncode == 0:
        return declared, None
    sentences = [line.removeprefix(SENTENCE) for line in done.stderr.splitlines() if line.startswith(SENTENCE)]
    if sentences:
        return declared, Failure(" ".join(sentences))
    return declared, Failure(*ended(params["command"], done.returncode, done.stdout + done.stderr))


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "command": {"type": "list", "elements": "str", "required": True},
            # As one text: were each name in it a secret, no sentence could be read.
            "request": {"type": "jsonarg", "required": True, "no_log": True},
            "requires": {"type": "list", "elements": "path", "default": []},
            "timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    if module.check_mode or not all(map(os.path.exists, module.params["requires"])):
        module.exit_json(changed=False, declared=[])
    declared, problem = run(module.params)
    if problem:
        module.fail_json(**problem.result(), changed=bool(declared))
    module.exit_json(changed=bool(declared), declared=declared)


if __name__ == "__main__":
    main()
