"""The platform's job that mails what a lost message left unsent."""

from django.db import migrations

NAME = "Mail forgotten sign-in links"


def create(apps, schema_editor):
    from apps.core.clock import now

    interval = apps.get_model("django_celery_beat", "IntervalSchedule")
    minute, _ = interval.objects.get_or_create(every=1, period="minutes")
    apps.get_model("django_celery_beat", "PeriodicTask").objects.get_or_create(
        name=NAME,
        defaults={
            "task": "accounts.send_forgotten_links",
            "queue": "platform",
            "interval": minute,
            "expire_seconds": 60,
        },
    )
    # Beat rereads its table when this row changes.
    changed = apps.get_model("django_celery_beat", "PeriodicTasks")
    changed.objects.update_or_create(ident=1, defaults={"last_update": now()})


def remove(apps, schema_editor):
    job = apps.get_model("django_celery_beat", "PeriodicTask")
    job.objects.filter(name=NAME).delete()


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0002_sign_in_links"),
        ("django_celery_beat", "0019_alter_periodictasks_options"),
    ]
    operations = [migrations.RunPython(create, remove)]
