#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes roles/<role>/README.md from the role's argument specification, and the table in README.md from
bench/RELIABILITY.md. Run it after changing one of them.
"""

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


def table(section: str) -> list[dict[str, str]]:
    """The rows of a Markdown text's table."""
    head, _, *rows = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if "|" in line
    )
    return [dict(zip(head, row, strict=True)) for row in rows]


def front_page() -> str:
    """README.md with what was measured last: no number there is written by hand."""
    one_broker = (ROOT / "bench/RELIABILITY.md").read_text().partition("\n<!-- scenario: ")[0]
    _, deployed, control = one_broker.split("\n## ")
    defaults = {row["fault"]: f"{row['lost'].strip('*')} of {row['accepted'].split()[0]}" for row in table(control)}
    lines = [
        "| fault under load | times | accepted | lost | ran twice | with Celery's defaults, lost |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in table(deployed):
        name = f"**{row['fault']}**" if row["fault"] == "together" else row["fault"]
        other = defaults.get(row["fault"], "")
        lost = f"**{row['lost'].strip('*')}**"
        lines.append(f"| {name} | {row['times']} | {row['accepted']} | {lost} | {row['ran twice']} | {other} |")
    begin, end = "<!-- measured: docs/generate.py writes this from bench/RELIABILITY.md -->", "<!-- end -->"
    before, _, rest = (ROOT / "README.md").read_text().partition(begin)
    return "\n".join([before + begin, "", *lines, "", end + rest.partition(end)[2]])


def main() -> int:
    """With --check nothing is written, and the exit code tells whether a page is out of date."""
    roles = sorted(path.parts[-3] for path in ROOT.glob("roles/*/meta/argument_specs.yml"))
    pages = {f"roles/{role}/README.md": readme(role) for role in roles} | {"README.md": front_page()}
    stale = [name for name, text in pages.items() if not (ROOT / name).exists() or (ROOT / name).read_text() != text]
    if stale and "--check" in sys.argv:
        print(f"out of date: {', '.join(stale)}; run docs/generate.py", file=sys.stderr)
        return 1
    for name in stale:
        (ROOT / name).write_text(pages[name])
    return 0


if __name__ == "__main__":
    sys.exit(main())
