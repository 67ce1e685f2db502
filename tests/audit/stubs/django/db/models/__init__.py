"""See django."""

from django.db.models.base import Model

__all__ = ["Model"]
