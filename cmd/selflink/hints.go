package main

import (
	"context"
	"errors"
	"io/fs"
	"os/exec"
	"syscall"

	"selflink/appliance"
	"selflink/appliance/backup"
	"selflink/appliance/broker"
	"selflink/appliance/config"
	"selflink/appliance/database"
	"selflink/appliance/jobs"
	"selflink/appliance/oldstack"
	engine "selflink/appliance/search"
	"selflink/appliance/trace"
	"selflink/appliance/upgrade"
	"selflink/services/accounts"
	"selflink/services/search"
)

// hintFor says what to do about an error, or nothing when its own text does.
func hintFor(err error) string {
	var invalid *config.Error
	for _, h := range []struct {
		matches bool
		text    string
	}{
		{errors.As(err, &invalid), "Nothing was started. Check again with:  selflink config check"},
		{errors.Is(err, upgrade.ErrFailed), "The data of before is kept. Go back to it, and to the version of before, with:  selflink rollback   Or mend the cause and try again with:  selflink migrate"},
		{errors.Is(err, upgrade.ErrRefused), "See what stands in the way with:  selflink upgrade check"},
		{errors.Is(err, upgrade.ErrWentBack), "To try this version once more:  selflink migrate"},
		{errors.Is(err, upgrade.ErrServing), "Stop it first, as in:  systemctl stop selflink   and run this again."},
		{errors.Is(err, broker.ErrListen), "Other nodes reach this one there: correct CLUSTER_LISTEN, or stop what uses the address."},
		{errors.Is(err, syscall.EADDRINUSE), "Something listens there already. See whether it is this appliance with:  selflink status   or choose other addresses with SELFLINK_LISTEN."},
		{errors.Is(err, syscall.EADDRNOTAVAIL), "This machine has no such address: correct SELFLINK_LISTEN."},
		{errors.Is(err, backup.ErrServing), "Stop it first, as in:  systemctl stop selflink   and run this again."},
		{errors.Is(err, backup.ErrDamaged), "Nothing was changed. Take another archive; those that were verified:  selflink backup list"},
		{errors.Is(err, backup.ErrNothingAside), "It was dropped, or the database was empty before the restore. Restore an archive instead:  selflink backup list"},
		{errors.Is(err, oldstack.ErrAddress), "Nothing was copied. Set SELFLINK_IMPORT_FROM, or put the address into a file and name it with --from-file."},
		{errors.Is(err, oldstack.ErrUnreachable), "Nothing was copied. Check host, user and password with:  psql   and that pg_hba.conf lets this machine in."},
		{errors.Is(err, oldstack.ErrSchema), "Nothing was copied. Check that this is the old backend's database, and that its user may read the tables. Go on without tables that an older one never had:  selflink import --missing-ok"},
		{errors.Is(err, appliance.ErrNotMigrated), "Nothing was copied. Start the server once, or run:  selflink migrate"},
		{errors.Is(err, database.ErrLocked), "Only one process may use a data directory. See whether it runs with:  selflink status   or choose another one with SELFLINK_DATA_DIR."},
		{errors.Is(err, database.ErrVersion), "Nothing was changed. Install the PostgreSQL version that the data was made with, or name its programs with SELFLINK_POSTGRES_BIN."},
		{errors.Is(err, database.ErrForeign), "Nothing was changed. Choose another SELFLINK_DATA_DIR, or move away what is there."},
		{errors.Is(err, database.ErrNewerSchema), "Nothing was changed. Run the newer version of selflink again, or go back with:  selflink rollback"},
		{errors.Is(err, database.ErrNotRunning), "Start the appliance first:  selflink serve"},
		{errors.Is(err, errNoServer), "Start it, as in:  systemctl start selflink   or:  selflink serve   See also:  selflink status"},
		{errors.Is(err, trace.ErrUnknown), "Requests are kept for a day when they failed or were slow, jobs as long as their kind says."},
		{errors.Is(err, jobs.ErrNotFound), "See which there are with:  selflink jobs list   (finished jobs are deleted after a while)"},
		{errors.Is(err, jobs.ErrWrongState), "Waiting and running jobs can be cancelled; dead, cancelled and waiting ones retried; those that have ended deleted."},
		{errors.Is(err, jobs.ErrUnknownQueue), "See the queues of jobs with:  selflink jobs list"},
		{errors.Is(err, search.ErrRebuilding), "Nothing was changed. See how far it is with:  selflink search status"},
		{errors.Is(err, search.ErrNoServer), "Name it with OPENSEARCH_HOST, or build the other:  selflink search reindex --engine postgres"},
		{errors.Is(err, engine.ErrServer), "Searches are answered by Postgres meanwhile. See what is wrong with:  selflink search status   Then run this again: it goes on where it was."},
		{errors.Is(err, engine.ErrRefused), "Check OPENSEARCH_USERNAME and OPENSEARCH_PASSWORD, and that this user may make and change users_v1*."},
		{errors.Is(err, accounts.ErrLastOperator), "Nothing was changed. Make another one first:  selflink admin create   or   selflink admin promote"},
		{errors.Is(err, exec.ErrNotFound), "Install it, on Debian with:  apt-get install postgresql pgbouncer"},
		{errors.Is(err, syscall.ENOSPC), "The disk is full: free some space and start again. Nothing that was accepted is lost."},
		{errors.Is(err, fs.ErrPermission), "Run it as root or as the owner of the data directory, or choose another SELFLINK_DATA_DIR."},
		{errors.Is(err, database.ErrBusy), "The database is at its limit: try again, or raise DATABASE_POOL_SIZE."},
		{errors.Is(err, database.ErrUnavailable), "The database does not answer. See what is wrong with:  selflink status   and check DATABASE_URL when it is an external one."},
		{errors.Is(err, context.Canceled), "It was interrupted before it was done; run it again."},
	} {
		if h.matches {
			return h.text
		}
	}
	return ""
}
