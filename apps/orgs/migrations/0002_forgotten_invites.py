"""The platform's job that mails what a lost message left unsent."""

from django.db import migrations

NAME = "Mail forgotten invites"


def create(apps, schema_editor):
    from apps.core.clock import now

    interval = apps.get_model("django_celery_beat", "IntervalSchedule")
    minutes, _ = interval.objects.get_or_create(every=5, period="minutes")
    apps.get_model("django_celery_beat", "PeriodicTask").objects.get_or_create(
        name=NAME,
        defaults={
            "task": "orgs.send_forgotten_invites",
            "queue": "platform",
            "interval": minutes,
            "expire_seconds": 300,
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
        ("orgs", "0001_initial"),
        ("django_celery_beat", "0019_alter_periodictasks_options"),
    ]
    operations = [migrations.RunPython(create, remove)]
