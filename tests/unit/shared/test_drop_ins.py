# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd's configuration is read again when it is out of date, also where systemd does not say so."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.celeryops.stack.plugins.module_utils.systemd import Seen, out_of_date


@pytest.mark.parametrize(
    ("name", "folder"), [("shop.service", "shop.service.d"), ("shop@1.service", "shop@.service.d")]
)
def test_a_drop_in_that_systemd_does_not_know(tmp_path: Path, name: str, folder: str) -> None:
    (tmp_path / folder).mkdir()
    path = tmp_path / folder / "celery.conf"
    path.touch()
    assert out_of_date(name, Seen({"NeedDaemonReload": "no", "DropInPaths": ""}), f"{tmp_path}/")
    assert not out_of_date(name, Seen({"NeedDaemonReload": "no", "DropInPaths": str(path)}), f"{tmp_path}/")


def test_what_systemd_says_itself(tmp_path: Path) -> None:
    assert out_of_date("shop.service", Seen({"NeedDaemonReload": "yes", "DropInPaths": ""}), f"{tmp_path}/")
    assert not out_of_date("shop.service", Seen({"NeedDaemonReload": "no", "DropInPaths": ""}), f"{tmp_path}/")
