// Package dashboard is the operator's desk: the API behind the pages of
// /dashboard/, the rules who may use it, and the pages' files.
//
// Two roles use it: a viewer, who is a member of the staff, reads everything; an
// operator, who is a superuser, also acts. People sign in with their account
// and hold a cookie; the command line comes by a Unix socket that only the
// appliance's own user and root can open, and is an operator. Each act is
// written into the audit trail before it happens, so none goes unrecorded.
//
// Parts of the machine room are shown from here. A service shows itself: it
// registers its pages with [Handle], [Stream] and [Desk.Topic].
package dashboard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"sync/atomic"
	"time"

	"selflink/appliance/audit"
	"selflink/appliance/auth"
	"selflink/appliance/broker"
	"selflink/appliance/config"
	"selflink/appliance/database"
	"selflink/appliance/health"
	"selflink/appliance/history"
	"selflink/appliance/httpapi"
	"selflink/appliance/httpapi/ratelimit"
	"selflink/appliance/jobs"
	"selflink/appliance/realtime"
	"selflink/appliance/schedule"
	"selflink/appliance/telemetry"
	"selflink/appliance/trace"
)

// SessionLife is how long a sign-in lasts: a working day.
const SessionLife = 12 * time.Hour

// Errors of [Identity]. They may come wrapped.
var (
	// ErrWrong means that address and password do not belong together, or that
	// the account is not active: which of them is not said.
	ErrWrong = errors.New("dashboard: wrong address or password")
	// ErrNotStaff means that the password was right, of somebody who has no
	// business here.
	ErrNotStaff = errors.New("dashboard: not a member of the staff")
	// ErrAdminExists means that the first operator is there already.
	ErrAdminExists = errors.New("dashboard: an operator exists already")
)

// LockedError means that too many wrong passwords were tried.
type LockedError struct{ Wait time.Duration }

// Error implements error.
func (e *LockedError) Error() string {
	return fmt.Sprintf("dashboard: too many wrong passwords; try again in %s", e.Wait.Round(time.Second))
}

// Person is who uses the desk.
type Person struct {
	ID       int64
	Email    string
	Name     string
	Staff    bool
	Operator bool
}

// SignedIn is a new sign-in.
type SignedIn struct {
	Person
	Token     string // for the cookie
	ExpiresAt time.Time
}

// Identity knows the accounts of those who use the desk. The accounts service
// stands behind it.
type Identity interface {
	// SignIn checks a password and begins a session of the given life. Errors:
	// ErrWrong, ErrNotStaff, *LockedError, or those of the database.
	SignIn(ctx context.Context, email, password string, life time.Duration) (SignedIn, error)
	// Caller says whose token it is, as the account stands now. A refusal is an
	// *auth.TokenError.
	Caller(ctx context.Context, token string) (auth.Principal, error)
	// SignOut ends the session.
	SignOut(ctx context.Context, who auth.Principal) error
	// Person looks a caller up.
	Person(ctx context.Context, who auth.Principal) (Person, error)
	// AdminExists tells whether there is an active operator.
	AdminExists(ctx context.Context) (bool, error)
	// CreateFirstAdmin makes the first operator; ErrAdminExists when there is
	// one, an *httpapi.Error for a bad input.
	CreateFirstAdmin(ctx context.Context, email, password, name string) (int64, error)
}

// Options are the parts that the desk shows. All are required but Files.
type Options struct {
	Log      *slog.Logger
	Identity Identity
	Config   *config.Config
	DataDir  string // where the token of the first run lies
	Node     string // name of this process for people
	Version  string
	Commit   string

	Health    *health.Registry
	Database  *database.Server
	Broker    *broker.Broker
	Jobs      *jobs.Engine
	Schedules *schedule.Scheduler
	Realtime  *realtime.Hub
	Audit     *audit.Log
	Tail      *telemetry.Tail
	Traces    *trace.Recorder
	History   *history.Keeper

	// Diagnostics writes the bundle for download.
	Diagnostics func(ctx context.Context, w io.Writer) error
	// Files are those of the pages, index.html and assets/; nil: this build has
	// none.
	Files fs.FS
}

// Desk serves the dashboard. It is safe for concurrent use after Register.
type Desk struct {
	opts     Options
	log      *slog.Logger
	api      *httpapi.API
	began    time.Time
	limits   *ratelimit.Table
	known    known
	first    firstRun
	live     live
	files    pageFiles
	memory   ownMemory
	watchers atomic.Int64
}

// New makes a desk. Its routes are added by Register.
func New(o Options) (*Desk, error) {
	var missing []error
	for name, there := range map[string]bool{
		"Log": o.Log != nil, "Identity": o.Identity != nil, "Config": o.Config != nil, "DataDir": o.DataDir != "",
		"Health": o.Health != nil, "Database": o.Database != nil, "Broker": o.Broker != nil, "Jobs": o.Jobs != nil,
		"Schedules": o.Schedules != nil, "Realtime": o.Realtime != nil, "Audit": o.Audit != nil, "Tail": o.Tail != nil,
		"Traces": o.Traces != nil, "History": o.History != nil, "Diagnostics": o.Diagnostics != nil,
	} {
		if !there {
			missing = append(missing, fmt.Errorf("dashboard: Options.%s is required", name))
		}
	}
	if err := errors.Join(missing...); err != nil {
		return nil, err
	}
	d := &Desk{opts: o, log: o.Log.With("component", "dashboard"), began: time.Now(), limits: ratelimit.New(maxCallers, time.Now())}
	d.first.path = firstRunPath(o.DataDir)
	return d, nil
}

// Register adds the desk's routes to api. Services add theirs afterwards.
func (d *Desk) Register(api *httpapi.API) {
	d.api = api
	d.registerFiles()
	d.registerSession()
	d.registerLive()
	d.registerOverview()
	d.registerJobs()
	d.registerSchedules()
	d.registerRealtime()
	d.registerDatabase()
	d.registerBroker()
	d.registerLogs()
	d.registerAudit()
	d.registerSettings()
}

// Start prepares the first run when no operator exists yet. A second call does
// nothing new.
func (d *Desk) Start(ctx context.Context) error { return d.prepareFirstRun(ctx) }

// Stop does nothing: streams end with the server, and the link of the first run
// stays good for the next start.
func (d *Desk) Stop(context.Context) error { return nil }
