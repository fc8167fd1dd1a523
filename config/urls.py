"""Every HTTP route."""

from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.urls import include, path

# The staff signs in as everybody does: tries are counted, and a second factor is asked for.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("apps.dashboard.entrance")),
    path("", include("apps.dashboard.urls")),
    path("", include("apps.api.urls")),
]

handler500 = "apps.api.errors.server_error"
