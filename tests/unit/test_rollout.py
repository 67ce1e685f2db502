# SPDX-License-Identifier: GPL-3.0-or-later
"""What a roll-out says of itself."""

from __future__ import annotations

from ansible_collections.celeryops.stack.plugins.module_utils.rollout import outcome_of, problem_of, sentence_of

NEW = {"__rollout_problem": "", "__app_prepared": {"release": "shop-2", "current": "shop-1"}}
BROKEN = {**NEW, "__rollout_problem": "it did not come up"}


def test_a_command_says_more_than_its_exit_status() -> None:
    assert sentence_of({"msg": "non-zero return code", "rc": 1, "stderr": "no table\n"}) == (
        "non-zero return code: no table"
    )
    assert sentence_of({"msg": "release: no room."}) == "release: no room."
    assert sentence_of({}) == "it failed"


def test_a_problem_names_its_hosts_once() -> None:
    assert problem_of({"a": NEW, "b": NEW}, ["a", "b"], ["a", "b"]) == ""
    assert problem_of({"a": BROKEN, "b": BROKEN}, ["a", "b"], ["a", "b"]) == "a, b: it did not come up"
    assert problem_of({"a": NEW, "b": NEW}, ["a", "b"], ["a"]) == "b: it can not be reached"


def test_outcomes() -> None:
    assert outcome_of({"a": NEW, "b": NEW}, ["a", "b"], ["a", "b"]) == {
        "ok": True,
        "sentence": "shop-2 is in use on a, b, instead of shop-1.",
    }
    failed = outcome_of({"a": NEW, "b": BROKEN}, ["a", "b"], ["a", "b"])
    assert not failed["ok"]
    assert failed["sentence"].startswith("The old release is in use on every host, because:\nb: it did not come up")
    gone = outcome_of({"a": BROKEN, "b": NEW}, ["a", "b"], ["a"])
    assert (
        "in use on every host that can be reached, because:\na: it did not come up\nb: it can not" in gone["sentence"]
    )
    stuck = outcome_of({"a": {**BROKEN, "__rollout_stuck": "no room"}}, ["a"], ["a"])
    assert not stuck["ok"]
    assert "could not be put back" in stuck["sentence"]
    assert "a: no room" in stuck["sentence"]


def test_a_fleet_that_was_mixed_before_is_not_called_the_same_now() -> None:
    """An earlier run was killed after the first host: nothing of this run is to be put back there."""
    done = {"__rollout_problem": "", "__app_prepared": {"release": "shop-2", "current": "shop-2", "fallback": ""}}
    failed = outcome_of({"a": done, "b": {**BROKEN}}, ["a", "b"], ["a", "b"])
    assert not failed["ok"]
    assert "shop-2 on a; shop-1 on b" in failed["sentence"]
    half = {**done, "__app_prepared": {**done["__app_prepared"], "fallback": "shop-1"}}
    same = outcome_of({"a": half, "b": BROKEN}, ["a", "b"], ["a", "b"])
    assert same["sentence"].startswith("The old release is in use on every host")


def test_the_commit_of_what_is_in_use() -> None:
    told = {**NEW, "__app_prepared": {"release": "shop-2", "current": "", "commit": "3f2a9c1b0d"}}
    assert outcome_of({"a": told}, ["a"], ["a"])["sentence"].endswith("as before. Its commit is 3f2a9c1b0d.")


def test_a_dry_run_says_so() -> None:
    assert "shop-2 would be in use on a" in outcome_of({"a": NEW}, ["a"], ["a"], True)["sentence"]
