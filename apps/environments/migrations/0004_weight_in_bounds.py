from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("environments", "0003_weight"),
    ]

    operations = [
        ValidateConstraint(model_name="environment", name="environment_weight_is_in_bounds"),
    ]
