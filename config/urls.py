"""Every HTTP route."""

from django.contrib import admin
from django.urls import include, path


urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("apps.dashboard.entrance")),
    path("", include("apps.dashboard.urls")),
    path("", include("apps.api.urls")),
]

handler500 = "apps.api.errors.server_error"
