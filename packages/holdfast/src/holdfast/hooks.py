"""Lifecycle hooks and middleware: for one task (`@my_task.on_start`) or for all (`@on_start`).

A hook takes, by name, any of `payload`, `output`, `error` and `ctx`. Hooks of all tasks run before
those of the task. `on_start` may fail the attempt; what the others raise is logged and dropped.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Literal, TypeVar

HookName = Literal[
    "on_start", "on_success", "on_failure", "on_complete", "on_cancel", "on_wait", "on_resume"
]
Hook = Callable[..., Any]
Proceed = Callable[[], Awaitable[Any]]
Middleware = Callable[[Proceed], Awaitable[Any]]
AnyHook = TypeVar("AnyHook", bound=Hook)
AnyMiddleware = TypeVar("AnyMiddleware", bound=Middleware)

_log = logging.getLogger("holdfast.hooks")


class Hooks:
    """The hooks and the middleware of one task, or of all tasks."""

    __slots__ = ("_by_name", "middleware_chain")

    def __init__(self) -> None:
        self._by_name: dict[str, list[_Bound]] = {}
        self.middleware_chain: list[Middleware] = []

    def add(self, name: HookName, hook: AnyHook) -> AnyHook:
        """Register a hook and return it, so that this serves as a decorator."""
        self._by_name.setdefault(name, []).append(_Bound(hook))
        return hook

    def on_start(self, hook: AnyHook) -> AnyHook:
        """Run before every attempt; an exception fails the attempt."""
        return self.add("on_start", hook)

    def on_success(self, hook: AnyHook) -> AnyHook:
        """Run after an attempt has returned; sees `output`."""
        return self.add("on_success", hook)

    def on_failure(self, hook: AnyHook) -> AnyHook:
        """Run when the run has failed for good, not before a retry; sees `error`."""
        return self.add("on_failure", hook)

    def on_complete(self, hook: AnyHook) -> AnyHook:
        """Run when the run has ended in the task's own code, well or not."""
        return self.add("on_complete", hook)

    def on_cancel(self, hook: AnyHook) -> AnyHook:
        """Run when an executing run was canceled, within the grace period."""
        return self.add("on_cancel", hook)

    def on_wait(self, hook: AnyHook) -> AnyHook:
        """Run before the run is suspended: the place to close connections."""
        return self.add("on_wait", hook)

    def on_resume(self, hook: AnyHook) -> AnyHook:
        """Run after the run was resumed: the place to open them again."""
        return self.add("on_resume", hook)

    def middleware(self, wrapper: AnyMiddleware) -> AnyMiddleware:
        """Wrap every attempt, its hooks included: ``async def wrapper(proceed): …``.

        It must ``return await proceed()``, or raise.
        """
        self.middleware_chain.append(wrapper)
        return wrapper

    def named(self, name: HookName) -> list[_Bound]:
        """The hooks of one kind, in order of registration."""
        return self._by_name.get(name, [])

    def clear(self) -> None:
        """Forget everything."""
        self._by_name.clear()
        self.middleware_chain.clear()


class _Bound:
    """A hook and the arguments that it wants."""

    __slots__ = ("function", "is_async", "wanted")

    def __init__(self, function: Hook) -> None:
        self.function = function
        self.is_async = inspect.iscoroutinefunction(function)
        parameters = inspect.signature(function).parameters.values()
        unknown = [
            p.name for p in parameters if p.name not in ("payload", "output", "error", "ctx")
        ]
        if unknown:
            raise TypeError(
                f"hook {getattr(function, '__name__', function)!r} wants {', '.join(unknown)}; "
                "a hook may take payload, output, error and ctx"
            )
        self.wanted = [parameter.name for parameter in parameters]

    async def __call__(self, offered: dict[str, Any]) -> None:
        arguments = {name: offered.get(name) for name in self.wanted}
        if self.is_async:
            await self.function(**arguments)
        else:
            await in_thread(partial(self.function, **arguments))


global_hooks = Hooks()
"""The hooks of all tasks in this process."""


async def in_thread(function: Callable[[], Any]) -> Any:
    """Call a plain function in a thread that sees the same context variables."""
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(None, context.run, function)


async def run_hooks(hooks: Hooks, name: HookName, **offered: Any) -> None:
    """Run the hooks of one kind; the first exception ends it and is raised."""
    for hook in (*global_hooks.named(name), *hooks.named(name)):
        await hook(offered)


async def run_hooks_safely(hooks: Hooks, name: HookName, **offered: Any) -> None:
    """Run all hooks of one kind; exceptions are logged and dropped."""
    for hook in (*global_hooks.named(name), *hooks.named(name)):
        try:
            await hook(offered)
        except Exception:
            _log.exception("hook failed", extra={"hook": name})


async def through_middleware(hooks: Hooks, innermost: Proceed) -> Any:
    """Call `innermost` inside all middleware: that of all tasks outside that of the task."""
    chain = [*global_hooks.middleware_chain, *hooks.middleware_chain]
    proceed = innermost
    for wrapper in reversed(chain):
        proceed = partial(wrapper, proceed)
    return await proceed()
