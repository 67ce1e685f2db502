# SPDX-License-Identifier: GPL-3.0-or-later
"""Somebody who follows a guide: with an empty home directory, a clone, and a server that was just rented."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from guides import GUIDES, blocks, script

from operating import ROOT, Machines, local

#: What every guide calls the server, its user, and the repository.
ADDRESS, USER, REPOSITORY = "192.0.2.10", "debian", "https://github.com/celeryops/celeryops.stack"
#: What nobody has who begins: the environment of these tests.
OURS = ("ANSIBLE_", "MOLECULE_", "CELERY", "PYTEST_", "PYTHON", "VIRTUAL_ENV", "GIT_", "SSH_")
MAKE_USER = f"""
useradd --create-home --shell /bin/bash {USER}
echo '{USER} ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/{USER}
install -d -o {USER} -g {USER} -m 700 /home/{USER}/.ssh
install -o {USER} -g {USER} -m 600 /root/.ssh/authorized_keys /home/{USER}/.ssh/
"""


@dataclass(frozen=True)
class Walk:
    """How following a guide went."""

    code: int
    output: str
    seconds: float


class Reader:
    """The reader, at home."""

    def __init__(self, machines: Machines, home: Path, host: str) -> None:
        self.home = home
        self.clone = home / REPOSITORY.rsplit("/", 1)[-1]
        machines.run(MAKE_USER, host)
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        self.environment.update(HOME=str(home), PATH=os.pathsep.join([str(self._ssh(machines)), self._path()]))
        # `git clone` finds what is tested here.
        self.environment.update(
            GIT_CONFIG_COUNT="1", GIT_CONFIG_KEY_0=f"url.{self._origin()}.insteadOf", GIT_CONFIG_VALUE_0=REPOSITORY
        )

    @staticmethod
    def _path() -> str:
        """The programs of this machine, without those of the environment that these tests run in."""
        places = os.environ["PATH"].split(os.pathsep)
        return os.pathsep.join(place for place in places if Path(place) != ROOT / ".venv/bin")

    def _ssh(self, machines: Machines) -> Path:
        """An `ssh` that finds the machine at the guide's address."""
        place = self.home / "bin"
        place.mkdir()
        made = (ROOT / ".cache" / machines.scenario / "ssh_config").read_text(encoding="utf-8").splitlines()
        kept = [line for line in made if line.split()[0] not in ("Host", "User")]
        (place / "config").write_text("\n".join([f"Host {ADDRESS}", *kept]) + "\n", encoding="utf-8")
        program = place / "ssh"
        program.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {place}/config "$@"\n', encoding="utf-8")
        program.chmod(0o755)
        return place

    def _origin(self) -> Path:
        """A repository of the files as they are, committed or not.

        Behind a proxy the reader also has what docs/runbooks/behind-a-proxy.md says.
        """
        origin = self.home / "origin"
        listed = local("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").output.split("\0")
        for name in filter(os.path.lexists, filter(None, listed)):
            copy = origin / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy, follow_symlinks=False)
        if bundle := os.environ.get("PIP_CERT") or os.environ.get("REQUESTS_CA_BUNDLE"):
            proxy = origin / "inventories/mine/group_vars/all/proxy.yml"
            proxy.parent.mkdir(parents=True)
            proxy.write_text(f"celery_ca_bundle: {bundle}\n", encoding="utf-8")
        git = ("git", "-C", str(origin), "-c", "user.name=test", "-c", "user.email=test@example.org")
        for arguments in (("init", "--quiet"), ("add", "--all"), ("commit", "--quiet", "--message=tested")):
            local(*git, *arguments)
        return origin

    def shell(self, text: str, directory: Path) -> Walk:
        """Run this there, as the reader."""
        start = time.monotonic()
        done = subprocess.run(
            ["bash", "-c", text],
            cwd=directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return Walk(done.returncode, done.stdout, time.monotonic() - start)

    def follow(self, guide: str) -> Walk:
        """Do all that a guide says, from its first line to its last."""
        page = (GUIDES / f"{guide}.md").read_text(encoding="utf-8")
        return self.shell(script(blocks(page)), self.home)

    def again(self, commands: Iterable[str]) -> Walk:
        """Run these in the clone, in a new terminal, as the guide says."""
        begin = f"set -eu\n. .venv/bin/activate\nexport ANSIBLE_VAULT_PASSWORD_FILE={self.home}/.bookshop-vault-key\n"
        return self.shell(begin + "\n".join(commands), self.clone)
