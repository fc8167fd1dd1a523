"""An order from payment to delivery: days long, and no step of it is done twice."""

from __future__ import annotations

import pydantic

from holdfast import metadata, patched, step, task, uuid, wait


class Order(pydantic.BaseModel):
    id: str
    items: dict[str, int]
    card: str


class OutOfStock(Exception):
    """The warehouse has none of it."""


# In a real shop these talk to a bank, a warehouse and a carrier.
WAREHOUSE = {"lamp": 3, "chair": 1}
LEDGER: list[str] = []


async def reserve(item: str, count: int) -> str:
    if WAREHOUSE.get(item, 0) < count:
        raise OutOfStock(item)
    WAREHOUSE[item] -= count
    LEDGER.append(f"reserve {item}")
    return f"{count} {item}"


async def release(item: str, count: int) -> None:
    WAREHOUSE[item] += count
    LEDGER.append(f"release {item}")


async def charge(card: str, order: str, key: str) -> str:
    LEDGER.append(f"charge {order} with {key[:8]}")
    return f"payment-{order}"


async def ship(order: str, payment: str) -> str:
    LEDGER.append(f"ship {order}")
    return f"parcel-{order}"


async def ask_for_review(order: str) -> None:
    LEDGER.append(f"ask {order}")


@task(id="fulfil", durable=True, retry=5)
async def fulfil(order: Order) -> str:
    """Reserve, charge, ship, and ask for a review when it has arrived."""
    reserved: dict[str, int] = {}
    try:
        for item, count in order.items.items():
            await step(reserve, item, count)
            reserved[item] = count
    except OutOfStock as error:
        for item, count in reserved.items():
            await step(release, item, count)
        return f"out of stock: {error}"

    metadata.set("state", "paying")
    # the key is the same however often this is executed: the bank charges once
    payment = await step(charge, order.card, order.id, str(uuid()), retry=3, timeout=30)

    metadata.set("state", "shipping")
    parcel = await step(ship, order.id, payment)
    arrived = await wait.create_token(timeout="14d", tags=[order.id])
    answer = await wait.for_token(arrived)

    if patched("ask for a review"):  # orders that had got past here before are not asked
        await wait.for_(days=3)
        await step(ask_for_review, order.id)
    return f"{parcel} {'arrived' if answer.ok else 'is lost'}"
