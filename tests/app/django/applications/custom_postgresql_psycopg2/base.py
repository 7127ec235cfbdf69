"""The backend by CATMAID's name for it."""

from django.db.backends.postgresql.base import DatabaseWrapper

__all__ = ("DatabaseWrapper",)
