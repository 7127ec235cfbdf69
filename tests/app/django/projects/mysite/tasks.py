import time
from pathlib import Path

from celery import shared_task
from django.conf import settings


@shared_task
def add(x: int, y: int) -> int:
    return x + y


@shared_task
def slow(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@shared_task
def heartbeat() -> None:
    """A line each time that beat was due, so that a test can count them."""
    with (Path(settings.MEDIA_ROOT) / "heartbeat.txt").open("a") as f:
        f.write(f"{time.time():.3f}\n")
