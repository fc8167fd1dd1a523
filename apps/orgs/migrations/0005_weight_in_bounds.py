from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("orgs", "0004_weight"),
    ]

    operations = [
        ValidateConstraint(model_name="organization", name="organization_weight_is_in_bounds"),
    ]
