"""Every HTTP route."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import include, path
from django.views.decorators.http import require_safe


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """Until there is a dashboard, people find the admin behind the address that they are told."""
    return redirect("/admin/")


urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("apps.dashboard.entrance")),
    path("", include("apps.dashboard.urls")),
    path("", include("apps.api.urls")),
]

handler500 = "apps.api.errors.server_error"
