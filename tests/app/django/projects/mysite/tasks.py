import os
import time
from pathlib import Path

from catmaid.consumers import msg_user
from celery import shared_task
from django.conf import settings


@shared_task
def add(x: int, y: int) -> int:
    return x + y


@shared_task
def slow(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def _append(number: int, name: str) -> None:
    # One write: lines of several processes never mix.
    file = os.open(Path(settings.MEDIA_ROOT) / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, f"{number}\n".encode())
    finally:
        os.close(file)


@shared_task(ignore_result=True)
def mark(number: int) -> None:
    """A line for each time that it ran, so that a test can tell tasks lost and tasks done twice."""
    _append(number, "marks.txt")


@shared_task(ignore_result=True, acks_late=True)
def mark_late(number: int) -> None:
    """The same, of a task that the broker keeps until it is done."""
    _append(number, "marks-late.txt")


@shared_task(ignore_result=True)
def slow_mark(seconds: float, number: int) -> None:
    """A mark of a task that was under way for so long."""
    time.sleep(seconds)
    _append(number, "marks.txt")


@shared_task(ignore_result=True)
def notify(user_id: int | None, text: str) -> None:
    """A notice to a user's pages."""
    msg_user(user_id, "notice", text)


@shared_task(ignore_result=True)
def export(name: str, text: str) -> None:
    """A file for users, as an export makes it."""
    (Path(settings.MEDIA_ROOT) / name).write_text(text)


@shared_task
def heartbeat() -> None:
    """A line each time that beat was due, so that a test can count them."""
    with (Path(settings.MEDIA_ROOT) / "heartbeat.txt").open("a") as f:
        f.write(f"{time.time():.3f}\n")
