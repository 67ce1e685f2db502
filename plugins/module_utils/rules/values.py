# SPDX-License-Identifier: GPL-3.0-or-later
"""Sentences about single values that the rules of several services share."""

from __future__ import annotations

import ipaddress
import re

SECRET_LENGTH = 12
#: What is longer is not looked through for words.
LONGEST_WORDS = 80
_SIZE = re.compile(r"^[1-9][0-9]{0,17}\s?([kmgt]i?b?)?\Z", re.IGNORECASE)
#: Texts that stand where a secret is to be written; everybody who has read a manual knows them.
_WORDS = re.compile(
    r"(?:(?:secret|password|passwd|passw0rd|passphrase|s3cr3t|admin|guest|test|default|dummy|temporary|example|"
    r"sample|placeholder|value|here|goes|change|replace|this|that|me|it|in|my|your|own|the|some|very|super|secure|"
    r"strong|long|random|put|insert|enter|fill|set|please|todo|tbd|fixme|qwerty|uiop|letmein|welcome|hunter2|celery|"
    r"rabbitmq|redis|flower|bugsink|broker|monitor|producer|result|token|key|xxx)[\W_]*)+[0-9!]*",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile(
    r".*change[\s_-]?me.*|(replace|fill|insert|set)[\s_-]*(me|this|it|in|here)([\s_.!-].*)?|"
    r"((your|my|the|some|a|very|super|example|broker|admin)[\s_-]*)*(secret|password|passphrase)[\s_-]*(here)?[0-9!]*|"
    r"<.*>|\.{3,}|todo.*|example|(?P<one>.)(?P=one)*|0?123456789[0-9a-f]*",
    re.IGNORECASE,
)


def secret(variable: str, value: object) -> list[str]:
    """A password: there, and not to be guessed. The sentence never shows it."""
    if value is None or value == "":
        return [f"{variable} is empty: set it, from a vault, to {SECRET_LENGTH} characters or more."]
    if not isinstance(value, str):
        return [f"{variable} is not text: put it in quotes."]
    if found := placeholder(variable, value):
        return found
    if len(value) < SECRET_LENGTH:
        return [f"{variable} has only {len(value)} characters: use {SECRET_LENGTH} or more."]
    if not value.isprintable():
        return [f"{variable} contains a line break or another character that cannot be printed: use one plain line."]
    return []


def placeholder(variable: str, value: object) -> list[str]:
    """A password that only stands for one. The sentence never shows it."""
    text = value.strip() if isinstance(value, str) else ""
    if not text or not (_PLACEHOLDER.fullmatch(text) or (len(text) <= LONGEST_WORDS and _WORDS.fullmatch(text))):
        return []
    return [f"{variable} is still a placeholder: write a value of its own, from 'openssl rand -hex 24', into a vault."]


def shown(text: str) -> str:
    """A text for a sentence, without the login that an address in it may hold, and without its query."""
    return re.sub(r"(//[^\s?]*)\?\S*", r"\1?...", re.sub(r"//\S*@", "//...@", text))


def address(variable: str, value: object, allow_public: object = False, allow_variable: str = "") -> list[str]:
    """An address to listen on: an IP address, and no public one unless that is said."""
    try:
        parsed = ipaddress.ip_address(str(value))
    except ValueError:
        return [f"{variable} is {value!r}, which is no IP address: write this host's private one, such as 10.0.0.5."]
    if (parsed.is_global or parsed.is_unspecified) and allow_public is not True:
        what = "every address" if parsed.is_unspecified else "a public address"
        return [
            f"{variable} is {value}, so {what} of this host would take passwords in the clear: write its private "
            f"address, or set {allow_variable} to true where a firewall or a VPN protects it."
        ]
    return []


def count(variable: str, value: object, smallest: int = 1, largest: int | None = None) -> list[str]:
    """A whole number within bounds; text that is one is accepted, as inventories in INI format only have text."""
    bounds = f"from {smallest} to {largest}" if largest is not None else f"of {smallest} or more"
    wrong = [f"{variable} is {value!r}: write a whole number {bounds}."]
    if isinstance(value, bool) or not isinstance(value, int | str):
        return wrong
    try:
        number = int(value)
    except ValueError:
        return wrong
    return wrong if number < smallest or (largest is not None and number > largest) else []


def truth(value: object) -> bool:
    """Whether a value means true; inventories in INI format, and -e, have texts for it."""
    return str(value).strip().lower() in ("true", "yes", "on", "1", "t", "y")


def size(variable: str, value: object, smallest: int = 0) -> list[str]:
    """An amount of memory or disk; ``smallest`` is in MB."""
    if isinstance(value, bool) or not _SIZE.fullmatch(str(value)):
        return [f"{variable} is {value!r}: write a size, such as 512MB or 2GB."]
    if (bytes_of(value) or 0) < smallest * 1024**2:
        return [f"{variable} is {value!r}, with which nothing could start: write {smallest}MB or more."]
    return []


def bytes_of(value: object) -> int | None:
    """Bytes of a size as above; None where it is none."""
    if isinstance(value, bool) or not (match := _SIZE.match(str(value).strip())):
        return None
    number, unit = re.match(r"[0-9]+", match[0]), (match[1] or "")[:1].lower()
    return int(number[0]) * 1024 ** " kmgt".index(unit or " ") if number else None
