"""Jobs that bound what builds and workers leave behind, wherever that is."""

from django.db import migrations

TIDY = "Tidy the machine of {queue}"
PRUNE = "Prune the history of workers"


def create(apps, schema_editor):
    from apps.core.clock import now

    interval = apps.get_model("django_celery_beat", "IntervalSchedule")
    job = apps.get_model("django_celery_beat", "PeriodicTask")
    hourly, _ = interval.objects.get_or_create(every=3600, period="seconds")
    # Builds and workers may be on different machines, each with a workspace of its own.
    for queue in ("platform", "pool.local"):
        job.objects.get_or_create(
            name=TIDY.format(queue=queue),
            defaults={"task": "deployments.tidy_machine", "queue": queue, "interval": hourly},
        )
    job.objects.get_or_create(
        name=PRUNE,
        defaults={"task": "deployments.prune_history", "queue": "platform", "interval": hourly},
    )
    changed = apps.get_model("django_celery_beat", "PeriodicTasks")
    changed.objects.update_or_create(ident=1, defaults={"last_update": now()})


def remove(apps, schema_editor):
    names = [TIDY.format(queue="platform"), TIDY.format(queue="pool.local"), PRUNE]
    apps.get_model("django_celery_beat", "PeriodicTask").objects.filter(name__in=names).delete()


class Migration(migrations.Migration):
    dependencies = [("deployments", "0003_platform_jobs")]
    operations = [migrations.RunPython(create, remove)]
