-- Spans of some runs, in the order in which they arrived: a page of them, or what has come since.
-- A span that was told twice may come twice; the final one says so.
-- Reads spans by the prefix of its sorting key (environment_id, run_id); takes no locks.
-- environment_id, run_ids: whose spans. since: no span of these runs arrived earlier.
-- after_arrival (milliseconds), after_span: the span to go on after. rows: how many at most.
SELECT
    run_id,
    toUnixTimestamp64Milli(received_at) AS arrived_ms,
    toUnixTimestamp64Nano(start) AS start_ns,
    span_id,
    parent_span_id,
    attempt,
    name,
    kind,
    level,
    duration_ns,
    status,
    is_final
FROM spans
WHERE environment_id = {environment_id:UUID}
  AND run_id IN {run_ids:Array(UUID)}
  AND received_at >= {since:DateTime64(3, 'UTC')}
  AND (toUnixTimestamp64Milli(received_at), span_id) > ({after_arrival:Int64}, {after_span:String})
ORDER BY received_at, span_id
LIMIT {rows:UInt32}
