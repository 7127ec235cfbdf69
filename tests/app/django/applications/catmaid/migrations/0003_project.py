import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


def of(model: str) -> models.ForeignKey:
    return models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to=model)


class Migration(migrations.Migration):
    dependencies = [("catmaid", "0002_place")]
    operations = [
        migrations.CreateModel(
            "Project",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("title", models.TextField()),
                ("comment", models.TextField(blank=True, null=True)),
            ],
            options={"db_table": "project"},
        ),
        migrations.CreateModel(
            "Permission",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("user", of(settings.AUTH_USER_MODEL)),
                ("project", of("catmaid.project")),
                ("name", models.TextField()),
            ],
        ),
    ]
