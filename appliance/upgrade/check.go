package upgrade

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"selflink/appliance/database"
)

// Verdict is what a look at one thing says.
type Verdict string

// The verdicts.
const (
	Good Verdict = "ok"
	Warn Verdict = "warn" // the upgrade works, and something should be known
	Fail Verdict = "fail" // the upgrade would fail, or not be begun
)

// Finding is one line of a check.
type Finding struct {
	What    string  `json:"what"`
	Verdict Verdict `json:"verdict"`
	Text    string  `json:"text"`
	Todo    string  `json:"todo,omitempty"` // what to do about it
}

// Report is what a check found.
type Report struct {
	OK         bool      `json:"ok"` // the upgrade would go through
	From       Build     `json:"from"`
	To         Build     `json:"to"`
	SchemaFrom int64     `json:"schema_from"`
	SchemaTo   int64     `json:"schema_to"`
	Pending    []string  `json:"pending"` // steps of the schema
	Findings   []Finding `json:"findings"`
}

func (r *Report) add(what string, verdict Verdict, text, todo string) {
	r.Findings = append(r.Findings, Finding{what, verdict, text, todo})
	r.OK = r.OK && verdict != Fail
}

// refusal is the error of a report that says no.
func (r *Report) refusal() error {
	if r.OK {
		return nil
	}
	var texts []string
	for _, f := range r.Findings {
		if f.Verdict == Fail {
			texts = append(texts, fmt.Sprintf("%s: %s (%s)", f.What, f.Text, f.Todo))
		}
	}
	return fmt.Errorf("%w. Nothing was changed. %s", ErrRefused, strings.Join(texts, "; "))
}

// Check looks whether this build could take over the installed data, while the
// server runs or not. It changes nothing. Its error means that it could not
// look; what it found is in the report.
func (k *Keeper) Check(ctx context.Context) (Report, error) {
	r := Report{OK: true, To: k.opts.Build, Pending: []string{}, Findings: []Finding{}}
	state, err := k.State()
	if err != nil {
		return r, err
	}
	r.From = k.from(state)
	k.checkState(&r, state)
	reachable := k.checkPostgres(&r)
	k.checkPooler(ctx, &r)
	if reachable {
		if err := k.checkDatabase(ctx, &r, state); err != nil {
			r.add("database", Fail, err.Error(), "selflink doctor")
		}
	}
	k.checkWayBack(&r, state)
	return r, nil
}

// checkState tells of an earlier upgrade that is not over.
func (k *Keeper) checkState(r *Report, s State) {
	if s.Upgrade == nil {
		return
	}
	switch u := s.Upgrade; u.Phase {
	case RollingBack, Restored:
		r.add("earlier upgrade", Fail, fmt.Sprintf("going back to %s was interrupted", u.From), "selflink rollback")
	case Failed:
		if u.To == k.opts.Build {
			r.add("earlier upgrade", Fail, "this version failed on this data already: "+u.Error,
				"selflink rollback; or, when the cause is gone:  selflink migrate")
			return
		}
		r.add("earlier upgrade", Warn, fmt.Sprintf("the upgrade to %s failed; this one goes on from where it stopped, with its snapshot", u.To), "")
	case RolledBack:
		if u.To == k.opts.Build && u.PostgresTo == 0 {
			r.add("earlier upgrade", Fail, "this version was gone back from", "install another version; or, to try it again:  selflink migrate")
		}
	case Migrating, Migrated:
		r.add("earlier upgrade", Warn, fmt.Sprintf("the upgrade from %s to %s is not proven yet", u.From, u.To), "start the server")
	case Snapshotting, Ready, Done:
	}
}

// checkPostgres compares the data with the installed programs, and reports
// whether the database can be reached.
func (k *Keeper) checkPostgres(r *Report) bool {
	if k.external() {
		return true
	}
	there := database.HasCluster(k.opts.Database)
	_, major, err := database.FindPostgres(k.opts.Database)
	switch {
	case errors.Is(err, database.ErrVersion):
		r.add("postgres", Fail, err.Error(), "apt-get install postgresql-<version of the data>")
	case err != nil:
		r.add("postgres", Fail, err.Error(), "selflink doctor")
	case !there:
		r.add("postgres", Good, fmt.Sprintf("PostgreSQL %d is installed; there is no database yet", major), "")
	default:
		r.add("postgres", Good, fmt.Sprintf("the data and the installed programs are of PostgreSQL %d", major), "")
	}
	return err == nil && there
}

func (k *Keeper) checkPooler(ctx context.Context, r *Report) {
	if k.external() && !k.opts.Database.ManagedPooler {
		return
	}
	if program, version, err := database.FindPooler(ctx, k.opts.Database); err != nil {
		r.add("pgbouncer", Fail, err.Error(), "apt-get install pgbouncer")
	} else {
		r.add("pgbouncer", Good, program+" is PgBouncer "+version, "")
	}
}

// checkDatabase reaches the database and looks at schema and disk.
func (k *Keeper) checkDatabase(ctx context.Context, r *Report, state State) (err error) {
	db, err := database.Attach(ctx, k.opts.Database)
	if err != nil {
		return fmt.Errorf("reach it: %w", err)
	}
	defer func() { err = errors.Join(err, stop(db)) }()
	schema, err := db.Schema(ctx)
	if err != nil {
		return err
	}
	return k.examine(ctx, r, db, schema, state, true)
}

// examine looks at the schema and at the disk for its snapshot. supervised says
// that the migrating process will run the cluster itself.
func (k *Keeper) examine(ctx context.Context, r *Report, db *database.Server, schema database.Schema, state State, supervised bool) error {
	r.SchemaFrom, r.SchemaTo = schema.Current, schema.Target
	var early []string
	for _, step := range schema.Steps {
		if step.AppliedAt == nil {
			r.Pending = append(r.Pending, step.Name)
			if step.Version < schema.Current {
				early = append(early, step.Name)
			}
		}
	}
	switch {
	case schema.Newer() != nil:
		r.add("schema", Fail, fmt.Sprintf("it is at step %d, and this version knows steps up to %d", schema.Current, schema.Target),
			"install the newer version again, or go back with:  selflink rollback")
		return nil
	case len(schema.Unknown) > 0:
		r.add("schema", Fail, fmt.Sprintf("steps %v were applied that this version does not know", schema.Unknown), "install the version that the data was used with")
		return nil
	case len(early) > 0:
		r.add("schema", Fail, "steps from before the newest applied one are missing: "+strings.Join(early, ", "), "install the version that the data was used with")
		return nil
	case len(r.Pending) == 0:
		r.add("schema", Good, fmt.Sprintf("it is at step %d, and this version needs no other", schema.Current), "")
		return nil
	case schema.Current == 0:
		r.add("schema", Good, fmt.Sprintf("the database is empty; %d steps will be applied", len(r.Pending)), "")
		return nil
	}
	r.add("schema", Good, fmt.Sprintf("from step %d to %d will be applied: %s", schema.Current, schema.Target, strings.Join(r.Pending, ", ")), "")
	return k.checkRoom(ctx, r, db, state, supervised)
}

// checkRoom compares the size of the database with the room for its snapshot.
func (k *Keeper) checkRoom(ctx context.Context, r *Report, db *database.Server, state State, supervised bool) error {
	if k.opts.NoSnapshot {
		r.add("snapshot", Warn, "snapshots are switched off: nothing will bring this database back", "SELFLINK_UPGRADE_SNAPSHOT=true, or make one yourself:  selflink backup")
		return nil
	}
	if u := state.Upgrade; u.open() && u.Snapshot != nil {
		r.add("snapshot", Good, fmt.Sprintf("the one from before the upgrade of %s, at step %d, is kept and stays", u.Began.Format("2006-01-02 15:04"), u.SchemaFrom), "")
		return nil
	}
	kind, because := k.kind(supervised)
	var need int64
	var err error
	if kind == Cluster {
		need, err = treeSize(database.ClusterDir(k.opts.DataDir))
	} else {
		err = db.Direct().QueryRow(ctx, "SELECT pg_database_size(current_database())").Scan(&need)
	}
	if err != nil {
		return fmt.Errorf("measure the database: %w", err)
	}
	free, err := k.opts.free(k.opts.DataDir)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("a copy of the database takes %s, and %s are free", mib(need), mib(free))
	if kind == Archive {
		text = fmt.Sprintf("an archive of the database takes at most %s, and %s are free; it is no copy because %s", mib(need), mib(free), because)
	}
	if free < need+headroom {
		r.add("disk", Fail, text+fmt.Sprintf("; %s more should stay free for the migrations", mib(headroom)),
			"free some space ("+k.freeable(state)+"), or do without a way back:  SELFLINK_UPGRADE_SNAPSHOT=false")
		return nil
	}
	r.add("disk", Good, text, "")
	return nil
}

// freeable says what could be removed.
func (k *Keeper) freeable(s State) string {
	if size, err := k.size(); err == nil && size > headroom/2 && s.Upgrade != nil {
		return "selflink upgrade forget frees " + mib(size)
	}
	return "old backups:  selflink backup list"
}

// checkWayBack says what is kept of before.
func (k *Keeper) checkWayBack(r *Report, s State) {
	if u := s.Upgrade; u != nil {
		size, err := k.size()
		switch {
		case err != nil:
			r.add("kept", Warn, err.Error(), "")
		case u.Snapshot != nil:
			r.add("kept", Good, fmt.Sprintf("the snapshot from before the upgrade of %s takes %s", u.Began.Format("2006-01-02 15:04"), mib(size)), "free it with:  selflink upgrade forget --yes")
		case size > headroom/16:
			r.add("kept", Good, fmt.Sprintf("what is left of an earlier upgrade takes %s", mib(size)), "free it with:  selflink upgrade forget --yes")
		}
	}
	if version, err := os.ReadFile(k.kept("version")); err == nil {
		r.add("program", Good, "the program of version "+strings.TrimSpace(string(version))+" is kept; a rollback puts it back", "")
	} else {
		r.add("program", Good, "no program of before is kept; after a rollback its version has to be installed again", "")
	}
}

// mib says bytes to people.
func mib(bytes int64) string {
	if bytes < 10<<30 {
		return fmt.Sprintf("%d MiB", (bytes+1<<20-1)>>20)
	}
	return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30))
}
