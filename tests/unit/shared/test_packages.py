# SPDX-License-Identifier: GPL-3.0-or-later
"""Which packages apt is called for."""

from __future__ import annotations

from ansible_collections.celeryops.stack.plugins.action.packages import PLAIN, missing


def test_only_what_dpkg_shows_as_installed_is_left_out() -> None:
    listed = "ii  redis-server\nrc  old-one\nun  never-there\n"
    assert missing(["redis-server", "old-one", "never-there", "unknown"], listed) == [
        "old-one",
        "never-there",
        "unknown",
    ]


def test_versions_and_globs_are_left_to_apt() -> None:
    assert PLAIN.match("libpq5")
    assert PLAIN.match("g++")
    assert not PLAIN.match("libpq5=15.1")
    assert not PLAIN.match("linux-*")
    assert missing(["libpq5=15.1"], "ii  libpq5\n") == ["libpq5=15.1"]
