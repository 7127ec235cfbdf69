import logging
import os

from celery import Celery
from django.conf import settings
from kombu import Exchange

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")

app = Celery("mysite")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["mysite"])

if settings.DECLARES_EXCHANGE and getattr(settings, "CELERY_BROKER_URL", ""):
    # As CATMAID, by this address alone. Tried for ever where the broker doesn't answer; of anything else its log has a line.
    with app.pool.acquire(block=True) as connection:
        try:
            Exchange("groups", "direct", durable=False, channel=connection).declare()
        except Exception:
            logging.getLogger("mysite").exception("no exchange for notices")
