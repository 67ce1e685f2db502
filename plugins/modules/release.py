#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put a release of the application on a host, and make it the current one."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release
short_description: Put a release of the application on a host, and make it the current one
description:
  - A release is a folder C(<home>/releases/<id>) with the application's files (C(src)) and a virtual environment of
    its own (C(venv)). The link C(<home>/current) leads to the one in use, C(<home>/previous) to the one before.
  - The id is derived from the contents, so the same application is built and transferred once.
  - A release counts only when it is complete, which it is when the application can be imported on the host,
    as the service user. Until then, and whenever something fails, the current release stays as it was.
  - Of a project's folder, C(requirements.lock) or else C(requirements.txt) is installed, with hashes when it has any;
    then the project itself when it has a C(pyproject.toml) or C(setup.py), without dependencies if those are listed.
  - Not part of a release are version control, caches, virtual environments, C(node_modules), C(*.egg-info), C(.env),
    C(build) and C(dist) at the top, and what git ignores where the folder is in its work tree. What stays at home only
    because git ignores it is named in a warning when a release is built.
author: celeryops.stack maintainers (@celeryops)
options:
  source:
    description:
      - What to make the release of; a project's folder or a wheel on the controller, or a pinned requirement such as
        V(shop==1.2.0). A relative path starts at the playbook's folder.
    type: str
  release:
    description: Instead of O(source), the id of a release that is on the host, or V(previous).
    type: str
  previous:
    description:
      - Id of the release to be remembered as the one before, nothing for none. By default that is the one in use until
        now; who puts the old release back after a failure must not leave the failed one there.
    type: str
  state:
    description: Whether to only build the release, or to make it the current one, and then remove old ones.
    type: str
    choices: [prepared, current]
    default: current
  home:
    description: Folder of the releases.
    type: path
    default: /opt/celery/app
  app:
    description: The Celery application, as C(celery --app) takes it. Needed with O(source).
    type: str
  user:
    description: User as whom the application is imported.
    type: str
    default: celery
  requirements:
    description: Further requirements for the virtual environment, pinned.
    type: list
    elements: str
    default: []
  exclude:
    description:
      - What else of a project's directory does not belong to the release, by name, or with a slash by path.
      - What begins with V(!) is shipped although git ignores it, another entry excludes it, or it is in C(build) or
        C(dist) at the top.
    type: list
    elements: str
    default: []
  build:
    description:
      - Commands that make something of the application's files, each a list of the command and its arguments; a single
        one may stand alone. They run in these files as the service user, who may write there, and what they write is
        part of the release.
    type: list
    elements: raw
    default: []
  keep:
    description: Number of releases to keep, the current and the previous one included.
    type: int
    default: 3
  version:
    description: Version to show in the id, when the source does not tell its own.
    type: str
  import_check:
    description: Whether the application, with its tasks, must be importable; the check has no credentials.
    type: bool
    default: true
  import_timeout:
    description: Seconds that the import may take.
    type: int
    default: 60
  launcher:
    description:
      - Command on the host that runs another one in the release whose folder C($CELERY_RELEASE) names, with the
        credentials of the real processes. Without it the import sees no credentials.
    type: path
  next:
    description: What the release's processes are about to get, as JSON with C(settings), C(credentials), C(etc) and
      C(runtime);
      empty for what the host has.
    type: str
    default: ""
  free_space:
    description: MiB that must be free before a release is built.
    type: int
    default: 500
  python:
    description: The interpreter.
    type: path
    default: /usr/bin/python3
  uses_redis:
    description: Whether the broker or the result backend is a Redis, so that the version of its client matters.
    type: bool
    default: true
  tools:
    description: Folder in which uv is kept.
    type: path
    default: /opt/celery/tools
  uv_version:
    description: Version of uv.
    type: str
    default: 0.13.9
  environment:
    description: Environment of pip and uv, as for M(celeryops.stack.venv); never shown.
    type: dict
    default: {}
  _environment:
    description: Internal use only.
    type: str
    default: ""
  _kind:
    description: Internal use only.
    type: str
  _release:
    description: Internal use only.
    type: str
  _content:
    description: Internal use only.
    type: path
  _commit:
    description: Internal use only.
    type: str
    default: ""
attributes:
  check_mode:
    description: Says what it would build, switch and remove.
    support: full
  diff_mode:
    description: Shows the current release's id.
    support: full
"""

EXAMPLES = r"""
- name: Install | Build a release, and touch nothing that runs
  celeryops.stack.release:
    source: ../examples/shop
    app: shop.celery:app
    state: prepared
  register: prepared

- name: Install | Make it the current one
  celeryops.stack.release:
    release: "{{ prepared.release }}"

- name: Rollback | Go back to the release before
  celeryops.stack.release:
    release: previous
"""

RETURN = r"""
output:
  description: The last lines of the command that failed.
  type: str
  returned: failure
release:
  description: Id of the release.
  type: str
  returned: always
  sample: shop-0.1.0-3f2a9c1b0d4e
commit:
  description:
    - The commit that the release was made of, with C(-dirty) where something in the project's folder was not committed;
      empty where that is not known. It is no part of the id, so the same content stays the same release.
  type: str
  returned: always
  sample: 3f2a9c1b0d
path:
  description: Folder of the release.
  type: str
  returned: always
current:
  description: Id of the release that was current before this run, empty when there was none.
  type: str
  returned: always
fallback:
  description:
    - Id of the release to go back to when this one fails. The one that was current; or, when an interrupted run had
      switched already, the one that processes still work in. Empty when there is none.
  type: str
  returned: always
previous:
  description: Id of the release that was current before the present one, empty when there was none.
  type: str
  returned: always
built:
  description: Whether it was built.
  type: bool
  returned: always
switched:
  description: Whether it became the current one.
  type: bool
  returned: always
pruned:
  description: Ids of the releases that were removed.
  type: list
  elements: str
  returned: always
changed_paths:
  description: The link C(<home>/current) when it was switched, to be handed to M(celeryops.stack.units).
  type: list
  elements: str
  returned: always
"""

import contextlib
import glob
import json
import os
import pwd
import shutil
import stat
import subprocess
import tarfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryops.stack.plugins.module_utils import supported
from ansible_collections.celeryops.stack.plugins.module_utils.failures import conclusion, ended, last_lines
from ansible_collections.celeryops.stack.plugins.module_utils.releases import (
    Installed,
    commands_of,
    lock_file,
    to_prune,
)
from ansible_collections.celeryops.stack.plugins.module_utils.trees import unpack
from ansible_collections.celeryops.stack.plugins.module_utils.trial import trial
from ansible_collections.celeryops.stack.plugins.module_utils.venvs import (
    TIMED_OUT,
    UV_VERSION,
    BuildError,
    Requirements,
    Uv,
    python_version,
    run_for,
)

COMPLETE = ".complete"

IMPORT = """
import sys
from celery import Celery
from celery.app.utils import find_app
app = find_app(sys.argv[1])
if not isinstance(app, Celery):
    raise SystemExit(f"it is a {type(app).__name__}, not a Celery application")
app.loader.import_default_modules()
app.connection_for_write().get_transport_cls()  # what this kind of broker needs is there, too
"""
"""What a worker does first: load the application, and the modules with its tasks."""


def link_target(link: str) -> str:
    """Return the name of the release to which a link leads, or nothing."""
    try:
        return os.path.basename(os.readlink(link))
    except OSError:
        if os.path.lexists(link):
            raise BuildError(f"{link} is not a link: move it away.") from None
        return ""


def set_link(link: str, target: str) -> None:
    """Make link lead to target, in one step."""
    fresh = f"{link}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(fresh)
    os.symlink(target, fresh)
    os.rename(fresh, link)


def unpack_archive(archive: str, folder: Path) -> None:
    """Unpack a project; newer Pythons also refuse members that would lead out of the folder."""
    with tarfile.open(archive) as packed:
        if hasattr(tarfile, "data_filter"):
            packed.extractall(folder, filter="data")
        else:
            packed.extractall(folder)  # noqa: S202 - the controller packed it, and refuses links that lead outside


@dataclass(frozen=True)
class Home:
    """The folder of all releases."""

    path: str

    @property
    def releases(self) -> str:
        """Where they are."""
        return os.path.join(self.path, "releases")

    def folder(self, release: str) -> Path:
        """Where one is."""
        return Path(self.releases, release)

    @property
    def current(self) -> str:
        """Link to the one in use."""
        return os.path.join(self.path, "current")

    @property
    def previous(self) -> str:
        """Link to the one before."""
        return os.path.join(self.path, "previous")

    def complete(self, release: str, minor: str | None = None) -> bool:
        """Whether a release is complete, and made for this minor version of Python if that matters."""
        try:
            python = self.folder(release).joinpath(COMPLETE).read_text(encoding="utf-8").strip()
        except OSError:
            return False
        return minor is None or python == minor

    def commit(self, release: str) -> str:
        """The commit that a release was made of, where it is known."""
        try:
            facts = json.loads(self.folder(release).joinpath("release.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return ""
        return str(facts.get("commit", "")) if isinstance(facts, dict) else ""

    def newer_than_its_link(self, release: str) -> bool:
        """Whether a release was completed after the link to it had been made."""
        try:
            return self.folder(release).joinpath(COMPLETE).stat().st_mtime > os.lstat(self.current).st_mtime
        except OSError:
            return False

    def installed(self) -> list[Installed]:
        """List all."""
        found = []
        with contextlib.suppress(FileNotFoundError):
            for entry in os.scandir(self.releases):
                marker = Path(entry.path, COMPLETE)
                found.append(Installed(entry.name, marker.exists(), marker.stat().st_mtime if marker.exists() else 0.0))
        return found

    def before(self, release: str, told: str | None) -> str:
        """What is the release before this one, once it is current: what is current now, unless it is told."""
        current = link_target(self.current)
        if told is not None:
            return told
        return current if current and current != release else link_target(self.previous)

    def switch(self, release: str, before: str) -> None:
        """Make a release the current one, and remember the one before."""
        if before:
            set_link(self.previous, f"releases/{before}")
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.previous)
        set_link(self.current, f"releases/{release}")

    def at_work(self, user: str) -> Counter[str]:
        """How many processes of the service's user work in which release; others may just look around there."""
        found: Counter[str] = Counter()
        try:
            uid = pwd.getpwnam(user).pw_uid
        except KeyError:
            return found
        for link in glob.glob("/proc/[0-9]*/cwd"):
            with contextlib.suppress(OSError):
                if os.stat(os.path.dirname(link)).st_uid != uid:
                    continue
                folder = Path(os.readlink(link))
                if folder.is_relative_to(self.releases):
                    found[folder.relative_to(self.releases).parts[0]] += 1
        return found

    def fallback(self, release: str, user: str) -> str:
        """What to go back to when this release fails."""
        current = link_target(self.current)
        if current != release:
            return current
        others = (name for name, _units in self.at_work(user).most_common() if name != release)
        return next(filter(self.complete, others), "")

    def need_space(self, mebibytes: int) -> None:
        """Refuse to start what would fill the disk."""
        place = self.path
        while not os.path.isdir(place):
            place = os.path.dirname(place)
        free = shutil.disk_usage(place).free // 2**20
        if free < mebibytes:
            raise BuildError(f"{place} has {free} MiB free, a release needs {mebibytes}: make room on this host.")


@dataclass(frozen=True)
class Builder:
    """Builds one release."""

    folder: Path
    uv: Uv
    params: Mapping[str, Any]

    @property
    def src(self) -> Path:
        """The application's files."""
        return self.folder / "src"

    @property
    def venv(self) -> str:
        """The virtual environment."""
        return str(self.folder / "venv")

    def build(self, kind: str, source: str, content: str | None) -> None:
        """Build it in its place; the marker comes last."""
        version = python_version(self.uv.python)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.uv.ensure()
        self.src.mkdir(parents=True)
        try:
            self.uv.create(self.venv)
            self._install(kind, source, content)
            self._check_versions()
            self._build()
            if self.params["import_check"]:
                self._import()
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        facts = {
            "id": self.folder.name,
            "source": os.path.basename(source.rstrip("/")),
            "installed_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "python": version,
            **({"commit": self.params["_commit"]} if self.params["_commit"] else {}),
        }
        (self.folder / "release.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        (self.folder / COMPLETE).write_text(minor_of(version) + "\n", encoding="utf-8")

    def _install(self, kind: str, source: str, content: str | None) -> None:
        extra = tuple(self.params["requirements"])
        if kind == "requirement":
            self.uv.install(self.venv, Requirements((source, *extra)))
        elif content is None:
            raise BuildError("the application's files have not been sent to this host.")
        elif kind == "wheel":
            self.uv.install(self.venv, Requirements(extra), content)
        else:
            unpack_archive(content, self.src)
            self._install_project(extra)

    def _install_project(self, extra: tuple[str, ...]) -> None:
        names = os.listdir(self.src)
        cwd = str(self.src)
        locked = lock_file(names)
        if locked:
            hashes = "--hash=" in (self.src / locked).read_text(encoding="utf-8")
            wanted = Requirements(files=(str(self.src / locked),), require_hashes=hashes)
            self.uv.install(self.venv, wanted, cwd=cwd)
        constraint = [f"--constraints={self.src / locked}"] if locked else []
        if extra:
            self.uv.install(self.venv, Requirements(extra), *constraint, cwd=cwd)
        if "pyproject.toml" in names or "setup.py" in names:
            self.uv.install(self.venv, Requirements(no_deps=bool(locked)), cwd, cwd=cwd)
            for left in ("build", *(name for name in os.listdir(self.src) if name.endswith(".egg-info"))):
                shutil.rmtree(self.src / left, ignore_errors=True)
        python = os.path.join(self.venv, "bin", "python")
        # The service user can not write here. A file that does not compile is not this step's business.
        subprocess.run([python, "-m", "compileall", "-q", cwd], capture_output=True, check=False)

    def _check_versions(self) -> None:
        """Refuse what the workers' runtime was not made for."""
        found = supported.installed(glob.glob(f"{self.venv}/lib/*/site-packages"))
        if problems := supported.installed_problems(found, self.params["uses_redis"]):
            raise BuildError("; ".join(problems) + ".")

    def _build(self) -> None:
        """Run the application's own commands as the service user, who may write into its files meanwhile."""
        commands = commands_of(self.params["build"])
        if not commands:
            return
        account = self._account()
        hand_over(self.src, account.pw_uid, account.pw_gid)
        for command in commands:
            code, output = self._run(command, writes=True)
            if code:
                raise BuildError(*ended(command, code, output))
        hand_over(self.src, os.geteuid(), os.getegid())

    def _import(self) -> None:
        """Import the application as the service user: as its real processes will, or without credentials."""
        app, seconds = self.params["app"], self.params["import_timeout"]
        code, output = self._run(["python", "-c", IMPORT, app], seconds)
        if code == TIMED_OUT:
            raise BuildError(
                f"importing {app} took longer than {seconds} s: it must not wait for another service at import."
            )
        if code:
            shown = last_lines(output)
            last = conclusion(shown) or f"exit code {code}, and it printed nothing"
            raise BuildError(f"{app} can not be imported: {last}", shown)

    def _account(self) -> pwd.struct_passwd:
        try:
            return pwd.getpwnam(self.params["user"])
        except KeyError:
            raise BuildError(
                f"there is no user {self.params['user']} on this host, as whom the application could be run."
            ) from None

    def _run(self, command: list[str], seconds: int | None = None, writes: bool = False) -> tuple[int, str]:
        """Run a command in the release as the service user: as a worker's process, or without credentials."""
        account = self._account()
        environment = {
            "PATH": f"{self.venv}/bin:/usr/bin:/bin",
            "HOME": account.pw_dir,
            "LC_ALL": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": str(self.src),
        }
        identity: dict[str, Any] = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        if self.params["launcher"]:
            if not os.path.exists(self.params["launcher"]):
                raise BuildError(f"{self.params['launcher']} is not on this host: set it up with site.yml first.")
            # It becomes the service user itself. A child that it leaves behind ends by its own time-out.
            limit = ["timeout", "--kill-after=5", str(seconds)] if seconds else []
            command = [self.params["launcher"], *limit, *command]
            environment["CELERY_RELEASE"] = str(self.folder)
            if writes:
                environment["CELERY_WRITABLE"] = str(self.src)
            identity = {}
        with trial(self.params["next"]) as following:
            as_user = identity if os.geteuid() == 0 else {}
            longest = seconds + 10 if seconds else None
            return run_for(longest, command, environment | following, str(self.src), as_user)


def hand_over(root: Path, uid: int, gid: int) -> None:
    """Give everything below root to a user; others may read it. What a link leads to is not touched."""
    for folder, folders, files in os.walk(root):
        for path in (folder, *(os.path.join(folder, name) for name in (*folders, *files))):
            os.chown(path, uid, gid, follow_symlinks=False)
            if not os.path.islink(path):
                runs = os.path.isdir(path) or os.stat(path).st_mode & stat.S_IXUSR
                os.chmod(path, 0o755 if runs else 0o644)


def minor_of(version: str) -> str:
    """Shorten "CPython 3.13.5" to "CPython 3.13"."""
    return version.rpartition(".")[0]


OPTIONS: dict[str, dict[str, Any]] = {
    "source": {"type": "str"},
    "release": {"type": "str"},
    "previous": {"type": "str"},
    "state": {"type": "str", "choices": ["prepared", "current"], "default": "current"},
    "home": {"type": "path", "default": "/opt/celery/app"},
    "app": {"type": "str"},
    "user": {"type": "str", "default": "celery"},
    "requirements": {"type": "list", "elements": "str", "default": []},
    "exclude": {"type": "list", "elements": "str", "default": []},
    "build": {"type": "list", "elements": "raw", "default": []},
    "keep": {"type": "int", "default": 3},
    "version": {"type": "str"},
    "import_check": {"type": "bool", "default": True},
    "import_timeout": {"type": "int", "default": 60},
    "launcher": {"type": "path"},
    "next": {"type": "str", "default": "", "no_log": True},
    "free_space": {"type": "int", "default": 500},
    "python": {"type": "path", "default": "/usr/bin/python3"},
    "uses_redis": {"type": "bool", "default": True},
    "tools": {"type": "path", "default": "/opt/celery/tools"},
    "uv_version": {"type": "str", "default": UV_VERSION},
    "environment": {"type": "dict", "default": {}},
    "_environment": {"type": "str", "default": "", "no_log": True},
    "_kind": {"type": "str"},
    "_release": {"type": "str"},
    "_content": {"type": "path"},
    "_commit": {"type": "str", "default": ""},
}


def chosen(home: Home, params: Mapping[str, Any], check_mode: bool) -> str:
    """Return the id of the release that is asked for; in a dry run the one to switch to may not have been built."""
    if params["source"]:
        return str(params["_release"])
    release = params["release"]
    if release == "previous":
        release = link_target(home.previous)
        if not release:
            raise BuildError("there is no release before the current one on this host, so nothing to go back to.")
    if not home.complete(release) and not (check_mode and params["state"] == "current"):
        names = sorted(each.name for each in home.installed() if each.complete)
        commits = {name: home.commit(name) for name in names}
        known = ", ".join(f"{name} (commit {commits[name]})" if commits[name] else name for name in names) or "none"
        raise BuildError(f"there is no complete release {release} on this host: there are {known}.")
    return str(release)


def converge(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Build, switch and prune as needed, and say what was done."""
    home = Home(params["home"])
    release = chosen(home, params, check_mode)
    environment = json.loads(unpack(params["_environment"]).get("environment", b"{}"))
    uv = Uv(params["tools"], params["python"], environment, params["uv_version"])
    try:
        minor = minor_of(python_version(params["python"])) if params["source"] else None
    except BuildError:
        if not check_mode:
            raise
        minor = None
    built = bool(params["source"]) and not home.complete(release, minor)
    before, fallback = link_target(home.current), home.fallback(release, params["user"])
    # A release that is built anew while it is in use (for another Python) gets a new link: its users must restart.
    anew = built or home.newer_than_its_link(release)
    switched = params["state"] == "current" and (anew or before != release)
    if built:
        home.need_space(params["free_space"])
        if not check_mode:
            if params["_kind"] != "requirement" and params["_content"] is None:
                return {"changed": False, "_needs_content": True}
            Builder(home.folder(release), uv, params).build(params["_kind"], params["source"], params["_content"])
    previous = home.before(release, params["previous"]) if switched else link_target(home.previous)
    if switched and not check_mode:
        home.switch(release, previous)
    pruned: list[str] = []
    if params["state"] == "current":
        others = [each for each in home.installed() if each.name != release]
        # What an interrupted run left running needs its files.
        needed = {release, previous, *home.at_work(params["user"])}
        pruned = to_prune([*others, Installed(release, True, time.time())], needed, params["keep"])
        for name in () if check_mode else pruned:
            shutil.rmtree(home.folder(name))
    return {
        "changed": built or switched or bool(pruned),
        "release": release,
        "commit": params["_commit"] if built else home.commit(release),
        "path": str(home.folder(release)),
        "current": before,
        "fallback": fallback,
        "previous": previous,
        "built": built,
        "switched": switched,
        "pruned": pruned,
        "changed_paths": [home.current] if switched else [],
        "diff": {
            "before": f"{before}\n" if before else "",
            "after": f"{release}\n" if switched else f"{before}\n" if before else "",
            "before_header": home.current,
            "after_header": home.current,
        },
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=OPTIONS,
        supports_check_mode=True,
        required_one_of=[("source", "release")],
        mutually_exclusive=[("source", "release")],
        required_by={"source": ["app"]},
    )
    os.umask(0o022)
    if module.params["keep"] < 2:
        module.fail_json(msg="release: keep must be at least 2, so that there is always a release to go back to.")
    try:
        result = converge(module.params, module.check_mode)
    except BuildError as problem:
        module.fail_json(**problem.result("release"))
    except OSError as problem:
        module.fail_json(msg=f"release: {problem.filename}: {problem.strerror}.")
    if not module._diff:
        result.pop("diff", None)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
