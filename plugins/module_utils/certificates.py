# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller has to know of certificates: whom they are for, who signed them, and until when.

Needs the library cryptography, which every controller has: Ansible itself depends on it.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterable
from datetime import datetime, timedelta

with contextlib.suppress(ImportError):  # ansible-test imports this where not even Ansible is installed
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
    from cryptography.x509.oid import ExtendedKeyUsageOID

    Certificate = x509.Certificate


class Unreadable(ValueError):
    """What is wrong with a file's content, as the end of a sentence."""


def read(pem: str) -> list[Certificate]:
    """The certificates of a file, in their order."""
    try:
        return x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        raise Unreadable("is no certificate in PEM format") from None


def public_key(certificate: Certificate) -> bytes:
    """What tells whether a private key belongs to it."""
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def public_key_of_private(pem: str, passphrase: str = "") -> bytes:
    """The same of a private key."""
    try:
        key = load_pem_private_key(pem.encode(), passphrase.encode() or None)
    except TypeError:
        what = "is not encrypted, but there is a passphrase" if passphrase else "is encrypted"
        raise Unreadable(what) from None
    except ValueError:
        what = "does not open with its passphrase" if passphrase else "is no private key in PEM format"
        raise Unreadable(what) from None
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def fingerprint(certificate: Certificate) -> str:
    """The fingerprint of its public key, as community.crypto writes it."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(public_key(certificate))
    return digest.finalize().hex(":")


def alternative_names(names: Iterable[str]) -> list[str]:
    """Names and addresses in the form of a certificate request, each once."""
    return list(dict.fromkeys(f"{'IP' if is_address(name) else 'DNS'}:{name}" for name in names))


def is_address(name: str) -> bool:
    """Whether it is an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def not_for(certificate: Certificate, names: Iterable[str]) -> list[str]:
    """Those of the names that it is not for, by the rules that clients check them with."""
    names = list(names)
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return names
    addresses = {str(address) for address in found.get_values_for_type(x509.IPAddress)}
    hosts = {host.lower() for host in found.get_values_for_type(x509.DNSName)}

    def fits(name: str) -> bool:
        if is_address(name):
            return str(ipaddress.ip_address(name)) in addresses
        return name.lower() in hosts or f"*.{name.lower().partition('.')[2]}" in hosts

    return [name for name in names if not fits(name)]


def signed_by(certificate: Certificate, between: Iterable[Certificate], authorities: Iterable[Certificate]) -> bool:
    """Whether a chain leads from the certificate to one of the authorities."""
    roots, rest = list(authorities), list(between)
    if any(_signed(certificate, root) for root in roots):
        return True
    issuer = next((other for other in rest if _signed(certificate, other)), None)
    return issuer is not None and signed_by(issuer, [other for other in rest if other is not issuer], roots)


def _signed(certificate: Certificate, issuer: Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def is_authority(certificate: Certificate) -> bool:
    """Whether it may sign others."""
    try:
        return bool(certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except x509.ExtensionNotFound:
        return False


def both_ways(certificate: Certificate) -> bool:
    """Whether it is good for servers and for clients; one that names no use is good for all."""
    try:
        uses = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH} <= {*uses}


def wrong_time(certificate: Certificate, now: datetime) -> str:
    """Why it is not valid at a moment; empty where it is."""
    if now < certificate.not_valid_before_utc:
        return f"is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
    if now > certificate.not_valid_after_utc:
        return f"expired on {certificate.not_valid_after_utc:%Y-%m-%d}"
    return ""


def may_stay(
    pem: str, authority: str, names: Iterable[str], key_fingerprint: str, renew_days: int, now: datetime
) -> bool:
    """Whether a certificate that was made once is still the right one for a host's key and names, and for some time."""
    try:
        certificate, authorities = read(pem)[0], read(authority)
    except Unreadable:
        return False
    return (
        fingerprint(certificate) == key_fingerprint
        and not not_for(certificate, names)
        and signed_by(certificate, [], authorities)
        and certificate.not_valid_after_utc - now > timedelta(days=renew_days)
    )
