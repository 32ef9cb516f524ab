-- name: ActivePlans :many
SELECT id, name, price_cents, "interval", features, is_active, external_price_id, created_at
FROM payment_plans WHERE is_active ORDER BY created_at DESC, id DESC LIMIT 1000;

-- name: Plan :one
SELECT id, name, price_cents, "interval", features, is_active, external_price_id, created_at
FROM payment_plans WHERE id = sqlc.arg(id) AND is_active;

-- name: Subscriptions :many
-- Those of a user, or one of them.
SELECT s.id, s.status, s.current_period_start, s.current_period_end, s.external_subscription_id, s.created_at, s.updated_at,
       s.plan_id, p.name AS plan_name, p.price_cents AS plan_price_cents, p."interval" AS plan_interval, p.features AS plan_features, p.is_active AS plan_is_active
FROM payment_subscriptions s JOIN payment_plans p ON p.id = s.plan_id
WHERE s.user_id = sqlc.arg(user_id) AND (sqlc.narg(id)::bigint IS NULL OR s.id = sqlc.narg(id)::bigint)
ORDER BY s.created_at DESC, s.id DESC LIMIT 1000;

-- name: TouchSubscription :execrows
UPDATE payment_subscriptions SET updated_at = sqlc.arg(now) WHERE id = sqlc.arg(id) AND user_id = sqlc.arg(user_id);

-- name: DeleteSubscription :execrows
DELETE FROM payment_subscriptions WHERE id = sqlc.arg(id) AND user_id = sqlc.arg(user_id);

-- name: UserSubscriptions :many
-- The user's own wallet is locked before, so nobody else changes them.
SELECT id, plan_id, status FROM payment_subscriptions WHERE user_id = sqlc.arg(user_id) ORDER BY created_at DESC, id DESC;

-- name: InsertSubscription :exec
INSERT INTO payment_subscriptions (id, user_id, plan_id, created_at, updated_at)
VALUES (sqlc.arg(id), sqlc.arg(user_id), sqlc.arg(plan_id), sqlc.arg(now), sqlc.arg(now));

-- name: AimSubscription :exec
UPDATE payment_subscriptions SET plan_id = sqlc.arg(plan_id), status = 'incomplete', updated_at = sqlc.arg(now) WHERE id = sqlc.arg(id);

-- name: EnsureWallet :exec
INSERT INTO payment_wallets (id, user_id, created_at, updated_at)
VALUES (sqlc.arg(id), sqlc.arg(user_id), sqlc.arg(now), sqlc.arg(now)) ON CONFLICT (user_id) DO NOTHING;

-- name: Wallet :one
SELECT id, balance_cents, external_customer_id, created_at, updated_at FROM payment_wallets WHERE user_id = sqlc.arg(user_id);

-- name: LockWallet :exec
SELECT 1 FROM payment_wallets WHERE user_id = sqlc.arg(user_id) FOR UPDATE;

-- name: SetCustomer :exec
-- The first customer stays, and nobody gets another's.
UPDATE payment_wallets w SET external_customer_id = sqlc.arg(customer)::text, updated_at = sqlc.arg(now)
WHERE w.user_id = sqlc.arg(user_id) AND w.external_customer_id IS NULL
  AND NOT EXISTS (SELECT 1 FROM payment_wallets o WHERE o.external_customer_id = sqlc.arg(customer)::text);

-- name: InsertCheckout :exec
INSERT INTO payment_checkouts (id, provider, reference, user_id, amount_cents, currency, created_at, updated_at)
VALUES (sqlc.arg(id), sqlc.arg(provider), sqlc.arg(reference), sqlc.arg(user_id), sqlc.arg(amount_cents), sqlc.arg(currency), sqlc.arg(now), sqlc.arg(now));

-- name: BindCheckout :exec
UPDATE payment_checkouts SET provider_reference = sqlc.arg(provider_reference), updated_at = sqlc.arg(now) WHERE id = sqlc.arg(id);

-- name: FailCheckout :exec
-- One that was paid in the meantime stays paid.
UPDATE payment_checkouts SET status = 'failed', updated_at = sqlc.arg(now) WHERE id = sqlc.arg(id) AND status = 'created';

-- name: LockCheckout :one
SELECT id, user_id, amount_cents, currency, status FROM payment_checkouts
WHERE provider = sqlc.arg(provider) AND reference = sqlc.arg(reference) FOR UPDATE;

-- name: PayCheckout :exec
UPDATE payment_checkouts SET status = 'paid', updated_at = sqlc.arg(now) WHERE id = sqlc.arg(id) AND status <> 'paid';

-- name: NoteIntent :exec
UPDATE payment_checkouts SET payment_intent = sqlc.arg(payment_intent)::text WHERE id = sqlc.arg(id) AND payment_intent IS NULL;

-- name: AdoptNotices :exec
-- Refunds that came before what they refund.
UPDATE payment_notices SET checkout_id = sqlc.arg(checkout_id)::bigint
WHERE provider = sqlc.arg(provider) AND payment_intent = sqlc.arg(payment_intent)::text AND checkout_id IS NULL;

-- name: InsertEvent :execrows
INSERT INTO payment_events (id, provider, provider_event_id, event_type, user_id, checkout_id, amount_cents, currency, status, raw_body_hash, verified_at, created_at, updated_at)
VALUES (sqlc.arg(id), sqlc.arg(provider), sqlc.arg(provider_event_id), sqlc.arg(event_type), sqlc.arg(user_id), sqlc.arg(checkout_id), sqlc.arg(amount_cents),
        sqlc.arg(currency), sqlc.arg(status), sqlc.arg(raw_body_hash), sqlc.arg(now)::timestamptz, sqlc.arg(now)::timestamptz, sqlc.arg(now)::timestamptz)
ON CONFLICT (provider, provider_event_id) DO NOTHING;

-- name: LockEvent :one
SELECT id, user_id, checkout_id, amount_cents, currency, status FROM payment_events
WHERE provider = sqlc.arg(provider) AND provider_event_id = sqlc.arg(provider_event_id) FOR UPDATE;

-- name: FailEvent :exec
UPDATE payment_events SET status = 'failed', updated_at = sqlc.arg(now) WHERE id = sqlc.arg(id) AND status = 'received';

-- name: MintEvent :exec
UPDATE payment_events SET status = 'minted', refused = NULL, minted_coin_event_id = sqlc.arg(coin_event)::bigint, verified_at = COALESCE(verified_at, sqlc.arg(now)::timestamptz), updated_at = sqlc.arg(now)::timestamptz
WHERE id = sqlc.arg(id);

-- name: InsertNotice :execrows
INSERT INTO payment_notices (provider, provider_event_id, event_type, subscription_id, checkout_id, payment_intent, amount_cents, currency, raw_body_hash, happened_at, created_at)
VALUES (sqlc.arg(provider), sqlc.arg(provider_event_id), sqlc.arg(event_type), sqlc.narg(subscription_id), sqlc.narg(checkout_id), sqlc.narg(payment_intent),
        sqlc.narg(amount_cents), sqlc.narg(currency), sqlc.arg(raw_body_hash), sqlc.arg(happened_at), sqlc.arg(now))
ON CONFLICT (provider, provider_event_id) DO NOTHING;

-- name: Noticed :one
SELECT EXISTS (SELECT 1 FROM payment_notices WHERE provider = sqlc.arg(provider) AND provider_event_id = sqlc.arg(provider_event_id));

-- name: CheckoutOfIntent :one
SELECT id FROM payment_checkouts WHERE provider = sqlc.arg(provider) AND payment_intent = sqlc.arg(payment_intent)::text LIMIT 1;

-- name: LockSubscription :one
SELECT id, user_id, plan_id, status, external_subscription_id, told_at, updated_at FROM payment_subscriptions
WHERE id = sqlc.arg(id) FOR UPDATE;

-- name: LockExternalSubscription :one
SELECT id, user_id, plan_id, status, external_subscription_id, told_at, updated_at FROM payment_subscriptions
WHERE external_subscription_id = sqlc.arg(external_id)::text ORDER BY id DESC LIMIT 1 FOR UPDATE;

-- name: TellSubscription :exec
UPDATE payment_subscriptions SET
    status = sqlc.arg(status), external_subscription_id = sqlc.arg(external_id)::text,
    external_customer_id = COALESCE(sqlc.narg(customer), external_customer_id),
    current_period_start = COALESCE(sqlc.narg(period_start), current_period_start),
    current_period_end = COALESCE(sqlc.narg(period_end), current_period_end),
    told_at = sqlc.arg(told_at)::timestamptz, updated_at = sqlc.arg(now)
WHERE id = sqlc.arg(id);

-- name: MovePlan :exec
-- To the plan that was paid for, unless another subscription of the user has it.
UPDATE payment_subscriptions s SET plan_id = sqlc.arg(plan_id)
WHERE s.id = sqlc.arg(id) AND s.plan_id <> sqlc.arg(plan_id)
  AND EXISTS (SELECT 1 FROM payment_plans WHERE payment_plans.id = sqlc.arg(plan_id))
  AND NOT EXISTS (SELECT 1 FROM payment_subscriptions o WHERE o.user_id = s.user_id AND o.plan_id = sqlc.arg(plan_id));

-- name: RefuseEvent :exec
UPDATE payment_events SET refused = sqlc.arg(why)::text, updated_at = sqlc.arg(now) WHERE id = sqlc.arg(id) AND status = 'received';

-- name: UncreditedEvents :one
-- Payments that the ledger refused, and that nothing has credited since.
SELECT count(*) AS events, coalesce(min(created_at), now())::timestamptz AS oldest, coalesce(max(refused), '')::text AS why
FROM (SELECT e.created_at, e.refused FROM payment_events e LEFT JOIN payment_checkouts c ON c.id = e.checkout_id
      WHERE e.refused IS NOT NULL AND e.status = 'received' AND c.status IS DISTINCT FROM 'paid'
      ORDER BY e.created_at LIMIT 1000) r;

-- name: DayCheckouts :many
SELECT status, currency, count(*) AS checkouts, sum(amount_cents)::bigint AS cents
FROM payment_checkouts WHERE created_at >= sqlc.arg(since)::timestamptz GROUP BY 1, 2 ORDER BY 1, 2 LIMIT 200;

-- name: DayEvents :many
-- What became of the events of a day.
SELECT event_type, outcome::text AS outcome, sum(n)::bigint AS events FROM (
    SELECT event_type, CASE WHEN status = 'received' AND refused IS NOT NULL THEN 'refused' ELSE status END AS outcome, count(*) AS n
    FROM payment_events WHERE created_at >= sqlc.arg(since)::timestamptz GROUP BY 1, 2
    UNION ALL
    SELECT event_type, 'noted', count(*) FROM payment_notices WHERE created_at >= sqlc.arg(since)::timestamptz GROUP BY 1
) d GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT 200;

-- name: CountSubscriptions :many
SELECT status, count(*) AS subscriptions FROM payment_subscriptions GROUP BY 1 ORDER BY 1;

-- name: NewestCheckouts :many
SELECT id, provider, reference, user_id, amount_cents, currency, status, created_at, updated_at
FROM payment_checkouts WHERE id < sqlc.arg(after) ORDER BY id DESC LIMIT sqlc.arg(most);

-- name: NewestCheckoutsOf :many
SELECT id, provider, reference, user_id, amount_cents, currency, status, created_at, updated_at
FROM payment_checkouts WHERE status = sqlc.arg(status) AND id < sqlc.arg(after) ORDER BY id DESC LIMIT sqlc.arg(most);

-- name: NewestEvents :many
-- Both kinds of events in one order; each half is read by its index.
SELECT provider, provider_event_id, event_type, outcome::text AS outcome, refused::text AS refused, user_id::bigint AS user_id, reference::text AS reference, cents::bigint AS cents, currency::text AS currency, created_at FROM (
    (SELECT e.provider, e.provider_event_id, e.event_type, CASE WHEN e.status = 'received' AND e.refused IS NOT NULL THEN 'refused' ELSE e.status END AS outcome,
            coalesce(e.refused, '') AS refused, e.user_id, coalesce(c.reference, '') AS reference, e.amount_cents::bigint AS cents, e.currency, e.created_at
     FROM payment_events e LEFT JOIN payment_checkouts c ON c.id = e.checkout_id
     WHERE (e.created_at, e.provider_event_id) < (sqlc.arg(at)::timestamptz, sqlc.arg(after)::text)
     ORDER BY e.created_at DESC, e.provider_event_id DESC LIMIT sqlc.arg(most))
    UNION ALL
    (SELECT n.provider, n.provider_event_id, n.event_type, 'noted', '', coalesce(s.user_id, c.user_id, 0), coalesce(c.reference, ''),
            coalesce(n.amount_cents, 0), coalesce(n.currency, ''), n.created_at
     FROM payment_notices n LEFT JOIN payment_subscriptions s ON s.id = n.subscription_id LEFT JOIN payment_checkouts c ON c.id = n.checkout_id
     WHERE (n.created_at, n.provider_event_id) < (sqlc.arg(at)::timestamptz, sqlc.arg(after)::text)
     ORDER BY n.created_at DESC, n.provider_event_id DESC LIMIT sqlc.arg(most))
) b ORDER BY created_at DESC, provider_event_id DESC LIMIT sqlc.arg(most);

-- name: LastEvent :one
-- When the newest event came that was stored; no row: none ever did.
SELECT max(created_at)::timestamptz AS at FROM (
    (SELECT created_at FROM payment_events ORDER BY created_at DESC LIMIT 1) UNION ALL
    (SELECT created_at FROM payment_notices ORDER BY created_at DESC LIMIT 1)
) l HAVING count(*) > 0;
