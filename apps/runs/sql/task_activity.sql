-- Samples what became of each task's runs, period by period: the newest `most` of each.
-- Tables: runs_run (read, by run_newest_of_task). Parameters: environment uuid, tasks text[],
-- edges uuid[] (the ids at which periods begin and the last ends), most integer. `oldest` is the
-- lowest id that was looked at: when `most` were, the period has more runs than that.
SELECT
    task.slug AS task,
    period.number AS period,
    sample.status,
    count(*) AS runs,
    min(sample.id::text)::uuid AS oldest,
    avg(extract(epoch FROM sample.finished_at - sample.started_at))
        FILTER (WHERE sample.status = 'COMPLETED')::float AS seconds
FROM unnest(%(tasks)s::text[]) AS task (slug)
CROSS JOIN generate_series(1, cardinality(%(edges)s::uuid[]) - 1) AS period (number)
CROSS JOIN LATERAL (
    SELECT id, status, started_at, finished_at
    FROM runs_run
    WHERE environment_id = %(environment)s::uuid
      AND task = task.slug
      AND id >= (%(edges)s::uuid[])[period.number]
      AND id < (%(edges)s::uuid[])[period.number + 1]
    ORDER BY id DESC
    LIMIT %(most)s::integer
) AS sample
GROUP BY task.slug, period.number, sample.status
