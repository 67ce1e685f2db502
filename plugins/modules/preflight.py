#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the preflight action; it runs on the controller only."""

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight
short_description: Check a role's values before any host is touched
description:
  - Calls C(problems(values)) of C(plugins/module_utils/rules/<role>.py) on the controller, without any connection.
  - Fails with one sentence a problem; each names the variable, what is wrong and what to write instead.
author: celeryops.stack maintainers (@celeryops)
options:
  role:
    description: Name of the role whose rules apply.
    type: str
    required: true
  values:
    description: The values that the rules look at, by variable name.
    type: dict
    required: true
attributes:
  check_mode:
    description: Runs in check mode as it does outside of it; it never changes anything.
    support: full
"""

EXAMPLES = r"""
- name: Preflight | Check the workers
  celeryops.stack.preflight:
    role: worker
    values:
      celery_workers: "{{ celery_workers }}"
"""

RETURN = r"""
problems:
  description: The sentences; empty when everything is fine.
  type: list
  elements: str
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    """Declare the arguments; the action plugin of the same name does the work."""
    module = AnsibleModule(
        argument_spec={"role": {"type": "str", "required": True}, "values": {"type": "dict", "required": True}},
        supports_check_mode=True,
    )
    module.fail_json(msg="celeryops.stack.preflight runs on the controller: call it as a task, not as a module.")


if __name__ == "__main__":
    main()
