from django.apps.registry import Apps
from django.conf import settings
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def first_user(apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    """The user who stands for everybody without a name is the first one."""
    apps.get_model(settings.AUTH_USER_MODEL).objects.create(username="AnonymousUser", password="!")


class Migration(migrations.Migration):
    initial = True
    dependencies = [migrations.swappable_dependency(settings.AUTH_USER_MODEL), ("mysite", "0001_initial")]
    operations = [
        migrations.RunSQL("CREATE EXTENSION IF NOT EXISTS postgis", migrations.RunSQL.noop),
        migrations.RunSQL("CREATE EXTENSION IF NOT EXISTS pg_trgm", migrations.RunSQL.noop),
        migrations.RunPython(first_user, migrations.RunPython.noop),
    ]
