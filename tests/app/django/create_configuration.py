"""Write ``projects/mysite/settings.py``, as CATMAID's script of the same name does: run once an instance."""

import argparse
import secrets
from pathlib import Path

HERE = Path(__file__).resolve().parent

TEMPLATE = """\
from mysite.settings_base import *  # noqa: F403

SECRET_KEY = {secret_key!r}
ALLOWED_HOSTS = ["*"]
MEDIA_ROOT = {files!r}
MEDIA_URL = "{prefix}/files/"
STATIC_URL = "{prefix}/static/"
STATIC_ROOT = {static!r}
{script_name}CATMAID_URL = "{prefix}/"
SESSION_COOKIE_NAME = {session!r}
CSRF_COOKIE_NAME = {csrf!r}
CELERY_BROKER_URL = {broker!r}
CHANNEL_LAYERS = {{
    "default": {{"BACKEND": "channels_rabbitmq.core.RabbitmqChannelLayer", "CONFIG": {{"host": CELERY_BROKER_URL.rstrip("/")}}}}
}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prefix", default="", help="URL below the host name, e.g. /catmaid")
    parser.add_argument("--files", default=str(HERE / "files"), help="folder for users' files")
    parser.add_argument("--broker", default="amqp://guest:guest@127.0.0.1:5672//")
    options = parser.parse_args()
    prefix = options.prefix.rstrip("/")
    files = Path(options.files)
    files.mkdir(parents=True, exist_ok=True)
    (HERE / "projects/mysite/settings.py").write_text(
        TEMPLATE.format(
            secret_key=secrets.token_urlsafe(48),
            files=str(files),
            prefix=prefix,
            static=str(HERE / "static"),
            script_name=f"FORCE_SCRIPT_NAME = {prefix!r}\n" if prefix else "",
            session="sessionid" + prefix.replace("/", "_"),
            csrf="csrftoken" + prefix.replace("/", "_"),
            broker=options.broker,
        )
    )


if __name__ == "__main__":
    main()
