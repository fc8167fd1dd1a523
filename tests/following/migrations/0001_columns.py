"""Expand the busiest tables, as the lint of migrations allows it."""

from django.db import migrations


class Migration(migrations.Migration):
    initial = True
    operations = (
        migrations.RunSQL(
            "ALTER TABLE runs_run ADD COLUMN following text NOT NULL DEFAULT ''",
            "ALTER TABLE runs_run DROP COLUMN following",
        ),
        migrations.RunSQL(
            "ALTER TABLE runs_lease ADD COLUMN following integer",
            "ALTER TABLE runs_lease DROP COLUMN following",
        ),
        migrations.RunSQL(
            "ALTER TABLE runs_readyrun ADD CONSTRAINT following"
            " CHECK (run_id IS NOT NULL) NOT VALID",
            "ALTER TABLE runs_readyrun DROP CONSTRAINT following",
        ),
    )
