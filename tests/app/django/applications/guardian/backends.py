from django.contrib.auth.models import User

from guardian.utils import NUMBER, get_anonymous_user


class Nobody:
    """Knows that user by a session, and lets nobody log in."""

    def authenticate(self, request: object, **credentials: object) -> None:
        return None

    def get_user(self, user_id: object) -> User | None:
        return get_anonymous_user() if str(user_id) == str(NUMBER) else None
