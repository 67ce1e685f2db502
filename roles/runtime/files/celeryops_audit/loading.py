# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts the child that loads the application, and waits for it, but not for ever."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from typing import IO, Any

from celeryops_audit.child import is_library, package_of, without_secrets
from celeryops_audit.facts import App, Failure, Live, Place, made

#: Seconds that the broker's questions may take in all.
LIVE_SECONDS = 60
_FRAME = re.compile(r'File "([^"]+)", line (\d+) in ')


def load(app: str, timeout: float, live: bool = False) -> tuple[App | Failure, Live | None]:
    """The application as it is, and the broker where it was to be asked."""
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    paths = [here, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}
    reader, writer = os.pipe()
    command = [
        sys.executable,
        "-m",
        "celeryops_audit.child",
        app,
        str(writer),
        str(timeout),
        "live" if live else "offline",
    ]
    with tempfile.TemporaryFile() as noise:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=noise,
            stderr=noise,
            pass_fds=[writer],
            start_new_session=True,
        )
        os.close(writer)
        told, hangs = _listen(process, reader, timeout, live)
        noise.seek(max(0, noise.tell() - 65536) if noise.seekable() else 0)
        said = noise.read().decode(errors="replace")
    if "app" in told:
        answer = Live.of(told["live"]) if "live" in told else None
        if live and answer is None:
            answer = Live(problem="the broker did not answer in time")
        return App.of(told["app"]), answer
    if "failure" in told:
        at = told["failure"].get("place")
        unclear = bool(told["failure"].get("unclear"))
        return Failure(told["failure"]["sentence"], made(Place, at) if at else None, unclear=unclear), None
    return (_hung(app, timeout, said) if hangs else _ended(process.returncode, said)), None


def _listen(process: subprocess.Popen[bytes], reader: int, timeout: float, live: bool) -> tuple[dict[str, Any], bool]:
    """Whatever the child wrote until it ended, or until its time was up; then nothing of it is left."""
    told: dict[str, Any] = {}
    loaded = threading.Event()

    def read(stream: IO[str]) -> None:
        for line in stream:
            told.update(_parsed(line))
            loaded.set()
        loaded.set()

    with open(reader, encoding="utf-8", errors="replace") as stream:
        listener = threading.Thread(target=read, args=(stream,), daemon=True)
        listener.start()
        try:
            in_time = loaded.wait(timeout)
            if in_time:
                listener.join(LIVE_SECONDS if live else timeout)
            if not told and in_time:  # it is about to end, and how it does says why
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(5)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            listener.join(1)
    return told, not in_time


def _parsed(line: str) -> Mapping[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _hung(app: str, timeout: float, said: str) -> Failure:
    """Where it stood when its time was up: the innermost own frame of what faulthandler wrote."""
    frames = [Place(file, int(line)) for file, line in _FRAME.findall(said)]
    own = [frame for frame in frames if not is_library(frame.file, package_of(app))]
    return Failure(f"it was not imported within {timeout:g} seconds", own[0] if own else None, hangs=True)


def _ended(code: int, said: str) -> Failure:
    words = [line.strip() for line in said.splitlines() if line.strip()]
    how = f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit code {code}"
    last = f"; its last words: {without_secrets(words[-1])[:300]}" if words else ""
    return Failure(f"the process ended with {how} while it was imported{last}")
