#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuse versions of Celery that the workers' runtime was not made for."""

from __future__ import annotations

DOCUMENTATION = r"""
module: celery_versions
short_description: Refuse versions of Celery that the workers' runtime was not made for
description:
  - Reads which versions of Celery, kombu, billiard, py-amqp and redis-py are in a virtual environment, and runs nothing
    of it.
  - What M(celeryops.stack.release) builds it looks at by itself; this is for virtual environments of others.
author: celeryops.stack maintainers (@celeryops)
options:
  venv:
    description: The virtual environment. One that is not there, or has no Celery, is not refused here.
    type: path
    required: true
  uses_redis:
    description: Whether the broker or the result backend is a Redis, so that the version of its client matters.
    type: bool
    default: true
attributes:
  check_mode:
    description: Does the same, as it changes nothing.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: Look at the virtual environment of the application
  celeryops.stack.celery_versions:
    venv: /srv/shop/venv
"""

RETURN = r"""
versions:
  description: What is installed of these packages.
  type: dict
  returned: always
  sample: {celery: 5.7.0, kombu: 5.7.0}
"""

import glob

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryops.stack.plugins.module_utils import supported


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={"venv": {"type": "path", "required": True}, "uses_redis": {"type": "bool", "default": True}},
        supports_check_mode=True,
    )
    venv = module.params["venv"]
    versions = supported.installed(glob.glob(f"{glob.escape(venv)}/lib/*/site-packages"))
    if problems := supported.installed_problems(versions, module.params["uses_redis"]):
        module.fail_json(msg=f"{venv}: {'; '.join(problems)}.", versions=versions)
    module.exit_json(changed=False, versions=versions)


if __name__ == "__main__":
    main()
