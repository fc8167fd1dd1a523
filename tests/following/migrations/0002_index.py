"""Build an index without making writers wait, and validate what was added."""

from django.db import migrations


class Migration(migrations.Migration):
    atomic = False
    dependencies = (("following", "0001_columns"),)
    operations = (
        migrations.RunSQL(
            "CREATE INDEX CONCURRENTLY following_lease ON runs_lease (following)",
            "DROP INDEX CONCURRENTLY following_lease",
        ),
        migrations.RunSQL(
            "ALTER TABLE runs_readyrun VALIDATE CONSTRAINT following", migrations.RunSQL.noop
        ),
    )
