package database

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
)

const (
	superuser     = "postgres"        // owns the cluster; used for provisioning only
	appUser       = "selflink"        // owns the database; everything else runs as it
	appDatabase   = "selflink"        //
	poolerAdmin   = "selflink_pooler" // may SHOW and RECONNECT in the pooler's console
	poolerConsole = "pgbouncer"       // the pooler's own database
	poolerINI     = "pgbouncer.ini"   // in the runtime directory
	poolerUsers   = "pgbouncer.users" // likewise
	postgresConf  = "postgresql.conf" // likewise
	logPrefix     = "[%p] "           // of Postgres' log lines: parsed by postgresLine
	appName       = "selflink"        // application_name of our connections
	reservedConns = 12                // for direct pools of two processes and an operator's psql, beside the pooler's
)

// sharedMemory chooses how parallel workers share memory: POSIX segments where
// the children's user can make them in dir, else files in the cluster. A chroot
// or a bare container often has no usable /dev/shm.
func sharedMemory(dir string) string {
	const othersWrite = 0o002
	if info, err := os.Stat(dir); err == nil && info.IsDir() && info.Mode().Perm()&othersWrite != 0 {
		return "posix"
	}
	return "mmap"
}

// postgresSettings are the settings of the private cluster: made for a small
// machine that runs the appliance beside it.
func postgresSettings(o Options) map[string]string {
	s := map[string]string{
		"max_connections": strconv.Itoa(o.ServerConns + 2*o.DirectSize + reservedConns),
		// Small, because the kernel's cache lies behind it and the whole idle
		// appliance is to fit in 200 MiB.
		"shared_buffers":             "96MB",
		"work_mem":                   "4MB",
		"maintenance_work_mem":       "32MB",
		"wal_buffers":                "4MB",
		"huge_pages":                 "off",
		"dynamic_shared_memory_type": sharedMemory("/dev/shm"),
		"effective_cache_size":       "512MB",
		"random_page_cost":           "1.1", // solid-state disks
		"jit":                        "off", // short queries only
		// The log to replay after a crash is bounded by max_wal_size: at
		// 256 MB that takes about a second.
		"max_wal_size":                 "256MB",
		"min_wal_size":                 "80MB",
		"checkpoint_timeout":           "5min",
		"checkpoint_completion_target": "0.9",
		"synchronous_commit":           "on",
		"wal_compression":              "on",
		"max_wal_senders":              "2",
		"max_worker_processes":         "4",
		"autovacuum_max_workers":       "2",
		"autovacuum_naptime":           "20s", // the job tables turn over quickly
		"password_encryption":          "scram-sha-256",
		"timezone":                     "UTC",
		"log_timezone":                 "UTC",
		"datestyle":                    "iso, ymd",
		"lc_messages":                  "C", // the log's lines are parsed
		"log_destination":              "stderr",
		"logging_collector":            "off",
		"log_checkpoints":              "off",
		// A failed statement is its caller's to report. Statements, their
		// parameters and error details carry people's data and stay out of
		// every log.
		"log_min_messages":                 "log",
		"log_min_error_statement":          "panic",
		"log_error_verbosity":              "terse",
		"log_statement":                    "none",
		"log_min_duration_statement":       "-1",
		"log_parameter_max_length":         "0",
		"log_autovacuum_min_duration":      "-1",
		"idle_session_timeout":             "0",
		"client_connection_check_interval": "10s", // a query whose client died is given up
	}
	for k, v := range o.Postgres {
		s[k] = v
	}
	return s
}

// postgresConfig renders the settings. An operator's own file in the cluster,
// when there is one (local), and ALTER SYSTEM win over them.
func postgresConfig(settings map[string]string, local bool) []byte {
	names := make([]string, 0, len(settings))
	for name := range settings {
		names = append(names, name)
	}
	sort.Strings(names)
	var b strings.Builder
	b.WriteString("# Written at each start. Your own settings go to " + localConf + " in the cluster's directory.\n")
	for _, name := range names {
		fmt.Fprintf(&b, "%s = '%s'\n", name, strings.ReplaceAll(settings[name], "'", "''"))
	}
	if local {
		fmt.Fprintf(&b, "include_if_exists '%s/%s'\n", dataPath, localConf)
	}
	return []byte(b.String())
}

// poolerTarget is the server behind the pooler.
type poolerTarget struct {
	host string // a directory means a Unix socket
	port int
	tls  string // server_tls_sslmode; empty: none
	ca   string // server_tls_ca_file; empty: the system's
}

// poolerConfig renders PgBouncer's configuration. Any database name is passed
// on, so a second database (tests, a trial restore) needs no new file.
func poolerConfig(o Options, runtimeDir string, target poolerTarget, major, minor int) []byte {
	var b strings.Builder
	b.WriteString("; Written at each start.\n[databases]\n")
	fmt.Fprintf(&b, "* = host=%s port=%d\n", quoteINI(target.host), target.port)
	b.WriteString("\n[pgbouncer]\n")
	line := func(name string, value any) { fmt.Fprintf(&b, "%s = %v\n", name, value) }
	line("unix_socket_dir", runtimeDir)
	line("unix_socket_mode", "0700")
	line("listen_port", poolerPort) // names the socket; there is no listen_addr
	line("auth_type", "scram-sha-256")
	line("auth_file", filepath.Join(runtimeDir, poolerUsers))
	line("admin_users", poolerAdmin)
	line("pool_mode", "transaction")
	line("default_pool_size", o.ServerConns)
	line("max_client_conn", max(4*o.PoolSize, 400))
	line("ignore_startup_parameters", "extra_float_digits")
	// As long as our own wait for a connection, and no longer: a request that
	// gets none is answered, not kept.
	line("query_wait_timeout", max(1, int(o.AcquireWait.Seconds())))
	line("server_login_retry", "0.2") // Postgres restarts in less than a second
	line("server_connect_timeout", 5)
	line("client_login_timeout", 10)
	line("server_idle_timeout", 60) // an idle server connection costs 5 MB
	line("server_lifetime", 3600)
	line("log_connections", 0)
	line("log_disconnections", 0)
	line("log_stats", 0)
	line("log_pooler_errors", 0) // the client is told, and says so
	if target.tls != "" {
		line("server_tls_sslmode", target.tls)
		if target.ca != "" {
			line("server_tls_ca_file", target.ca)
		}
	}
	if preparedSupport(major, minor) {
		line("max_prepared_statements", 200)
	}
	return []byte(b.String())
}

// preparedSupport reports whether this PgBouncer can follow a client's prepared
// statements from server to server.
func preparedSupport(major, minor int) bool { return major > 1 || major == 1 && minor >= 21 }

// quoteINI quotes a value of a connection string in pgbouncer.ini.
func quoteINI(v string) string { return "'" + strings.ReplaceAll(v, "'", "''") + "'" }

// poolerUserList renders PgBouncer's auth_file from name, password pairs.
func poolerUserList(pairs ...[2]string) []byte {
	var b strings.Builder
	for _, p := range pairs {
		quote := func(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }
		fmt.Fprintf(&b, "%s %s\n", quote(p[0]), quote(p[1]))
	}
	return []byte(b.String())
}
