package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"selflink/appliance/backup"
	"selflink/appliance/database"
	"selflink/appliance/health"
	"selflink/appliance/health/machine"
)

// programs are what the appliance starts.
func (d *Doctor) programs() {
	o := d.opts.Database
	managed := o.DatabaseURL == ""
	if managed {
		d.add(health.Check{
			Code: "programs.postgres", Title: "The private database cannot be run", Severity: health.High,
			Impact: "The server does not start.", Remedy: "apt-get install postgresql, or name its programs with SELFLINK_POSTGRES_BIN; another SELFLINK_DATA_DIR where something else lies in the way.",
			DependsOn: []string{checkDirectory},
			Run: func(context.Context) error {
				_, _, err := database.FindPostgres(o)
				return err
			},
		})
	}
	if !managed && !o.ManagedPooler {
		return
	}
	d.add(health.Check{
		Code: "programs.pgbouncer", Title: "PgBouncer cannot be run", Severity: health.High,
		Impact: "The server does not start.", Remedy: "apt-get install pgbouncer, or name it with SELFLINK_PGBOUNCER_BIN.",
		Run: func(ctx context.Context) error {
			_, _, err := database.FindPooler(ctx, o)
			return err
		},
	})
	d.add(health.Check{
		Code: "programs.account", Title: "There is no user to run them as", Severity: health.High,
		Impact: "The server does not start: Postgres and PgBouncer refuse root.", Remedy: "adduser --system --group selflink, or set SELFLINK_RUN_AS.",
		DependsOn: []string{checkDirectory},
		Run: func(context.Context) error {
			_, err := database.FindAccount(o)
			return err
		},
	})
}

// CheckListen is the code of the check that fails when something else has the
// server's address: then it is not the server that answers there.
const CheckListen = "listen.http"

// network asks whether the addresses are free, or ours.
func (d *Doctor) network() {
	c := d.opts.Config
	d.add(health.Check{
		Code: CheckListen, Title: "An address cannot be listened on", Severity: health.High,
		Impact: "The server does not start.", Remedy: "See who has it: ss -ltnp. Stop that, or choose other addresses with SELFLINK_LISTEN.",
		Run: func(ctx context.Context) error {
			var taken []error
			for _, address := range c.Listen {
				taken = append(taken, d.takeable(ctx, address, d.opts.Ours))
			}
			return errors.Join(taken...)
		},
	})
	if c.ClusterListen == "" {
		return
	}
	d.add(health.Check{
		Code: "listen.cluster", Title: "The address of the cluster cannot be listened on", Severity: health.High,
		Impact: "The server does not start.", Remedy: "See who has it: ss -ltnp. Stop that, or choose another address with CLUSTER_LISTEN.",
		Run: func(ctx context.Context) error { return d.takeable(ctx, c.ClusterListen, nil) },
	})
}

// takeable reports why the server could not listen on an address. What its
// running process has is fine; ours tells whether an answer is its, nil takes
// that for granted.
func (d *Doctor) takeable(ctx context.Context, address string, ours func(context.Context, string) bool) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err == nil {
		return l.Close()
	}
	if !errors.Is(err, syscall.EADDRINUSE) {
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err
		}
		return fmt.Errorf("%s: %w", address, err)
	}
	switch {
	case !d.opts.Held:
		return fmt.Errorf("%s: another process listens there, and none holds %s", address, d.opts.Config.DataDir)
	case ours != nil && !ours(ctx, address):
		return fmt.Errorf("%s: what listens there is not this appliance", address)
	}
	return nil
}

// spareDescriptors is what a process opens besides its connections.
const spareDescriptors = 1000

// machine is about disk and limits.
func (d *Doctor) machine() {
	c := d.opts.Config
	for _, check := range machine.Disk(c.DataDir) {
		d.add(check)
	}
	d.add(health.Check{
		Code: "descriptors.low", Title: "Fewer connections can be open than are taken", Severity: health.Low,
		Impact: "New connections fail before REALTIME_MAX_CONNECTIONS is reached.",
		Remedy: "Raise the limit: LimitNOFILE= in the unit (systemctl edit selflink), or ulimit -Hn; or lower REALTIME_MAX_CONNECTIONS.",
		Run: func(context.Context) error {
			var limit unix.Rlimit
			if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
				return fmt.Errorf("read the limit of open files: %w", err)
			}
			// Go raises the soft limit to the hard one by itself.
			if need := uint64(max(0, c.RealtimeConnections) + spareDescriptors); limit.Max < need {
				return fmt.Errorf("a process may open %d files, and %d are needed", limit.Max, need)
			}
			return nil
		},
	})
}

// ledger is about the database that is reached without starting one.
func (d *Doctor) ledger() {
	o := d.opts.Database
	external := o.DatabaseURL != ""
	if !external && !d.opts.Held {
		for _, code := range []string{database.CheckPostgres, "schema", "admin"} {
			d.skip(code, "the private database does not run")
		}
		return
	}
	remedy := "See what Postgres says in the server's log, and: selflink status"
	if external {
		remedy = "Start the database server, or correct DATABASE_URL and DATABASE_DIRECT_URL."
	}
	// The driver's refusal names the setting and not the password.
	ask := func(question func(context.Context, *database.Server) error) func(context.Context) error {
		return func(ctx context.Context) error {
			db, err := d.open()
			if err != nil {
				return err
			}
			return question(ctx, db)
		}
	}
	add := func(c health.Check, question func(context.Context, *database.Server) error) {
		c.Timeout = reachTime + health.Timeout
		c.Run = ask(question)
		d.add(c)
	}
	refused := []string{checkDirectory, settingCode("DATABASE_URL"), settingCode("DATABASE_DIRECT_URL")}
	causes := append([]string{database.CheckPostgres}, refused...)
	add(health.Check{
		Code: database.CheckPostgres, Title: "The database is not reached", Severity: health.High,
		Impact: "The server does not start, or answers 503.", Remedy: remedy, DependsOn: refused,
	}, func(ctx context.Context, db *database.Server) error {
		_, err := db.Direct().Exec(ctx, "SELECT 1")
		return err
	})
	pending := health.Check{
		Code: "schema.pending", Title: "The schema is older than this version", Severity: health.Low,
		Impact: "None: the next start brings it up to date.", Remedy: "selflink migrate", DependsOn: causes,
	}
	if d.opts.Held {
		pending.Severity, pending.Impact = health.High, "Whatever needs the missing tables or columns fails."
	}
	add(pending, func(ctx context.Context, db *database.Server) error {
		state, err := db.Schema(ctx)
		if err != nil {
			return err
		}
		return state.Behind()
	})
	add(health.Check{
		Code: "schema.newer", Title: "The schema is newer than this version", Severity: health.High,
		Impact: "The server does not start.", Remedy: "Run the newer version that this database was used with.", DependsOn: causes,
	}, func(ctx context.Context, db *database.Server) error {
		state, err := db.Schema(ctx)
		if err != nil {
			return err
		}
		return state.Newer()
	})
	add(health.Check{
		Code: "admin.missing", Title: "There is no administrator", Severity: health.Low,
		Impact: "Nobody can do what only an administrator may.", Remedy: "selflink admin create --email you@example.com",
		DependsOn: append([]string{"schema.pending", "schema.newer"}, causes...),
	}, func(ctx context.Context, db *database.Server) error {
		var there bool
		err := db.Direct().QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM users WHERE is_superuser AND is_active)").Scan(&there)
		if err == nil && !there {
			err = errors.New("no active account is an administrator")
		}
		return err
	})
	if d.opts.Config.BackupSchedule != "" { // who makes none here makes them elsewhere
		add(health.Check{
			Code: backup.CheckRecent, Title: "There is no recent backup",
			Impact:    "If the disk is lost now, so is what was stored since the last one.",
			Remedy:    "See why: selflink backup list. Make one: selflink backup",
			DependsOn: append([]string{"schema.pending", "schema.newer"}, causes...),
		}, d.recentBackup)
	}
	if external {
		add(health.Check{
			Code: "clock.offset", Title: "This machine's clock differs from the database's",
			Impact: "Tokens, schedules and times of events are off by as much.",
			Remedy: "Let both machines keep time: systemctl enable --now systemd-timesyncd (or chrony).", DependsOn: causes,
		}, func(ctx context.Context, db *database.Server) error { return db.CheckClock(ctx) })
	}
}

// recentBackup asks the keeper of backups itself.
func (d *Doctor) recentBackup(ctx context.Context, db *database.Server) error {
	var r health.Registry
	if _, err := backup.New(backup.Options{Database: db, DataDir: d.opts.Config.DataDir, Dir: d.opts.Config.BackupDir, Health: &r}); err != nil {
		return err
	}
	results, _ := r.Run(ctx)
	for _, result := range results {
		if !result.OK {
			return errors.New(result.Error)
		}
	}
	return nil
}

// reach opens the database; it starts none.
func (d *Doctor) reach() (*database.Server, error) {
	ctx, cancel := context.WithTimeout(context.Background(), reachTime)
	defer cancel()
	o := d.opts.Database
	o.BootWait = min(o.BootWait, reachTime/2)
	db, err := database.Join(ctx, o)
	if err != nil {
		// One line: the driver lists every address that it has tried.
		return nil, errors.New(strings.Join(strings.Fields(err.Error()), " "))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.db = db
	return db, nil
}
