"""Every HTTP route."""

from django.contrib import admin
from django.urls import include, path

from apps.api.health import health_routes
from apps.api.logs import log_routes
from apps.api.otlp import otlp_routes

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("apps.api.urls")),
    path("", include([*otlp_routes, *log_routes, *health_routes])),
]
