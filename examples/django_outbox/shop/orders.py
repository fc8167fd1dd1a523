"""Orders and what follows from them, in one transaction."""

from django.db import transaction

from holdfast.django import enqueue
from shop.models import Order


@transaction.atomic
def place_order(city: str) -> Order:
    """Write the order down and have it shipped: both happen, or neither."""
    order = Order.objects.create(city=city)
    # A missed e-mail is no disaster, so it goes out right after the commit.
    enqueue("thank", {"order": order.pk})
    # A missed parcel is one, and so is a second: through the outbox, exactly once.
    enqueue("ship", {"order": order.pk, "city": city}, outbox=True, tags=[f"order_{order.pk}"])
    if city == "Atlantis":
        raise ValueError("we do not ship there")
    return order
