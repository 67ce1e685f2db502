#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes roles/<role>/README.md from the role's argument specification. Run it after changing one."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent


def sentences(description: str | list[str]) -> list[str]:
    return [description] if isinstance(description, str) else list(description)


def shown(value: Any) -> str:
    """A default as one would write it in YAML; long lists by their length."""
    if isinstance(value, list) and len(value) > 3:
        return f"{len(value)} entries"
    text = value if isinstance(value, str) and value else json.dumps(value)
    return f"`{text}`".replace("|", "\\|").replace("\n", " ")


def row(name: str, option: dict[str, Any]) -> str:
    kind = option["type"] + (f" of {option['elements']}" if option.get("elements") else "")
    if option.get("choices"):
        kind += ": " + ", ".join(map(str, option["choices"]))
    text = "<br>".join(sentences(option["description"])).replace("|", "\\|")
    return f"| `{name}` | {kind} | {shown(option['default'])} | {text} |"


def readme(role: str) -> str:
    """The page of one role."""
    spec = yaml.safe_load((ROOT / "roles" / role / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]
    lines = [f"# celeryops.stack.{role}", "", f"{spec['short_description'].rstrip('.')}.", ""]
    lines += [*sentences(spec["description"]), ""]
    if spec["options"]:
        lines += ["| variable | type | default | meaning |", "| --- | --- | --- | --- |"]
        lines += [row(name, option) for name, option in spec["options"].items()]
    else:
        lines += ["It has no variables of its own."]
    if role != "celery":
        lines += ["", "The variables `celery_*` that the defaults refer to are those of [celery](../celery/README.md)."]
    return "\n".join([*lines, "", "Written by docs/generate.py from meta/argument_specs.yml; do not edit.", ""])


def main() -> int:
    """With --check nothing is written, and the exit code tells whether a page is out of date."""
    stale = []
    for role in sorted(path.name for path in (ROOT / "roles").iterdir() if (path / "meta/argument_specs.yml").exists()):
        page = ROOT / "roles" / role / "README.md"
        if not page.exists() or page.read_text() != readme(role):
            stale.append(role)
            if "--check" not in sys.argv:
                page.write_text(readme(role))
    if stale and "--check" in sys.argv:
        print(f"out of date: roles/{{{','.join(stale)}}}/README.md; run docs/generate.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
