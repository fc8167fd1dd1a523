"""The local pool, and the platform's jobs that tend it and the builds."""

from django.db import migrations

RECONCILE = "Reconcile the pool local"
SWEEP = "Pick up deployments whose job was lost"


def create(apps, schema_editor):
    from apps.core.clock import now

    interval = apps.get_model("django_celery_beat", "IntervalSchedule")
    job = apps.get_model("django_celery_beat", "PeriodicTask")
    apps.get_model("deployments", "Pool").objects.get_or_create(
        name="local", defaults={"provider": "process", "settings": {}, "created_at": now()}
    )
    often, _ = interval.objects.get_or_create(every=2, period="seconds")
    rarely, _ = interval.objects.get_or_create(every=15, period="seconds")
    job.objects.get_or_create(
        name=RECONCILE,
        defaults={
            "task": "runs.reconcile_pool",
            "args": '["local"]',
            "queue": "pool.local",
            "interval": often,
            "expire_seconds": 10,
        },
    )
    job.objects.get_or_create(
        name=SWEEP,
        defaults={
            "task": "deployments.sweep_deployments",
            "queue": "platform",
            "interval": rarely,
            "expire_seconds": 60,
        },
    )
    # Beat rereads its table when this row changes.
    changed = apps.get_model("django_celery_beat", "PeriodicTasks")
    changed.objects.update_or_create(ident=1, defaults={"last_update": now()})


def remove(apps, schema_editor):
    job = apps.get_model("django_celery_beat", "PeriodicTask")
    job.objects.filter(name__in=[RECONCILE, SWEEP]).delete()


class Migration(migrations.Migration):
    dependencies = [
        ("deployments", "0002_supply"),
        ("django_celery_beat", "0019_alter_periodictasks_options"),
    ]
    operations = [migrations.RunPython(create, remove)]
