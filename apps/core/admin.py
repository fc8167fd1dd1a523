"""What the admin pages of all apps share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

Row = TypeVar("Row", bound=Model)

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin
    _Paginator = Paginator[Any]
else:
    _Paginator = Paginator

    class ModelAdmin(admin.ModelAdmin):
        """Django's own, which the type checker takes for generic and Python does not."""

        def __class_getitem__(cls, row):
            return cls


class MadeByOperations(ModelAdmin[Row]):
    """Rows that only operations make and remove: the admin shows them, and edits what it may."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReadOnly(MadeByOperations[Row]):
    """Rows that the admin only shows."""

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class BoundedPaginator(_Paginator):
    """Counts no further than a bound: a table of millions is not read to tell how long it is."""

    bound = 2_000

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return int(rows.order_by()[: self.bound].count())


class Large(ReadOnly[Row]):
    """Rows of which there may be millions: no counts, and a search only by what has an index."""

    paginator = BoundedPaginator
    show_full_result_count = False
    ordering = ["-pk"]
    list_per_page = 50
    search_fields = ["pk"]  # shows the box; `search` decides

    def search(self, rows: QuerySet[Row], text: str) -> QuerySet[Row]:
        """The rows that this text names."""
        raise NotImplementedError

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Row], search_term: str
    ) -> tuple[QuerySet[Row], bool]:
        text = search_term.strip()
        return (self.search(queryset, text) if text else queryset), False


def table(columns: Sequence[str], rows: Iterable[Any]) -> SafeString:
    """Rows on the page of what they belong to: those whose key is composite have no page."""
    shown = [[(getattr(row, column),) for column in columns] for row in rows]
    if not shown:
        return format_html("{}", "none")
    head = format_html_join("", "<th>{}</th>", ((column.replace("_", " "),) for column in columns))
    body = format_html_join(
        "", "<tr>{}</tr>", ((format_html_join("", "<td>{}</td>", cells),) for cells in shown)
    )
    return format_html("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>", head, body)
