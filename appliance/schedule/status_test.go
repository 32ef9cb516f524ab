package schedule_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/database/databasetest"
	"selflink/appliance/health"
	"selflink/appliance/schedule"
)

func started(t *testing.T, s *schedule.Scheduler) {
	require.NoError(t, s.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, s.Stop(context.Background())) })
}

// Two operators on two nodes who press the same button start one run.
func TestTriggerRunsOnceInTheCluster(t *testing.T) {
	t.Parallel()
	db := databasetest.New(t)
	begun, release := make(chan struct{}, 2), make(chan struct{})
	entry := schedule.Entry{Name: "long", Cron: rarely, Run: func(ctx context.Context) error {
		begun <- struct{}{}
		select {
		case <-release:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}}
	first, second := newScheduler(t, db, nil, entry), newScheduler(t, db, nil, entry)
	_, err := first.Trigger(t.Context(), "long")
	require.ErrorIs(t, err, schedule.ErrStopped)
	started(t, first)
	started(t, second)
	at, err := first.Trigger(t.Context(), "long")
	require.NoError(t, err)
	<-begun
	for _, s := range []*schedule.Scheduler{first, second} {
		_, err = s.Trigger(t.Context(), "long")
		require.ErrorIs(t, err, schedule.ErrRunning)
		require.ErrorIs(t, s.RunNow(t.Context(), "long"), schedule.ErrRunning)
		st, err := s.Status(t.Context(), "long")
		require.NoError(t, err)
		require.True(t, st.Running)
		require.Equal(t, "running", st.Last.Outcome)
		require.Equal(t, at, st.Last.FireAt)
		require.Nil(t, st.Last.DurationMS)
	}
	close(release)
	require.Eventually(t, func() bool {
		st, err := second.Status(t.Context(), "long")
		require.NoError(t, err)
		return !st.Running && st.Last.Outcome == "succeeded" && st.LastSuccessAt != nil
	}, 60*time.Second, 5*time.Millisecond)
	_, err = second.Trigger(t.Context(), "long")
	require.NoError(t, err)
	<-begun
	_, err = first.Trigger(t.Context(), "short")
	require.ErrorIs(t, err, schedule.ErrNotFound)
}

func TestStopEndsATriggeredRun(t *testing.T) {
	t.Parallel()
	db := databasetest.New(t)
	begun := make(chan struct{})
	s := newScheduler(t, db, nil, schedule.Entry{Name: "long", Cron: rarely, Run: func(ctx context.Context) error {
		close(begun)
		<-ctx.Done()
		return ctx.Err()
	}})
	require.NoError(t, s.Start(t.Context()))
	_, err := s.Trigger(t.Context(), "long")
	require.NoError(t, err)
	<-begun
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, s.Stop(ctx))
	st, err := s.Status(t.Context(), "long")
	require.NoError(t, err)
	require.Contains(t, *st.Last.Error, "the appliance stopped")
	require.EqualValues(t, 1, st.Failed)
	_, err = s.Trigger(t.Context(), "long")
	require.ErrorIs(t, err, schedule.ErrStopped)
}

// What a pause keeps from firing is neither missed nor caught up, on no node.
func TestPausedScheduleDoesNotFire(t *testing.T) {
	t.Parallel()
	db := databasetest.New(t)
	var registry health.Registry
	ran := make(chan string, 10)
	entry := func(name string) schedule.Entry {
		return schedule.Entry{Name: name, Cron: "* * * * *", CatchUp: true, Run: func(context.Context) error {
			ran <- name
			return nil
		}}
	}
	s := newScheduler(t, db, &registry, entry("off"), entry("on"))
	for _, name := range []string{"off", "on"} {
		_, err := db.Pool.Exec(t.Context(), `INSERT INTO schedules (name, cron, next_at, paused_by, paused_at)
			VALUES ($1, '* * * * *', date_trunc('minute', now()) - interval '3 minutes',
				CASE WHEN $1 = 'off' THEN 'ann' END, CASE WHEN $1 = 'off' THEN now() - interval '1 hour' END)`, name)
		require.NoError(t, err)
	}
	require.NoError(t, s.Pause(t.Context(), "off", "bob"), "it is paused already")
	started(t, s)
	require.Equal(t, "on", <-ran)
	list, err := s.Overview(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 2)
	off, on := list[0], list[1]
	require.True(t, off.Paused)
	require.Equal(t, "ann", *off.PausedBy)
	require.Nil(t, off.NextAt)
	require.Nil(t, off.Last)
	require.Zero(t, off.Missed)
	require.False(t, on.Paused)
	require.NotNil(t, on.NextAt)
	require.Positive(t, on.Missed)
	results, ready := registry.Run(t.Context())
	require.True(t, ready)
	require.Contains(t, results[2].Name, "schedules.paused")
	require.Contains(t, results[2].Error, "off is paused by ann since ")
	require.NotContains(t, results[1].Error, "off ")

	// By hand it fires all the same.
	require.NoError(t, s.RunNow(t.Context(), "off"))

	// A downtime within the pause, which ended before the start, missed nothing.
	other := newScheduler(t, db, nil, entry("off"))
	_, err = db.Pool.Exec(t.Context(), "UPDATE schedules SET next_at = now() - interval '30 minutes' WHERE name = 'off'")
	require.NoError(t, err)
	require.NoError(t, other.Resume(t.Context(), "off"))
	require.NoError(t, other.Resume(t.Context(), "off"), "it is resumed already")
	started(t, other)
	st, err := other.Status(t.Context(), "off")
	require.NoError(t, err)
	require.False(t, st.Paused)
	require.NotNil(t, st.NextAt)
	require.Zero(t, st.Missed)
	results, _ = registry.Run(t.Context())
	require.True(t, results[2].OK)

	require.ErrorIs(t, s.Pause(t.Context(), "none", "ann"), schedule.ErrNotFound)
	require.ErrorIs(t, s.Resume(t.Context(), "none"), schedule.ErrNotFound)
	_, err = s.Status(t.Context(), "none")
	require.ErrorIs(t, err, schedule.ErrNotFound)
}

// A schedule whose firing was missed is no problem while it is paused.
func TestPauseSilencesAMissedFiring(t *testing.T) {
	t.Parallel()
	db := databasetest.New(t)
	var registry health.Registry
	s := newScheduler(t, db, &registry, schedule.Entry{Name: "a", Cron: rarely, Run: func(context.Context) error { return nil }})
	_, err := db.Pool.Exec(t.Context(), "INSERT INTO schedule_firings (schedule, fire_at, outcome, host, finished_at) VALUES ('a', now(), 'missed', 'here', now())")
	require.NoError(t, err)
	results, _ := registry.Run(t.Context())
	require.False(t, results[1].OK)
	require.NoError(t, s.Pause(t.Context(), "a", "ann"), "a scheduler that does not run can be told")
	results, _ = registry.Run(t.Context())
	require.True(t, results[1].OK, results[1].Error)
}

func TestPageOfFirings(t *testing.T) {
	t.Parallel()
	db := databasetest.New(t)
	fails := false
	s := newScheduler(t, db, nil, schedule.Entry{Name: "a", Cron: rarely, Run: func(context.Context) error {
		if fails {
			return errors.New("broken")
		}
		return nil
	}})
	empty, err := s.Page(t.Context(), "a", "", 0)
	require.NoError(t, err)
	encoded, err := json.Marshal(empty)
	require.NoError(t, err)
	require.JSONEq(t, `{"items":[],"next":null}`, string(encoded))
	for range 4 {
		require.NoError(t, s.RunNow(t.Context(), "a"))
	}
	fails = true
	require.Error(t, s.RunNow(t.Context(), "a"))
	_, err = db.Pool.Exec(t.Context(), "INSERT INTO schedule_firings (schedule, fire_at, outcome, host, finished_at) VALUES ('a', now() - interval '1 hour', 'missed', 'here', now())")
	require.NoError(t, err)

	first, err := s.Page(t.Context(), "a", "", 4)
	require.NoError(t, err)
	require.Len(t, first.Items, 4)
	require.Equal(t, "failed", first.Items[0].Outcome)
	require.Equal(t, "broken", *first.Items[0].Error)
	require.NotNil(t, first.Items[1].DurationMS)
	second, err := s.Page(t.Context(), "a", *first.Next, 4)
	require.NoError(t, err)
	require.Len(t, second.Items, 2)
	require.Nil(t, second.Next)
	require.Equal(t, "succeeded", second.Items[0].Outcome)
	require.Equal(t, "missed", second.Items[1].Outcome)
	require.Nil(t, second.Items[1].StartedAt)

	for _, cursor := range []string{"x", "AAAA", *first.Next + "A", "__________8", "'; --"} {
		_, err = s.Page(t.Context(), "a", cursor, 4)
		require.ErrorIs(t, err, schedule.ErrBadCursor, cursor)
	}
	_, err = s.Page(t.Context(), "none", "", 4)
	require.ErrorIs(t, err, schedule.ErrNotFound)
}
