"""Watching the platform itself: errors to Sentry, traces to any OpenTelemetry collector.

Both are off until their variable is set. What a customer's run tells goes another way, through
apps.telemetry; nothing of a customer's (payloads, variables, request bodies) is sent from here.
"""

from __future__ import annotations

from django.conf import settings

# Probes and scrapes say nothing about the platform's work; exporting the intake of telemetry
# would make a platform that exports to itself talk for ever.
_QUIET = "health/,metrics$,otel/"


def install() -> None:
    """Switch on what is configured; once per process, before the first request is handled.

    The libraries are imported only then: they would add most of a second to every command.
    """
    if settings.SENTRY_DSN:
        _install_sentry()
    if settings.OTEL_EXPORTER_OTLP_ENDPOINT:
        _install_opentelemetry()


def _install_sentry() -> None:
    import sentry_sdk

    sentry_sdk.init(
        dsn=settings.SENTRY_DSN,
        send_default_pii=False,
        # Local variables and bodies hold payloads, keys and customers' variables.
        include_local_variables=False,
        max_request_body_size="never",
    )


def _install_opentelemetry() -> None:
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.celery import CeleryInstrumentor
    from opentelemetry.instrumentation.django import DjangoInstrumentor
    from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor
    from opentelemetry.instrumentation.redis import RedisInstrumentor
    from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    # The exporter reads its endpoint, headers and the rest from the standard OTEL_* variables.
    resource = Resource.create({SERVICE_NAME: "holdfast"}).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    DjangoInstrumentor().instrument(excluded_urls=_QUIET)
    CeleryInstrumentor().instrument()  # type: ignore[no-untyped-call]
    PsycopgInstrumentor().instrument()
    RedisInstrumentor().instrument()
