# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring Bugsink's database to what the role declares, before each start of the web server.

The tables, one administrator, one team, one project with a declared number and key, so that its DSN is known
from the inventory alone, and one API token. It changes what differs and nothing else, and it prints no secret.
"""

# What is imported inside functions exists only in the environment of the service.
# mypy: disable-error-code="import-not-found,import-untyped"

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

TOKEN_DESCRIPTION = "celeryops"  # noqa: S105 - the name of the token, not the token


def read_config(environment: Mapping[str, str]) -> dict[str, Any]:
    """The role's variables, from the unit's credential."""
    path = Path(environment["CREDENTIALS_DIRECTORY"]) / "bugsink.json"
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return config


def token_fields(token: str, capabilities: Mapping[str, str]) -> dict[str, Any]:
    """The one API token: it may read issues and events of every project, and nothing else."""
    granted = {"issues:read", "events:read", "projects:read", "releases:read"}
    return {"token": token, "expires_at": None, **{field: name in granted for name, field in capabilities.items()}}


def migrate() -> None:
    """Make or update the tables of both databases."""
    from django.core.management import call_command

    call_command("migrate", interactive=False, verbosity=1)
    call_command("migrate", database="snappea", interactive=False, verbosity=1)


def declare(config: Mapping[str, Any]) -> None:
    """Make the declared objects, or change them into what is declared."""
    from bsmain.models import AuthToken
    from bugsink.api_capabilities import CAPABILITY_FIELD_NAMES
    from django.contrib.auth import get_user_model
    from projects.models import Project, ProjectMembership, ProjectRole
    from teams.models import Team, TeamMembership, TeamRole

    email = config["admin_email"]
    admin, _created = get_user_model().objects.update_or_create(
        username=email, defaults={"email": email, "is_active": True, "is_staff": True, "is_superuser": True}
    )
    if not admin.check_password(config["admin_password"]):  # setting the same one again would end every session
        admin.set_password(config["admin_password"])
        admin.save()

    team = Team.objects.first() or Team()
    team.name = config["team"]
    team.save()
    project, _created = Project.objects.update_or_create(
        id=config["project_id"],
        defaults={
            "team": team,
            "name": config["project"],
            "sentry_key": UUID(config["project_key"]),
            "retention_max_event_count": config["max_events"],
            "is_deleted": False,
        },
    )
    member = {"accepted": True}
    TeamMembership.objects.update_or_create(team=team, user=admin, defaults={**member, "role": TeamRole.ADMIN})
    ProjectMembership.objects.update_or_create(
        project=project, user=admin, defaults={**member, "role": ProjectRole.ADMIN}
    )
    AuthToken.objects.update_or_create(
        description=TOKEN_DESCRIPTION, defaults=token_fields(config["api_token"], CAPABILITY_FIELD_NAMES)
    )


def main() -> None:
    """Do it all in one transaction, after the tables are there."""
    import django
    from django.db import transaction

    django.setup()
    migrate()
    with transaction.atomic():
        declare(read_config(os.environ))


if __name__ == "__main__":
    main()
