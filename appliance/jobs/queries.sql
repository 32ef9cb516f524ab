-- name: Insert :execrows
INSERT INTO jobs (id, kind, queue, state, priority, args, unique_key, retain, request_id, run_at)
VALUES (@id, @kind, @queue, @state, @priority, @args, @unique_key, make_interval(secs => @retain_seconds::float8), @request_id, COALESCE(sqlc.narg(run_at)::timestamptz, now()))
ON CONFLICT (kind, unique_key) WHERE unique_key IS NOT NULL AND finished_at IS NULL DO NOTHING;

-- name: InsertMany :exec
INSERT INTO jobs (id, kind, queue, state, priority, args, retain, request_id, run_at)
SELECT unnest(@ids::uuid[]), @kind, @queue, 'queued', @priority, unnest(@args::jsonb[]), make_interval(secs => @retain_seconds::float8), sqlc.narg(request_id)::text, now();

-- name: FindUnique :one
SELECT id FROM jobs WHERE kind = @kind AND unique_key = @unique_key::text AND finished_at IS NULL;

-- name: Claim :many
-- The claim need not survive a crash of Postgres: a lost one leaves the job
-- queued, and completing it without the claim fails. So it does not wait for
-- the disk (the setting ends with the statement's own transaction).
WITH relaxed AS MATERIALIZED (
    SELECT set_config('synchronous_commit', 'off', true) AS setting
)
UPDATE jobs
SET state = 'running', run = run + 1, attempt = attempt + 1, claimed_by = @instance, node = @node::text, started_at = clock_timestamp()
FROM relaxed
WHERE id = ANY(@ids::uuid[]) AND state = 'queued' AND relaxed.setting = 'off'
RETURNING id, kind, run, attempt, crashes, cancel_requested, args, run_at;

-- name: Claimed :many
-- What this process has claimed of ids: for when a claim's answer was lost.
SELECT id, kind, run, attempt, crashes, cancel_requested, args, run_at
FROM jobs WHERE id = ANY(@ids::uuid[]) AND state = 'running' AND claimed_by = @instance;

-- name: SucceedMany :many
UPDATE jobs
SET state = 'succeeded', finished_at = now(), claimed_by = NULL, cancel_requested = false
FROM (SELECT unnest(@ids::uuid[]) AS id, unnest(@runs::int[]) AS run) AS done
WHERE jobs.id = done.id AND jobs.run = done.run AND state = 'running' AND claimed_by = @instance
RETURNING jobs.id;

-- name: Succeed :execrows
UPDATE jobs
SET state = 'succeeded', finished_at = now(), claimed_by = NULL, cancel_requested = false, result = @result
WHERE id = @id AND run = @run AND state = 'running' AND claimed_by = @instance;

-- name: Retry :execrows
UPDATE jobs
SET state = 'retrying', claimed_by = NULL, run_at = now() + make_interval(secs => @wait_seconds::float8), failures = failures || @failure::jsonb
WHERE id = @id AND run = @run AND state = 'running' AND claimed_by = @instance AND NOT cancel_requested;

-- name: Finish :execrows
UPDATE jobs
SET state = @state, finished_at = now(), claimed_by = NULL, cancel_requested = false, failures = failures || @failure::jsonb
WHERE id = @id AND run = @run AND state = 'running' AND claimed_by = @instance;

-- name: PutOff :execrows
-- A job that has ended but whose end could not be written.
UPDATE jobs
SET state = 'retrying', claimed_by = NULL, run_at = now() + make_interval(secs => @wait_seconds::float8)
WHERE id = @id AND run = @run AND state = 'running' AND claimed_by = @instance;

-- name: HandBack :many
-- Jobs that were interrupted, not failed: the attempt does not count. crashed
-- is 1 when something broke under the job, which is counted apart.
UPDATE jobs
SET state = CASE WHEN @wait_seconds::float8 > 0 THEN 'retrying' ELSE 'queued' END,
    attempt = attempt - 1, crashes = crashes + @crashed::int, claimed_by = NULL, started_at = NULL,
    run_at = now() + make_interval(secs => @wait_seconds::float8)
FROM (SELECT unnest(@ids::uuid[]) AS id, unnest(@runs::int[]) AS run) AS back
WHERE jobs.id = back.id AND jobs.run = back.run AND state = 'running' AND claimed_by = @instance
RETURNING jobs.id, jobs.queue, jobs.priority, jobs.run;

-- name: Due :many
UPDATE jobs SET state = 'queued'
WHERE id IN (
    SELECT d.id FROM jobs AS d
    WHERE d.state IN ('scheduled', 'retrying') AND d.run_at <= now()
    ORDER BY d.run_at LIMIT @most FOR UPDATE SKIP LOCKED
)
RETURNING id, queue, priority, run;

-- name: NextDue :one
SELECT (extract(epoch FROM run_at - now()))::float8 AS seconds
FROM jobs WHERE state IN ('scheduled', 'retrying') ORDER BY run_at LIMIT 1;

-- name: Waiting :many
SELECT id, priority FROM jobs
WHERE queue = @queue AND state = 'queued' AND id > @after AND run_at <= now() - make_interval(secs => @grace_seconds::float8)
ORDER BY id LIMIT @most;

-- name: OldestWaiting :many
SELECT q.queue::text AS queue, (extract(epoch FROM now() - j.run_at))::float8 AS seconds
FROM unnest(@queues::text[]) AS q(queue)
CROSS JOIN LATERAL (
    SELECT run_at FROM jobs WHERE jobs.queue = q.queue AND state = 'queued' ORDER BY jobs.id LIMIT 1
) AS j;

-- name: Beat :exec
INSERT INTO job_instances (id, host, pid, place, born) VALUES (@id, @host, @pid, @place, @born)
ON CONFLICT (id) DO UPDATE SET seen_at = now();

-- name: Farewell :exec
DELETE FROM job_instances WHERE id = @id;

-- name: OtherInstances :many
SELECT id, pid, place, born, (seen_at < now() - make_interval(secs => @silence_seconds::float8))::bool AS silent
FROM job_instances WHERE id <> @self;

-- name: Orphans :many
-- Running jobs of processes that are gone for good. The end of a process is
-- counted apart from failures, but counted: a job that kills its process must
-- not do so for ever.
UPDATE jobs
SET state = 'queued', claimed_by = NULL, run_at = now(), attempt = attempt - 1, crashes = crashes + 1,
    failures = failures || jsonb_build_array(jsonb_build_object('attempt', attempt, 'at', now(), 'error', 'the process that ran it ended',
        'duration_ms', (extract(epoch FROM now() - started_at) * 1000)::bigint))
WHERE id IN (
    SELECT o.id FROM jobs AS o
    WHERE o.state = 'running' AND o.claimed_by <> @self
      AND (@sole::bool OR o.claimed_by = ANY(@dead::uuid[])
           OR NOT EXISTS (SELECT 1 FROM job_instances AS i WHERE i.id = o.claimed_by))
    LIMIT @most FOR UPDATE SKIP LOCKED
)
RETURNING id, queue, priority, run;

-- name: ForgetInstances :exec
DELETE FROM job_instances WHERE id = ANY(@ids::uuid[]);

-- name: Mine :many
SELECT id, run, cancel_requested FROM jobs WHERE state = 'running' AND claimed_by = @instance;

-- name: CancelWaiting :execrows
UPDATE jobs SET state = 'cancelled', finished_at = now()
WHERE id = @id AND state IN ('queued', 'scheduled', 'retrying');

-- name: RequestCancel :execrows
UPDATE jobs SET cancel_requested = true WHERE id = @id AND state = 'running';

-- name: RequestEnd :one
-- Cancels a waiting job whose farewell only another process knows: that one
-- claims it and ends it instead of running it.
UPDATE jobs SET cancel_requested = true, state = 'queued', run_at = now()
WHERE id = @id AND state IN ('queued', 'scheduled', 'retrying')
RETURNING queue, priority, run;

-- name: RetryNow :one
UPDATE jobs
SET state = 'queued', attempt = 0, crashes = 0, run_at = now(), finished_at = NULL, cancel_requested = false, result = NULL
WHERE id = @id AND state IN ('dead', 'cancelled', 'retrying', 'scheduled')
RETURNING queue, priority, run;

-- name: Show :one
SELECT id, kind, queue, state, priority, attempt, args, result, failures, last_error, unique_key, request_id, claimed_by, node, cancel_requested, created_at, run_at, started_at, finished_at
FROM jobs WHERE id = @id;

-- name: ByRequest :many
SELECT id, kind, queue, state, priority, attempt, args, result, failures, last_error, unique_key, request_id, claimed_by, node, cancel_requested, created_at, run_at, started_at, finished_at
FROM jobs WHERE request_id = @request_id::text ORDER BY id LIMIT @most;

-- name: State :one
SELECT state FROM jobs WHERE id = @id;

-- name: Counts :many
SELECT queue, kind, state, count(*) AS jobs
FROM jobs WHERE finished_at IS NULL OR state = 'dead'
GROUP BY queue, kind, state;

-- name: RecentlyDead :many
SELECT kind, count(*) AS jobs FROM jobs
WHERE state = 'dead' AND finished_at > now() - make_interval(secs => @seconds::float8)
GROUP BY kind ORDER BY count(*) DESC, kind LIMIT 10;

-- name: Purge :execrows
DELETE FROM jobs WHERE id IN (
    SELECT p.id FROM jobs AS p
    WHERE p.finished_at IS NOT NULL AND p.finished_at < now() - p.retain
    ORDER BY p.finished_at LIMIT @most FOR UPDATE SKIP LOCKED
);

-- name: Pauses :many
SELECT queue, paused_by, paused_at FROM job_pauses ORDER BY queue;

-- name: PauseQueue :exec
-- Who paused it first stays the one who did.
INSERT INTO job_pauses (queue, paused_by) VALUES (@queue, @paused_by) ON CONFLICT (queue) DO NOTHING;

-- name: ResumeQueue :execrows
DELETE FROM job_pauses WHERE queue = @queue;

-- name: AskedToEnd :many
-- Jobs of a paused queue that a process without their handler cancelled.
SELECT id FROM jobs WHERE queue = @queue AND state = 'queued' AND cancel_requested ORDER BY id LIMIT @most;

-- name: CountWaiting :many
-- Up to most of each queue. The queues are found by jumps in their index, so
-- that one without workers here is seen too.
WITH RECURSIVE names AS (
    (SELECT queue FROM jobs WHERE state = 'queued' ORDER BY queue LIMIT 1)
    UNION ALL
    SELECT (SELECT j.queue FROM jobs AS j WHERE j.state = 'queued' AND j.queue > names.queue ORDER BY j.queue LIMIT 1)
    FROM names WHERE names.queue IS NOT NULL
)
SELECT n.queue::text AS queue, w.kind::text AS kind, count(*) AS jobs
FROM names AS n
CROSS JOIN LATERAL (
    SELECT kind FROM jobs WHERE jobs.queue = n.queue AND state = 'queued' LIMIT @most
) AS w
WHERE n.queue IS NOT NULL
GROUP BY n.queue, w.kind;

-- name: CountUnfinished :many
-- Up to most of each state. Every part reads the index of its state alone.
SELECT queue, kind, state, count(*) AS jobs FROM (
    (SELECT queue, kind, state FROM jobs WHERE state = 'running' LIMIT @most)
    UNION ALL
    (SELECT queue, kind, state FROM jobs WHERE state IN ('scheduled', 'retrying') LIMIT @most)
    UNION ALL
    (SELECT queue, kind, state FROM jobs WHERE state = 'dead' LIMIT @most)
    UNION ALL
    (SELECT queue, kind, state FROM jobs WHERE state = 'cancelled' LIMIT @most)
) AS j
GROUP BY queue, kind, state;

-- name: CountFinished :one
-- All that have ended in whatever way: their index alone answers that.
SELECT count(*) FROM (SELECT 1 FROM jobs WHERE finished_at IS NOT NULL LIMIT @most) AS j;

-- name: RecentlyFinished :many
-- The last finished jobs of a minute, most of them at most, and how far back
-- they reach.
SELECT queue, kind, state, count(*) AS jobs, (extract(epoch FROM now() - min(finished_at)))::float8 AS seconds
FROM (
    SELECT queue, kind, state, finished_at FROM jobs
    WHERE finished_at IS NOT NULL AND finished_at > now() - interval '1 minute'
    ORDER BY finished_at DESC LIMIT @most
) AS j
GROUP BY queue, kind, state;

-- name: DeadErrors :many
-- The first words of the last error of the newest dead jobs.
SELECT id, kind, finished_at, left(COALESCE(last_error, ''), @length::int)::text AS error
FROM jobs WHERE state = 'dead' ORDER BY id DESC LIMIT @most;

-- name: Delete :execrows
DELETE FROM jobs WHERE id = @id AND state IN ('succeeded', 'dead', 'cancelled');

-- name: DeleteMany :execrows
DELETE FROM jobs WHERE id IN (
    SELECT d.id FROM jobs AS d
    WHERE d.id = ANY(@ids::uuid[]) AND d.state IN ('succeeded', 'dead', 'cancelled')
    ORDER BY d.id FOR UPDATE SKIP LOCKED
);

-- name: RetryMany :many
UPDATE jobs
SET state = 'queued', attempt = 0, crashes = 0, run_at = now(), finished_at = NULL, cancel_requested = false, result = NULL
WHERE id IN (
    SELECT d.id FROM jobs AS d
    WHERE d.id = ANY(@ids::uuid[]) AND d.state IN ('dead', 'cancelled', 'retrying', 'scheduled')
    ORDER BY d.id FOR UPDATE SKIP LOCKED
)
RETURNING id, queue, priority, run;

-- name: CancelWaitingMany :many
UPDATE jobs SET state = 'cancelled', finished_at = now()
WHERE id IN (
    SELECT d.id FROM jobs AS d
    WHERE d.id = ANY(@ids::uuid[]) AND d.state IN ('queued', 'scheduled', 'retrying')
    ORDER BY d.id FOR UPDATE SKIP LOCKED
)
RETURNING id;

-- name: RequestEndMany :many
UPDATE jobs SET cancel_requested = true, state = 'queued', run_at = now()
WHERE id IN (
    SELECT d.id FROM jobs AS d
    WHERE d.id = ANY(@ids::uuid[]) AND d.state IN ('queued', 'scheduled', 'retrying')
    ORDER BY d.id FOR UPDATE SKIP LOCKED
)
RETURNING id, queue, priority, run;

-- name: RequestCancelMany :many
UPDATE jobs SET cancel_requested = true
WHERE id IN (
    SELECT d.id FROM jobs AS d
    WHERE d.id = ANY(@ids::uuid[]) AND d.state = 'running'
    ORDER BY d.id FOR UPDATE SKIP LOCKED
)
RETURNING id;

-- name: Backlog :one
-- By the index of unfinished keys.
SELECT count(*) AS unfinished, count(*) FILTER (WHERE state = 'retrying') AS retrying, coalesce(min(created_at), now())::timestamptz AS oldest
FROM (SELECT state, created_at FROM jobs WHERE kind = @kind AND unique_key IS NOT NULL AND finished_at IS NULL LIMIT @most) b;
