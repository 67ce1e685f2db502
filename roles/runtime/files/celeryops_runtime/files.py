# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading the JSON files that the roles wrote. The messages never quote a file's content: it may be secret."""

import json
from pathlib import Path
from typing import Any

from celeryops_runtime.errors import ConfigurationError


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in this file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError:
        raise ConfigurationError(f"{path} is not JSON: run the playbook again to write it anew.") from None
    if not isinstance(value, dict):
        raise ConfigurationError(f"{path} must hold a JSON object, not a {type(value).__name__}.")
    return value
