#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print what became of the demo's orders, the refused one's event in the tracker, and where to look."""

import argparse
import json
import sys
import time
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

EVENT_TIMEOUT_SECONDS = 30
COLUMNS = ("order", "task", "queue", "worker", "retries", "outcome")


def table(rows: Iterable[Sequence[object]]) -> str:
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in cells)


def orders_table(orders: Sequence[Mapping[str, Any]]) -> str:
    return table([COLUMNS, *([order[column] for column in COLUMNS] for order in orders)])


def get(url: str, token: str) -> Any:
    if not url.startswith("http://127.0.0.1:"):
        raise ValueError(f"not this machine: {url}")
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
        return json.load(answer)


def find_event(tracker: str, token: str, task_id: str) -> Mapping[str, Any] | None:
    """The event of one task: the tracker digests events a moment after it took them."""
    api = f"{tracker}/api/canonical/0"
    deadline = time.monotonic() + EVENT_TIMEOUT_SECONDS
    while True:
        for issue in get(f"{api}/issues/?project=1&sort=last_seen&order=desc", token)["results"]:
            for event in get(f"{api}/events/?issue={issue['id']}", token)["results"]:
                if task_id in json.dumps(get(f"{api}/events/{event['id']}/", token)):
                    return {**issue, "event": event["id"]}
        if time.monotonic() > deadline:
            return None
        time.sleep(0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for page in ("flower", "bugsink", "rabbitmq"):
        parser.add_argument(f"--{page}", type=int, required=True, metavar="PORT")
    pages = {page: f"http://127.0.0.1:{port}" for page, port in vars(parser.parse_args()).items()}
    report = json.load(sys.stdin)

    print(f"\n{orders_table(report['orders'])}\n")
    for order in report["orders"]:
        if order["outcome"] == "refused":
            event = find_event(pages["bugsink"], report["token"], order["task_id"])
            if event is None:
                raise SystemExit(f"error: no event of task {order['task_id']} in the tracker")
            print(f"{order['order']} was refused on purpose: {order['error']}")
            print(f"  in the tracker: {pages['bugsink']}/issues/issue/{event['id']}/event/{event['event']}/\n")
    logins = [(page, pages[page], *report["logins"][page]) for page in pages]
    print(f"{table([('page', 'address', 'user', 'password'), *logins])}\n")


if __name__ == "__main__":
    main()
