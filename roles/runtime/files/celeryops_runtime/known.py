# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the functions that this package replaces, extends or relies on are those that it was made for.

Their names and the hashes of their source are in ``known.json``, with the hashes of whole files: where a file is known,
nothing in it needs to be looked for. Files are read, not imported, as the order of imports matters to others, and so
what was replaced already does not disturb. ``tests/support/known.py`` adds a version that was tried.
"""

import ast
import hashlib
import importlib.util
import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from types import CodeType
from typing import Any

TABLE = Path(__file__).with_name("known.json")
#: What is replaced in every worker.
REPLACED = (
    "celery.app.amqp:AMQP._retry_publish",
    "celery.app.base:Celery._get_backend",
    "celery.app.base:calculate_routing_key",
    "celery.app.routes:Router.route",
    "celery.app.task:Task.retry",
    "celery.app.trace:build_tracer",
    "celery.app.utils:Settings.broker_read_url",
    "celery.app.utils:Settings.broker_url",
    "celery.app.utils:Settings.broker_write_url",
    "celery.app.utils:Settings.result_backend",
    "celery.worker.consumer.consumer:build_tracer",
    "kombu.connection:ConnectionPool.replace",
)


def digest(text: str) -> str:
    """A short hash of source."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def functions(source: str) -> dict[str, str]:
    """Every function of a module, by its qualified name, with the hash of its source."""
    lines, found = source.splitlines(), {}

    def walk(nodes: list[ast.stmt], prefix: str) -> None:
        for node in nodes:
            if isinstance(node, ast.ClassDef):
                walk(node.body, f"{prefix}{node.name}.")
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found[prefix + node.name] = digest("\n".join(lines[node.lineno - 1 : node.end_lineno]))

    walk(ast.parse(source).body, "")
    return found


def _where(package: str) -> Path | None:
    if module := sys.modules.get(package):  # kombu's has no spec any more
        return Path(next(iter(module.__path__))).parent
    spec = importlib.util.find_spec(package)
    return Path(spec.submodule_search_locations[0]).parent if spec and spec.submodule_search_locations else None


def strangers(table: Mapping[str, Any], where: Callable[[str], Path | None] = _where) -> Iterator[str]:
    """Each function that is another one here, or is not here; a package that is not installed has none."""
    for name, known in table.items():
        if (root := where(name.partition("/")[0])) is None:
            continue
        file = root / name
        source = file.read_text(encoding="utf-8") if file.is_file() else ""
        if digest(source) in known["files"]:
            continue
        here = functions(source)
        module = name.removesuffix(".py").replace("/", ".")
        for function, hashes in known["functions"].items():
            if here.get(function) not in hashes:
                yield f"{module}.{function}"


def read() -> Any:
    """The table."""
    return json.loads(TABLE.read_text(encoding="utf-8"))


def tell(say: Callable[..., None]) -> None:
    """Say which are strangers, if any are, and which versions are installed."""
    found = list(strangers(read()))
    if found:
        packages = sorted({name.partition(".")[0] for name in found})
        say(
            "celeryops was made for other versions than %s, so tasks may get lost or run twice; unknown to it: %s. "
            "Install one that its README names",
            ", ".join(f"{package} {version(package)}" for package in packages),
            ", ".join(found),
        )


def _is_ours(function: Any) -> bool:
    code = getattr(getattr(function, "fget", None) or function, "__code__", None)
    return isinstance(code, CodeType) and Path(code.co_filename).parent == Path(__file__).parent


def originals(replaced: Sequence[str] = REPLACED) -> Iterator[str]:
    """Each function that is to be replaced and is not: whoever was to do it failed, and only logged that."""
    for name in replaced:
        module, _, path = name.partition(":")
        found: Any = sys.modules.get(module)
        for attribute in path.split("."):
            found = inspect.getattr_static(found, attribute, None)
        if not _is_ours(found):
            yield name.replace(":", ".")


def check_replaced(say: Callable[..., None]) -> None:
    """Say which are left, if any are."""
    if left := list(originals()):
        say("Celery's own functions are in use, so tasks may get lost or run twice: %s", ", ".join(left))
