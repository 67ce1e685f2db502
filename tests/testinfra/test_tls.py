# SPDX-License-Identifier: GPL-3.0-or-later
"""With celery_tls nobody is served without TLS, and no client takes a stranger for the broker."""

from __future__ import annotations

import contextlib
import ssl
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from http.client import HTTPException

import pytest
from ansible_collections.celeryops.stack.plugins.module_utils import certificates
from verification import expected
from verification.background import CELERY_RUN
from verification.node import Node
from verification.remote import distrust
from verification.talking import Place, Web, amqp_lets_in, redis_says

pytestmark = pytest.mark.tls
#: What the services listen on where they speak without TLS.
PLAIN_PORTS = {"rabbitmq": 5672, "management": 15672}
#: What a Debian host trusts by itself.
SYSTEM_CAS = "/etc/ssl/certs/ca-certificates.crt"


def answers(service: str, place: Place, node: Node) -> bool:
    """Whether a known user is served."""
    if service in ("redis", "sentinel"):  # a Sentinel knows the same users
        login = ["AUTH", node.host.plan["result_backend"]["user"], node.host["celery_result_password"]]
        return redis_says(place, login) == ["+OK"]
    user, password = node.host.plan["broker"]["monitor_user"], node.host["celery_monitor_password"]
    if service == "management":
        return Web(place).as_user(user, password).ask("/api/whoami").status == HTTPStatus.OK
    return amqp_lets_in(place, user, password)


def handshake(place: Place) -> ssl.SSLSocket:
    """A connection with TLS."""
    connection = place.connect()
    assert isinstance(connection, ssl.SSLSocket)
    return connection


def test_a_client_that_verifies_it_is_served(node: Node, secured: str) -> None:
    assert answers(secured, node.reach(secured), node)


def test_nobody_is_served_without_tls(node: Node, secured: str) -> None:
    served = False
    with contextlib.suppress(OSError, HTTPException):  # most hang up, or say what is nothing but TLS
        served = answers(secured, node.reach(secured).trusting(None), node)
    assert not served
    if secured in PLAIN_PORTS:
        open_ = [str(listener) for listener in node.listeners if listener.port == PLAIN_PORTS[secured]]
        assert not open_, f"{node.name} still listens for those without TLS: {', '.join(open_)}"


def test_a_client_that_does_not_know_the_ca_turns_away(node: Node, secured: str) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match=r"unable to get local issuer|self-signed"):
        handshake(node.reach(secured).trusting(ssl.create_default_context()))


@pytest.mark.on("broker")
@pytest.mark.cluster
def test_who_shows_no_certificate_is_no_other_node(node: Node) -> None:
    stranger = node.authority
    stranger.maximum_version = ssl.TLSVersion.TLSv1_2  # its handshake ends with the server's verdict
    with pytest.raises(ssl.SSLError, match=r"HANDSHAKE_FAILURE|CERTIFICATE_REQUIRED"):
        handshake(node.reach("inter-node").trusting(stranger))


def test_old_versions_are_refused(node: Node, secured: str) -> None:
    old = node.authority
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1 is deprecated"):
        old.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        handshake(node.reach(secured).trusting(old))


def test_the_certificate_is_the_host_s_and_good_for_long(node: Node, secured: str) -> None:
    on_disk = certificates.read(node.shell.file(f"{expected.encrypted(node.host)[secured]}/cert.pem").content_string)[0]
    with handshake(node.reach(secured)) as connection:
        served = connection.getpeercert(binary_form=True)
    assert served == ssl.PEM_cert_to_DER_cert(on_disk.public_bytes(certificates.Encoding.PEM).decode()), (
        "new connections do not get the certificate that lies on the disk"
    )
    address, _port = expected.listening(node.host)[secured]
    assert certificates.not_for(on_disk, {address, "127.0.0.1"} - {"0.0.0.0", "::"}) == []  # noqa: S104
    soon = datetime.now(UTC) + timedelta(days=int(node.host["celery_tls_renew_days"]))
    assert not certificates.wrong_time(on_disk, soon), "it should have been renewed"


@pytest.mark.on("worker")
def test_the_application_trusts_nobody_else(node: Node) -> None:
    data = {"app": node.host.plan["app"], "other_cas": SYSTEM_CAS}
    outcomes = node.call(distrust, data, f"{CELERY_RUN} python")
    assert len(outcomes) >= 3
    asked = [case for case in outcomes if case.startswith("Sentinels")]
    assert bool(asked) is bool(
        node.host.plan["broker"].get("sentinel") or node.host.plan["result_backend"].get("sentinel")
    )
    for case, outcome in outcomes.items():
        if case.endswith("as it is"):
            assert outcome == "connected", f"{case}: {outcome}"
        else:
            assert "CERTIFICATE_VERIFY_FAILED" in outcome, f"{case}: {outcome}"
