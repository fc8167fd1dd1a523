from django.db import migrations

from holdfast.transactions import CREATE_TABLE


def create_table(apps, editor):
    if editor.connection.vendor == "postgresql":
        editor.execute(CREATE_TABLE)


def drop_table(apps, editor):
    editor.execute("DROP TABLE IF EXISTS holdfast_steps")


class Migration(migrations.Migration):

    dependencies = [
        ('holdfast', '0001_initial'),
    ]

    operations = [
        migrations.RunPython(create_table, drop_table),
    ]
