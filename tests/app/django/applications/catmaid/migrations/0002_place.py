from django.db import migrations


class Migration(migrations.Migration):
    """A table that only both extensions make possible."""

    dependencies = [("catmaid", "0001_initial")]
    operations = [
        migrations.RunSQL(
            """
            CREATE TABLE place (id bigserial PRIMARY KEY, name text NOT NULL, at geometry(PointZ) NOT NULL);
            CREATE INDEX place_name ON place USING gin (name gin_trgm_ops);
            CREATE INDEX place_at ON place USING gist (at gist_geometry_ops_nd);
            """,
            "DROP TABLE place",
        )
    ]
