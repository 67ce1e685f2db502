#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes roles/<role>/README.md from the role's argument specification; docs/tested.md, bench/RELIABILITY.md and the
tables in README.md from docs/tested.json and bench/rows, which bin/test saves; and the findings in docs/audit.md from
the checks, their corpus and what was read in foreign applications.
Run it after one of them has changed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / name) for name in ("roles/runtime/files", "tests/support", "tests/reliability")]

import measured  # noqa: E402 found only now
import tested  # noqa: E402
from celeryops_audit.registry import Check, every_check  # noqa: E402


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


def between(text: str, begin: str, lines: list[str]) -> str:
    """A text with these lines between its marks."""
    end = "<!-- end -->"
    before, _, rest = text.partition(begin)
    return "\n".join([before + begin, "", *lines, "", end + rest.partition(end)[2]])


def front_page(reliability: str) -> str:
    """README.md with what was measured last: no number there is written by hand."""
    one_broker = reliability.partition("\n<!-- scenario: ")[0]
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
    where = next(line for line in one_broker.splitlines() if ", commit" in line)
    when = where.partition(". ")[0]
    lines += ["", f"Measured {when}; when each test ran last, and how it ended: [docs/tested.md](docs/tested.md)."]
    begin = "<!-- measured: docs/generate.py writes this from bench/RELIABILITY.md -->"
    text = between((ROOT / "README.md").read_text(), begin, lines)
    begin = "<!-- missing: docs/generate.py writes this from docs/tested.json -->"
    return between(text, begin, tested.missing(tested.results()))


def tested_page() -> str:
    """docs/tested.md: when each part of the tests ran last, and how it ended."""
    begin = "<!-- tested: docs/generate.py writes this from docs/tested.json -->"
    return between((ROOT / "docs/tested.md").read_text(), begin, tested.page(tested.results()))


def code(check: Check, kind: str) -> str:
    """An application of the corpus, which the tests audit."""
    path = ROOT / "tests/audit/corpus" / check.id / f"{kind}.py"
    return f"```python\n{path.read_text().strip()}\n```" if path.exists() else ""


def stops(check: Check) -> str:
    return "yes" if check.decidable and check.severity == "error" else ""


def section(check: Check) -> list[str]:
    """All about one finding."""
    said = f"{check.severity.capitalize()}, decided by {check.evidence}"
    said += "; stops a deployment." if stops(check) else "." if check.decidable else "; a hint."
    practice = f" [Practice {check.practice}](../README.md#the-practices)." if check.practice else ""
    lines = [f"### {check.id}", "", f"{check.title}. {said}{practice}", "", check.why]
    if check.fix:
        lines += ["", f"Fix: {check.fix}."]
    for kind, word in (("bad", "Bad"), ("unknown", "Not known"), ("near", "Good")):
        if (shown := code(check, kind)) and (kind != "unknown" or not code(check, "bad")):
            lines += ["", f"{word}:", "", shown]
    if check.read:
        lines += ["", "Read: " + ", ".join(f"<{url}>" for url in check.read) + "."]
    return [*lines, ""]


def audit_page() -> str:
    """docs/audit.md: the index, a section for each finding, and what was found in foreign applications."""
    checks = every_check().values()
    lines = ["| id | what | severity | decided by | stops | practice |", "| --- | --- | --- | --- | --- | --- |"]
    for each in checks:
        link = f"[{each.id}](#{each.id})"
        kind = each.evidence if each.decidable else f"{each.evidence} (a hint)"
        lines.append(f"| {link} | {each.title} | {each.severity} | {kind} | {stops(each)} | {each.practice or ''} |")
    lines += ["", *(line for each in checks for line in section(each))]
    text = (ROOT / "docs/audit.md").read_text()
    text = between(text, "<!-- findings: docs/generate.py writes this from the checks and their corpus -->", lines[:-1])
    foreign = json.loads((ROOT / "tests/audit/foreign.json").read_text())
    return between(
        text, "<!-- foreign: docs/generate.py writes this from tests/audit/foreign.json -->", counted(foreign)
    )


def counted(foreign: dict[str, Any]) -> list[str]:
    """What was found in foreign applications, and how much of it is true."""
    lines = ["| application | tasks | findings | that stop |", "| --- | --- | --- | --- |"]
    for app in foreign["applications"]:
        found, blocking = sum(app["findings"].values()), sum(app["blocking"].values())
        lines.append(f"| {app['name']} ({app['app']}) | {app['tasks']} | {found} | {blocking} |")
    lines += ["", "| check | found | true | false | not known |", "| --- | --- | --- | --- | --- |"]
    for name in every_check():
        found = sum(app["findings"].get(name, 0) for app in foreign["applications"])
        unknown = sum(app["unknown"].get(name, 0) for app in foreign["applications"])
        wrong = len(foreign["false"].get(name, []))
        if found or unknown:
            lines.append(f"| [{name}](#{name}) | {found} | {found - wrong} | {wrong} | {unknown} |")
    for name, stories in foreign["false"].items():
        lines += ["", *(f"- False, {name}: {story}" for story in stories)]
    return lines


def main() -> int:
    """With --check nothing is written, and the exit code tells whether a page is out of date."""
    roles = sorted(path.parts[-3] for path in ROOT.glob("roles/*/meta/argument_specs.yml"))
    pages = {f"roles/{role}/README.md": readme(role) for role in roles}
    reliability = measured.whole((ROOT / "bench/RELIABILITY.md").read_text())
    pages |= {"bench/RELIABILITY.md": reliability, "README.md": front_page(reliability)}
    pages |= {"docs/audit.md": audit_page(), "docs/tested.md": tested_page()}
    stale = [name for name, text in pages.items() if not (ROOT / name).exists() or (ROOT / name).read_text() != text]
    if stale and "--check" in sys.argv:
        print(f"out of date: {', '.join(stale)}; run docs/generate.py", file=sys.stderr)
        return 1
    for name in stale:
        (ROOT / name).write_text(pages[name])
    return 0


if __name__ == "__main__":
    sys.exit(main())
