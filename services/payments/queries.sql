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
UPDATE payment_events SET status = 'minted', minted_coin_event_id = sqlc.arg(coin_event)::bigint, verified_at = COALESCE(verified_at, sqlc.arg(now)::timestamptz), updated_at = sqlc.arg(now)::timestamptz
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
