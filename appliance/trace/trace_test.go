package trace_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"selflink/appliance/database"
	"selflink/appliance/database/databasetest"
	"selflink/appliance/telemetry"
	"selflink/appliance/trace"
)

func TestMain(m *testing.M) { databasetest.Main(m) }

// away is a database that can be taken away.
type away struct {
	database.Pool
	gone  atomic.Bool
	tries atomic.Int64
}

func (a *away) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error) {
	a.tries.Add(1)
	if a.gone.Load() {
		return 0, fmt.Errorf("%w: test", database.ErrUnavailable)
	}
	return a.Pool.CopyFrom(ctx, table, columns, src)
}

// buffer keeps log lines; it is safe for concurrent use.
type buffer struct {
	mu   sync.Mutex
	text strings.Builder
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

type rig struct {
	*trace.Recorder
	db  *away
	log *buffer
	now atomic.Int64 // unix microseconds
}

func newRig(t testing.TB, o trace.Options) *rig {
	r := &rig{db: &away{Pool: databasetest.New(t).Pool}, log: new(buffer)}
	r.now.Store(time.Now().UnixMicro())
	o.DB, o.Node, o.Now = r.db, "here", func() time.Time { return time.UnixMicro(r.now.Load()).UTC() }
	o.Logger = slog.New(slog.NewJSONHandler(r.log, nil))
	var err error
	r.Recorder, err = trace.New(o)
	require.NoError(t, err)
	return r
}

func (r *rig) start(t testing.TB) {
	require.NoError(t, r.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, r.Stop(context.Background())) })
}

// has waits until so many records are there.
func (r *rig) has(t testing.TB, n int) trace.Page {
	var page trace.Page
	require.Eventually(t, func() bool {
		var err error
		page, err = r.Requests(t.Context(), trace.Query{Limit: trace.MaxPage})
		require.NoError(t, err)
		return len(page.Items) == n
	}, 60*time.Second, 5*time.Millisecond)
	return page
}

func TestRequests(t *testing.T) {
	t.Parallel()
	r := newRig(t, trace.Options{})
	at := time.UnixMicro(r.now.Load()).UTC()
	var tally database.Tally
	ctx := database.WithTally(t.Context(), &tally)
	_, err := r.db.Exec(ctx, "-- name: Sleep :exec\nSELECT pg_sleep(0.01)")
	require.NoError(t, err)

	give := func(i int, q trace.Request) {
		q.At = at.Add(time.Duration(i) * time.Second)
		q.Method = "GET"
		r.Ended(q)
	}
	give(0, trace.Request{ID: "fine", Route: "/a/", Status: 404, Took: time.Millisecond})
	give(1, trace.Request{ID: "stream", Route: "/s/", Status: 200, Took: time.Hour, Lasting: true})
	give(2, trace.Request{
		ID: "failed", Route: "/a/{id}/", Status: 500, Took: 12345 * time.Microsecond, User: 382706366684336128,
		Client: netip.MustParseAddr("fe80::1%eth0"), Failure: errors.New("token=hunter2hunter2 \x00\xff said no"), Tally: &tally,
	})
	give(3, trace.Request{ID: "slow", Route: "/b/", Status: 200, Took: trace.DefaultSlow})
	give(4, trace.Request{ID: "both", Route: "/b/", Status: 503, Took: time.Second})
	give(5, trace.Request{ID: "broken-stream", Route: "/s/", Status: 200, Took: time.Hour, Lasting: true, Failure: errors.New("cut")})
	r.start(t)
	page := r.has(t, 4)
	require.Nil(t, page.Next)

	raw, err := json.Marshal(page.Items[3])
	require.NoError(t, err)
	var sql struct {
		MS float64 `json:"sql_ms"`
	}
	require.NoError(t, json.Unmarshal(raw, &sql))
	require.GreaterOrEqual(t, sql.MS, 10.0)
	require.JSONEq(t, fmt.Sprintf(`{"id":"failed","at":%q,"method":"GET","route":"/a/{id}/","status":500,"duration_ms":12.345,"sql_ms":%v,"sql_count":1,
		"user_id":"382706366684336128","client_ip":"fe80::1","node":"here","error":"token=*** \ufffd\ufffd said no","slow":false}`,
		at.Add(2*time.Second).Format(time.RFC3339Nano), sql.MS), string(raw))

	for _, c := range []struct {
		q    trace.Query
		want string
	}{
		{trace.Query{Kind: "failed"}, "broken-stream both failed"},
		{trace.Query{Kind: "slow"}, "both slow"},
		{trace.Query{Route: "/b/"}, "both slow"},
		{trace.Query{Route: "/b/", Kind: "slow", Status: 200}, "slow"},
		{trace.Query{Status: 5}, "both failed"},
		{trace.Query{Status: 503}, "both"},
		{trace.Query{Route: "/%/"}, ""},
		{trace.Query{Limit: 3}, "broken-stream both slow"},
	} {
		page, err := r.Requests(t.Context(), c.q)
		require.NoError(t, err)
		require.Equal(t, c.want, ids(page), "%+v", c.q)
		require.Equal(t, c.q.Limit == 3, page.Next != nil)
		if page.Next != nil {
			c.q.Cursor = *page.Next
			rest, err := r.Requests(t.Context(), c.q)
			require.NoError(t, err)
			require.Equal(t, "failed", ids(rest))
			require.Nil(t, rest.Next)
		}
	}
	for _, q := range []trace.Query{{Kind: "odd"}, {Status: 6}, {Status: -1}, {Cursor: "x"}, {Cursor: "-1.1"}, {Cursor: strings.Repeat("1", 80)}} {
		page, err := r.Requests(t.Context(), q)
		require.ErrorIs(t, err, trace.ErrQuery)
		require.NotNil(t, page.Items)
	}

	r.now.Add((trace.Retention + 3500*time.Millisecond).Microseconds())
	n, err := r.Trim(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 2, n)
	require.Equal(t, "broken-stream both", ids(r.has(t, 2)))
}

func ids(p trace.Page) string {
	var list []string
	for _, i := range p.Items {
		list = append(list, i.ID)
	}
	return strings.Join(list, " ")
}

func TestRateAndQueueAreBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t, trace.Options{PerSecond: 5, Queue: 8})
	second := func(n int) {
		r.now.Add(time.Second.Microseconds())
		for i := range n {
			r.Ended(trace.Request{ID: fmt.Sprintf("%d-%d", r.now.Load()%1000, i), At: time.UnixMicro(r.now.Load()), Route: "/x/", Status: 500})
		}
	}
	r.db.gone.Store(true)
	second(7) // two over the rate
	r.start(t)
	require.Eventually(t, func() bool { return r.db.tries.Load() > 0 }, 60*time.Second, time.Millisecond)
	second(5) // two too many for the queue
	r.db.gone.Store(false)
	page := r.has(t, 8)
	require.Equal(t, 500, page.Items[0].Status)
	require.Eventually(t, func() bool { return strings.Contains(r.log.String(), `"over_the_rate":2`) }, 60*time.Second, time.Millisecond)
	require.NoError(t, r.Stop(t.Context()))
	require.Contains(t, r.log.String(), `"queue_full":2`)
	require.NoError(t, r.Stop(t.Context()))
}

// Stop writes what waits, also when Start has just happened.
func TestStopWritesTheRest(t *testing.T) {
	t.Parallel()
	r := newRig(t, trace.Options{})
	require.NoError(t, r.Stop(t.Context()), "before Start")
	r = newRig(t, trace.Options{})
	r.Ended(trace.Request{ID: "last", At: time.Now(), Status: 500})
	require.NoError(t, r.Start(t.Context()))
	require.NoError(t, r.Start(t.Context()))
	require.NoError(t, r.Stop(t.Context()))
	require.Equal(t, "last", ids(r.has(t, 1)))
}

// engine is a job engine of two jobs.
type engine struct{ jobs []trace.JobTrace }

func (e engine) ByRequest(_ context.Context, id string) (list []trace.JobTrace, err error) {
	for _, j := range e.jobs {
		if j.RequestID == id {
			list = append(list, j)
		}
	}
	return list, nil
}

func (e engine) ByID(_ context.Context, id uuid.UUID) (trace.JobTrace, error) {
	for _, j := range e.jobs {
		if j.ID == id {
			return j, nil
		}
	}
	return trace.JobTrace{}, trace.ErrUnknown
}

func TestExplain(t *testing.T) {
	t.Parallel()
	base := time.Now().UTC().Truncate(time.Microsecond).Add(-time.Hour)
	after := func(d time.Duration) *time.Time { at := base.Add(d); return &at }
	job := trace.JobTrace{
		ID: uuid.MustParse("0198a000-0000-7000-8000-000000000001"), Kind: "mentor.answer", State: "dead", RequestID: "r-1",
		CreatedAt: *after(8 * time.Millisecond), StartedAt: after(2 * time.Second), FinishedAt: after(3 * time.Second),
		Failures: []trace.JobFailure{{Attempt: 1, At: *after(time.Second), Error: "Bearer hunter2hunter2", Took: 500 * time.Millisecond}},
	}
	tail := telemetry.NewTail(0)
	log, err := telemetry.NewLogger(telemetry.Options{Out: io.Discard, Tail: tail})
	require.NoError(t, err)
	r := newRig(t, trace.Options{Jobs: engine{[]trace.JobTrace{job}}, Logs: tail})
	r.start(t)

	var tally database.Tally
	_, err = r.db.Exec(database.WithTally(t.Context(), &tally), "-- name: AddQuestion :exec\nSELECT 1")
	require.NoError(t, err)
	r.Ended(trace.Request{ID: "r-1", At: base, Method: "POST", Route: "/chat/", Status: 500, Took: 10 * time.Millisecond, User: 7, Failure: errors.New("broken"), Tally: &tally})
	r.has(t, 1)
	log.ErrorContext(telemetry.WithRequest(t.Context(), "r-1"), "request failed", "component", "http", "error", "broken")
	log.InfoContext(telemetry.WithJob(telemetry.WithRequest(t.Context(), "r-1"), job.ID.String()), "said once")
	log.Info("of somebody else")

	texts := func(tl trace.Timeline) (list []string) {
		for i, e := range tl.Entries {
			list = append(list, e.Kind+" "+e.Level+" "+e.Text)
			require.True(t, i == 0 || !e.At.Before(tl.Entries[i-1].At))
			require.InDelta(t, float64(e.At.Sub(tl.StartedAt).Microseconds())/1000, e.OffsetMS, 0.001)
		}
		return list
	}
	tl, err := r.Explain(t.Context(), "r-1")
	require.NoError(t, err)
	require.Equal(t, "request", tl.Kind)
	require.Equal(t, "POST /chat/: 500", tl.Title)
	require.InDelta(t, 10.0, *tl.DurationMS, 0)
	require.ElementsMatch(t, []string{
		"request info POST /chat/ came on here, from user 7",
		"sql info statements in all: 1",
		"sql info AddQuestion",
		"job info mentor.answer was enqueued",
		"request error answered 500: broken",
		"attempt warning attempt 1 of mentor.answer failed: Bearer ***",
		"attempt info the last attempt of mentor.answer began",
		"job error mentor.answer ended: dead",
		"log error http: request failed: broken",
		"log info said once",
	}, texts(tl))

	tl, err = r.Explain(t.Context(), job.ID.String())
	require.NoError(t, err)
	require.Equal(t, "job", tl.Kind)
	require.Equal(t, "mentor.answer: dead", tl.Title)
	require.Equal(t, job.CreatedAt, tl.StartedAt)
	require.InDelta(t, 2992.0, *tl.DurationMS, 0.001)
	require.Len(t, texts(tl), 10)
	require.Negative(t, tl.Entries[0].OffsetMS, "the request came before its job")

	log.InfoContext(telemetry.WithRequest(t.Context(), "only-heard-of"), "hm")
	tl, err = r.Explain(t.Context(), "only-heard-of")
	require.NoError(t, err)
	require.Nil(t, tl.DurationMS)
	require.Len(t, texts(tl), 1)

	for _, id := range []string{"", "unknown", "a b", "é", strings.Repeat("x", 129), uuid.NewString(), "'; DROP TABLE request_records; --", "x\x00"} {
		_, err := r.Explain(t.Context(), id)
		require.ErrorIs(t, err, trace.ErrUnknown, id)
	}
}

func FuzzQuery(f *testing.F) {
	r, err := trace.New(trace.Options{DB: nowhere{}})
	require.NoError(f, err)
	f.Add("failed", "/x/", 500, "1.1", "r-1")
	f.Add("", "\x00\xff", 5, "zzzzzzzz.zzzz", "0198a000-0000-7000-8000-000000000001")
	f.Fuzz(func(t *testing.T, kind, route string, status int, cursor, id string) {
		_, err := r.Requests(t.Context(), trace.Query{Kind: kind, Route: route, Status: status, Cursor: cursor})
		require.True(t, errors.Is(err, trace.ErrQuery) || errors.Is(err, errNowhere), err)
		_, err = r.Explain(t.Context(), id)
		require.True(t, errors.Is(err, trace.ErrUnknown) || errors.Is(err, errNowhere), err)
	})
}

var errNowhere = errors.New("nowhere")

// nowhere is a database whose every question comes this far and no further.
type nowhere struct{ database.Pool }

func (nowhere) Query(_ context.Context, _ string, args ...any) (pgx.Rows, error) {
	for _, a := range args {
		if at, ok := a.(time.Time); ok && (at.Year() > 9999 || at.Year() < 0) {
			panic("no timestamp of Postgres")
		}
		if s, ok := a.(*string); ok && s != nil && strings.ContainsRune(*s, 0) {
			panic("no text of Postgres")
		}
	}
	return nil, errNowhere
}

// BenchmarkEnded is what each request costs that is neither slow nor failed.
func BenchmarkEnded(b *testing.B) {
	r, err := trace.New(trace.Options{DB: nowhere{}})
	require.NoError(b, err)
	q := trace.Request{ID: "r", At: time.Now(), Method: "GET", Route: "/x/", Status: 200, Took: time.Millisecond, Tally: new(database.Tally)}
	b.ReportAllocs()
	for b.Loop() {
		r.Ended(q)
	}
}
