"""All settings; everything variable is an environment variable, read and checked in one place."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from apps.realtime.limits import RealtimeLimits
from apps.runs.limits import Limits
from apps.schedules.limits import ScheduleLimits
from apps.telemetry.limits import TelemetryLimits
from config.env import Reader
from config.stores.urls import embedded_urls

BASE_DIR = Path(__file__).resolve().parent.parent
HOLDFAST_HOME = Path(os.environ.get("HOLDFAST_HOME") or BASE_DIR / ".holdfast").resolve()

_DEFAULT_SECRET = "insecure-development-secret"  # noqa: S105 -- refused below unless DEBUG is on

# Set variables win over what the embedded stores of this home say about themselves.
env = Reader(embedded_urls(HOLDFAST_HOME) | dict(os.environ))

DEBUG = env.flag("DEBUG", default=False)
SECRET_KEY = env.text("SECRET_KEY", _DEFAULT_SECRET)
SEALING_KEYS = env.words("SEALING_KEYS", SECRET_KEY)
if not DEBUG and _DEFAULT_SECRET in {SECRET_KEY, *SEALING_KEYS}:
    env.problem("SECRET_KEY is the development default: set a random one, or DEBUG=1 to develop")

SERVER_URL = env.url("SERVER_URL", "http://127.0.0.1:8000", schemes=("http", "https")).rstrip("/")
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", f"{urlsplit(SERVER_URL).hostname},localhost,127.0.0.1")
CSRF_TRUSTED_ORIGINS = [SERVER_URL]
USE_X_FORWARDED_HOST = env.flag("TRUST_PROXY", default=False)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SERVER_URL.startswith("https://")
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if USE_X_FORWARDED_HOST else None

# -- Stores ------------------------------------------------------------------------------------

_UNSET = "postgresql:///holdfast"  # `manage.py up` and `stores` run before there is a database
DATABASE_URL = env.url("DATABASE_URL", _UNSET, schemes=("postgresql", "postgres"))
REDIS_URL = env.url("REDIS_URL", "redis://127.0.0.1:6379/0", schemes=("redis", "rediss", "unix"))
CLICKHOUSE_URL = env.url(
    "CLICKHOUSE_URL", "http://127.0.0.1:8123/default", schemes=("http", "https")
)
OBJECT_STORE_URL = env.url(
    "OBJECT_STORE_URL", f"file://{HOLDFAST_HOME / 'objects'}", schemes=("file", "s3")
)


REQUEST_THREADS = env.integer("REQUEST_THREADS", 16, minimum=1)  # each with a connection
# A plan may be made while a table is still empty, where reading all of it looks cheapest.
_PLANNING = "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c jit=off"


def _database(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    options: dict[str, Any] = dict(parse_qsl(parts.query))
    host = options.pop("host", None) or parts.hostname or ""
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": host,
        "PORT": str(options.pop("port", None) or parts.port or ""),
        # each thread keeps its connection, and with it the plans that the server keeps
        "CONN_MAX_AGE": None,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            **options,
            # The engine's statements take longer to plan than to run: let the server keep one plan
            # for each. Measured: a claim with nothing to do takes a third of the time.
            "server_side_binding": True,
            "prepare_threshold": 5,
            "options": f"{_PLANNING} {options.get('options', '')}".strip(),
            "application_name": "holdfast",
            "connect_timeout": 10,
        },
    }


DATABASES = {"default": _database(DATABASE_URL)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "holdfast",
    }
}
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [REDIS_URL], "prefix": "holdfast"},
    }
}


def _object_store(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    if parts.scheme == "file":
        location = unquote(parts.path)
        return {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": location},
        }
    query = dict(parse_qsl(parts.query))
    return {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {
            "bucket_name": parts.netloc,
            "location": parts.path.strip("/"),
            "endpoint_url": query.get("endpoint"),
            "region_name": query.get("region"),
            "default_acl": None,
            "querystring_auth": True,
            "file_overwrite": True,
        },
    }


STORAGES = {
    "default": _object_store(OBJECT_STORE_URL),
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}

# -- Applications ------------------------------------------------------------------------------

# Not "daphne": as an app it brings only `runserver`, and its imports are a tenth of every start.
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.github",
    "allauth.usersessions",
    "channels",
    "django_cotton",
    "django_htmx",
    "rest_framework",
    "drf_spectacular",
    "django_celery_beat",
    "config",
    "apps.core",
    "apps.accounts",
    "apps.orgs",
    "apps.projects",
    "apps.environments",
    "apps.deployments",
    "apps.runs",
    "apps.telemetry",
    "apps.schedules",
    "apps.api",
    "apps.coordinator",
    "apps.dashboard",
    "apps.realtime",
]
MIDDLEWARE = [
    "apps.api.cors.cors",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "apps.dashboard.security.ContentSecurityPolicy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "apps.dashboard.impersonation.Impersonation",
    "apps.dashboard.presence.Presence",
]
ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "apps.dashboard.context.everywhere",
            ],
        },
    }
]
STATIC_URL = "/static/"
STATIC_ROOT = HOLDFAST_HOME / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_MANIFEST_STRICT = False  # a file that is not in the manifest keeps its name
CSP_FORM_TARGETS: list[str] = []  # where else than here a form of ours may lead
APPEND_SLASH = False
DATA_UPLOAD_MAX_MEMORY_SIZE = None  # each endpoint names its own limit and answers 413
USE_TZ = True
TIME_ZONE = "UTC"
USE_I18N = False

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["apps.api.authentication.BearerAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["apps.api.permissions.HasScope"],
    "DEFAULT_PARSER_CLASSES": ["apps.api.parsers.AnyContentTypeJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "apps.api.errors.handle",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Holdfast API",
    "DESCRIPTION": "Trigger, follow and manage runs.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "COMPONENT_NO_READ_ONLY_REQUIRED": True,  # what is computed may be absent
    "SCHEMA_PATH_PREFIX": r"/api/v[0-9]+",
    "ENUM_NAME_OVERRIDES": {
        "RunStatusEnum": "apps.api.serializers.runs.ALL_STATUSES",
        "BatchStatusEnum": "apps.api.serializers.triggers.BATCH_STATUSES",
        "DeploymentStatusEnum": "apps.api.serializers.deployments.STATUSES",
        "TokenStatusEnum": "apps.api.serializers.waitpoints.TOKEN_STATUSES",
        "PauseEnum": ["pause", "resume"],
        "QueueTargetEnum": ["id", "task", "custom"],
    },
}

# -- Signing in --------------------------------------------------------------------------------

AUTH_USER_MODEL = "accounts.User"
SILENCED_SYSTEM_CHECKS = ["auth.W004"]  # e-mail is unique, by a constraint on its lower case
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
AUTH_PASSWORD_VALIDATORS = [  # for the few who have a password: the staff
    {"NAME": f"django.contrib.auth.password_validation.{name}Validator"}
    for name in ("UserAttributeSimilarity", "MinimumLength", "CommonPassword", "NumericPassword")
]
LOGIN_URL = LOGOUT_REDIRECT_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
SIGN_UP = env.text("SIGN_UP", "open")
if SIGN_UP not in {"open", "invited"}:
    env.problem(f"SIGN_UP={SIGN_UP!r} is neither open nor invited")
SESSION_COOKIE_AGE = env.integer("SESSION_DAYS", 30, minimum=1) * 86_400

ACCOUNT_ADAPTER = "apps.dashboard.adapters.AccountAdapter"
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]  # nobody signs up so; the form needs them
ACCOUNT_EMAIL_VERIFICATION = "none"  # whoever comes by a link or by GitHub has shown theirs
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
ACCOUNT_EMAIL_NOTIFICATIONS = True
ALLAUTH_TRUSTED_PROXY_COUNT = int(USE_X_FORWARDED_HOST)
MFA_ADAPTER = "apps.dashboard.adapters.SecondFactorAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_TOTP_ISSUER = "Holdfast"
MFA_ALLOW_UNVERIFIED_EMAIL = True  # of the staff, whom a colleague made
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = not SESSION_COOKIE_SECURE

GITHUB_URL = env.url("GITHUB_URL", "https://github.com", schemes=("http", "https")).rstrip("/")
GITHUB_CLIENT_ID = env.text("GITHUB_CLIENT_ID", "")
GITHUB_CLIENT_SECRET = env.text("GITHUB_CLIENT_SECRET", "")
if bool(GITHUB_CLIENT_ID) != bool(GITHUB_CLIENT_SECRET):
    env.problem("GITHUB_CLIENT_ID and GITHUB_CLIENT_SECRET come together")
SOCIALACCOUNT_ADAPTER = "apps.dashboard.adapters.GitHubAdapter"
SOCIALACCOUNT_EMAIL_AUTHENTICATION = SOCIALACCOUNT_EMAIL_AUTHENTICATION_AUTO_CONNECT = True
SOCIALACCOUNT_QUERY_EMAIL = True
SOCIALACCOUNT_PROVIDERS: dict[str, dict[str, Any]] = {"github": {"SCOPE": ["user:email"]}}
if GITHUB_CLIENT_ID:
    SOCIALACCOUNT_PROVIDERS["github"]["APP"] = {
        "client_id": GITHUB_CLIENT_ID,
        "secret": GITHUB_CLIENT_SECRET,
    }
    CSP_FORM_TARGETS.append(GITHUB_URL)
if GITHUB_URL != "https://github.com":  # an Enterprise server, which has its API below its own URL
    SOCIALACCOUNT_PROVIDERS["github"]["GITHUB_URL"] = GITHUB_URL

# -- Jobs, mail, logs --------------------------------------------------------------------------

CELERY_BROKER_URL = REDIS_URL.replace("unix://", "redis+socket://")
CELERY_TASK_DEFAULT_QUEUE = "platform"
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_DB_REUSE_MAX = sys.maxsize  # config/celery.py says which connections are closed
CELERY_BEAT_SCHEDULER = "config.beat:Scheduler"
CELERY_TIMEZONE = "UTC"

EMAIL_BACKEND = env.text("EMAIL_BACKEND", "django.core.mail.backends.console.EmailBackend")
DEFAULT_FROM_EMAIL = env.text("EMAIL_FROM", "Holdfast <holdfast@localhost>")

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": env.text("LOG_LEVEL", "INFO")},
}
SENTRY_DSN = env.text("SENTRY_DSN", "")
OTEL_EXPORTER_OTLP_ENDPOINT = env.text("OTEL_EXPORTER_OTLP_ENDPOINT", "")
APPINSIGHTS_CONNECTION_STRING = env.text("APPINSIGHTS_CONNECTION_STRING", "")
if APPINSIGHTS_CONNECTION_STRING and find_spec("django_otel"):
    INSTALLED_APPS.append("django_otel")
elif APPINSIGHTS_CONNECTION_STRING:
    env.problem("APPINSIGHTS_CONNECTION_STRING needs django-otel: install requirements/prod.txt")

LIMITS = Limits.read(env)
TELEMETRY = TelemetryLimits.read(env)
SCHEDULES = ScheduleLimits.read(env)
REALTIME = RealtimeLimits.read(env)
METRICS_TOKEN = env.text("METRICS_TOKEN", "")

env.finish()
