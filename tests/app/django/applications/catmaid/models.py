from django.contrib.auth.models import User
from django.db import models


class Project(models.Model):
    """What users work in, as far as a test looks at it."""

    title = models.TextField()
    comment = models.TextField(blank=True, null=True)

    class Meta:
        db_table = "project"


class Permission(models.Model):
    """What a user may do in a project."""

    user = models.ForeignKey(User, on_delete=models.CASCADE)
    project = models.ForeignKey(Project, on_delete=models.CASCADE)
    name = models.TextField()
