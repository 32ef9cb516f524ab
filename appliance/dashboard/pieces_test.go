package dashboard_test

import (
	"context"
	"errors"
	"math"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/dashboard"
)

func TestCounted(t *testing.T) {
	t.Parallel()
	var c dashboard.Counted[int]
	asked := 0
	ask := func(context.Context) (int, error) { asked++; return asked, nil }
	get := func(ask func(context.Context) (int, error)) int {
		v, at, err := c.Get(t.Context(), ask)
		require.NoError(t, err)
		require.NotNil(t, v)
		require.NotNil(t, at)
		return *v
	}
	broken := errors.New("broken")
	_, _, err := c.Get(t.Context(), func(context.Context) (int, error) { return 0, broken })
	require.ErrorIs(t, err, broken, "what fails is asked again at once")
	require.Equal(t, 1, get(ask))
	require.Equal(t, 1, get(ask), "the answer is kept")
	c.Forget()
	require.Equal(t, 2, get(ask))
	c.Forget()
	endless := func(ctx context.Context) (int, error) { <-ctx.Done(); return 0, ctx.Err() }
	require.Equal(t, 2, get(endless), "what takes too long leaves the older answer")
	require.Equal(t, 2, get(func(context.Context) (int, error) { t.Error("and is not asked again soon"); return 0, nil }))

	var none dashboard.Counted[int]
	v, at, err := none.Get(t.Context(), endless)
	require.NoError(t, err)
	require.Nil(t, v, "nothing is invented")
	require.Nil(t, at)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	var left dashboard.Counted[int]
	_, _, err = left.Get(gone, endless)
	require.ErrorIs(t, err, context.Canceled, "who asks has gone: it says nothing of the question")
}

func TestTally(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 25, 8, 30, 0, 0, time.UTC)
	tally := dashboard.NewTally(func() time.Time { return now })
	require.Equal(t, []dashboard.Tallied{}, tally.Day())
	tally.Note("old")
	for range 3 {
		tally.Note("signature")
	}
	first := now
	now = now.Add(23 * time.Hour)
	tally.Note("old")
	require.Equal(t, []dashboard.Tallied{{"signature", 3, first}, {"old", 2, now}}, tally.Day())
	now = now.Add(time.Hour)
	require.Equal(t, []dashboard.Tallied{{"old", 1, now.Add(-time.Hour)}}, tally.Day(), "what a day has passed over is gone")
	now = now.Add(1000 * time.Hour)
	require.Empty(t, tally.Day())
	for i := range 200 {
		tally.Note(strconv.Itoa(i))
	}
	day := tally.Day()
	require.LessOrEqual(t, len(day), 65, "names are bounded")
	require.Equal(t, dashboard.TallyOther, day[0].Name)
	require.Equal(t, first, tally.Began())
}

func TestPlace(t *testing.T) {
	t.Parallel()
	at := dashboard.Place{At: time.Date(2026, 11, 25, 8, 30, 0, 123456000, time.UTC), Key: "a b/ü.jpg"}
	read, err := dashboard.PageInput{Cursor: at.Cursor()}.Place()
	require.NoError(t, err)
	require.Equal(t, at, read)
	first, err := dashboard.PageInput{}.Place()
	require.NoError(t, err)
	require.True(t, first.At.After(at.At))
	id, err := dashboard.PageInput{}.ID()
	require.NoError(t, err)
	require.EqualValues(t, math.MaxInt64, id)
	id, err = dashboard.PageInput{Cursor: dashboard.IDCursor(7)}.ID()
	require.NoError(t, err)
	require.EqualValues(t, 7, id)
	for _, bad := range []string{"x", "AA", "-1", "MA", "eHg", dashboard.Place{At: time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC)}.Cursor()} {
		_, err = dashboard.PageInput{Cursor: bad}.Place()
		require.Error(t, err, bad)
	}
	for _, bad := range []string{"x", "0", "-1", "99999999999999999999"} {
		_, err = dashboard.PageInput{Cursor: bad}.ID()
		require.Error(t, err, bad)
	}

	rows := []int{5, 4, 3}
	page := dashboard.ListOf(rows, 2, func(n int) string { return dashboard.IDCursor(int64(n)) }, strconv.Itoa)
	require.Equal(t, []string{"5", "4"}, page.Items)
	require.Equal(t, "4", *page.Next)
	page = dashboard.ListOf(rows, 3, func(int) string { return "" }, strconv.Itoa)
	require.Len(t, page.Items, 3)
	require.Nil(t, page.Next)
	require.NotNil(t, dashboard.ListOf(nil, 3, func(int) string { return "" }, strconv.Itoa).Items)
}
