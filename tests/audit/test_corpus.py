# SPDX-License-Identifier: GPL-3.0-or-later
"""Every check finds what it is for, leaves alone what only looks like it, and is needed."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from auditing.cases import Case, all_cases, audits, failure, failures
from celeryops_audit import registry
from celeryops_audit.checks import queues
from celeryops_audit.registry import Audit

CHECKS = registry.every_check()
CASES = all_cases()


@pytest.fixture(scope="module")
def corpus() -> Mapping[str, Audit]:
    return audits(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Case, corpus: Mapping[str, Audit]) -> None:
    answers = registry.run(corpus[case.name])
    assert failure(case, [each for each in answers if each.check == case.check]) == ""
    # Nothing else blocks it: what a deployment is refused for must be true.
    assert {each.check for each in answers if each.blocks} <= ({case.check} if case.kind == "bad" else set())


@pytest.mark.parametrize(
    "name",
    [
        "retry-unbounded/bad_counts",
        "retry-unbounded/bad_deadline",
        "chord-without-backend/bad_prepared",
        "chord-without-backend/bad_without_plan",
    ],
)
def test_who_may_have_thought_of_it_is_not_refused(name: str, corpus: Mapping[str, Audit]) -> None:
    assert not any(each.blocks for each in registry.run(corpus[name]))


@pytest.mark.parametrize("check", CHECKS.values(), ids=lambda check: check.id)
class TestCheck:
    def test_has_a_bad_application_and_a_near_miss(self, check: registry.Check) -> None:
        kinds = {case.kind for case in CASES if case.check == check.id}
        assert kinds >= ({"unknown", "near"} if check.id == "source-not-read" else {"bad", "near"})

    def test_blocks_when_it_is_decidable_and_severe(self, check: registry.Check, corpus: Mapping[str, Audit]) -> None:
        case = next((each for each in CASES if each.name == f"{check.id}/bad"), None)
        if case:
            answers = [each for each in registry.run(corpus[case.name]) if each.check == check.id]
            assert any(each.blocks for each in answers) == (check.decidable and check.severity == "error")

    def test_is_missed_when_it_is_removed(self, check: registry.Check, corpus: Mapping[str, Audit]) -> None:
        others = [each for each in CHECKS.values() if each is not check]
        assert failures(corpus, [case for case in CASES if case.check == check.id], others)

    def test_is_explained(self, check: registry.Check) -> None:
        assert check.title
        assert check.why.endswith((".", ")"))
        assert check.fix or check.id == "source-not-read"
        assert check.read or check.id == "source-not-read"


def test_all_of_the_corpus_belongs_to_a_check() -> None:
    assert {case.check for case in CASES} == set(CHECKS)


def test_with_all_checks_the_corpus_passes(corpus: Mapping[str, Audit]) -> None:
    assert failures(corpus, CASES, list(CHECKS.values())) == []


@pytest.mark.parametrize(
    ("said", "told"),
    [  # as RabbitMQ 4.0 and 3.10 put it
        ("received 'quorum' but current is 'classic'", "with x-queue-type classic instead of quorum"),
        (
            "received the value 'quorum' of type 'longstr' but current is none",
            "with x-queue-type classic instead of quorum",
        ),
    ],
)
def test_a_difference_is_told_in_the_same_words(said: str, told: str) -> None:
    assert (
        queues.difference(f"PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'a' in vhost '/': {said}")
        == told
    )
    assert queues.difference("PRECONDITION_FAILED") == "with other properties: PRECONDITION_FAILED"
