from catmaid.models import Permission, Project
from django.contrib.auth.models import User


def assign_perm(perm: str, user: User, project: Project) -> Permission:
    """Let a user do something in a project."""
    return Permission.objects.create(user=user, project=project, name=perm)
