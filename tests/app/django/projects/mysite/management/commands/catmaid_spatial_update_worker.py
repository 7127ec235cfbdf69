import os
import signal
import time
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser


class Command(BaseCommand):
    """Runs for ever, and leaves a line when it begins, for each of its turns, and when it ends."""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--delay", type=float, default=1)

    def handle(self, **options: Any) -> None:
        def end(*_: object) -> None:
            raise InterruptedError

        signal.signal(signal.SIGTERM, end)
        self.note("begins")
        try:
            while True:
                self.note("works")
                time.sleep(options["delay"])
        except InterruptedError:
            self.note("ends")

    def note(self, what: str) -> None:
        with (Path(settings.MEDIA_ROOT) / "spatial.txt").open("a") as file:
            file.write(f"{time.time():.3f} {os.getpid()} {what}\n")
