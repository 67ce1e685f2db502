# SPDX-License-Identifier: GPL-3.0-or-later
"""The arithmetic of bench/throughput."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PATH = Path(__file__).resolve().parents[2] / "bench/throughput"


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_loader("bench_throughput", SourceFileLoader("bench_throughput", str(PATH)))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look themselves up there
    sys.path.insert(0, str(PATH.parent))
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    spec.loader.exec_module(module)
    sys.path.remove(str(PATH.parent))
    sys.dont_write_bytecode = writes
    yield module
    del sys.modules[spec.name]


def measured(bench: ModuleType, rate: float, worker: float = 0.001, events: int = 0) -> Any:
    return bench.Measured(tasks=1000, seconds=1000 / rate, worker=worker, broker=0.0005, events=events)


def test_a_slow_round_does_not_count_for_one_way_alone(bench: ModuleType) -> None:
    rounds = {
        "settings": [measured(bench, 400), measured(bench, 200), measured(bench, 100)],
        "deployed": [measured(bench, 392), measured(bench, 196), measured(bench, 98)],
    }
    assert bench.ratio(rounds, "deployed", "settings", bench.rate) == pytest.approx(0.98)
    assert bench.ratio(rounds, "deployed", "defaults", bench.rate) is None


@pytest.mark.parametrize(("worker", "verdict"), [(0.00101, "met"), (0.00103, "missed"), (0.00097, "met")])
def test_the_runtime_may_cost_that_much(bench: ModuleType, worker: float, verdict: str) -> None:
    rounds = {"settings": [measured(bench, 100)], "deployed": [measured(bench, 100, worker)]}
    line = bench.cost_of_runtime({"noop": rounds}).splitlines()[-1]
    assert f"| {worker / 0.001 - 1:+.1%} | <= 2% | {verdict} |" in line


def test_no_cost_without_both_ways(bench: ModuleType) -> None:
    assert bench.cost_of_runtime({"noop": {"deployed": [measured(bench, 100)]}}) == ""


def test_a_watcher_that_saw_nothing_is_no_measurement(bench: ModuleType) -> None:
    bench.check_events("deployed", measured(bench, 100))
    bench.check_events("watched", measured(bench, 100, events=3000))
    with pytest.raises(bench.BenchError, match="only 3 events of 1000 tasks"):
        bench.check_events("watched", measured(bench, 100, events=3))
    with pytest.raises(bench.BenchError, match="must send none"):
        bench.check_events("throughput", measured(bench, 100, events=1))


def test_a_section_takes_the_place_of_its_last_version(bench: ModuleType) -> None:
    page = "# One\n\ntext\n\n## Part\n\nmore\n"
    once = bench.results.with_section(page, "# Two\n\nfirst\n")
    assert once == "# One\n\ntext\n\n## Part\n\nmore\n\n# Two\n\nfirst\n"
    assert bench.results.with_section(once, "# One\n\nnew\n") == "# One\n\nnew\n\n# Two\n\nfirst\n"
