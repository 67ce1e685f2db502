# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m celeryops_audit``, or ``python path/to/celeryops_audit`` where it is not installed."""

import os
import sys

if not __package__:  # started by its path: what was put on sys.path is this folder, not the one it is in
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from celeryops_audit.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
