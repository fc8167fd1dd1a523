-- Log lines of a run before some line, the latest first.
-- Reads logs by the prefix of its sorting key (environment_id, run_id, time); takes no locks.
-- environment_id, run_id: whose lines. since: no line of the run arrived earlier.
-- before_time (nanoseconds), before_sequence: the line to go back from.
-- levels: only these, or all when empty. search: only lines that contain it, or all when ''.
-- rows: how many at most.
SELECT
    toUnixTimestamp64Nano(time) AS time_ns,
    sequence,
    attempt,
    level,
    message,
    trace_id,
    span_id,
    attributes
FROM logs
WHERE environment_id = {environment_id:UUID}
  AND run_id = {run_id:UUID}
  AND received_at >= {since:DateTime64(3, 'UTC')}
  AND time <= fromUnixTimestamp64Nano({before_time:Int64})
  AND (toUnixTimestamp64Nano(time), sequence) < ({before_time:Int64}, {before_sequence:UInt64})
  AND (empty({levels:Array(String)}) OR has({levels:Array(String)}, level))
  AND ({search:String} = '' OR positionCaseInsensitiveUTF8(message, {search:String}) > 0)
ORDER BY time DESC, sequence DESC
LIMIT {rows:UInt32}
