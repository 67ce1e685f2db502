# SPDX-License-Identifier: GPL-3.0-or-later
"""The one exception that ends a command with a sentence instead of a stack trace."""


class ConfigurationError(Exception):
    """The host's configuration cannot be used; the text says which file, what is wrong and what to write."""
