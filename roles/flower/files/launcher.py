# SPDX-License-Identifier: GPL-3.0-or-later
"""Flower as a systemd service, for workers whose code need not be on this machine.

Three things that the command `celery flower` does not do:

* every page asks for the login, /metrics and /healthcheck included, which Flower itself leaves open;
* the unit counts as started when the page answers and the broker sends events, not before;
* the broker's password and the login come from a systemd credential, not from the command line.
"""

# What is imported inside functions exists only in the environment of the service.
# mypy: disable-error-code="import-not-found,import-untyped"

from __future__ import annotations

import base64
import hmac
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

# The settings of the workers that matter to someone who only watches them.
SHARED_SETTINGS = ("accept_content", "broker_", "control_", "event_", "task_default_queue", "timezone")


def read_config(environment: Mapping[str, str]) -> dict[str, Any]:
    """The role's variables, from the unit's credential."""
    path = Path(environment["CREDENTIALS_DIRECTORY"]) / "flower.json"
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return config


def celery_settings(settings: Mapping[str, Any], broker_url: str) -> dict[str, Any]:
    """What Flower's own Celery needs of the workers' settings."""
    chosen = {name: value for name, value in settings.items() if name.startswith(SHARED_SETTINGS)}
    # Waiting for confirmations would block the page while a broker hangs, and a lost inspect is only asked again.
    transport = {k: v for k, v in (chosen.get("broker_transport_options") or {}).items() if k != "confirm_publish"}
    if "master_name" in transport:  # the Sentinels know the same users as the Redis that they watch
        login = urlsplit(broker_url.split(";")[0])
        transport["sentinel_kwargs"] = {
            **transport.get("sentinel_kwargs", {}),
            "username": unquote(login.username or ""),
            "password": unquote(login.password or ""),
        }
    return {**chosen, "broker_url": broker_url, "broker_transport_options": transport}


def login_header(user: str, password: str) -> str:
    """The Authorization header of whoever may come in."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def may_enter(header: str, expected: str) -> bool:
    """Whether ``header`` is the expected one, in time that says nothing about it."""
    return hmac.compare_digest(header.encode(), expected.encode())


def notify(message: str, environment: Mapping[str, str] | None = None) -> None:
    """Tell systemd, if it wants to know."""
    address = (os.environ if environment is None else environment).get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.connect("\0" + address[1:] if address.startswith("@") else address)
            channel.sendall(message.encode())


def guarded(application: type[Any], expected: str) -> type[Any]:
    """Flower's web application behind one gate, so that no page of it can be forgotten."""
    from tornado.web import RequestHandler

    class Refuse(RequestHandler):  # type: ignore[misc, unused-ignore]
        def check_xsrf_cookie(self) -> None:
            """Nothing happens here that could be forged."""

        def prepare(self) -> None:
            self.set_status(401)
            self.set_header("WWW-Authenticate", 'Basic realm="flower"')
            self.finish("Access denied\n")

    class Guarded(application):  # type: ignore[misc]
        def find_handler(self, request: Any, **kwargs: Any) -> Any:
            if expected and not may_enter(request.headers.get("Authorization", ""), expected):
                return self.get_handler_delegate(request, Refuse)
            return super().find_handler(request, **kwargs)

    return Guarded


def when_receiving(call: Callable[[], None]) -> None:
    """Call ``call`` each time that the broker has begun to send events."""
    from celery.events import EventReceiver

    original = EventReceiver.on_consume_ready

    def on_consume_ready(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        call()

    EventReceiver.on_consume_ready = on_consume_ready


def main() -> None:
    """Run until SIGTERM."""
    from celery import Celery
    from flower.app import Flower
    from flower.command import extract_settings, setup_logging
    from flower.urls import settings as web_settings
    from tornado.ioloop import PeriodicCallback
    from tornado.options import options, parse_command_line

    config = read_config(os.environ)
    parse_command_line([sys.argv[0], "--logging=info"])
    for name, value in config["options"].items():
        setattr(options, name, float(value) if name == "inspect_timeout" else value)
    expected = ""
    if config["user"]:
        expected = login_header(config["user"], config["password"])
        options.basic_auth = [f"{config['user']}:{config['password']}"]
    extract_settings()
    setup_logging()

    celery = Celery("flower", set_as_current=True)
    celery.conf.update(celery_settings(config["celery"], config["broker_url"]))
    page = guarded(Flower, expected)(capp=celery, options=options, **web_settings)

    async def ready() -> None:
        # Until the workers have answered, they would not tell of the tasks that they run.
        ask = partial(celery.control.enable_events, reply=True, timeout=1.0)
        await page.io_loop.run_in_executor(None, ask)
        notify("READY=1\nSTATUS=Receiving events")

    def stop(*_: object) -> None:
        notify("STOPPING=1")
        sys.exit(0)

    signal.signal(signal.SIGTERM, stop)
    notify("STATUS=Waiting for the broker")
    when_receiving(lambda: page.io_loop.add_callback(ready))
    PeriodicCallback(lambda: notify("WATCHDOG=1"), 10_000).start()
    page.start_http_server()
    with suppress(KeyboardInterrupt, SystemExit):
        page.start()
    page.stop()  # saves the state
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # threads that still try to reach a broker would hold up an ordinary exit


if __name__ == "__main__":
    main()
