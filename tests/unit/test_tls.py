# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates: what the plan tells clients, what may stay, and what is refused."""

from __future__ import annotations

import ipaddress
import json
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.celeryops.stack.plugins.filter.tls import certificate_may_stay
from ansible_collections.celeryops.stack.plugins.module_utils import certificates, rediscli
from ansible_collections.celeryops.stack.plugins.module_utils.plan import PlanError, make_plan
from ansible_collections.celeryops.stack.plugins.module_utils.rules import celery, tls
from ansible_collections.celeryops.stack.plugins.module_utils.tables import producer_settings
from celery import Celery
from celeryops_runtime import settings as runtime
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID
from redis.sentinel import Sentinel

NOW = datetime(2026, 6, 1, tzinfo=UTC)
CA_ON_HOST = "/etc/celery/tls-ca.pem"
NAMES = ["broker1", "10.0.0.5", "127.0.0.1"]
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
PASSPHRASE = "-".join(["open", "the", "door"])
#: Several hosts: the broker and the backend are elsewhere for the worker.
APART = {
    "broker": [{"name": "broker1", "address": "10.0.0.5"}],
    "backend": [{"name": "broker1", "address": "10.0.0.5"}],
    "worker": [{"name": "worker1", "address": "10.0.0.6"}],
}

THREE = [{"name": f"redis{number}", "address": f"10.0.0.{number}"} for number in (5, 7, 8)]
REPLICATED = {**APART, "broker": THREE, "backend": THREE}
CLIENT_SETTINGS = (
    "broker_use_ssl",
    "redis_backend_use_ssl",
    "broker_transport_options",
    "result_backend_transport_options",
)


#: Like the identifiers below what Python 3.13 demands of a CA, and roles/tls gives it.
SIGNS = x509.KeyUsage(
    key_cert_sign=True, crl_sign=True, digital_signature=False, content_commitment=False, key_encipherment=False,
    data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
)  # fmt: skip


class Signer:
    """A CA, or one that a CA trusts."""

    def __init__(self, name: str = "CA", by: Signer | None = None, days: int = 3650, authority: bool = True) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self.certificate = (by or self).sign(self.name, self.key, NOW - timedelta(days=2), days, authority=authority)
        self.pem = text(self.certificate)

    def sign(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, start: datetime, days: int, authority: bool = False
    ) -> x509.Certificate:
        return self.finish(self.builder(name, key, start, days), authority)

    def builder(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, start: datetime, days: int
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + timedelta(days=days))
        )

    def finish(self, builder: x509.CertificateBuilder, authority: bool = False) -> x509.Certificate:
        signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(authority, None), True).add_extension(signer, False)
        if authority:
            builder = builder.add_extension(SIGNS, True)
        return builder.sign(self.key, hashes.SHA256())

    def of_host(
        self, *names: str, start: datetime = NOW, days: int = 365, uses: Sequence[x509.ObjectIdentifier] = ()
    ) -> tuple[str, str]:
        """A certificate for these names and uses, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self.builder(x509.Name([]), key, start, days)
        if names:
            found: list[x509.GeneralName] = [
                x509.IPAddress(ipaddress.ip_address(name)) if certificates.is_address(name) else x509.DNSName(name)
                for name in names
            ]
            builder = builder.add_extension(x509.SubjectAlternativeName(found), critical=True)  # there is no subject
        if uses:
            builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        return text(self.finish(builder)), private(key)


def text(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def private(key: ec.EllipticCurvePrivateKey, passphrase: str = "") -> str:
    how = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how).decode()


@pytest.fixture(scope="module")
def ca() -> Signer:
    return Signer()


# --- what clients are told ----------------------------------------------------------------------------------------


def plan_of(host: str = "worker1", **given: Any) -> dict[str, Any]:
    values = {
        "celery_app": "shop:app",
        "celery_workers": {"default": {}},
        "celery_topology": APART,
        "celery_tls": True,
        "celery_tls_ca_path": CA_ON_HOST,
    }
    return make_plan(values | given, host)


def test_one_switch_encrypts_broker_results_and_management() -> None:
    plan = plan_of()
    assert plan["broker"]["url"] == "amqps://celery@10.0.0.5:5671/celery"
    assert plan["broker"]["api"] == "https://10.0.0.5:15671/api/"
    assert plan["result_backend"]["url"] == "rediss://results@10.0.0.5:6379/1"
    assert plan["settings"]["broker_use_ssl"] == {
        "ca_certs": CA_ON_HOST, "cert_reqs": 2, "server_hostname": "10.0.0.5",
    }  # fmt: skip
    assert plan["settings"]["redis_backend_use_ssl"] == {
        "ssl_ca_certs": CA_ON_HOST, "ssl_cert_reqs": "required", "ssl_check_hostname": True,
    }  # fmt: skip


def test_redis_as_broker_is_verified_too() -> None:
    plan = plan_of(celery_broker="redis")
    assert plan["broker"]["url"] == "rediss://celery@10.0.0.5:6379/0"
    assert plan["settings"]["broker_use_ssl"] == plan["settings"]["redis_backend_use_ssl"]


def test_sentinels_are_verified_as_the_primary_that_they_name() -> None:
    plan = plan_of(celery_broker="redis", celery_topology=REPLICATED)
    verified = {"ssl_ca_certs": CA_ON_HOST, "ssl_cert_reqs": "required", "ssl_check_hostname": True}
    for place in (plan["settings"], plan["producer"]):
        assert place["broker_use_ssl"] == place["redis_backend_use_ssl"] == verified
        for name in ("broker_transport_options", "result_backend_transport_options"):
            asking = place[name]["sentinel_kwargs"]
            assert {key: asking[key] for key in asking if key.startswith("ssl")} == {"ssl": True, **verified}
    assert plan["broker"]["url"].startswith("sentinel://celery@10.0.0.5:26379/0;")


def test_sentinels_are_verified_by_the_ca_that_the_user_names() -> None:
    own = {"ssl_ca_certs": "/srv/ca.pem", "ssl_cert_reqs": "required"}
    plan = plan_of(celery_broker="redis", celery_topology=REPLICATED, celery_settings={"redis_backend_use_ssl": own})
    for place in (plan["settings"], plan["producer"]):
        assert place["result_backend_transport_options"]["sentinel_kwargs"]["ssl_ca_certs"] == "/srv/ca.pem"
        assert place["broker_transport_options"]["sentinel_kwargs"]["ssl_ca_certs"] == CA_ON_HOST


def test_each_checks_the_name_that_it_connects_to() -> None:
    assert plan_of("broker1")["settings"]["broker_use_ssl"]["server_hostname"] == "127.0.0.1"
    assert plan_of("broker1")["producer"]["broker_use_ssl"]["server_hostname"] == "10.0.0.5"


def test_without_the_switch_nothing_changes() -> None:
    plan = plan_of(celery_tls=False)
    assert plan == plan_of(celery_tls=False, celery_tls_ca_path="")
    assert "ssl" not in str(list(filter(None, plan["settings"].values())))
    assert plan["broker"]["url"].startswith("amqp://")
    assert plan["broker"]["api"] == "http://10.0.0.5:15672/api/"


@pytest.mark.parametrize(("own", "file"), [("", None), ("/srv/ca.pem", CA_ON_HOST)])
def test_somebody_else_s_service_is_verified_by_the_host_s_cas_or_by_the_one_that_is_named(
    own: str, file: str | None
) -> None:
    plan = plan_of(
        celery_tls=False,
        celery_broker="amqps://me@mq.example.org/shop",
        celery_result_backend="rediss://me@redis.example.org/0",
        celery_tls_ca_certificate=own,
    )
    assert plan["settings"]["broker_use_ssl"]["ca_certs"] == file
    assert plan["settings"]["broker_use_ssl"]["server_hostname"] == "mq.example.org"
    assert plan["settings"]["redis_backend_use_ssl"]["ssl_ca_certs"] == file


@pytest.mark.parametrize(
    ("given", "start"),
    [
        ({"celery_broker": "amqp://me@mq/shop"}, "celery_tls is true, but celery_broker is a plain amqp:// URL"),
        ({"celery_result_backend": "redis://me@r/0"}, "celery_tls is true, but celery_result_backend is a plain redis"),
        (
            {"celery_result_backend": "sentinel://me@s:26379/0"},
            "celery_result_backend begins with sentinel://",
        ),
        ({"celery_tls": "yes"}, "celery_tls is 'yes'; write true or false, without quotes"),
    ],
)
def test_half_a_switch_is_refused(given: dict[str, Any], start: str) -> None:
    with pytest.raises(PlanError) as refused:
        plan_of(**given)
    assert any(problem.startswith(start) for problem in refused.value.problems)


def test_producers_are_told_as_well() -> None:
    printed = producer_settings(plan_of())
    assert "broker_use_ssl = " in printed
    assert "redis_backend_use_ssl = " in printed
    assert "amqps://celery@10.0.0.5:5671/celery" in printed


def test_a_ca_that_is_not_there_is_refused() -> None:
    (problem,) = (p for p in celery.problems({"celery_tls_ca_certificate": "/nowhere/ca.pem"}) if "tls" in p)
    assert problem.startswith("celery_tls_ca_certificate names /nowhere/ca.pem, which is not on this machine")


@pytest.fixture
def server(ca: Signer, tmp_path: Path) -> Iterator[int]:
    """The port of one that speaks TLS, and hangs up then."""
    pem, key = ca.of_host("127.0.0.1", start=datetime.now(UTC) - timedelta(hours=1))
    (tmp_path / "both.pem").write_text(pem + key)
    (tmp_path / "ca.pem").write_text(ca.pem)
    (tmp_path / "other.pem").write_text(Signer().pem)
    tls_server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls_server.load_cert_chain(tmp_path / "both.pem")

    def serve() -> None:
        with suppress(OSError):  # the listener is closed
            while True:
                client, _ = listener.accept()
                with suppress(OSError), client, tls_server.wrap_socket(client, server_side=True):
                    pass

    with socket.create_server(("0.0.0.0", 0)) as listener:  # noqa: S104 (as long as the test runs)
        threading.Thread(target=serve, daemon=True).start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)


def test_whether_a_redis_speaks_tls_is_seen_without_a_secret(server: int) -> None:
    assert rediscli.speaks_tls("127.0.0.1", server) is True

    def refuse() -> None:
        client, _ = listener.accept()
        with client:
            assert client.recv(64) == b"PING\r\n"
            client.sendall(b"-NOAUTH Authentication required.\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        plain = listener.getsockname()[1]
        threading.Thread(target=refuse, daemon=True).start()
        assert rediscli.speaks_tls("127.0.0.1", plain) is False
    assert rediscli.speaks_tls("127.0.0.1", plain) is None, "nobody is there any more"


def tries(app: Celery, service: str) -> str:
    """Why there is no connection."""
    at_once = {"max_retries": 1, "interval_start": 0, "reraise_as_library_errors": False}
    connection = partial(app.connection(connect_timeout=5).ensure_connection, **at_once)
    connect = app.backend.client.ping if service.endswith("results") else connection
    with pytest.raises(Exception) as failed:  # noqa: PT011 (each library has its own)
        connect()
    return str(failed.value)


@pytest.mark.parametrize("service", ["RabbitMQ", "Redis as broker", "Redis for results"])
@pytest.mark.parametrize(
    ("authority", "address", "trusted"),
    [("ca.pem", "127.0.0.1", True), ("other.pem", "127.0.0.1", False), ("ca.pem", "127.0.0.2", False)],
    ids=["the server", "another CA", "another address"],
)
def test_the_libraries_take_the_settings_and_verify(
    service: str, authority: str, address: str, trusted: bool, server: int, tmp_path: Path
) -> None:
    given = {"celery_broker": "redis"} if service == "Redis as broker" else {}
    plan = plan_of(**given, celery_tls_ca_path=str(tmp_path / authority))
    settings = json.loads(json.dumps(plan["settings"]).replace("10.0.0.5", address))
    broker = plan["broker"]["url"].replace("10.0.0.5", address).replace(f":{plan['broker']['port']}", f":{server}")
    backend = plan["result_backend"]["url"].replace("10.0.0.5:6379", f"{address}:{server}")
    app = Celery(broker=broker, backend=backend, set_as_current=False)
    app.conf.update({name: settings[name] for name in ("broker_use_ssl", "redis_backend_use_ssl")})
    why = tries(app, service)
    assert ("CERTIFICATE_VERIFY_FAILED" in why) is not trusted, why
    assert trusted is ("closed" in why or "reset" in why), f"it is the server that ends what the client trusted: {why}"


@pytest.mark.parametrize("service", ["the broker", "the results"])
@pytest.mark.parametrize("who", ["a Sentinel", "the primary"])
@pytest.mark.parametrize(
    ("authority", "address", "trusted"),
    [("ca.pem", "127.0.0.1", True), ("other.pem", "127.0.0.1", False), ("ca.pem", "127.0.0.2", False)],
    ids=["the server", "another CA", "another address"],
)
def test_sentinels_and_the_primary_that_they_name_are_both_verified(
    who: str, service: str, authority: str, address: str, trusted: bool, server: int, tmp_path: Path, monkeypatch: Any
) -> None:
    # redis-py says of a Sentinel only that it was not reached.
    ask = {"a Sentinel": lambda self, _: self.sentinels[0].ping(), "the primary": lambda *_: (address, server)}
    monkeypatch.setattr(Sentinel, "discover_master", ask[who])
    monkeypatch.setattr("redis.retry.sleep", lambda seconds: None)
    plan = plan_of(celery_broker="redis", celery_topology=REPLICATED, celery_tls_ca_path=str(tmp_path / authority))
    places = [plan[name]["url"].split(";")[0] for name in ("broker", "result_backend")]
    broker, backend = (place.replace("10.0.0.5:26379", f"{address}:{server}") for place in places)
    shared = runtime.Shared({name: plan["settings"][name] for name in CLIENT_SETTINGS})
    app = Celery(broker=broker, backend=backend, set_as_current=False)
    runtime.install(app, shared)
    why = tries(app, service)
    assert ("CERTIFICATE_VERIFY_FAILED" in why) is not trusted, why
    assert trusted is ("closed" in why or "reset" in why), f"it is the server that ends what the client trusted: {why}"


# --- what may stay ------------------------------------------------------------------------------------------------


def stays(pem: str, authority: str, names: list[str] = NAMES, renew: int = 30) -> bool:
    fingerprint = certificates.fingerprint(certificates.read(pem)[0])
    return certificates.may_stay(pem, authority, names, fingerprint, renew, NOW)


def test_a_good_certificate_stays(ca: Signer) -> None:
    pem, _ = ca.of_host(*NAMES)
    assert stays(pem, ca.pem)


def test_one_near_its_end_does_not(ca: Signer) -> None:
    pem, _ = ca.of_host(*NAMES, start=NOW - timedelta(days=335), days=365)
    assert not stays(pem, ca.pem)
    assert stays(pem, ca.pem, renew=29)


def test_nor_one_for_other_names_of_another_ca_or_key(ca: Signer) -> None:
    pem, _ = ca.of_host(*NAMES)
    other, _ = ca.of_host(*NAMES)
    assert not stays(pem, ca.pem, [*NAMES, "10.0.0.6"])
    assert not stays(pem, Signer().pem)
    assert not certificates.may_stay(pem, ca.pem, NAMES, certificates.fingerprint(certificates.read(other)[0]), 30, NOW)
    assert not certificates.may_stay("rubbish", ca.pem, NAMES, "", 30, NOW)


def test_while_a_new_ca_takes_over_certificates_of_the_old_one_stay(ca: Signer) -> None:
    pem, _ = ca.of_host(*NAMES)
    assert stays(pem, Signer("new").pem + ca.pem)


def test_the_filter_takes_the_key_as_its_module_returns_it(ca: Signer) -> None:
    pem, _ = ca.of_host(*NAMES, start=datetime.now(UTC), days=100)
    key = {"fingerprint": {"sha256": certificates.fingerprint(certificates.read(pem)[0])}}
    assert certificate_may_stay(pem, ca.pem, NAMES, key, "30") is True
    assert certificate_may_stay(pem, ca.pem, NAMES, {}, 30) is False


def test_names_of_a_request() -> None:
    assert certificates.alternative_names(["a", "10.0.0.5", "a", "::1"]) == ["DNS:a", "IP:10.0.0.5", "IP:::1"]


@pytest.mark.parametrize(
    ("names", "wanted", "missing"),
    [
        (["broker1"], ["broker1", "BROKER1"], []),
        (["*.example.org"], ["a.example.org", "a.b.example.org"], ["a.b.example.org"]),
        (["10.0.0.5"], ["10.0.0.5", "10.0.0.6"], ["10.0.0.6"]),
        ([], ["a"], ["a"]),
    ],
)
def test_whom_a_certificate_is_for(ca: Signer, names: list[str], wanted: list[str], missing: list[str]) -> None:
    pem, _ = ca.of_host(*names)
    assert certificates.not_for(certificates.read(pem)[0], wanted) == missing


# --- what is refused ----------------------------------------------------------------------------------------------


def values(content: dict[str, str] | None = None, **given: Any) -> dict[str, Any]:
    nothing = dict.fromkeys(("certificate", "private_key", "ca_certificate", "authority", "authority_key"), "")
    return {
        "tls_directory": "/etc/rabbitmq/tls",
        "tls_names": NAMES,
        "tls_peer_name": "",
        "tls_ca_directory": "/inventory/.tls",
        "tls_ca_passphrase": "",
        "tls_ca_certificate": "",
        "tls_certificate": "",
        "tls_private_key": "",
        "tls_days": 365,
        "tls_renew_days": 30,
        "known_authority": "",
        "content": nothing | (content or {}),
    } | given


def brought(certificate: str, private_key: str, ca_certificate: str, **given: Any) -> dict[str, Any]:
    content = {"certificate": certificate, "private_key": private_key, "ca_certificate": ca_certificate}
    files = {f"tls_{name}": f"/files/{name}.pem" for name in content}
    return values(content, **(files | given))


def own(authority: str, authority_key: str, **given: Any) -> dict[str, Any]:
    return values({"authority": authority, "authority_key": authority_key}, **given)


def test_without_what_makes_certificates_only_brought_ones_are_possible(
    ca: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ansible-core alone has no community.crypto."""

    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(tls.importlib, "import_module", missing)
    (said,) = tls.problems(values(), NOW)
    assert "community.crypto" in said
    assert "install requirements/tls.txt" in said
    assert tls.problems(brought(*ca.of_host(*NAMES), ca.pem), NOW) == []


def test_nothing_yet_is_fine() -> None:
    assert tls.problems(values(), NOW) == []


def test_good_files_are_fine(ca: Signer) -> None:
    between = Signer("between", by=ca)
    pem, key = between.of_host(*NAMES)
    assert tls.problems(brought(pem + between.pem, key, ca.pem), NOW) == []
    for uses in ((), (SERVER, CLIENT)):
        assert tls.problems(brought(*ca.of_host(*NAMES, uses=uses), ca.pem, tls_peer_name="broker1"), NOW) == []
    assert tls.problems(own(ca.pem, private(ca.key)), NOW) == []
    assert tls.problems(own(ca.pem, private(ca.key, PASSPHRASE), tls_ca_passphrase=PASSPHRASE), NOW) == []


def wrong_key(ca: Signer) -> dict[str, Any]:
    return brought(ca.of_host(*NAMES)[0], ca.of_host(*NAMES)[1], ca.pem)


def encrypted(ca: Signer) -> dict[str, Any]:
    key = ec.generate_private_key(ec.SECP256R1())
    return brought(ca.of_host(*NAMES)[0], private(key, PASSPHRASE), ca.pem)


REFUSED: dict[str, tuple[Callable[[Signer], dict[str, Any]], list[str]]] = {
    "expired": (
        lambda ca: brought(*ca.of_host(*NAMES, start=NOW - timedelta(days=20), days=10), ca.pem),
        ["celery_tls_certificate (/files/certificate.pem) expired on 2026-05-22", "bring one that is valid now"],
    ),
    "not yet valid": (
        lambda ca: brought(*ca.of_host(*NAMES, start=NOW + timedelta(days=1)), ca.pem),
        ["is not valid before 2026-06-02 00:00 UTC"],
    ),
    "for another host": (
        lambda ca: brought(*ca.of_host("10.0.0.6", "127.0.0.1"), ca.pem),
        ["celery_tls_certificate (/files/certificate.pem) is not for 10.0.0.5, ", "have these put into it"],
    ),
    "for no node of a cluster": (
        lambda ca: brought(*ca.of_host(*NAMES), ca.pem, tls_peer_name="broker2"),
        ["is not for a node of a cluster: have broker2 put into it, as a DNS name"],
    ),
    "for servers only": (
        lambda ca: brought(*ca.of_host(*NAMES, uses=[SERVER]), ca.pem, tls_peer_name="broker1"),
        ["is not for a node of a cluster", "client (clientAuth)"],
    ),
    "another key": (
        wrong_key,
        ["celery_tls_private_key (/files/private_key.pem) is not the key of celery_tls_certificate"],
    ),
    "another CA": (
        lambda ca: brought(*ca.of_host(*NAMES), Signer().pem),
        ["was not signed by celery_tls_ca_certificate (/files/ca_certificate.pem)"],
    ),
    "without the one between": (
        lambda ca: brought(*Signer("between", by=ca).of_host(*NAMES), ca.pem),
        ["was not signed by celery_tls_ca_certificate", "put those between the two below the host's"],
    ),
    "an encrypted key": (encrypted, ["celery_tls_private_key (/files/private_key.pem) is encrypted"]),
    "no certificate at all": (
        lambda ca: brought("hello", ca.of_host(*NAMES)[1], ca.pem),
        ["celery_tls_certificate (/files/certificate.pem) is no certificate in PEM format"],
    ),
    "an expired CA": (
        lambda ca: brought(*(old := Signer(days=1)).of_host(*NAMES, start=NOW - timedelta(1)), old.pem),
        ["celery_tls_ca_certificate (/files/ca_certificate.pem) expired on"],
    ),
    "a file that is missing": (
        lambda ca: brought("", *[ca.of_host(*NAMES)[1], ca.pem]),
        ["celery_tls_certificate names /files/certificate.pem, which is not on this machine"],
    ),
    "a certificate without its key": (
        lambda ca: brought(*ca.of_host(*NAMES), ca.pem, tls_private_key=""),
        ["celery_tls_private_key is not set, but celery_tls_certificate and celery_tls_ca_certificate: write all"],
    ),
    "our CA, lost": (
        lambda ca: values(known_authority="/etc/rabbitmq/tls/ca.pem"),
        ["celery_tls_ca_directory (/inventory/.tls) holds no CA on this machine", "bring that folder"],
    ),
    "our CA without its key": (lambda ca: own(ca.pem, ""), ["holds ca.pem but no ca.key"]),
    "our CA's key without it": (lambda ca: own("", private(ca.key)), ["holds ca.key but no ca.pem"]),
    "our CA with another key": (
        lambda ca: own(ca.pem, private(Signer().key)),
        ["/inventory/.tls/ca.key is not the key of ca.pem"],
    ),
    "a wrong passphrase": (
        lambda ca: own(ca.pem, private(ca.key, PASSPHRASE), tls_ca_passphrase="another-passphrase"),
        ["/inventory/.tls/ca.key does not open with its passphrase", "celery_tls_ca_passphrase"],
    ),
    "no passphrase": (
        lambda ca: own(ca.pem, private(ca.key, PASSPHRASE)),
        ["/inventory/.tls/ca.key is encrypted: write into celery_tls_ca_passphrase"],
    ),
    "a passphrase for nothing": (
        lambda ca: own(ca.pem, private(ca.key), tls_ca_passphrase=PASSPHRASE),
        ["ca.key is not encrypted, but there is a passphrase"],
    ),
    "a short passphrase": (
        lambda ca: values(tls_ca_passphrase="short"),
        ["celery_tls_ca_passphrase has only 5 characters"],
    ),
    "no CA's certificate": (
        lambda ca: own((other := Signer(authority=False)).pem, private(other.key)),
        ["/inventory/.tls/ca.pem is no CA's"],
    ),
    "our CA near its end": (
        lambda ca: own((old := Signer(days=20)).pem, private(old.key)),
        ["/inventory/.tls/ca.pem expires on 2026-06-19: make a new CA"],
    ),
    "renewal at every run": (
        lambda ca: values(tls_days=30, tls_renew_days=30),
        ["celery_tls_renew_days (30) is not below celery_tls_days (30)", "write 7"],
    ),
    "no number of days": (lambda ca: values(tls_days="a year"), ["celery_tls_days is 'a year': write a whole number"]),
    "no path": (lambda ca: values(tls_directory="tls"), ["tls_directory is no absolute path"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_one_sentence(name: str, ca: Signer) -> None:
    make, parts = REFUSED[name]
    problems = tls.problems(make(ca), NOW)
    assert len(problems) == 1, problems
    for part in parts:
        assert part in problems[0]
    assert PASSPHRASE not in problems[0]


def test_the_role_hands_over_every_value() -> None:
    """What the role's preflight passes on is what the rules look at."""
    task = (Path(__file__).parents[2] / "roles/tls/tasks/preflight.yml").read_text()
    assert all(f"      {name}: " in task for name in values()), os.linesep.join(values())
