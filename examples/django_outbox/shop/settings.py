"""Just enough Django: one database, the shop, and the outbox."""

import os

SECRET_KEY = "an example has no secrets"  # noqa: S105
INSTALLED_APPS = ["shop", "holdfast.django"]
USE_TZ = True
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": os.environ["SHOP_DATABASE"],
        "HOST": os.environ.get("SHOP_DATABASE_HOST", ""),
        "PORT": os.environ.get("SHOP_DATABASE_PORT", ""),
        "USER": os.environ.get("SHOP_DATABASE_USER", ""),
        "PASSWORD": os.environ.get("SHOP_DATABASE_PASSWORD", ""),
    }
    if "SHOP_DATABASE" in os.environ
    else {"ENGINE": "django.db.backends.sqlite3", "NAME": "shop.sqlite3"}
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
