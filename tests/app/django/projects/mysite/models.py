from django.db import models


class Note(models.Model):
    """What a test may keep in a database, where it gives the stand-in one."""

    text = models.TextField()
