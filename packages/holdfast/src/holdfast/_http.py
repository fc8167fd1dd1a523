"""One call of the API, written once: what is sent, when it is sent again, what the answer means.

An operation is a *flow*: a generator that yields what it needs from outside (a `Request` to send,
a `Pause` to make) and returns its result. The two transports are the only code that waits, so
that the async and the sync client share every line of logic.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar

from holdfast import api_errors
from holdfast._together import Together, travels_together
from holdfast._wire import Lost, Pause, Request, Response
from holdfast.api_errors import ApiConnectionError, ApiError, MissingCredentialsError

# Only who sends something needs httpx. It is a tenth of the imports of every process of the server,
# which needs nothing but the shapes of this package.
if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

API_VERSION = "2025-07-16"
JSON = "application/json"
DEFAULT_API_URL = "http://127.0.0.1:8000"
_RETRIED = frozenset({408, 409, 429})
_MILLISECONDS_FROM = 10**11  # a unix time this large cannot be seconds: it would be the year 5138


Flow: TypeAlias = Generator[Request | Pause, Any, T]


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How long a call is tried.

    Attributes:
        attempts: Tries in all, the first one included.
        base_seconds: The pause after the first try; each further one is `factor` times longer.
        factor: How fast the pauses grow.
        longest_seconds: No pause by this rule is longer.
        patience_seconds: Go on after `attempts` until so much time has passed since the first
            try. Task processes use it to outlive a restart of the server.
        longest_reset_seconds: A rate limit that resets later than this is raised, not waited for.
    """

    attempts: int = 5
    base_seconds: float = 1.0
    factor: float = 1.6
    longest_seconds: float = 30.0
    patience_seconds: float = 0.0
    longest_reset_seconds: float = 120.0

    def pause_after(self, attempt: int) -> float:
        """The pause after the `attempt`-th try, between half and all of the full length."""
        full = min(self.longest_seconds, self.base_seconds * self.factor ** min(attempt - 1, 60))
        return full * random.uniform(0.5, 1.0)  # noqa: S311 (jitter, not a secret)

    def has_more(self, attempt: int, elapsed: float) -> bool:
        """Whether another try is allowed."""
        return attempt < self.attempts or elapsed < self.patience_seconds


Auth = Literal["key", "person", "any", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """What to ask of the API: `auth` says whose credential, `parse` makes the result."""

    method: str
    path: str
    parse: Callable[[Response], T]
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    content: bytes | None = None
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    auth: Auth = "key"
    has_request_key: bool = True
    is_absolute: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where the API is and who is calling."""

    api_url: str
    secret_key: str | None = field(default=None, repr=False)
    access_token: str | None = field(default=None, repr=False)
    branch: str | None = None
    project: str | None = None
    environment: str | None = None
    source: str = "sdk"
    retry: Retry = field(default_factory=Retry)


def send(settings: Settings, call: Call[T]) -> Flow[T]:
    """Make one logical call, trying again as the contract says; raises ApiError."""
    request = _request(settings, call)
    started = time.monotonic()
    attempt = 0
    while True:
        attempt += 1
        answer: Response | Lost = yield request
        if isinstance(answer, Response) and answer.status < 300:
            return call.parse(answer)
        has_more = settings.retry.has_more(attempt, time.monotonic() - started)
        pause = _pause_before_retry(answer, settings.retry, attempt) if has_more else None
        if pause is None:
            raise _error(answer, request)
        yield Pause(seconds=pause)


def fetch(
    url: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    content: bytes | None = None,
    retry: Retry,
) -> Flow[Response]:
    """Speak to a presigned address: no credentials, same retries."""
    settings = Settings(api_url="", retry=retry)
    return send(
        settings,
        Call(
            method=method,
            path=url,
            parse=lambda response: response,
            headers=headers or {},
            content=content,
            content_type="",
            auth="none",
            has_request_key=False,
            is_absolute=True,
        ),
    )


def _request(settings: Settings, call: Call[Any]) -> Request:
    """Everything that is the same for all tries, the request key above all."""
    content = call.content
    if content is None and call.method != "GET":
        content = b"" if call.body is None else json.dumps(call.body).encode()
    import httpx

    headers = {} if call.is_absolute else _own_headers(settings, call)
    if content is not None and call.content_type:
        headers["content-type"] = call.content_type
    try:
        url = httpx.URL(call.path if call.is_absolute else settings.api_url + call.path)
    except httpx.InvalidURL as error:
        raise ApiConnectionError(f"The address of the server is wrong: {error}") from None
    if query := _query(call.query):
        url = url.copy_merge_params(query)
    return Request(
        method=call.method, url=str(url), headers={**headers, **call.headers}, content=content
    )


def _own_headers(settings: Settings, call: Call[Any]) -> dict[str, str]:
    headers = {
        "accept": JSON,
        "x-trigger-api-version": API_VERSION,
        "x-trigger-source": settings.source,
    }
    if call.has_request_key:
        headers["x-trigger-request-idempotency-key"] = str(uuid.uuid4())
    if settings.branch:
        headers["x-trigger-branch"] = settings.branch
    if settings.project and settings.environment and not settings.secret_key:
        headers["x-holdfast-project"] = settings.project
        headers["x-holdfast-environment"] = settings.environment
    if (token := _token(settings, call.auth)) is not None:
        headers["authorization"] = f"Bearer {token}"
    return headers


def _query(values: Mapping[str, Any]) -> dict[str, str]:
    """Leave out what is None; lists travel as one comma-joined parameter."""
    return {name: _text(value) for name, value in values.items() if value is not None}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple | set | frozenset):
        return ",".join(str(item) for item in value)
    return str(value)


def _token(settings: Settings, auth: Auth) -> str | None:
    if auth == "none":
        return None
    is_placed = settings.project and settings.environment
    candidates = {
        "key": settings.secret_key or (settings.access_token if is_placed else None),
        "person": settings.access_token,
        "any": settings.secret_key or settings.access_token,
    }
    if token := candidates[auth]:
        return token
    wanted = {
        "key": "an environment's secret key: set HOLDFAST_SECRET_KEY or pass secret_key",
        "person": "a personal access token: run `holdfast login` or set HOLDFAST_ACCESS_TOKEN",
        "any": "a key or token: set HOLDFAST_SECRET_KEY or HOLDFAST_ACCESS_TOKEN",
    }
    raise MissingCredentialsError(f"This call needs {wanted[auth]}.")


def _pause_before_retry(answer: Response | Lost, retry: Retry, attempt: int) -> float | None:
    """How long to wait before the next try; None when there must be none."""
    if isinstance(answer, Lost):
        return retry.pause_after(attempt)
    wish = answer.headers.get("x-should-retry", "").lower()
    is_retried = answer.status in _RETRIED or answer.status >= 500
    if wish == "false" or (wish != "true" and not is_retried):
        return None
    if answer.status == 429 and (reset := _reset_seconds(answer.headers)) is not None:
        if reset > retry.longest_reset_seconds:
            return None
        return reset + random.uniform(0, min(1.0, retry.base_seconds))  # noqa: S311 (jitter)
    return retry.pause_after(attempt)


def _reset_seconds(headers: Mapping[str, str]) -> float | None:
    """The time until a rate limit resets: a unix time in ms or s, or `Retry-After` seconds."""
    try:
        if "x-ratelimit-reset" in headers:
            moment = float(headers["x-ratelimit-reset"])
            return max(
                0.0, (moment / 1000 if moment > _MILLISECONDS_FROM else moment) - time.time()
            )
        if "retry-after" in headers:
            return max(0.0, float(headers["retry-after"]))
    except ValueError:
        pass
    return None


def _error(answer: Response | Lost, request: Request) -> ApiError:
    import httpx

    if isinstance(answer, Lost):
        where = httpx.URL(request.url)
        return ApiConnectionError(
            f"No answer from {where.scheme}://{where.netloc.decode()}: {answer.reason}"
        )
    code, details = None, None
    message = f"{answer.status} {httpx.codes.get_reason_phrase(answer.status)}".strip()
    try:
        body = json.loads(answer.content)
    except ValueError:
        body = None
    if isinstance(body, dict):
        error = body.get("error")
        source = error if isinstance(error, dict) else {**body, "message": error}
        message = source.get("message") or message
        code, details = source.get("code"), body.get("details")
    return api_errors.class_for(answer.status)(
        str(message), status=answer.status, code=code, details=details, headers=answer.headers
    )


# Proxies of the environment are honoured, but never for a server on this machine.
_LOOPBACK: dict[str, None] = dict.fromkeys(
    ("all://127.0.0.1", "all://localhost", "all://[::1]"), None
)


_is_speaking: ContextVar[bool] = ContextVar("holdfast.http", default=False)


class _OnlyOthers(logging.Filter):
    """httpx logs every request; a task's log is for what the task does, not for our own calls."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not _is_speaking.get()


logging.getLogger("httpx").addFilter(_OnlyOthers())


@contextmanager
def _speaking() -> Iterator[None]:
    token = _is_speaking.set(True)
    try:
        yield
    finally:
        _is_speaking.reset(token)


def _answer(response: httpx.Response) -> Response:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Response(status=response.status_code, headers=headers, content=response.content)


def _lost(error: httpx.HTTPError) -> Lost:
    return Lost(reason=str(error) or type(error).__name__)


class AsyncTransport:
    """Runs flows on the running event loop.

    Triggers of one turn of the loop, as `asyncio.gather` makes them, travel in one request.
    """

    def __init__(self, *, timeout_seconds: float) -> None:
        import httpx

        self._together = Together(self._speak)
        self._unsent = httpx.HTTPError
        self._http = httpx.AsyncClient(
            timeout=timeout_seconds, follow_redirects=True, mounts=_LOOPBACK
        )

    async def run(self, flow: Flow[T]) -> T:
        """Take every step that the flow asks for, and return its result."""
        answer: Response | Lost | None = None
        while True:
            try:
                step = flow.send(answer)
            except StopIteration as stop:
                result: T = stop.value
                return result
            answer = await self._take(step)

    async def _take(self, step: Request | Pause) -> Response | Lost | None:
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return None
        return await (self._together if travels_together(step) else self._speak)(step)

    async def _speak(self, request: Request) -> Response | Lost:
        try:
            with _speaking():
                response = await self._http.request(
                    request.method, request.url, headers=request.headers, content=request.content
                )
        except self._unsent as error:
            return _lost(error)
        return _answer(response)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


class SyncTransport:
    """Runs flows in the calling thread."""

    def __init__(self, *, timeout_seconds: float) -> None:
        import httpx

        self._unsent = httpx.HTTPError
        self._http = httpx.Client(timeout=timeout_seconds, follow_redirects=True, mounts=_LOOPBACK)

    def run(self, flow: Flow[T]) -> T:
        """Take every step that the flow asks for, and return its result."""
        answer: Response | Lost | None = None
        while True:
            try:
                step = flow.send(answer)
            except StopIteration as stop:
                result: T = stop.value
                return result
            answer = self._take(step)

    def _take(self, step: Request | Pause) -> Response | Lost | None:
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return None
        try:
            with _speaking():
                response = self._http.request(
                    step.method, step.url, headers=step.headers, content=step.content
                )
        except self._unsent as error:
            return _lost(error)
        return _answer(response)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()
