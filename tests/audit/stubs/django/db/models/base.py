"""See django."""


class Model:
    """A row."""
