"""How one definition of an operation becomes a method of the async and of the sync client.

A group of operations is generic over its transport. `@operation` turns a method that returns a
flow into one that runs it: on a `Group[AsyncTransport]` it returns an awaitable, on a
`Group[SyncTransport]` the result. `@paged` does the same for lists.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass, replace
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from holdfast._http import AsyncTransport, Call, Flow, Settings, SyncTransport, send
from holdfast.client.results import Page

P = ParamSpec("P")
T = TypeVar("T")
Transport = TypeVar("Transport", bound=AsyncTransport | SyncTransport)


class Group(Generic[Transport]):
    """Operations that belong together, over one transport."""

    def __init__(self, settings: Settings, transport: Transport) -> None:
        self._settings = settings
        self._transport: Transport = transport

    def _send(self, call: Call[T]) -> Flow[T]:
        return send(self._settings, call)

    def _run(self, flow: Flow[Any]) -> Any:
        return self._transport.run(flow)

    def _pages(self, first_call: Call[Page[Any]]) -> Any:
        pages = _Pages(settings=self._settings, first_call=first_call)
        if isinstance(self._transport, AsyncTransport):
            return AsyncPages(pages, self._transport)
        return SyncPages(pages, self._transport)


class operation(Generic[P, T]):
    """A method whose flow is run by the transport of the group that it is called on."""

    def __init__(self, function: Callable[Concatenate[Any, P], Flow[T]]) -> None:
        self._function = function
        functools.update_wrapper(self, function)  # type: ignore[arg-type]

    @overload
    def __get__(self, group: None, owner: type) -> operation[P, T]: ...
    @overload
    def __get__(
        self, group: Group[AsyncTransport], owner: type
    ) -> Callable[P, Coroutine[Any, Any, T]]: ...
    @overload
    def __get__(self, group: Group[SyncTransport], owner: type) -> Callable[P, T]: ...
    def __get__(self, group: Group[Any] | None, owner: type) -> Any:
        if group is None:
            return self

        @functools.wraps(self._function)
        def call(*args: P.args, **kwargs: P.kwargs) -> Any:
            return group._run(self._function(group, *args, **kwargs))  # noqa: SLF001

        return call


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pages(Generic[T]):
    settings: Settings
    first_call: Call[Page[T]]

    def call_after(self, page: Page[T]) -> Call[Page[T]] | None:
        if page.next is None:
            return None
        query = {**self.first_call.query, "page[after]": page.next, "page[before]": None}
        return replace(self.first_call, query=query)


class AsyncPages(Generic[T]):
    """A list that is read page by page: ``async for run in client.runs.list()``."""

    def __init__(self, pages: _Pages[T], transport: AsyncTransport) -> None:
        self._pages = pages
        self._transport = transport

    async def first(self) -> Page[T]:
        """The first page only."""
        return await self._transport.run(send(self._pages.settings, self._pages.first_call))

    async def pages(self) -> AsyncIterator[Page[T]]:
        """Page after page."""
        call: Call[Page[T]] | None = self._pages.first_call
        while call is not None:
            page = await self._transport.run(send(self._pages.settings, call))
            yield page
            call = self._pages.call_after(page)

    async def __aiter__(self) -> AsyncIterator[T]:
        async for page in self.pages():
            for item in page.data:
                yield item


class SyncPages(Generic[T]):
    """A list that is read page by page: ``for run in client.runs.list()``."""

    def __init__(self, pages: _Pages[T], transport: SyncTransport) -> None:
        self._pages = pages
        self._transport = transport

    def first(self) -> Page[T]:
        """The first page only."""
        return self._transport.run(send(self._pages.settings, self._pages.first_call))

    def pages(self) -> Iterator[Page[T]]:
        """Page after page."""
        call: Call[Page[T]] | None = self._pages.first_call
        while call is not None:
            page = self._transport.run(send(self._pages.settings, call))
            yield page
            call = self._pages.call_after(page)

    def __iter__(self) -> Iterator[T]:
        for page in self.pages():
            yield from page.data


class paged(Generic[P, T]):
    """A method that describes the first page; on a group it becomes an iterable over all."""

    def __init__(self, function: Callable[Concatenate[Any, P], Call[Page[T]]]) -> None:
        self._function = function
        functools.update_wrapper(self, function)  # type: ignore[arg-type]

    @overload
    def __get__(self, group: None, owner: type) -> paged[P, T]: ...
    @overload
    def __get__(self, group: Group[AsyncTransport], owner: type) -> Callable[P, AsyncPages[T]]: ...
    @overload
    def __get__(self, group: Group[SyncTransport], owner: type) -> Callable[P, SyncPages[T]]: ...
    def __get__(self, group: Group[Any] | None, owner: type) -> Any:
        if group is None:
            return self

        @functools.wraps(self._function)
        def call(*args: P.args, **kwargs: P.kwargs) -> Any:
            return group._pages(self._function(group, *args, **kwargs))  # noqa: SLF001

        return call
