"""The product's settings with what tests change."""

import os

from config.settings import *  # noqa: F403
from config.settings import CLICKHOUSE_URL as _SHARED

# pytest-django reads this before any conftest runs, and so before that has chosen a database
if _worker := os.environ.get("PYTEST_XDIST_WORKER"):
    CLICKHOUSE_URL = f"{_SHARED.rpartition('/')[0]}/test_{_worker}"

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
WHITENOISE_AUTOREFRESH = True  # nothing is collected here, and its absence would be a warning
STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}  # noqa: F405
WHITENOISE_USE_FINDERS = True

# a web process of the browser tests: what it mails is read from this folder
if _mails := os.environ.get("HOLDFAST_TEST_MAILS"):
    EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
    EMAIL_FILE_PATH = _mails
    CELERY_TASK_ALWAYS_EAGER = True
