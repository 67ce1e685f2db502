# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m celeryops_runtime``."""

import sys

from celeryops_runtime.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
