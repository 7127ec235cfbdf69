"""Django's own applications without what they do after a migration: their tables are nowhere."""

from django.apps import AppConfig


class ContentTypes(AppConfig):
    name = "django.contrib.contenttypes"


class Auth(AppConfig):
    name = "django.contrib.auth"
