"""The user who stands for everybody without a name. In CATMAID's database it is the first; the stand-in has none."""

from django.contrib.auth.models import User

NUMBER = 1


def get_anonymous_user() -> User:
    return User(pk=NUMBER, username="AnonymousUser", password="!")
