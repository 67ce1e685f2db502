#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuse a host that is another deployment's."""

from __future__ import annotations

DOCUMENTATION = r"""
module: owner
short_description: Refuse a host that is another deployment's
description:
  - Reads the mark that every role leaves on its host, and fails where it is another deployment's.
  - It changes nothing; the mark is written by M(celeryops.stack.files).
author: celeryops.stack maintainers (@celeryops)
options:
  names:
    description: The name of the deployment, and those that it had before. Empty ones are left out.
    type: list
    elements: str
    required: true
attributes:
  check_mode:
    description: Runs in check mode as it does outside of it; it never changes anything.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: The host is ours
  celeryops.stack.owner:
    names: ["{{ celery_deployment }}", "{{ celery_replaces }}"]
"""

RETURN = r"""
deployment:
  description: The mark that is there; empty where the host is nobody's.
  type: dict
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryops.stack.plugins.module_utils import ownership


def main() -> None:
    """Answer."""
    module = AnsibleModule(
        argument_spec={"names": {"type": "list", "elements": "str", "required": True}}, supports_check_mode=True
    )
    mark = ownership.found()
    if problem := ownership.problem(mark, module.params["names"]):
        module.fail_json(msg=f"{problem[0].upper()}{problem[1:]}.", deployment=mark)
    module.exit_json(changed=False, deployment=mark)


if __name__ == "__main__":
    main()
