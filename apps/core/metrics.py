"""The platform's Prometheus metrics: every name that `/metrics` can show, in one place.

They live in the process that counts them. Labels are few and bounded, and never hold an id of a
customer's thing: a label value costs memory for as long as the process lives.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_SHORT = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_LONG = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1800.0)

# -- Runs --------------------------------------------------------------------------------------

runs_triggered = Counter("holdfast_runs_triggered", "Runs accepted after their commit.")
runs_finished = Counter("holdfast_runs_finished", "Runs that ended, by final status.", ["status"])
run_start_seconds = Histogram(
    "holdfast_run_start_seconds", "From the moment a run may start to its start.", buckets=_LONG
)

# -- Coordinator -------------------------------------------------------------------------------

claims = Counter("holdfast_claims", "Runs claimed for connected workers.")
claim_seconds = Histogram("holdfast_claim_seconds", "Duration of one claim.", buckets=_SHORT)
workers_connected = Gauge("holdfast_workers_connected", "Workers connected to this process.")
runs_held = Gauge("holdfast_runs_held", "Runs that workers of this process hold.")
stale_messages = Counter("holdfast_stale_messages", "Worker messages under a lease that was lost.")

# -- Realtime ----------------------------------------------------------------------------------

realtime_streams = Gauge("holdfast_realtime_streams", "Streams that are open in this process.")
realtime_resyncs = Counter(
    "holdfast_realtime_resyncs", "Streams that read too slowly and were told to look anew."
)

# -- Engine ------------------------------------------------------------------------------------

duty_seconds = Histogram(
    "holdfast_duty_seconds", "Duration of one round of a duty.", ["duty"], buckets=_SHORT
)
duty_failures = Counter("holdfast_duty_failures", "Rounds of a duty that raised.", ["duty"])
leases_rescued = Counter("holdfast_leases_rescued", "Runs taken back from workers that went quiet.")

# -- Schedules ---------------------------------------------------------------------------------

schedule_ticks = Counter("holdfast_schedule_ticks", "Times of schedules, by outcome.", ["outcome"])
schedule_lag_seconds = Histogram(
    "holdfast_schedule_lag_seconds", "From the moment a tick is due to its run.", buckets=_LONG
)

# -- Telemetry ---------------------------------------------------------------------------------

telemetry_accepted = Counter(
    "holdfast_telemetry_accepted", "Rows taken from OTLP exports.", ["kind"]
)
telemetry_rejected = Counter(
    "holdfast_telemetry_rejected", "Rows of OTLP exports that were not taken.", ["kind"]
)
telemetry_written = Counter("holdfast_telemetry_written", "Rows written to ClickHouse.", ["kind"])
telemetry_shed = Counter(
    "holdfast_telemetry_shed", "Accepted rows that were given up.", ["kind", "reason"]
)
telemetry_write_failures = Counter(
    "holdfast_telemetry_write_failures", "Batches that ClickHouse did not take."
)
telemetry_buffered_rows = Gauge(
    "holdfast_telemetry_buffered_rows", "Rows that wait for ClickHouse in this process."
)
telemetry_buffered_bytes = Gauge(
    "holdfast_telemetry_buffered_bytes", "Export bytes that wait for ClickHouse in this process."
)
