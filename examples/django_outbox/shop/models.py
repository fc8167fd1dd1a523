"""What the shop keeps."""

from django.db import models


class Order(models.Model):
    """Somebody bought something."""

    city = models.CharField(max_length=100)

    def __str__(self) -> str:
        return f"order {self.pk} to {self.city}"
