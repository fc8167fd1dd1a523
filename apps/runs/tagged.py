"""Runs by their tags: their ids come from the tags' own index, along the way of a page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from apps.core.ids import floor
from apps.core.paging import CursorPage
from apps.runs.models import RunTag


def tagged_ids(
    environment_id: UUID,
    tags: Sequence[str],
    page: CursorPage,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    most: int,
) -> tuple[list[UUID], UUID | None]:
    """The next runs that have any of these tags, and the last that was looked at.

    Up to `most` of each tag; when one has more, none is returned from beyond where it stopped.
    """
    lists = [_ids(environment_id, tag, page, since, until, most) for tag in dict.fromkeys(tags)]
    edges = [ids[-1] for ids in lists if len(ids) == most]
    edge = (min(edges) if page.is_ascending else max(edges)) if edges else None
    found = {run_id for ids in lists for run_id in ids}
    if edge is not None:
        is_seen = edge.__ge__ if page.is_ascending else edge.__le__
        found = {run_id for run_id in found if is_seen(run_id)}
    return list(found), edge


def _ids(
    environment_id: UUID,
    tag: str,
    page: CursorPage,
    since: datetime | None,
    until: datetime | None,
    most: int,
) -> list[UUID]:
    tagged = RunTag.objects.filter(environment_id=environment_id, tag=tag)
    if since:
        tagged = tagged.filter(run_id__gte=floor(since))
    if until:
        tagged = tagged.filter(run_id__lte=floor(until))
    return list(page.along(tagged, "run_id").values_list("run_id", flat=True)[:most])
