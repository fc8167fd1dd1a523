-- One page of a run's spans, in the order of their start; a final span hides its partial one.
-- Reads spans by the prefix of its sorting key (environment_id, run_id); takes no locks.
-- environment_id, run_id: whose spans. since: no span of the run arrived earlier.
-- after_start (nanoseconds), after_span: the span to go on after. rows: how many at most.
SELECT
    toUnixTimestamp64Nano(start) AS start_ns,
    span_id,
    parent_span_id,
    trace_id,
    attempt,
    name,
    kind,
    level,
    duration_ns,
    status,
    status_message,
    attributes,
    events,
    is_final
FROM
(
    SELECT *
    FROM spans
    WHERE environment_id = {environment_id:UUID}
      AND run_id = {run_id:UUID}
      AND received_at >= {since:DateTime64(3, 'UTC')}
    ORDER BY span_id, is_final DESC
    LIMIT 1 BY span_id
)
WHERE (toUnixTimestamp64Nano(start), span_id) > ({after_start:Int64}, {after_span:String})
ORDER BY start, span_id
LIMIT {rows:UInt32}
