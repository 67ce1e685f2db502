# SPDX-License-Identifier: GPL-3.0-or-later
"""The mapping of settings that lies in front of an application's own ones."""

from collections.abc import Callable, Iterator
from typing import Any


class Shared(dict[str, Any]):
    """The settings in the form Celery takes them; its type marks the mapping among an app's others."""

    #: The application that they are for, as ``celery_app`` names it; empty: whichever reads them.
    app = ""


class Layer(Shared):
    """These settings in front of an app's own ones; empty from when it is known that they are another's.

    An app may be read before the module that ``celery_app`` names is imported. Until then they are taken to be its own.
    """

    def __init__(self, shared: Shared, is_meant: Callable[[], bool | None]) -> None:
        super().__init__(shared)
        self._ask: Callable[[], bool | None] | None = is_meant

    def settle(self) -> None:
        """Find out whose they are, once that can be known."""
        ask, self._ask = self._ask, None  # or reading the other app's settings would ask again
        if ask and (meant := ask()) is not True:
            if meant is None:
                self._ask = ask
            else:
                self.clear()

    def __getitem__(self, key: str) -> Any:
        self.settle()
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self.settle()
        return super().__contains__(key)

    def __iter__(self) -> Iterator[str]:
        self.settle()
        return super().__iter__()

    def keys(self) -> Any:
        """The settings' names."""
        self.settle()
        return super().keys()
