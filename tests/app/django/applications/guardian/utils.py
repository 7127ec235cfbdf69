"""The user who stands for everybody without a name. In a database it is the first; elsewhere it is in none."""

from django.conf import settings
from django.contrib.auth.models import User

NUMBER = 1


def get_anonymous_user() -> User:
    if settings.TABLES:
        return User.objects.get(username="AnonymousUser")
    return User(pk=NUMBER, username="AnonymousUser", password="!")
