package telemetry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// tailed is a logger that writes to nobody but its tail.
func tailed(t testing.TB, bytes int) (*slog.Logger, *Tail) {
	t.Helper()
	tail := NewTail(bytes)
	log, err := NewLogger(Options{Out: io.Discard, Level: slog.LevelDebug, App: slog.LevelDebug, Tail: tail, Hidden: []string{"configured-secret"}})
	require.NoError(t, err)
	return log, tail
}

func messages(lines []Line) []string {
	out := []string{}
	for _, l := range lines {
		out = append(out, l.Message)
	}
	return out
}

func TestTailPage(t *testing.T) {
	t.Parallel()
	log, tail := tailed(t, 0)
	empty, err := tail.Page(LineQuery{})
	require.NoError(t, err)
	raw, err := json.Marshal(empty)
	require.NoError(t, err)
	require.JSONEq(t, `{"items":[],"next":null,"oldest_at":null,"components":[]}`, string(raw))

	ctx := WithUser(WithJob(WithRequest(t.Context(), "r-1"), "j-1"), 7)
	log.Debug("first")
	log.With("component", "jobs").InfoContext(ctx, "Second", "count", 3, "error", errors.New(`it said "No" über configured-secret`))
	log.With("component", "http").Warn(`third ,"name":"selflink.forged" "levelname":"ERROR"`, slog.Group("g", "levelname", "ERROR", "request_id", "r-9", "component", "forged"))
	log.With("component", "mentor").ErrorContext(WithRequest(t.Context(), "r-2"), "fourth", "password", "hunter2hunter2")

	for _, c := range []struct {
		q    LineQuery
		want string
	}{
		{LineQuery{}, "fourth third Second first"},
		{LineQuery{Level: "info"}, "fourth third Second"},
		{LineQuery{Level: "error"}, "fourth"},
		{LineQuery{Component: "jobs"}, "Second"},
		{LineQuery{Component: "forged"}, ""},
		{LineQuery{RequestID: "r-1"}, "Second"},
		{LineQuery{RequestID: "r-9"}, ""},
		{LineQuery{RequestID: `r"-1`}, ""},
		{LineQuery{JobID: "j-1", Component: "jobs"}, "Second"},
		{LineQuery{Q: "sECond"}, "Second"},
		{LineQuery{Q: `"no" ÜBER`}, "Second"},
		{LineQuery{Q: "COUNT"}, "Second"},
		{LineQuery{Q: "info"}, ""},
	} {
		page, err := tail.Page(c.q)
		require.NoError(t, err)
		var first []string
		for _, m := range messages(page.Items) {
			first = append(first, strings.Fields(m)[0])
		}
		require.Equal(t, c.want, strings.Join(first, " "), "%+v", c.q)
		require.Equal(t, []string{"http", "jobs", "mentor"}, page.Components)
		require.Nil(t, page.Next)
	}

	page, err := tail.Page(LineQuery{Component: "jobs"})
	require.NoError(t, err)
	raw, err = json.Marshal(page.Items[0])
	require.NoError(t, err)
	require.JSONEq(t, `{"id":"`+page.Items[0].ID+`","at":"`+page.Items[0].At.Format(time.RFC3339Nano)+`","level":"info","component":"jobs",
		"message":"Second","request_id":"r-1","job_id":"j-1","user_id":"7","fields":{"count":3,"error":"it said \"No\" über ***"}}`, string(raw))

	// Page by page, and what is no query.
	var got []string
	q := LineQuery{Limit: 1}
	for {
		page, err := tail.Page(q)
		require.NoError(t, err)
		got = append(got, messages(page.Items)...)
		if page.Next == nil {
			break
		}
		q.Cursor = *page.Next
	}
	require.Len(t, got, 4)
	require.Equal(t, "first", got[3])
	other, err := tail.Page(LineQuery{Cursor: "abc-1"})
	require.NoError(t, err)
	require.Empty(t, other.Items, "another process's lines are gone")
	for _, q := range []LineQuery{{Level: "loud"}, {Cursor: "x"}, {Cursor: "a-!"}, {Q: strings.Repeat("x", 201)}} {
		_, err := tail.Page(q)
		require.ErrorIs(t, err, ErrLineQuery)
	}
	all, err := tail.Page(LineQuery{})
	require.NoError(t, err)
	raw, err = json.Marshal(all)
	require.NoError(t, err)
	require.NotContains(t, string(raw), "hunter2")
	require.NotContains(t, string(raw), "configured-secret")
}

func TestTailForgetsTheOldest(t *testing.T) {
	t.Parallel()
	log, tail := tailed(t, 8<<10)
	for i := range 500 {
		log.Info(fmt.Sprintf("line %d %s", i, strings.Repeat("x", i%97)))
	}
	log.Info(strings.Repeat("x", 4<<10)) // longer than a quarter
	page, err := tail.Page(LineQuery{Limit: MaxLines})
	require.NoError(t, err)
	require.Greater(t, len(page.Items), 20)
	require.Less(t, len(page.Items), 80)
	for i, l := range page.Items {
		require.True(t, strings.HasPrefix(l.Message, fmt.Sprintf("line %d ", 499-i)), l.Message)
	}
	require.Equal(t, page.Items[len(page.Items)-1].At, *page.OldestAt)

	// A ring of tiny lines does not grow without end.
	small := NewTail(leastTail)
	for range 3 * leastTail {
		small.add([]byte("x"))
	}
	require.LessOrEqual(t, len(small.entries), leastTail/shortestLine)
}

// following collects what a follower gets.
func following(t *testing.T, tail *Tail, q LineQuery, after string) chan Line {
	t.Helper()
	lines := make(chan Line)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	before := tail.following()
	go func() {
		done <- tail.Follow(ctx, q, after, func(l Line) error {
			select {
			case lines <- l:
			case <-ctx.Done():
			}
			return nil
		})
	}()
	require.Eventually(t, func() bool { return tail.following() == before+1 }, 60*time.Second, time.Millisecond)
	t.Cleanup(func() {
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
		require.Equal(t, before, tail.following())
	})
	return lines
}

func (t *Tail) following() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.followers)
}

func TestTailFollow(t *testing.T) {
	t.Parallel()
	log, tail := tailed(t, 8<<10)
	log.Info("before")
	fresh := following(t, tail, LineQuery{Level: "warning"}, "")
	log.Info("unwanted")
	log.Warn("wanted")
	require.Equal(t, "wanted", (<-fresh).Message)

	page, err := tail.Page(LineQuery{})
	require.NoError(t, err)
	resumed := following(t, tail, LineQuery{}, page.Items[1].ID)
	require.Equal(t, "wanted", (<-resumed).Message)
	foreign := following(t, tail, LineQuery{}, "1-5")
	require.Equal(t, "before", (<-foreign).Message)

	// Nobody takes from these while the ring is overwritten; then they hear
	// how much they have missed.
	log.Warn("held")
	for i := range 300 {
		log.Warn("flood", "i", i)
	}
	got := []Line{<-fresh}
	for got[len(got)-1].Component != tailComponent {
		got = append(got, <-fresh)
	}
	missed := got[len(got)-1]
	require.Regexp(t, `^\d+ lines came too fast`, missed.Message)
	number, ours, err := tail.number(missed.ID)
	require.NoError(t, err)
	require.True(t, ours)
	next := <-fresh
	after, _, err := tail.number(next.ID)
	require.NoError(t, err)
	require.Equal(t, number+1, after)

	require.ErrorIs(t, tail.Follow(t.Context(), LineQuery{Level: "x"}, "", nil), ErrLineQuery)
	require.ErrorIs(t, tail.Follow(t.Context(), LineQuery{}, "-", nil), ErrLineQuery)
	fails := errors.New("gone")
	require.ErrorIs(t, tail.Follow(t.Context(), LineQuery{}, "1-5", func(Line) error { return fails }), fails)
}

func TestTailBoundsFollowers(t *testing.T) {
	t.Parallel()
	_, tail := tailed(t, 0)
	for range MaxFollowers {
		f, err := tail.join()
		require.NoError(t, err)
		defer tail.leave(f)
	}
	require.ErrorIs(t, tail.Follow(t.Context(), LineQuery{}, "", nil), ErrFollowers)
}

func FuzzLineQuery(f *testing.F) {
	log, tail := tailed(f, 0)
	for i := range 5 {
		log.With("component", "http").Info("hello", "i", i)
	}
	f.Add("info", "http", "r", "hello", "1-1")
	f.Add("", "", `"`, "ﬀ", tail.id(3))
	f.Fuzz(func(t *testing.T, level, component, request, q, cursor string) {
		page, err := tail.Page(LineQuery{Level: level, Component: component, RequestID: request, Q: q, Cursor: cursor, Limit: 2})
		if err != nil {
			require.ErrorIs(t, err, ErrLineQuery)
			return
		}
		require.LessOrEqual(t, len(page.Items), 2)
		if page.Next != nil {
			_, ours, err := tail.number(*page.Next)
			require.NoError(t, err)
			require.True(t, ours)
		}
	})
}

// BenchmarkTail is a line with and without a tail, and with one that is
// followed.
func BenchmarkTail(b *testing.B) {
	run := func(tail *Tail) func(*testing.B) {
		return func(b *testing.B) {
			log, err := NewLogger(Options{Out: io.Discard, Tail: tail})
			require.NoError(b, err)
			log = log.With("component", "http")
			ctx := WithUser(WithRequest(b.Context(), "0123456789abcdef"), 42)
			b.ReportAllocs()
			for b.Loop() {
				log.InfoContext(ctx, "request", "method", "GET", "route", "/api/v1/users/me/", "status", 200, "duration_ms", 1.5, "bytes", 512)
			}
		}
	}
	b.Run("none", run(nil))
	tail := NewTail(0)
	b.Run("tail", run(tail))
	f, err := tail.join()
	require.NoError(b, err)
	defer tail.leave(f)
	b.Run("followed", run(tail))
	b.Run("add", func(b *testing.B) { // what a line costs more, followed
		line := []byte(strings.Repeat("x", 300))
		b.ReportAllocs()
		for b.Loop() {
			tail.add(line)
		}
	})
	b.Run("page", func(b *testing.B) { // of a full tail, with a filter that finds nothing
		for b.Loop() {
			if _, err := tail.Page(LineQuery{RequestID: "nobody"}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
