package appliance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"selflink/appliance/audit"
	"selflink/appliance/auth"
	"selflink/appliance/config"
	"selflink/appliance/dashboard"
	"selflink/appliance/database"
	"selflink/appliance/httpapi"
	"selflink/appliance/jobs"
	"selflink/appliance/trace"
	"selflink/services/accounts"
	"selflink/services/mentor"
	"selflink/web"
)

// SocketName is the Unix socket in the data directory by which commands reach
// the running server.
const SocketName = "selflink.sock"

// dashboardToken is the type of the tokens in the dashboard's cookie: none of
// the API serves there, and it serves nowhere else.
const dashboardToken auth.Type = "dashboard"

// newDesk makes the dashboard over all parts.
func (a *Appliance) newDesk(cfg *config.Config, metrics prometheus.Gatherer, build Build) (*dashboard.Desk, error) {
	tokens, err := auth.NewTokens(auth.TokenOptions{Key: []byte(cfg.JWTSigningKey.Reveal())})
	if err != nil {
		return nil, err
	}
	files, err := web.Dashboard()
	if err != nil {
		return nil, err
	}
	return dashboard.New(dashboard.Options{
		Log: a.log, Identity: staff{a.accounts, tokens}, Config: cfg, DataDir: cfg.DataDir,
		Node: cfg.Instance, Version: build.Version, Commit: build.Commit,
		Health: a.health, Database: a.database, Broker: a.broker, Jobs: a.jobs, Schedules: a.schedules, Realtime: a.realtime,
		Audit: a.audit, Tail: a.tail, Traces: a.traces, History: a.history,
		Diagnostics: func(ctx context.Context, w io.Writer) error { return a.diagnose(ctx, w, cfg, metrics, build) },
		Files:       files,
	})
}

// staff are the accounts that use the dashboard. The cookie is a token of
// their session, so it means nothing once that has ended.
type staff struct {
	accounts *accounts.Service
	tokens   *auth.Tokens
}

// SignIn implements [dashboard.Identity].
func (s staff) SignIn(ctx context.Context, email, password string, life time.Duration) (dashboard.SignedIn, error) {
	session, err := s.accounts.OpenSession(ctx, email, password, life)
	var locked *accounts.LockedError
	switch {
	case errors.As(err, &locked):
		return dashboard.SignedIn{}, &dashboard.LockedError{Wait: locked.Wait}
	case errors.Is(err, accounts.ErrSignIn):
		return dashboard.SignedIn{}, dashboard.ErrWrong
	case errors.Is(err, accounts.ErrNoRole):
		return dashboard.SignedIn{}, dashboard.ErrNotStaff
	case errors.Is(err, auth.ErrBusy):
		return dashboard.SignedIn{}, httpapi.Unavailable()
	case err != nil:
		return dashboard.SignedIn{}, fmt.Errorf("sign in to the dashboard: %w", err)
	}
	id, err := uuid.Parse(session.SessionID)
	if err != nil {
		return dashboard.SignedIn{}, fmt.Errorf("sign in to the dashboard: %w", err)
	}
	now := time.Now()
	token, err := s.tokens.Sign(auth.Claims{
		Type: dashboardToken, ID: uuid.New(), UserID: session.UserID, Session: id, IssuedAt: now, ExpiresAt: session.ExpiresAt,
	})
	if err != nil {
		return dashboard.SignedIn{}, fmt.Errorf("sign in to the dashboard: %w", err)
	}
	return dashboard.SignedIn{Person: person(session), Token: token, ExpiresAt: session.ExpiresAt}, nil
}

func person(s accounts.DashboardSession) dashboard.Person {
	return dashboard.Person{ID: s.UserID, Email: s.Email, Name: s.Name, Staff: s.Staff, Operator: s.Superuser}
}

// Caller implements [dashboard.Identity].
func (s staff) Caller(ctx context.Context, token string) (auth.Principal, error) {
	claims, err := s.tokens.Verify(token, dashboardToken)
	if err != nil {
		return auth.Principal{}, err
	}
	session, err := s.accounts.DashboardSession(ctx, claims.UserID, claims.Session.String())
	if err != nil {
		return auth.Principal{}, err
	}
	return session.Principal(), nil
}

// SignOut implements [dashboard.Identity].
func (s staff) SignOut(ctx context.Context, who auth.Principal) error {
	return s.accounts.CloseSession(ctx, who.UserID, who.SessionID)
}

// Person implements [dashboard.Identity].
func (s staff) Person(ctx context.Context, who auth.Principal) (dashboard.Person, error) {
	session, err := s.accounts.DashboardSession(ctx, who.UserID, who.SessionID)
	if err != nil {
		return dashboard.Person{}, err
	}
	return person(session), nil
}

// AdminExists implements [dashboard.Identity].
func (s staff) AdminExists(ctx context.Context) (bool, error) { return s.accounts.AdminExists(ctx) }

// CreateFirstAdmin implements [dashboard.Identity].
func (s staff) CreateFirstAdmin(ctx context.Context, email, password, name string) (int64, error) {
	id, err := s.accounts.CreateFirstAdmin(ctx, email, password, name)
	if errors.Is(err, accounts.ErrAdminExists) {
		return 0, dashboard.ErrAdminExists
	}
	return id, err
}

// auditDeed writes what accounts did into the trail, in its transaction.
func auditDeed(trail *audit.Log) func(ctx context.Context, tx database.Tx, e accounts.AuditEntry) error {
	return func(ctx context.Context, tx database.Tx, e accounts.AuditEntry) error {
		return trail.RecordTx(ctx, tx, audit.Entry{
			Actor: e.Actor, ActorIP: httpapi.RequestInfo(ctx).ClientIP, Action: e.Action,
			ObjectType: e.ObjectType, ObjectID: e.ObjectID, Metadata: e.Metadata,
		})
	}
}

// mentorBacklog counts the questions that wait for the model.
func (a *Appliance) mentorBacklog(ctx context.Context) (int64, error) {
	q, err := a.jobs.Queue(ctx, mentor.Queue)
	return q.Waiting, err
}

// names gives the names of accounts to the audit trail.
func (a *Appliance) names(ctx context.Context, ids []int64) (map[int64]string, error) {
	return a.accounts.Names(ctx, ids)
}

// tracedJobs shows the job engine to the explanations.
type tracedJobs struct{ engine *jobs.Engine }

// ByRequest implements [trace.Jobs].
func (t tracedJobs) ByRequest(ctx context.Context, requestID string) ([]trace.JobTrace, error) {
	found, err := t.engine.ByRequest(ctx, requestID)
	if err != nil {
		return nil, err
	}
	out := make([]trace.JobTrace, len(found))
	for i, d := range found {
		out[i] = traced(d)
	}
	return out, nil
}

// ByID implements [trace.Jobs].
func (t tracedJobs) ByID(ctx context.Context, id uuid.UUID) (trace.JobTrace, error) {
	d, err := t.engine.Detail(ctx, id)
	if errors.Is(err, jobs.ErrNotFound) {
		return trace.JobTrace{}, trace.ErrUnknown
	}
	return traced(d), err
}

func traced(d jobs.Detail) trace.JobTrace {
	out := trace.JobTrace{
		ID: d.ID, Kind: d.Kind, State: string(d.State), CreatedAt: d.CreatedAt, StartedAt: d.StartedAt, FinishedAt: d.FinishedAt,
	}
	if d.RequestID != nil {
		out.RequestID = *d.RequestID
	}
	for _, f := range d.Failures {
		failure := trace.JobFailure{Attempt: f.Attempt, At: f.At, Error: f.Error}
		if f.DurationMS != nil {
			failure.Took = time.Duration(*f.DurationMS) * time.Millisecond
		}
		out.Failures = append(out.Failures, failure)
	}
	return out
}

func socketPath(cfg *config.Config) string { return filepath.Join(cfg.DataDir, SocketName) }
