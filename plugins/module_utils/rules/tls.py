# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes certificates unusable: those that are brought, and the CA that makes the others."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from ansible_collections.celeryops.stack.plugins.module_utils import certificates
from ansible_collections.celeryops.stack.plugins.module_utils.certificates import Unreadable
from ansible_collections.celeryops.stack.plugins.module_utils.rules import values as check

#: What is read from files on the controller, and the variable that names the file.
FILES = {
    "certificate": "celery_tls_certificate",
    "private_key": "celery_tls_private_key",
    "ca_certificate": "celery_tls_ca_certificate",
}


def problems(values: Mapping[str, Any], now: datetime | None = None) -> list[str]:
    """One sentence for each thing that is wrong.

    ``values`` has the ``tls_*`` variables; under ``content`` that of each of FILES and of the own CA's two files, empty
    where there is none; and under ``known_authority`` the file of a CA that the host had before.
    """
    now = now or datetime.now(UTC)
    found = [] if str(values["tls_directory"]).startswith("/") else ["tls_directory is no absolute path: write one."]
    if any(values[f"tls_{name}"] for name in FILES):
        return found + _brought(values, now)
    found += _lifetime(values) + _maker()
    return found or _own_authority(values, now)


def _maker() -> list[str]:
    """What makes certificates may be missing: ansible-core alone has it not."""
    try:
        importlib.import_module("ansible_collections.community.crypto")
    except ImportError:
        return [
            "celery_tls is true, and the collection community.crypto, which makes the certificates, is not on this "
            "machine: install requirements/tls.txt with pip, or run 'ansible-galaxy collection install "
            "community.crypto'."
        ]
    return []


def _lifetime(values: Mapping[str, Any]) -> list[str]:
    days, renew = values["tls_days"], values["tls_renew_days"]
    found = check.count("celery_tls_days", days, 2, 3650) + check.count("celery_tls_renew_days", renew, 1)
    if not found and int(renew) >= int(days):
        return [
            f"celery_tls_renew_days ({renew}) is not below celery_tls_days ({days}), so every run would make new "
            f"certificates: write {max(1, int(days) // 4)}."
        ]
    return found


def _brought(values: Mapping[str, Any], now: datetime) -> list[str]:
    """Certificate, key and CA of somebody else: all three, and fitting each other and the host."""
    found = []
    for name, variable in FILES.items():
        if not values[f"tls_{name}"]:
            found.append(
                f"{variable} is not set, but {' and '.join(v for n, v in FILES.items() if values[f'tls_{n}'])}: "
                "write all three, or put ca.pem and ca.key of a CA of yours into celery_tls_ca_directory to let it "
                "sign for the hosts."
            )
        elif not values["content"][name]:
            found.append(f"{variable} names {values[f'tls_{name}']}, which is not on this machine: write a whole path.")
    if found:
        return found
    shown = {name: f"{variable} ({values[f'tls_{name}']})" for name, variable in FILES.items()}
    content = values["content"]
    parsed: dict[str, list[certificates.Certificate]] = {}
    for name in ("certificate", "ca_certificate"):
        try:
            parsed[name] = certificates.read(content[name])
        except Unreadable as error:
            found.append(f"{shown[name]} {error}: write one that begins with -----BEGIN CERTIFICATE-----.")
    try:
        key = certificates.public_key_of_private(content["private_key"])
    except Unreadable as error:
        return [*found, f"{shown['private_key']} {error}: write a key without one, in a file of ansible-vault."]
    if found:
        return found
    mine, *between = parsed["certificate"]
    if late := certificates.wrong_time(mine, now):
        found.append(f"{shown['certificate']} {late}: bring one that is valid now.")
    found += [f"{shown['ca_certificate']} {late}: bring the CA's present one." for late in _late(parsed, now)]
    if key != certificates.public_key(mine):
        found.append(f"{shown['private_key']} is not the key of {shown['certificate']}: bring the two that fit.")
    if not certificates.signed_by(mine, between, parsed["ca_certificate"]):
        found.append(
            f"{shown['certificate']} was not signed by {shown['ca_certificate']}: bring the CA's own certificate, and "
            "put those between the two below the host's."
        )
    if missing := certificates.not_for(mine, filter(certificates.is_address, values["tls_names"])):
        found.append(
            f"{shown['certificate']} is not for {', '.join(missing)}, where clients reach {values['tls_names'][0]}: "
            "have these put into it, as IP addresses among its alternative names."
        )
    peer = values["tls_peer_name"]
    if peer and (certificates.not_for(mine, [peer]) or not certificates.both_ways(mine)):
        found.append(
            f"{shown['certificate']} is not for a node of a cluster: have {peer} put into it, as a DNS name among its "
            "alternative names, and both uses, server (serverAuth) and client (clientAuth)."
        )
    return found


def _late(parsed: Mapping[str, list[certificates.Certificate]], now: datetime) -> list[str]:
    """Why none of a CA's certificates is valid; one of them is enough, as long as an old and a new one overlap."""
    late = [certificates.wrong_time(certificate, now) for certificate in parsed["ca_certificate"]]
    return late[:1] if all(late) else []


def _own_authority(values: Mapping[str, Any], now: datetime) -> list[str]:
    """The CA in its folder: both files or none, fitting each other and usable; and the one that hosts know."""
    folder, content = values["tls_ca_directory"], values["content"]
    passphrase = values.get("tls_ca_passphrase") or ""
    found = check.secret("celery_tls_ca_passphrase", passphrase) if passphrase else []
    there = [name for name, text in (("ca.pem", content["authority"]), ("ca.key", content["authority_key"])) if text]
    if not there:
        if known := values.get("known_authority"):
            found.append(
                f"celery_tls_ca_directory ({folder}) holds no CA on this machine, but this host knows one already: "
                "bring that folder from where it was made; a new CA would lock out every client elsewhere (where that "
                f"is what you want, remove {known} from the hosts)."
            )
        return found
    if len(there) == 1:
        other = "ca.key" if there == ["ca.pem"] else "ca.pem"
        return [
            *found,
            f"celery_tls_ca_directory ({folder}) holds {there[0]} but no {other}: bring it from where the CA was made.",
        ]
    try:
        authority = certificates.read(content["authority"])[0]
    except Unreadable as error:
        return [*found, f"{folder}/ca.pem {error}: bring it from where the CA was made."]
    try:
        key = certificates.public_key_of_private(content["authority_key"], passphrase)
    except Unreadable as error:
        return [*found, f"{folder}/ca.key {error}: write into celery_tls_ca_passphrase what it was made with."]
    if key != certificates.public_key(authority):
        found.append(f"{folder}/ca.key is not the key of ca.pem beside it: bring the two that fit.")
    if not certificates.is_authority(authority):
        found.append(f"{folder}/ca.pem is no CA's, so nobody would accept what it signs: bring a CA's certificate.")
    late = certificates.wrong_time(authority, now)
    soon = now + timedelta(days=int(values["tls_renew_days"]))
    if not late and certificates.wrong_time(authority, soon):
        late = f"expires on {authority.not_valid_after_utc:%Y-%m-%d}"
    if late:
        found.append(f"{folder}/ca.pem {late}: make a new CA, as docs/runbooks/tls.md says.")
    return found
