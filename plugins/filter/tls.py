# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates, as filters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from ansible_collections.celeryops.stack.plugins.module_utils import certificates


def certificate_may_stay(
    pem: str, authority: str, names: list[str], key: Mapping[str, Any], renew_days: int | str
) -> bool:
    """Whether a certificate is the right one for a key, these names and some time."""
    fingerprint = str((key.get("fingerprint") or {}).get("sha256", ""))
    return certificates.may_stay(pem, authority, names, fingerprint, int(renew_days), datetime.now(UTC))


class FilterModule:
    """What this file offers to Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "certificate_may_stay": certificate_may_stay,
            "alternative_names": certificates.alternative_names,
        }
