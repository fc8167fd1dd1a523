-- Log lines of runs; `sequence` tells lines of one instant apart and keeps their order, and is
-- the same when a client repeats an export, so that a repeated delivery is one row.
CREATE TABLE IF NOT EXISTS logs
(
    environment_id UUID,
    run_id         UUID COMMENT 'zero when the line names no run',
    attempt        UInt16,
    time           DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    sequence       UInt64 CODEC(Delta, ZSTD(1)),
    level          LowCardinality(String),
    message        String CODEC(ZSTD(1)),
    trace_id       String CODEC(ZSTD(1)),
    span_id        String CODEC(ZSTD(1)),
    attributes     Map(LowCardinality(String), String) COMMENT 'each value is JSON text' CODEC(ZSTD(1)),
    resource       String COMMENT 'JSON' CODEC(ZSTD(1)),
    instrumentation LowCardinality(String),
    received_at    DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toDate(received_at)
ORDER BY (environment_id, run_id, time, sequence)
SETTINGS ttl_only_drop_parts = 1;
