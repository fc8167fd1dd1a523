-- Spans of runs. Partitioned by the day of arrival, not by the span's own time, which a
-- client chooses: one export with spans of a thousand days must not make a thousand parts.
-- Replacing, so that a repeated delivery is one row and a final span replaces its partial one.
CREATE TABLE IF NOT EXISTS spans
(
    environment_id UUID,
    run_id         UUID COMMENT 'zero when the span names no run',
    attempt        UInt16,
    trace_id       String CODEC(ZSTD(1)),
    span_id        String CODEC(ZSTD(1)),
    parent_span_id String CODEC(ZSTD(1)),
    name           LowCardinality(String),
    kind           LowCardinality(String),
    level          LowCardinality(String),
    start          DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    duration_ns    UInt64 CODEC(T64, ZSTD(1)),
    status         LowCardinality(String),
    status_message String CODEC(ZSTD(1)),
    attributes     Map(LowCardinality(String), String) COMMENT 'each value is JSON text' CODEC(ZSTD(1)),
    events         String COMMENT 'JSON' CODEC(ZSTD(1)),
    links          String COMMENT 'JSON' CODEC(ZSTD(1)),
    resource       String COMMENT 'JSON' CODEC(ZSTD(1)),
    instrumentation LowCardinality(String),
    is_final       UInt8,
    received_at    DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    INDEX spans_by_trace trace_id TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = ReplacingMergeTree(is_final)
PARTITION BY toDate(received_at)
ORDER BY (environment_id, run_id, start, span_id)
SETTINGS ttl_only_drop_parts = 1;
