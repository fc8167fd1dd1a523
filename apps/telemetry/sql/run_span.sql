-- One span of a run, the final one when it has arrived.
-- Reads spans by the prefix of its sorting key (environment_id, run_id); takes no locks.
-- environment_id, run_id, span_id: which span. since: no span of the run arrived earlier.
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
FROM spans
WHERE environment_id = {environment_id:UUID}
  AND run_id = {run_id:UUID}
  AND received_at >= {since:DateTime64(3, 'UTC')}
  AND span_id = {span_id:String}
ORDER BY is_final DESC
LIMIT 1
