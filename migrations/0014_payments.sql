-- +goose Up

-- What people can subscribe to.
CREATE TABLE payment_plans (
    id                bigint      PRIMARY KEY,
    name              text        NOT NULL CONSTRAINT payment_plans_name_key UNIQUE CHECK (length(name) BETWEEN 1 AND 64),
    price_cents       integer     NOT NULL CHECK (price_cents >= 0),
    "interval"        text        NOT NULL DEFAULT 'month' CHECK (length("interval") <= 16),
    features          jsonb       NOT NULL DEFAULT '{}',
    is_active         boolean     NOT NULL DEFAULT true,
    external_price_id text        CHECK (length(external_price_id) BETWEEN 1 AND 96), -- at Stripe; null: nothing to pay there
    created_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at        timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE payment_subscriptions (
    id                       bigint      PRIMARY KEY,
    user_id                  bigint      NOT NULL REFERENCES users ON DELETE CASCADE,
    plan_id                  bigint      NOT NULL REFERENCES payment_plans ON DELETE RESTRICT,
    status                   text        NOT NULL DEFAULT 'incomplete' CHECK (status IN ('active', 'canceled', 'incomplete', 'past_due')),
    current_period_start     timestamptz,
    current_period_end       timestamptz,
    external_customer_id     text        CHECK (length(external_customer_id) <= 96),
    external_subscription_id text        CHECK (length(external_subscription_id) <= 96),
    -- When the newest news of the provider was made, so that older news that
    -- comes later changes nothing.
    told_at                  timestamptz,
    created_at               timestamptz NOT NULL,
    updated_at               timestamptz NOT NULL,
    CONSTRAINT payment_subscriptions_plan_key UNIQUE (user_id, plan_id)
);
CREATE INDEX payment_subscriptions_external ON payment_subscriptions (external_subscription_id) WHERE external_subscription_id IS NOT NULL;

-- Who somebody is to the provider. The balance is a relic that clients show; it
-- is always zero, money is in the ledger.
CREATE TABLE payment_wallets (
    id                   bigint      PRIMARY KEY,
    user_id              bigint      NOT NULL CONSTRAINT payment_wallets_user_key UNIQUE REFERENCES users ON DELETE CASCADE,
    balance_cents        integer     NOT NULL DEFAULT 0 CHECK (balance_cents = 0),
    external_customer_id text        CONSTRAINT payment_wallets_customer_key UNIQUE CHECK (length(external_customer_id) BETWEEN 1 AND 96),
    created_at           timestamptz NOT NULL,
    updated_at           timestamptz NOT NULL
);

-- One wish to buy coins. Its row is locked by whoever settles it.
CREATE TABLE payment_checkouts (
    id                 bigint      PRIMARY KEY,
    provider           text        NOT NULL CHECK (provider IN ('stripe', 'ipay', 'btcpay', 'apple_iap', 'google_iap')),
    reference          text        NOT NULL CONSTRAINT payment_checkouts_reference_key UNIQUE CHECK (length(reference) BETWEEN 1 AND 64),
    provider_reference text        CHECK (length(provider_reference) <= 255),
    payment_intent     text        CHECK (length(payment_intent) <= 255), -- by which refunds name it
    user_id            bigint      NOT NULL REFERENCES users ON DELETE RESTRICT,
    amount_cents       integer     NOT NULL CHECK (amount_cents > 0),
    currency           text        NOT NULL CHECK (length(currency) BETWEEN 1 AND 8),
    status             text        NOT NULL DEFAULT 'created' CHECK (status IN ('created', 'paid', 'failed', 'canceled')),
    created_at         timestamptz NOT NULL,
    updated_at         timestamptz NOT NULL
);
CREATE INDEX payment_checkouts_provider ON payment_checkouts (provider, provider_reference);
CREATE INDEX payment_checkouts_intent ON payment_checkouts (payment_intent) WHERE payment_intent IS NOT NULL;

-- What a provider said about a checkout, each event once. One that was minted
-- is never anything else again.
CREATE TABLE payment_events (
    id                   bigint      PRIMARY KEY,
    provider             text        NOT NULL CHECK (provider IN ('stripe', 'ipay', 'btcpay', 'apple_iap', 'google_iap')),
    provider_event_id    text        NOT NULL CHECK (length(provider_event_id) BETWEEN 1 AND 255),
    event_type           text        NOT NULL DEFAULT '' CHECK (length(event_type) <= 64),
    user_id              bigint      NOT NULL REFERENCES users ON DELETE RESTRICT,
    checkout_id          bigint      REFERENCES payment_checkouts ON DELETE RESTRICT, -- null: bought in an app's store
    amount_cents         integer     NOT NULL CHECK (amount_cents > 0),
    currency             text        NOT NULL CHECK (length(currency) BETWEEN 1 AND 8),
    status               text        NOT NULL DEFAULT 'received' CHECK (status IN ('received', 'minted', 'failed')),
    minted_coin_event_id bigint      CONSTRAINT payment_events_minted_key UNIQUE REFERENCES coin_events ON DELETE RESTRICT,
    raw_body_hash        text        NOT NULL CHECK (raw_body_hash ~ '^[0-9a-f]{64}$'),
    verified_at          timestamptz,
    created_at           timestamptz NOT NULL,
    updated_at           timestamptz NOT NULL,
    CONSTRAINT payment_events_once UNIQUE (provider, provider_event_id),
    CONSTRAINT payment_events_minted CHECK ((status = 'minted') = (minted_coin_event_id IS NOT NULL)),
    CONSTRAINT payment_events_verified CHECK (status <> 'minted' OR verified_at IS NOT NULL)
);
-- A checkout is credited once, whatever comes in.
CREATE UNIQUE INDEX payment_events_credit ON payment_events (checkout_id) WHERE minted_coin_event_id IS NOT NULL;
CREATE INDEX payment_events_checkout ON payment_events (checkout_id);
CREATE INDEX payment_events_user ON payment_events (user_id);

-- +goose StatementBegin
CREATE FUNCTION payment_event_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR OLD.minted_coin_event_id IS NOT NULL
        AND (NEW.minted_coin_event_id, NEW.status) IS DISTINCT FROM (OLD.minted_coin_event_id, OLD.status)
        OR (NEW.provider, NEW.provider_event_id, NEW.user_id, NEW.amount_cents, NEW.currency, NEW.checkout_id)
            IS DISTINCT FROM (OLD.provider, OLD.provider_event_id, OLD.user_id, OLD.amount_cents, OLD.currency, OLD.checkout_id) THEN
        RAISE EXCEPTION 'what was paid is not changed' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER payment_events_guard BEFORE UPDATE OR DELETE ON payment_events
    FOR EACH ROW EXECUTE FUNCTION payment_event_guard();

-- No coins without a payment: holds when the transaction of a mint commits.
-- +goose StatementBegin
CREATE FUNCTION payment_of_mint() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM payment_events p JOIN coin_entries e ON e.event_id = NEW.id AND e.direction = 'CREDIT'
    WHERE p.minted_coin_event_id = NEW.id AND p.provider || ':' || p.provider_event_id = NEW.idempotency_key
        AND e.account_key = 'user:' || p.user_id AND e.amount_cents = p.amount_cents;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'mint % has no payment of its payer and amount', NEW.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'coin_events_paid';
    END IF;
    RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE CONSTRAINT TRIGGER coin_events_paid AFTER INSERT ON coin_events
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.event_type = 'mint') EXECUTE FUNCTION payment_of_mint();

-- News of a provider that moves no coins: refunds, disputes, subscriptions. The
-- row is made in the transaction of what it changes.
CREATE TABLE payment_notices (
    provider          text        NOT NULL,
    provider_event_id text        NOT NULL CHECK (length(provider_event_id) BETWEEN 1 AND 255),
    event_type        text        NOT NULL CHECK (length(event_type) <= 64),
    subscription_id   bigint      REFERENCES payment_subscriptions ON DELETE SET NULL,
    checkout_id       bigint      REFERENCES payment_checkouts ON DELETE RESTRICT,
    payment_intent    text        CHECK (length(payment_intent) <= 255), -- of refunds that came before their payment
    amount_cents      bigint,
    currency          text        CHECK (length(currency) <= 8),
    raw_body_hash     text        NOT NULL CHECK (raw_body_hash ~ '^[0-9a-f]{64}$'),
    happened_at       timestamptz NOT NULL,
    created_at        timestamptz NOT NULL,
    PRIMARY KEY (provider, provider_event_id)
);
CREATE INDEX payment_notices_intent ON payment_notices (payment_intent) WHERE payment_intent IS NOT NULL;
CREATE INDEX payment_notices_checkout ON payment_notices (checkout_id) WHERE checkout_id IS NOT NULL;
