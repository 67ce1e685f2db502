#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let a running RabbitMQ or Redis show the certificate that lies on the disk."""

from __future__ import annotations

DOCUMENTATION = r"""
module: served_certificate
short_description: Let a running RabbitMQ or Redis serve the certificate that is on the disk
description:
  - Asks the service, by a TLS handshake, which certificate it shows to new connections, and compares it with the file.
  - Where nothing listens there is nothing to do, as a service reads its files when it starts.
  - Where the two differ the service is told to read its files again, and must then show the one of the file. It is not
    restarted; connections that are open stay.
author: celeryops.stack maintainers (@celeryops)
options:
  service:
    description: What listens there.
    type: str
    choices: [rabbitmq, redis]
    required: true
  address:
    description: Address that it listens on; a wildcard is reached over loopback.
    type: str
    default: 127.0.0.1
  port:
    description: Port that it listens on.
    type: int
    required: true
  directory:
    description: Folder with its C(cert.pem) and C(key.pem).
    type: path
    required: true
  socket:
    description: Socket on which Redis takes the command from its user O(user).
    type: path
    default: /run/redis/redis-server.sock
  user:
    description: User of Redis whose password is the SHA-256 of C(key.pem), in hexadecimal digits.
    type: str
    default: certificates
  timeout:
    description: Seconds until the new certificate must be there.
    type: int
    default: 30
attributes:
  check_mode:
    description: Reports whether the service would have to read its files again.
    support: full
"""

EXAMPLES = r"""
- name: Service | New connections get the certificate that is on the disk
  celeryops.stack.served_certificate:
    service: rabbitmq
    address: 10.0.0.5
    port: 5671
    directory: /etc/rabbitmq/tls
"""

RETURN = r""" # """

import hashlib
import socket
import ssl
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryops.stack.plugins.module_utils.rabbitmqctl import Failure, evaluate

TIMEOUT = 10
END = "-----END CERTIFICATE-----"


def on_disk(path: Path) -> bytes:
    """The first certificate of a file."""
    first, end, _others = path.read_text(encoding="ascii").partition(END)
    return ssl.PEM_cert_to_DER_cert(first + end)


def served(address: str, port: int) -> bytes:
    """The certificate that is shown to whoever connects. Nothing is said to it, so it need not be trusted."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104 (reached, not bound)
    try:
        with (
            socket.create_connection((host, port), timeout=TIMEOUT) as plain,
            context.wrap_socket(plain, server_hostname=host) as secure,
        ):
            return secure.getpeercert(binary_form=True) or b""
    except ConnectionRefusedError:
        raise
    except OSError as error:
        raise Failure(f"What listens at {host}, port {port}, does not speak TLS: {error}.") from None


def read_again(module: AnsibleModule, given: dict[str, Any]) -> None:
    """Tell the service that its files changed."""
    if given["service"] == "rabbitmq":
        tool = module.get_bin_path("rabbitmqctl", required=True, opt_dirs=["/usr/sbin"])
        evaluate(tool, "ssl:clear_pem_cache().", given["timeout"])
        return
    directory = Path(given["directory"])
    password = hashlib.sha256((directory / "key.pem").read_bytes()).hexdigest()
    files = {"tls-cert-file": directory / "cert.pem", "tls-key-file": directory / "key.pem"}
    settings = [str(word) for pair in files.items() for word in pair]
    redis(given["socket"], ["AUTH", given["user"], password], ["CONFIG", "SET", *settings])


def redis(path: str, *commands: list[str]) -> None:
    """Have Redis do these, over its socket, which only root and itself can open."""
    with socket.socket(socket.AF_UNIX) as connection, connection.makefile("rwb") as stream:
        connection.settimeout(TIMEOUT)
        try:
            connection.connect(path)
            for words in commands:
                stream.write(b"*%d\r\n" % len(words))
                stream.writelines(b"$%d\r\n%s\r\n" % (len(word), word.encode()) for word in words)
                stream.flush()
                answer = stream.readline().decode().strip()
                if answer != "+OK":
                    raise Failure(f"Redis did not read its certificate again, its answer to {words[0]} is: {answer}.")
        except OSError as error:
            raise Failure(f"Redis does not answer at {path}: {error}.") from None


def run(module: AnsibleModule) -> bool:
    """Do the work, and return whether there was any."""
    given = module.params
    try:
        wanted = on_disk(Path(given["directory"]) / "cert.pem")
        if served(given["address"], given["port"]) == wanted:
            return False
    except ConnectionRefusedError:
        return False
    except (Failure, OSError, ValueError):
        if module.check_mode:  # what is on the disk, or what runs, would be another thing by now
            return False
        raise
    if module.check_mode:
        return True
    read_again(module, given)
    deadline = time.monotonic() + given["timeout"]
    while served(given["address"], given["port"]) != wanted:
        if time.monotonic() >= deadline:
            raise Failure(f"{given['service']} was told of its new certificate, and still shows the old one.")
        time.sleep(0.25)
    return True


def main() -> None:
    """Declare the arguments and run."""
    module = AnsibleModule(
        argument_spec={
            "service": {"type": "str", "choices": ["rabbitmq", "redis"], "required": True},
            "address": {"type": "str", "default": "127.0.0.1"},
            "port": {"type": "int", "required": True},
            "directory": {"type": "path", "required": True},
            "socket": {"type": "path", "default": "/run/redis/redis-server.sock"},
            "user": {"type": "str", "default": "certificates"},
            "timeout": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(changed=run(module))
    except (Failure, OSError, ValueError) as problem:
        module.fail_json(msg=str(problem))


if __name__ == "__main__":
    main()
