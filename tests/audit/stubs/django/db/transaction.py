"""See django."""

import contextlib


def atomic(using=None):
    return using if callable(using) else contextlib.nullcontext()


def on_commit(function):
    function()
