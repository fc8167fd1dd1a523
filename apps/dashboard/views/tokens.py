"""What people and other systems are waited for: tokens, who waits for them, completing one."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from apps.core import clock
from apps.core.errors import Invalid
from apps.core.ids import parse_public_id, public_id
from apps.dashboard import places
from apps.dashboard.cursors import asked_page, pager
from apps.dashboard.exports import asked_form, list_file
from apps.dashboard.lists import asked_choice, asked_text, choices
from apps.dashboard.pages import in_environment, page
from apps.dashboard.requests import PageRequest
from apps.environments.access import Place
from apps.orgs.permissions import Permission
from apps.runs.operations.waitpoints import complete_token
from apps.runs.queries import TokenFilters, get_token, list_tokens, waiting_for_token
from apps.runs.states import WaitpointStatus

_PREFIX = "waitpoint"


@require_safe
@in_environment(Permission.RUNS_READ)
def token_list(request: PageRequest, place: Place) -> HttpResponse:
    """The tokens of an environment, as a page or as a file."""
    asked, tag = asked_page(request, _PREFIX), asked_text(request, "tag")
    status = asked_choice(request, "status", WaitpointStatus)
    filters = TokenFilters(
        statuses=(WaitpointStatus(status),) if status else (), tags=(tag,) if tag else ()
    )
    found = list_tokens(place.scope, filters, asked)
    if form := asked_form(request):
        return list_file(map(_exported, found.items), "tokens", form)
    context = {
        "tokens": found.items,
        "status": status,
        "statuses": choices(WaitpointStatus, "Any status"),
        "tag": tag,
        "pager": pager(asked, found, _PREFIX),
    }
    return page(request, "tokens/page.html", context, section="tokens")


@require_safe
@in_environment(Permission.RUNS_READ)
def token(request: PageRequest, place: Place, token: str) -> HttpResponse:
    """One token, and the runs that wait for it."""
    token_id = parse_public_id(_PREFIX, token)
    context = {
        "token": get_token(place.scope, token_id),
        "waiting": waiting_for_token(place.scope, token_id),
    }
    return page(request, "tokens/one.html", context, section="tokens")


@require_POST
@in_environment(Permission.WAITPOINTS_WRITE)
def token_completion(request: PageRequest, place: Place, token: str) -> HttpResponseBase:
    """The answer that a person gives in place of the system that should have."""
    output = request.POST.get("output", "").strip() or "null"
    try:
        json.loads(output)
    except ValueError as error:
        raise Invalid(
            f"The answer must be JSON: {error}", detail={"output": [str(error)]}
        ) from None
    is_ours = complete_token(
        place.scope,
        waitpoint_id=parse_public_id(_PREFIX, token),
        output=output,
        output_type="application/json",
        now=clock.now(),
    )
    if is_ours:
        messages.success(request, "The token is completed; whoever waited for it goes on.")
    else:
        messages.info(request, "It was over already; nothing has changed.")
    return redirect(places.address(place, "token", token=token))


def _exported(token: Any) -> dict[str, Any]:
    return {
        "id": public_id(_PREFIX, token.pk),
        "status": token.status,
        "tags": token.tags,
        "created_at": token.created_at.isoformat(),
        "times_out_at": token.due_at.isoformat() if token.due_at else None,
        "completed_at": token.completed_at.isoformat() if token.completed_at else None,
    }
