# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/guides/django.md, followed as it stands there; and what its reader has then."""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Callable

import pytest
from guides import GUIDES, blocks
from operating import Machines
from operating.reading import Reader, Walk
from verification.waiting import poll

HOST = "server"
WORKER = "celery-worker-default@1.service"
#: What the guide promises.
LONGEST = 15 * 60
#: Keeps tasks in the middle of their transaction: the orders are stored, and their books cannot be changed.
HOLD = """
systemd-run --quiet --collect --unit=hold --uid=postgres --working-directory=/ psql bookshop \
  -c 'BEGIN; LOCK TABLE orders_book IN SHARE MODE; SELECT pg_sleep(300)'
"""
ADD = """
from django_celery_beat.models import IntervalSchedule, PeriodicTask
often, _ = IntervalSchedule.objects.get_or_create(every=2, period="seconds")
PeriodicTask.objects.create(name="often", task="orders.tasks.confirm_missed", interval=often)
"""
DISABLE = """
from django_celery_beat.models import PeriodicTask
row = PeriodicTask.objects.get(name="often")
row.enabled = False
row.save()
"""
COPIES = "SELECT copies FROM orders_book"
RUNS = """
SELECT count(*) FROM django_celery_results_taskresult WHERE status = 'SUCCESS' AND periodic_task_name = '{}'
"""
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'bookshop' AND wait_event_type = 'Lock'"
#: The state of each run of a task for an order.
STATES = """
SELECT result.status, count(*) FROM django_celery_results_taskresult result
WHERE task_name = 'orders.tasks.confirm' AND task_args LIKE '%%({},)%%' GROUP BY 1
"""

Sql = Callable[[str], str]


@pytest.fixture(scope="module")
def reader(machines: Machines, tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return Reader(machines, tmp_path_factory.mktemp("reader"), HOST)


@pytest.fixture(scope="module")
def walk(reader: Reader) -> Walk:
    return reader.follow("django")


@pytest.fixture(autouse=True)
def followed(walk: Walk) -> None:
    """Nothing else can be tested where the guide led nowhere."""
    assert walk.code == 0, walk.output[-6000:]


@pytest.fixture
def server(machines: Machines) -> Callable[[str], str]:
    return lambda command: machines.run(command, HOST)


@pytest.fixture
def sql(machines: Machines) -> Sql:
    """What the database answers."""

    def ask(statement: str) -> str:
        command = f"runuser -u postgres -- psql -qtAX --dbname=bookshop <<'END'\n{statement}\nEND"
        return machines.run(f"cd / && {command}", HOST).strip()

    return ask


def place_order(machines: Machines) -> int:
    """Ask gunicorn for one."""
    body = urllib.parse.urlencode({"title": "Dune"})
    request = f"urllib.request.urlopen('http://127.0.0.1:8000/orders/', b'{body}')"
    answer = machines.run(f'python3 -c "import urllib.request; print({request}.read().decode())"', HOST)
    return int(json.loads(answer)["order"])


def are_confirmed(sql: Sql, *orders: int) -> bool:
    confirmed = sql("SELECT id FROM orders_order WHERE confirmed_at IS NOT NULL").split()
    return {str(order) for order in orders} <= set(confirmed)


def runs(sql: Sql, name: str) -> int:
    """How often a row of the schedule has run."""
    return int(sql(RUNS.format(name)))


def is_still(count: Callable[[], int], seconds: float) -> bool:
    """Whether a number stays what it is for so long."""
    before = count()
    return not poll(lambda: count() != before, seconds)


def in_the_shell(machines: Machines, program: str) -> str:
    """What a program prints in the project."""
    return machines.run(f"celery-run python manage.py shell <<'END'\n{program}\nEND", HOST)


def status(machines: Machines, unit: str) -> str:
    return machines.run(f"systemctl show --property=StatusText --value {unit}", HOST)


def test_it_takes_no_longer_than_it_says(walk: Walk) -> None:
    print(f"{walk.seconds:.0f} s")
    assert walk.seconds < LONGEST


def test_it_shows_what_it_announces(walk: Walk) -> None:
    assert re.search(r"order: 1$", walk.output, re.MULTILINE)
    assert re.search(r"orders\.tasks\.confirm\[\S+\]: order 1 is confirmed$", walk.output, re.MULTILINE)
    assert re.search(r"\d+ passed, \d+ deselected", walk.output), "playbooks/verify.yml"


def test_the_migrations_have_run(server: Callable[[str], str]) -> None:
    server("celery-run python manage.py migrate --check")


def test_an_order_is_stored_and_its_task_runs_once(machines: Machines, sql: Sql) -> None:
    before = int(sql(COPIES))
    order = place_order(machines)
    assert poll(lambda: sql(STATES.format(order)) == "SUCCESS|1", 30), sql(STATES.format(order))
    assert are_confirmed(sql, order)
    assert int(sql(COPIES)) == before - 1


def test_a_row_of_the_schedule_runs_until_it_is_disabled(machines: Machines, sql: Sql) -> None:
    """Beat, which is not restarted, hears of both."""
    in_the_shell(machines, ADD)
    assert poll(lambda: runs(sql, "often") >= 3, 60), runs(sql, "often")
    in_the_shell(machines, DISABLE)
    assert poll(lambda: is_still(lambda: runs(sql, "often"), 8), 60), "it runs every 2 seconds"


def test_gunicorn_sends_as_the_producer_and_shows_no_secret(server: Callable[[str], str]) -> None:
    assert "producer" in server("rabbitmqctl -q list_connections user --no-table-headers").split()
    pids = server("pgrep --uid bookshop").split()
    assert len(pids) == 3, "the master and two workers"
    shown = "".join(server(f"tr '\\0' ' ' </proc/{pid}/environ; tr '\\0' ' ' </proc/{pid}/cmdline") for pid in pids)
    secrets = re.findall(r"[0-9a-f]{48}", server("cat /etc/bookshop/* /etc/celery/producer/celery.json"))
    assert len(secrets) == 3
    assert [secret for secret in secrets if secret in shown] == []


def test_the_project_speaks_tls_to_postgresql(machines: Machines) -> None:
    """libpq looks into the home directory first, which the sandbox hides."""
    ask = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    program = f"from django.db import connection\nprint(connection.cursor().execute('{ask}').fetchall())"
    assert "[(True,)]" in in_the_shell(machines, program)


def test_no_order_is_lost_when_postgresql_ends_among_running_tasks(machines: Machines, sql: Sql) -> None:
    before = int(sql(COPIES))
    machines.run(HOLD, HOST)
    orders = [place_order(machines) for _ in range(6)]
    assert poll(lambda: sql(WAITING) == "2", 30), "two tasks are in the middle of their transaction"

    machines.run("systemctl stop postgresql", HOST)
    assert poll(lambda: "waiting for the result backend django-db" in status(machines, WORKER), 60), status(
        machines, WORKER
    )
    machines.run("systemctl start postgresql", HOST)

    assert poll(lambda: are_confirmed(sql, *orders), 60)
    assert int(sql(COPIES)) == before - len(orders), "each is done once"
    assert poll(lambda: {sql(STATES.format(order)) for order in orders} == {"SUCCESS|1"}, 30)
    restarts = machines.run(f"systemctl show --property=NRestarts --value {WORKER} celery-beat bookshop", HOST)
    assert restarts.split() == ["0", "0", "0"]


def test_beat_goes_on_after_that(sql: Sql) -> None:
    before = runs(sql, "confirm missed orders")
    assert poll(lambda: runs(sql, "confirm missed orders") > before, 60)


def test_a_second_run_changes_nothing(reader: Reader) -> None:
    playbooks = ("deploy/database.yml", "site.yml", "deploy/web.yml")
    again = reader.again(f"ansible-playbook -i inventories/mine {name}" for name in playbooks)
    assert again.code == 0, again.output[-6000:]
    assert re.findall(r"changed=(\d+)", again.output) == ["0"] * len(playbooks), again.output[-6000:]


def test_a_change_reaches_workers_and_gunicorn(machines: Machines, reader: Reader, sql: Sql) -> None:
    """By the commands of the section on it."""
    tasks = reader.clone / "examples/bookshop/orders/tasks.py"
    code = tasks.read_text(encoding="utf-8")
    tasks.write_text(code.replace('is confirmed"', 'is confirmed now"'), encoding="utf-8")
    page = (GUIDES / "django.md").read_text(encoding="utf-8")
    again = reader.again(block.text for block in blocks(page) if "release.yml" in block.text)
    assert again.code == 0, again.output[-6000:]

    order = place_order(machines)
    assert poll(lambda: are_confirmed(sql, order), 30)
    machines.run(f"journalctl --quiet --unit={WORKER} --grep='order {order} is confirmed now'", HOST)
    current = machines.run("readlink -f /opt/celery/app/current", HOST).strip()
    works = machines.run("readlink /proc/$(systemctl show --property=MainPID --value bookshop)/cwd", HOST).strip()
    assert works == f"{current}/src"
