package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"selflink/appliance"
	"selflink/appliance/config"
	"selflink/appliance/health"
	"selflink/appliance/jobs"
	"selflink/appliance/oldstack"
	"selflink/appliance/telemetry"
	"selflink/appliance/trace"
	"selflink/services/accounts"
	"selflink/services/coin"
)

// buffer is a writer that tests read while the program writes.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// bench is a program on a machine of its own, with fake parts.
type bench struct {
	*program
	out, err *buffer
	signal   chan os.Signal
	data     string
}

func newBench(t *testing.T, environ ...string) *bench {
	t.Helper()
	b := &bench{out: &buffer{}, err: &buffer{}, signal: make(chan os.Signal, 4), data: filepath.Join(t.TempDir(), "data")}
	b.program = &program{
		stdin: strings.NewReader(""), stdout: b.out, stderr: b.err, version: "v1.2.3", commit: "abc1234",
		environ: append([]string{"SELFLINK_ENV_FILE=", "SELFLINK_DATA_DIR=" + b.data, "RUNNING_IN_DOCKER=false", "GOMEMLIMIT=off"}, environ...),
		signals: func() (<-chan os.Signal, func()) { return b.signal, func() {} },
		parts: parts{
			newServer: func(context.Context, *config.Config, *slog.Logger, *telemetry.Tail, string, string) (server, error) {
				require.FailNow(t, "no server is expected")
				return nil, nil
			},
			openLedger: func(context.Context, *config.Config, *slog.Logger, string, string) (ledger, error) {
				require.FailNow(t, "no database is expected")
				return nil, nil
			},
		},
	}
	return b
}

// withLedger gives the bench a fake database.
func (b *bench) withLedger(l *fakeLedger) *bench {
	b.parts.openLedger = func(_ context.Context, cfg *config.Config, _ *slog.Logger, _, _ string) (ledger, error) {
		l.dataDir, l.keyed = cfg.DataDir, !cfg.JWTSigningKey.IsZero()
		return l, l.openErr
	}
	return b
}

func (b *bench) withInput(text string) *bench {
	b.stdin = io.MultiReader(strings.NewReader(text)) // no file, so no terminal
	return b
}

// fakeLedger notes what is asked of it.
type fakeLedger struct {
	openErr, err error
	dataDir      string
	calls        []string
	list         []jobs.Info
	timeline     trace.Timeline
	trail        *fakeTrail
	staff        []accounts.PersonSummary
	filter       jobs.Filter
	groups       []jobs.ErrorGroup
	report       coin.Report
	failing      map[jobs.ID]error
	from, to     int64
	closed       bool
	migrated     bool
	search       fakeSearch
	imports      func(appliance.ImportRequest) (oldstack.Result, error)
	keyed        bool // the settings it was opened with had a signing key
}

func (l *fakeLedger) Jobs() jobKeeper         { return l }
func (l *fakeLedger) Accounts() accountKeeper { return l }
func (l *fakeLedger) Coin() coinKeeper        { return l }
func (l *fakeLedger) Search() searchKeeper    { return l.search }
func (l *fakeLedger) Import(_ context.Context, r appliance.ImportRequest) (oldstack.Result, error) {
	return l.imports(r)
}

func (l *fakeLedger) Close() error { l.closed = true; return nil }

func (l *fakeLedger) Audit() auditTrail { return l.trail }

func (l *fakeLedger) Explain(_ context.Context, id string) (trace.Timeline, error) {
	l.calls = append(l.calls, "explain "+id)
	return l.timeline, l.err
}

func (l *fakeLedger) Check(context.Context) (coin.Report, error) { return l.report, l.err }

func (l *fakeLedger) Migrate(context.Context) (int64, int64, error) {
	l.migrated = true
	return l.from, l.to, l.err
}

func (l *fakeLedger) List(_ context.Context, f jobs.Filter) ([]jobs.Info, error) {
	l.filter = f
	return l.list, l.err
}

func (l *fakeLedger) Show(_ context.Context, id jobs.ID) (jobs.Info, error) {
	for _, j := range l.list {
		if j.ID == id {
			return j, nil
		}
	}
	return jobs.Info{}, fmt.Errorf("jobs: show %s: %w", id, jobs.ErrNotFound)
}

func (l *fakeLedger) Retry(_ context.Context, id jobs.ID) error {
	l.calls = append(l.calls, "retry "+id.String())
	return l.failing[id]
}

func (l *fakeLedger) Cancel(_ context.Context, id jobs.ID) error {
	l.calls = append(l.calls, "cancel "+id.String())
	return l.failing[id]
}

func (l *fakeLedger) Delete(_ context.Context, id jobs.ID) error {
	l.calls = append(l.calls, "delete "+id.String())
	return l.failing[id]
}

func (l *fakeLedger) ErrorGroups(context.Context) ([]jobs.ErrorGroup, error) { return l.groups, l.err }

func (l *fakeLedger) PauseQueue(_ context.Context, name, by string) error {
	l.calls = append(l.calls, "pause "+name+"|"+by)
	return l.err
}

func (l *fakeLedger) ResumeQueue(_ context.Context, name string) error {
	l.calls = append(l.calls, "resume "+name)
	return l.err
}

func (l *fakeLedger) CreateAdmin(_ context.Context, email, password, name string) (int64, error) {
	l.calls = append(l.calls, "create "+email+"|"+password+"|"+name)
	return 1 << 60, l.err
}

func (l *fakeLedger) Promote(_ context.Context, who string) (int64, error) {
	l.calls = append(l.calls, "promote "+who)
	return 7, l.err
}

func (l *fakeLedger) Demote(_ context.Context, who string) (int64, error) {
	l.calls = append(l.calls, "demote "+who)
	return 7, l.err
}

func (l *fakeLedger) CloseAccount(_ context.Context, who string) (int64, error) {
	l.calls = append(l.calls, "deactivate "+who)
	return 7, l.err
}

func (l *fakeLedger) Staff(context.Context) ([]accounts.PersonSummary, error) { return l.staff, l.err }

func (l *fakeLedger) ResetPassword(_ context.Context, who, password string) (int64, error) {
	l.calls = append(l.calls, "reset "+who+"|"+password)
	return 7, l.err
}

// fakeServer is an appliance whose life the test decides.
type fakeServer struct {
	start func(ctx context.Context) error
	stop  func(ctx context.Context) error
	done  chan error

	firstRun string
	health   health.Registry

	mu      sync.Mutex
	stopped int
}

func (s *fakeServer) Start(ctx context.Context) error {
	if s.start != nil {
		return s.start(ctx)
	}
	return nil
}

func (s *fakeServer) Stop(ctx context.Context) error {
	s.mu.Lock()
	s.stopped++
	s.mu.Unlock()
	if s.stop != nil {
		return s.stop(ctx)
	}
	return nil
}

func (s *fakeServer) stops() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopped
}

func (s *fakeServer) Starting() (string, bool) { return "", false }
func (s *fakeServer) Health() *health.Registry { return &s.health }
func (s *fakeServer) Addrs() []string          { return []string{"0.0.0.0:8123", "[::1]:8124"} }
func (s *fakeServer) FirstRunPath() string     { return s.firstRun }
func (s *fakeServer) Done() <-chan error       { return s.done }
func (s *fakeServer) Told(func(string))        {}

func (b *bench) withServer(s *fakeServer) *bench {
	if s.done == nil {
		s.done = make(chan error, 1)
	}
	b.parts.newServer = func(context.Context, *config.Config, *slog.Logger, *telemetry.Tail, string, string) (server, error) {
		return s, nil
	}
	return b
}
