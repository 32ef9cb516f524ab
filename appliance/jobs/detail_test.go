package jobs_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"selflink/appliance/database"
	"selflink/appliance/jobs"
	"selflink/appliance/telemetry"
)

// letter is a job with arguments that not everybody should see.
type letter struct {
	To     int64  `json:"to_id"`
	APIKey string `json:"api_key"`
	Text   string `json:"text"`
	Note   string `json:"note"`
}

func (letter) Kind() string { return "test.letter" }

func whats(d jobs.Detail) []string {
	list := []string{}
	for _, m := range d.Timeline {
		list = append(list, m.What)
	}
	return list
}

func TestDetail(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	require.NoError(t, jobs.Handle(r.engine, jobs.Policy{Attempts: 4, Backoff: soon}, func(ctx context.Context, job *jobs.Job, args letter) error {
		switch {
		case args.To == 2:
			return jobs.Permanent(errors.New("no such address"))
		case job.Attempt < 3:
			return errors.New("login failed: password=hunter2")
		}
		return job.Complete(ctx, map[string]any{"token": "t", "sent": 1}, nil)
	}))
	start(t, r.engine)
	ctx := telemetry.WithRequest(t.Context(), "req-1")
	var good, bad jobs.ID
	var more []jobs.ID
	require.NoError(t, r.db.Pool.Tx(ctx, func(tx database.Tx) (err error) {
		if good, err = r.engine.Enqueue(ctx, tx, letter{To: 1, APIKey: "sesame", Text: "dear", Note: "ok"}, jobs.EnqueueOptions{Unique: "u"}); err != nil {
			return err
		}
		more, err = r.engine.EnqueueMany(ctx, tx, []jobs.Args{letter{To: 2}})
		return err
	}))
	bad = more[0]
	later := r.enqueue(t, letter{}, jobs.EnqueueOptions{RunAt: time.Now().Add(time.Hour)})
	require.Equal(t, jobs.Succeeded, r.wait(t, good))
	require.Equal(t, jobs.Dead, r.wait(t, bad))

	d, err := r.engine.Detail(t.Context(), good)
	require.NoError(t, err)
	require.JSONEq(t, `{"to_id":1,"api_key":"[redacted]","text":"[redacted]","note":"ok"}`, string(d.Args))
	require.JSONEq(t, `{"token":"[redacted]","sent":1}`, string(d.Result))
	require.Equal(t, "req-1", *d.RequestID)
	require.Equal(t, "u", *d.UniqueKey)
	require.NotEmpty(t, *d.Node)
	require.Equal(t, 3, d.Attempt)
	require.Equal(t, 4, d.MaxAttempts)
	require.NotNil(t, d.DurationMS)
	require.Equal(t, "login failed: password=***", *d.LastError)
	require.Len(t, d.Failures, 2)
	require.Equal(t, 2, d.Failures[1].Attempt)
	require.Equal(t, "login failed: password=***", d.Failures[1].Error)
	require.NotNil(t, d.Failures[0].DurationMS)
	require.Equal(t, []string{"created", "started", "failed", "started", "failed", "started", "succeeded"}, whats(d))
	require.Equal(t, jobs.Can{Delete: true}, d.Can)

	d, err = r.engine.Detail(t.Context(), bad)
	require.NoError(t, err)
	require.Equal(t, []string{"created", "started", "failed", "dead"}, whats(d))
	require.Equal(t, jobs.Can{Retry: true, Delete: true}, d.Can)
	require.Equal(t, "null", string(d.Result))

	d, err = r.beside(t).Detail(t.Context(), later)
	require.NoError(t, err)
	require.Equal(t, []string{"created", "scheduled"}, whats(d))
	require.Equal(t, jobs.Can{Retry: true, Cancel: true}, d.Can)
	require.Zero(t, d.MaxAttempts, "a command has no handlers")
	encoded, err := json.Marshal(d)
	require.NoError(t, err)
	var fields map[string]any
	require.NoError(t, json.Unmarshal(encoded, &fields))
	require.Equal(t, []any{}, fields["failures"])
	for _, name := range []string{"unique_key", "request_id", "node", "started_at", "finished_at", "duration_ms", "last_error", "result"} {
		value, there := fields[name]
		require.True(t, there, name)
		require.Nil(t, value, name)
	}

	_, err = r.engine.Detail(t.Context(), uuid.New())
	require.ErrorIs(t, err, jobs.ErrNotFound)

	of, err := r.engine.ByRequest(t.Context(), "req-1")
	require.NoError(t, err)
	require.Len(t, of, 2)
	require.Equal(t, good, of[0].ID)
	for _, id := range []string{"", "req-2", "\x00", "%"} {
		of, err = r.engine.ByRequest(t.Context(), id)
		require.NoError(t, err)
		require.NotNil(t, of)
		require.Empty(t, of)
	}
}

func TestTimelineOfACancelledJob(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	running := make(chan struct{})
	require.NoError(t, jobs.Handle(r.engine, jobs.Policy{}, func(ctx context.Context, _ *jobs.Job, _ noop) error {
		close(running)
		<-ctx.Done()
		return ctx.Err()
	}))
	start(t, r.engine)
	id := r.enqueue(t, noop{}, jobs.EnqueueOptions{})
	<-running
	require.NoError(t, r.engine.Cancel(t.Context(), id))
	require.Equal(t, jobs.Cancelled, r.wait(t, id))
	d, err := r.engine.Detail(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, []string{"created", "started", "cancelled"}, whats(d))
}
