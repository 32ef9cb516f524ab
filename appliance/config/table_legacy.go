package config

import (
	"fmt"
	"strconv"
)

// Names that the guardrails look at.
const (
	storageBackend = "STORAGE_BACKEND"
	realtimeSecret = "REALTIME_JWT_SECRET"
)

func s3Names() []string {
	return []string{s3Endpoint, "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY", "S3_BUCKET"}
}

// laterTable lists what belongs to parts that this version does not have, but
// for money.
func laterTable() []Setting {
	out := accepted(Later, nil,
		"DEFAULT_FROM_EMAIL", "GOOGLE_REDIRECT_URI", "FACEBOOK_REDIRECT_URI", "GITHUB_REDIRECT_URI",
		"THROTTLE_ASTRO_RATE", "THROTTLE_MATCHING_RATE", "MODERATION_BANNED_WORDS", "SWISSEPH_DATA_PATH",
		"ASTRO_RULES_VERSION", "MATCH_RULES_VERSION",
	)
	out = append(out, accepted(Later, isNumber,
		"FEED_PRUNE_INTERVAL_HOURS", "FEED_PRUNE_DAYS", "ASTRO_CACHE_TTL_SECONDS", "RECO_DEFAULT_LIMIT", "RECO_MAX_FOLLOWS")...)
	return append(out, accepted(Later, nil, "FEATURE_SOULMATCH")...)
}

// moneyTable lists what belongs to the spending of coins and to other providers
// of payments, which come later.
func moneyTable() []Setting {
	out := accepted(Later, nil,
		"COIN_THROTTLE_TRANSFER", "COIN_THROTTLE_SPEND", "PAID_REACTION_THROTTLE", "IAP_THROTTLE_VERIFY",
		"BTCPAY_BASE_URL", "BTCPAY_STORE_ID", "BTCPAY_SIGNATURE_HEADER", "BTCPAY_ALLOWED_CURRENCIES", "BTCPAY_PAID_STATUSES", "BTCPAY_FAILED_STATUSES",
		"IPAY_SIGNATURE_HEADER", "IPAY_ALLOWED_CURRENCIES", "IPAY_PAID_STATUSES", "IPAY_FAILED_STATUSES",
		"IPAY_FIELD_EVENT_ID", "IPAY_FIELD_REFERENCE", "IPAY_FIELD_STATUS", "IPAY_FIELD_AMOUNT", "IPAY_FIELD_CURRENCY",
		"IAP_SKU_MAP", "APPLE_IAP_BUNDLE_ID", "APPLE_IAP_ENV", "GOOGLE_IAP_PACKAGE_NAME")
	out = append(out, accepted(Later, isNumber, "COIN_FEE_BPS", "COIN_FEE_MIN_CENTS", "BTCPAY_TIMEOUT_SECONDS")...)
	out = append(out, accepted(Later, nil,
		"PAYMENTS_PROVIDER_ENABLED_IPAY", "PAYMENTS_PROVIDER_ENABLED_BTCPAY", "PAYMENTS_PROVIDER_ENABLED_IAP",
		"BTCPAY_AMOUNT_IN_CENTS", "IPAY_AMOUNT_IN_CENTS")...)
	return append(out, secrets(Later, "BTCPAY_API_KEY", "BTCPAY_WEBHOOK_SECRET", "IPAY_WEBHOOK_SECRET",
		"APPLE_IAP_SHARED_SECRET", "GOOGLE_IAP_SERVICE_ACCOUNT_JSON", "GITHUB_WEBHOOK_SECRET")...)
}

// replacedTable lists what spoke of Redis and Celery. Their addresses may hold
// passwords.
func replacedTable() []Setting {
	return append(
		secrets(Replaced, "CELERY_BROKER_URL", "CELERY_RESULT_BACKEND", "REDIS_URL", "CACHE_URL", "PUBSUB_REDIS_URL", "REALTIME_REDIS_URL"),
		accepted(Replaced, nil, "REALTIME_CHANNELS_ENABLED", "CELERY_TASK_ALWAYS_EAGER")...)
}

// obsoleteTable lists what spoke of processes and containers that are gone.
func obsoleteTable() []Setting {
	return append(
		accepted(Obsolete, nil, "DJANGO_SETTINGS_MODULE", "GUNICORN_WORKERS", "GUNICORN_TIMEOUT", "GUNICORN_MAX_REQUESTS", "GUNICORN_MAX_REQUESTS_JITTER",
			"SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE", "REALTIME_HOST", "REALTIME_PORT", "REALTIME_PUBLISH_URL",
			"MINIO_ROOT_USER", "CLOUDFLARED_TUNNEL_UUID", "POSTGRES_DB", "POSTGRES_USER",
			"COMPOSE_PROJECT_NAME", "COMPOSE_PROFILES", "COMPOSE_FILE",
			"BOG_API_BASE_URL", "BOG_OAUTH_CLIENT_ID", "BOG_TIMEOUT_SECONDS", "IPAY_CALLBACK_URL", "IPAY_REDIRECT_SUCCESS_URL", "IPAY_REDIRECT_FAIL_URL"),
		secrets(Obsolete, "POSTGRES_PASSWORD", realtimeSecret, "OPENSEARCH_INITIAL_ADMIN_PASSWORD", "MINIO_ROOT_PASSWORD", "BOG_OAUTH_CLIENT_SECRET", "BOG_CALLBACK_PUBLIC_KEY")...)
}

func accepted(status Status, check func(string) error, keys ...string) []Setting {
	out := make([]Setting, len(keys))
	for i, key := range keys {
		out[i] = Setting{Key: key, Group: Other, Status: status, check: check}
	}
	return out
}

func secrets(status Status, keys ...string) []Setting {
	out := accepted(status, nil, keys...)
	for i := range out {
		out[i].Secret = true
	}
	return out
}

// isNumber keeps a rule of the old stack: a number that is none stops the
// start (contract 04 §5).
func isNumber(raw string) error {
	if _, err := strconv.ParseFloat(raw, 64); err != nil {
		return fmt.Errorf("%q is not a number", raw)
	}
	return nil
}
