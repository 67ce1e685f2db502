# SPDX-License-Identifier: GPL-3.0-or-later
"""The deployment whose certificates are renewed."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--inventory", help="inventory of a deployment with TLS", required=True)
    parser.addoption(
        "--machine", help="SCENARIO/HOST, as bin/hosts made it, with a worker and all services", required=True
    )
