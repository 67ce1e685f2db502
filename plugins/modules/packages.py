#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the packages action; M(ansible.builtin.apt) does the work on the host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: packages
short_description: Install Debian packages, without the cost of apt where they are there
description:
  - Asks dpkg which of the packages are installed, and calls M(ansible.builtin.apt) for the others only.
  - A service that comes with a package is not started; that is for the role to do, once it is configured.
author: celeryops.stack maintainers (@celeryops)
options:
  name:
    description: Names of the packages, as apt takes them.
    type: list
    elements: str
    required: true
attributes:
  check_mode:
    description: Says what it would install.
    support: full
"""

EXAMPLES = r"""
- name: Install | Redis, not yet started
  celeryops.stack.packages:
    name: redis-server
"""

RETURN = r"""# What ansible.builtin.apt returns, where it was called. """

from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    """Declare the arguments; the action plugin of the same name does the work."""
    module = AnsibleModule(
        argument_spec={"name": {"type": "list", "elements": "str", "required": True}}, supports_check_mode=True
    )
    module.fail_json(msg="celeryops.stack.packages begins on the controller: call it as a task, not as a module.")


if __name__ == "__main__":
    main()
