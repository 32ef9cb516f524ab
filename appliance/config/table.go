package config

import (
	"log/slog"
	"math"
	"net/netip"
	"time"
)

const (
	mib = 1 << 20

	// defaultEnvFile is read when it exists and no other is named.
	defaultEnvFile = "/etc/selflink/selflink.env"

	envFileKey  = "SELFLINK_ENV_FILE"
	defaultHost = "*"

	defaultOrigins = "http://localhost:5173,http://127.0.0.1:5173,http://localhost:8082,http://127.0.0.1:8082," +
		"https://georgetoloraia.github.io,https://community.self-link.com"
)

// coreTable says where and how the process runs, and what it logs.
func coreTable() []Setting {
	return []Setting{
		{Key: "SELFLINK_LISTEN", Group: Core, Default: "127.0.0.1:8000",
			Doc: "Addresses to listen on, as a comma list of host:port. All of them reach the one process; an old reverse proxy's 8000, 8001, 8002 and 8080 can be listed together.",
			set: into(func(c *Config) *[]string { return &c.Listen }, parseListen)},
		{Key: "SELFLINK_DATA_DIR", Group: Core, Auto: "/var/lib/selflink for root and its owner where the package made it, else ./data",
			Doc: "Directory of everything that is kept: database, broker, generated secrets.",
			set: into(func(c *Config) *string { return &c.DataDir }, parsePath)},
		{Key: "SELFLINK_RUN_AS", Group: Core, Auto: "the owner of an existing database, else selflink, postgres or nobody, whichever exists",
			Doc: "User of Postgres and PgBouncer when started as root, because they refuse root.",
			set: into(func(c *Config) *string { return &c.RunAs }, parseText)},
		{Key: envFileKey, Group: Core, Blank: true, Default: defaultEnvFile,
			Doc: "File of settings, one NAME=value a line. The default one is read when it exists; a file named here must exist; naming none reads none. Given in the environment or as a flag.",
			set: func(*Config, string) error { return nil }},
		{Key: "DEBUG", Aliases: []string{"DJANGO_DEBUG"}, Group: Core, Default: "false",
			Doc: "Development mode: guardrails warn instead of refusing to start.",
			set: into(func(c *Config) *bool { return &c.Debug }, parseBool)},
		{Key: "RUNNING_IN_DOCKER", Group: Core, Auto: "true when /.dockerenv exists",
			Doc: "Whether this is a container; then a database on localhost is refused.",
			set: into(func(c *Config) *bool { return &c.Docker }, func(raw string) (bool, error) {
				if raw == "" {
					return false, nil
				}
				return parseBool(raw)
			})},
		{Key: "ALLOWED_HOSTS", Aliases: []string{"DJANGO_ALLOWED_HOSTS"}, Group: Core, Default: defaultHost,
			Doc: "Host names to answer for, as a comma list; .example.com includes subdomains, * is any. Any is refused when others than this machine can connect or a proxy is trusted, unless DEBUG is on.",
			set: into(func(c *Config) *[]string { return &c.AllowedHosts }, parseHosts)},
		{Key: "TRUSTED_PROXIES", Group: Core, Auto: "none",
			Doc: "Addresses or networks of reverse proxies, as a comma list. Only their X-Forwarded-For and X-Forwarded-Proto are believed; without it all clients of a proxy count as one.",
			set: into(func(c *Config) *[]netip.Prefix { return &c.TrustedProxies }, parseProxies)},
		{Key: "PUBLIC_BASE_URL", Group: Core, Auto: "the address of the request",
			Doc: "Absolute base of links in messages that answer no request.",
			set: into(func(c *Config) *string { return &c.PublicBaseURL }, parseURL), show: showURL},
		{Key: "CORS_ALLOWED_ORIGINS", Group: Core, Blank: true, Default: defaultOrigins,
			Doc: "Origins whose pages may call the API, as a comma list of scheme://host. Entries without a scheme are left out with a warning.",
			set: into(func(c *Config) *[]string { return &c.CORSOrigins }, parseList)},
		{Key: "TZ", Group: Core, Default: "UTC",
			Doc: "Time zone of \"today\" and of times without an offset.",
			set: into(func(c *Config) **time.Location { return &c.Location }, parseLocation)},
		{Key: "HOSTNAME", Group: Core, Auto: "the machine's name",
			Doc: "Name of this process's machine, in the header X-SL-Instance.",
			set: into(func(c *Config) *string { return &c.Instance }, parseText)},
		{Key: "GIT_SHA", Aliases: []string{"RENDER_GIT_COMMIT", "GIT_COMMIT", "COMMIT_SHA"}, Group: Core, Auto: "the revision that was built",
			Doc: "Revision in the header X-SL-Commit.",
			set: into(func(c *Config) *string { return &c.Commit }, parseText)},
		{Key: "GOMEMLIMIT", Group: Core, Auto: "half of the machine's or the container's memory", Unit: "bytes, as 512MiB; or off",
			Doc: "Memory of this process, its children not counted, above which Go collects harder. It is no hard limit.",
			set: into(func(c *Config) *int64 { return &c.MemoryLimit }, parseMemory)},

		{Key: "LOG_LEVEL", Aliases: []string{"DJANGO_LOG_LEVEL"}, Group: Logs, Default: "INFO",
			Doc: "Least level of the machine room's lines (database, broker, jobs …): DEBUG, INFO, WARNING or ERROR.",
			set: into(func(c *Config) *slog.Level { return &c.LogLevel }, parseLevel)},
		{Key: "APP_LOG_LEVEL", Group: Logs, Default: "INFO",
			Doc: "Least level of the application's lines.",
			set: into(func(c *Config) *slog.Level { return &c.AppLogLevel }, parseLevel)},
		{Key: "REQUEST_LOG_LEVEL", Aliases: []string{"DJANGO_REQUEST_LOG_LEVEL"}, Group: Logs, Auto: "APP_LOG_LEVEL",
			Doc: "Least level of the line per request, which is INFO, WARNING for answers from 400 and ERROR from 500.",
			set: into(func(c *Config) *slog.Level { return &c.RequestLogLevel }, parseRequestLevel)},
		{Key: "METRICS_TOKEN", Group: Logs, Secret: true, Auto: "none: loopback only",
			Doc: "Bearer token that may read /metrics, and the reasons in /ready, from elsewhere.",
			set: into(func(c *Config) *Secret { return &c.MetricsToken }, parseSecret)},
	}
}

// accountTable is about keys, tokens, the administrator and limits.
func accountTable() []Setting {
	return []Setting{
		{Key: "SECRET_KEY", Aliases: []string{"DJANGO_SECRET_KEY"}, Group: Accounts, Secret: true, Auto: "generated in <data>/secrets/",
			Doc: "Key of the installation. Take it over from an old installation, or its signed-in users have to sign in again.",
			set: into(func(c *Config) *Secret { return &c.SecretKey }, parseSecret)},
		{Key: "JWT_SIGNING_KEY", Group: Accounts, Secret: true, Auto: "SECRET_KEY",
			Doc: "Key that signs access and refresh tokens.",
			set: into(func(c *Config) *Secret { return &c.JWTSigningKey }, parseSecret)},
		{Key: "JWT_ACCESS_MINUTES", Group: Accounts, Default: "15", Unit: "minutes",
			Doc: "Life of an access token.",
			set: into(func(c *Config) *time.Duration { return &c.AccessLife }, parseSpan(time.Minute, 1, 60*24*366))},
		{Key: "JWT_REFRESH_DAYS", Group: Accounts, Default: "7", Unit: "days",
			Doc: "Life of a refresh token.",
			set: into(func(c *Config) *time.Duration { return &c.RefreshLife }, parseSpan(24*time.Hour, 1, 3660))},
		{Key: "ADMIN_EMAIL", Group: Accounts,
			Doc: "Address for \"selflink admin create\" when it is given none.",
			set: into(func(c *Config) *string { return &c.AdminEmail }, parseText)},
		{Key: "ADMIN_NAME", Group: Accounts,
			Doc: "Name for \"selflink admin create\" when it is given none.",
			set: into(func(c *Config) *string { return &c.AdminName }, parseText)},
		{Key: "ADMIN_PASSWORD", Group: Accounts, Secret: true, Auto: "asked for",
			Doc: "Password for \"selflink admin create\". There is no default one.",
			set: into(func(c *Config) *Secret { return &c.AdminPassword }, parseSecret)},

		{Key: "THROTTLE_IP_RATE", Group: Limits, Blank: true, Default: "240/min", Unit: "requests/period",
			Doc: "Requests of one address. The period is s, min, hour or day; 0 or nothing is no limit, here and in all rates.",
			set: into(func(c *Config) *string { return &c.ThrottleIP }, parseRate)},
		{Key: "THROTTLE_USER_RATE", Group: Limits, Blank: true, Default: "120/min", Unit: "requests/period",
			Doc: "Requests of one user, or of one address for anonymous callers.",
			set: into(func(c *Config) *string { return &c.ThrottleUser }, parseRate)},
		{Key: "THROTTLE_ANON_RATE", Group: Limits, Blank: true, Default: "60/min", Unit: "requests/period",
			Doc: "Requests of one address without a token.",
			set: into(func(c *Config) *string { return &c.ThrottleAnon }, parseRate)},
		{Key: "THROTTLE_MENTOR_RATE", Group: Limits, Blank: true, Default: "20/min", Unit: "requests/period",
			Doc: "Requests to the mentor, by user and by address.",
			set: into(func(c *Config) *string { return &c.ThrottleMentor }, parseRate)},
		{Key: "RATE_LIMITS_ENABLED", Group: Limits, Default: "false",
			Doc: "Whether the limits per second below hold. Switch it on when the internet can reach the API.",
			set: into(func(c *Config) *bool { return &c.RateLimits }, parseBool)},
		{Key: "AUTH_RPS_IP", Group: Limits, Default: "5", Unit: "requests a second; 0: no limit",
			Doc: "Registrations and logins of one address.",
			set: into(func(c *Config) *int { return &c.AuthRPSIP }, parseInt(0, math.MaxInt32))},
		{Key: "MENTOR_RPS_USER", Group: Limits, Default: "2", Unit: "requests a second; 0: no limit",
			Doc: "Questions of one user to the mentor.",
			set: into(func(c *Config) *int { return &c.MentorRPSUser }, parseInt(0, math.MaxInt32))},
		{Key: "MENTOR_RPS_GLOBAL", Group: Limits, Default: "20", Unit: "requests a second; 0: no limit",
			Doc: "Questions of all users to the mentor.",
			set: into(func(c *Config) *int { return &c.MentorRPSAll }, parseInt(0, math.MaxInt32))},
	}
}

// storeTable is about the database, the broker and the jobs.
func storeTable() []Setting {
	return []Setting{
		{Key: "DATABASE_URL", Group: Database, Secret: true, show: showURL, Auto: "a private database in the data directory",
			Doc: "External Postgres from version 15, or a PgBouncer in front of one: postgres://user:password@host:5432/database.",
			set: into(func(c *Config) *Secret { return &c.DatabaseURL }, parsePostgres)},
		{Key: "DATABASE_DIRECT_URL", Group: Database, Secret: true, show: showURL, Auto: "DATABASE_URL",
			Doc: "The same database without a pooler, for migrations and backups.",
			set: into(func(c *Config) *Secret { return &c.DatabaseDirectURL }, parsePostgres)},
		{Key: "SELFLINK_IMPORT_FROM", Group: Database, Secret: true, show: showURL, Auto: "none",
			Doc: "Database of the old backend, which selflink import reads: postgres://user:password@host:5432/database. The server does not use it.",
			set: into(func(c *Config) *Secret { return &c.ImportFrom }, parsePostgres)},
		{Key: "DATABASE_SSL", Group: Database, Default: "false",
			Doc: "Whether an external database must be reached over TLS.",
			set: into(func(c *Config) *bool { return &c.DatabaseTLS }, parseBool)},
		{Key: "PGBOUNCER", Group: Database, Default: "auto",
			Doc: "auto: a supervised PgBouncer for the private database, none for an external one. managed: one in front of the external database too.",
			set: into(func(c *Config) *bool { return &c.ManagedPooler }, parsePooler)},
		{Key: "DATABASE_POOL_SIZE", Group: Database, Default: "32", Unit: "connections",
			Doc: "Most pooled connections of this process.",
			set: into(func(c *Config) *int { return &c.DatabasePoolSize }, parseInt(1, 1000))},
		{Key: "DATABASE_DIRECT_POOL_SIZE", Group: Database, Default: "4", Unit: "connections",
			Doc: "Most connections of this process that pass the pooler by.",
			set: into(func(c *Config) *int { return &c.DatabaseDirectSize }, parseInt(2, 100))},
		{Key: "DATABASE_SERVER_CONNECTIONS", Group: Database, Default: "0", Unit: "connections; 0: DATABASE_POOL_SIZE + 8",
			Doc: "Most connections that the supervised PgBouncer opens to Postgres.",
			set: into(func(c *Config) *int { return &c.DatabaseServerConns }, parseInt(0, 2000))},
		{Key: "DATABASE_ACQUIRE_SECONDS", Group: Database, Default: "3", Unit: "seconds",
			Doc: "How long a request waits for a free connection before it is answered 503.",
			set: into(func(c *Config) *time.Duration { return &c.DatabaseAcquireWait }, parseSpan(time.Second, 0.1, 60))},
		{Key: "DATABASE_BOOT_SECONDS", Group: Database, Default: "60", Unit: "seconds",
			Doc: "How long a start waits for an external database.",
			set: into(func(c *Config) *time.Duration { return &c.DatabaseBootWait }, parseSpan(time.Second, 1, 3600))},
		{Key: "SELFLINK_POSTGRES_BIN", Group: Database, Auto: "the newest of /usr/lib/postgresql/*/bin and PATH; for an existing database that of its version",
			Doc: "Directory of the programs initdb and postgres.",
			set: into(func(c *Config) *string { return &c.PostgresBinDir }, parsePath)},
		{Key: "SELFLINK_PGBOUNCER_BIN", Group: Database, Auto: "pgbouncer in PATH or /usr/sbin",
			Doc: "The program pgbouncer.",
			set: into(func(c *Config) *string { return &c.PgBouncerBin }, parsePath)},

		{Key: "BROKER_MEMORY_MB", Group: Jobs, Default: "64", Unit: "MiB",
			Doc: "Most memory of the embedded broker's streams.",
			set: into(func(c *Config) *int64 { return &c.BrokerMemory }, parseMiB(16))},
		{Key: "BROKER_DISK_MB", Group: Jobs, Default: "1024", Unit: "MiB",
			Doc: "Most disk of the embedded broker's streams.",
			set: into(func(c *Config) *int64 { return &c.BrokerDisk }, parseMiB(64))},
		{Key: "JOBS_CONCURRENCY", Group: Jobs, Default: "16", Unit: "jobs",
			Doc: "Background jobs that run at once in this process.",
			set: into(func(c *Config) *int { return &c.JobWorkers }, parseInt(1, 1000))},
		{Key: "JOBS_LLM_CONCURRENCY", Group: Jobs, Default: "32", Unit: "jobs",
			Doc: "Background jobs of this process that wait for the language model at once.",
			set: into(func(c *Config) *int { return &c.LLMWorkers }, parseInt(1, 1000))},
		{Key: "NODE_ID", Group: Jobs, Auto: "leased from the database",
			Doc: "Fixed number of this process in the ids it makes, 0 to 1023. Two processes must never share one, so leave it out unless you know why.",
			set: into(func(c *Config) *int { return &c.NodeID }, func(raw string) (int, error) {
				if raw == "" {
					return -1, nil
				}
				return parseInt(0, 1023)(raw)
			})},
	}
}
