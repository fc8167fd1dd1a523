-- Write what durable runs have done; an entry that is known stays as it is, since a worker whose
-- connection broke says it again. The caller holds the run locks and has checked the generations.
-- Tables: runs_journalentry (written).
-- Parameters: runs uuid[], seqs int[], positions text[], kinds text[], names text[], afters int[],
-- digests text[], oks bool[], outputs text[], output_types text[], errors text[], attempts int[],
-- started bigint[], took bigint[] (parallel).
INSERT INTO runs_journalentry (run_id, seq, position, kind, name, after, digest, ok, output,
                               output_type, error, attempts, started_ms, took_ms)
SELECT run_id, seq, position, kind, name, after, digest, ok, output, output_type, error::jsonb,
       attempts, started_ms, took_ms
FROM unnest(
    %(runs)s::uuid[], %(seqs)s::int[], %(positions)s::text[], %(kinds)s::text[], %(names)s::text[],
    %(afters)s::int[], %(digests)s::text[], %(oks)s::bool[], %(outputs)s::text[],
    %(output_types)s::text[], %(errors)s::text[], %(attempts)s::int[], %(started)s::bigint[],
    %(took)s::bigint[]
) AS e (run_id, seq, position, kind, name, after, digest, ok, output, output_type, error, attempts,
        started_ms, took_ms)
ON CONFLICT (run_id, seq) DO NOTHING
