-- name: OpenAccount :exec
INSERT INTO coin_accounts (account_key, user_id) VALUES ('user:' || sqlc.arg(user_id)::bigint, sqlc.arg(user_id)::bigint)
ON CONFLICT DO NOTHING;

-- name: Balance :one
SELECT balance_cents FROM coin_accounts WHERE user_id = sqlc.arg(user_id)::bigint;

-- name: LockAccounts :many
-- Always in the same order, so that two transfers between the same two people
-- never wait for each other.
SELECT account_key, status, balance_cents FROM coin_accounts
WHERE account_key = ANY(sqlc.arg(keys)::text[])
ORDER BY account_key FOR NO KEY UPDATE;

-- name: InsertEvent :one
-- No row: the key is taken. The time is the database's, taken when the accounts
-- are locked: in one account, later entries have later times, on every node.
INSERT INTO coin_events (id, event_type, created_by, idempotency_key, metadata, note, entry_count)
VALUES (sqlc.arg(id), sqlc.arg(event_type), sqlc.narg(created_by), sqlc.narg(idempotency_key), sqlc.arg(metadata), sqlc.arg(note), sqlc.arg(entry_count))
ON CONFLICT (idempotency_key) DO NOTHING
RETURNING occurred_at;

-- name: InsertEntries :exec
INSERT INTO coin_entries (id, event_id, account_key, amount_cents, currency, direction, created_at)
SELECT unnest(sqlc.arg(ids)::bigint[]), sqlc.arg(event_id)::bigint, unnest(sqlc.arg(accounts)::text[]), unnest(sqlc.arg(amounts)::bigint[]),
       sqlc.arg(currency)::text, unnest(sqlc.arg(directions)::text[]), sqlc.arg(created_at)::timestamptz;

-- name: Minted :one
SELECT e.id, e.event_type, c.account_key, c.amount_cents
FROM coin_events e JOIN coin_entries c ON c.event_id = e.id AND c.direction = 'CREDIT'
WHERE e.idempotency_key = sqlc.arg(idempotency_key)::text;

-- name: Entries :many
SELECT c.id, c.event_id, e.event_type, e.occurred_at, c.account_key, c.amount_cents, c.currency, c.direction, e.note,
       e.metadata AS event_metadata, c.metadata, c.created_at
FROM coin_entries c JOIN coin_events e ON e.id = c.event_id
WHERE c.account_key = sqlc.arg(account)::text
  AND (c.created_at, c.id) > (sqlc.arg(at)::timestamptz, sqlc.arg(after)::bigint)
ORDER BY c.created_at, c.id
LIMIT sqlc.arg(most)::integer;

-- name: EntryPosition :one
SELECT created_at FROM coin_entries WHERE id = sqlc.arg(id) AND account_key = sqlc.arg(account);

-- name: Entitlements :many
SELECT key, active_until FROM coin_entitlements WHERE user_id = sqlc.arg(user_id) AND key = ANY(sqlc.arg(keys)::text[]);

-- name: Check :one
-- One statement, so that it sees one moment of a ledger that is written to: a
-- mint and its payment are of one transaction. This is the one place where the
-- ledger looks at payments.
WITH mints AS (
    SELECT e.id, count(p.id) AS payments, count(p.id) FILTER (WHERE p.status = 'minted') AS minted
    FROM coin_events e LEFT JOIN payment_events p ON p.minted_coin_event_id = e.id
    WHERE e.event_type = 'mint' GROUP BY e.id
), sums AS (
    SELECT account_key, sum(CASE direction WHEN 'CREDIT' THEN amount_cents ELSE -amount_cents END) AS total
    FROM coin_entries GROUP BY account_key
)
SELECT
    (SELECT count(*) FROM mints) AS mint_events,
    (SELECT count(*) FROM mints WHERE payments = 0) AS mint_events_without_payment_event,
    (SELECT count(*) FROM mints WHERE payments > 0 AND minted = 0) AS mint_events_with_non_minted_payment_event,
    (SELECT count(*) FROM payment_events p JOIN coin_events e ON e.id = p.minted_coin_event_id
        WHERE e.event_type <> 'mint') AS payment_events_linked_to_non_mint_event,
    (SELECT count(*) FROM (SELECT 1 FROM coin_entries GROUP BY event_id, currency
        HAVING sum(CASE direction WHEN 'CREDIT' THEN amount_cents ELSE -amount_cents END) <> 0) g) AS unbalanced_event_groups,
    (SELECT count(*) FROM coin_entries c LEFT JOIN coin_accounts a USING (account_key) WHERE a.account_key IS NULL) AS unknown_account_entries,
    (SELECT count(*) FROM coin_entries c JOIN coin_accounts a USING (account_key)
        WHERE a.status = 'suspended' AND NOT a.is_system) AS suspended_account_entries,
    (SELECT count(*) FROM coin_entries c JOIN coin_accounts a USING (account_key)
        WHERE a.status = 'suspended' AND NOT a.is_system AND c.created_at > a.suspended_at) AS entries_since_suspension,
    (SELECT count(*) FROM coin_accounts a LEFT JOIN sums s USING (account_key)
        WHERE NOT a.is_system AND a.balance_cents <> coalesce(s.total, 0)) AS stored_balance_mismatches;

-- name: CountAccounts :one
SELECT count(*) FILTER (WHERE NOT is_system) AS accounts, count(*) FILTER (WHERE status = 'suspended') AS suspended,
       coalesce(sum(balance_cents), 0)::bigint AS held
FROM coin_accounts;

-- name: CountEvents :many
SELECT event_type, count(*) AS events FROM coin_events GROUP BY event_type ORDER BY event_type;

-- name: TotalMinted :one
-- By the index of an account's entries.
SELECT coalesce(sum(amount_cents), 0)::bigint AS minted FROM coin_entries WHERE account_key = 'system:mint' AND direction = 'DEBIT';

-- name: NoteCheck :exec
INSERT INTO coin_checks (started_at, finished_at, report) VALUES (sqlc.arg(started_at), sqlc.arg(finished_at), sqlc.arg(report))
ON CONFLICT (one) DO UPDATE SET started_at = excluded.started_at, finished_at = excluded.finished_at, report = excluded.report;

-- name: LastCheck :one
SELECT started_at, finished_at, report FROM coin_checks;
