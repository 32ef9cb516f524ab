package jobs_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/jobs"
)

// row is a job as it stands in the table.
type row struct {
	kind, queue string
	state       jobs.State
	errors      []string
	created     time.Time
	unique      *string
}

// insert stores jobs whose ids are of the time they were created.
func (r *rig) insert(t testing.TB, rows ...row) []jobs.ID {
	ids := make([]jobs.ID, len(rows))
	for i, row := range rows {
		id, err := jobs.NewID()
		require.NoError(t, err)
		if row.created.IsZero() {
			row.created = time.Now()
		}
		ms := row.created.UnixMilli()
		for b := range 6 {
			id[b] = byte(ms >> (8 * (5 - b)))
		}
		ids[i] = id
		failures := []jobs.Failure{}
		for n, text := range row.errors {
			failures = append(failures, jobs.Failure{Attempt: n + 1, At: row.created, Error: text})
		}
		encoded, err := json.Marshal(failures)
		require.NoError(t, err)
		var finished *time.Time
		if row.state.Final() {
			finished = &row.created
		}
		_, err = r.db.Pool.Exec(t.Context(), `INSERT INTO jobs (id, kind, queue, state, priority, args, failures, retain, created_at, run_at, finished_at, unique_key, claimed_by)
			VALUES ($1, $2, $3, $4, 1, '{"n":1}', $5, '1h', $6, $6, $7, $8, CASE WHEN $4 = 'running' THEN gen_random_uuid() END)`,
			id, row.kind, row.queue, string(row.state), encoded, row.created, finished, row.unique)
		require.NoError(t, err)
	}
	return ids
}

func TestSearch(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	day := time.Now().Add(-24 * time.Hour)
	ids := r.insert(t,
		row{kind: "a", queue: "q", state: jobs.Succeeded, created: day},
		row{kind: "a", queue: "q", state: jobs.Dead, errors: []string{"first", "100% of Disk_1 used"}, created: day.Add(time.Minute)},
		row{kind: "b", queue: "q", state: jobs.Dead, errors: []string{`C:\path is gone`}, created: day.Add(2 * time.Minute)},
		row{kind: "b", queue: "p", state: jobs.Retrying, errors: []string{"100 of disk 1 used"}, created: day.Add(10 * time.Hour)},
		row{kind: "c", queue: "p", state: jobs.Queued, created: day.Add(11 * time.Hour)},
		row{kind: "c", queue: "p", state: jobs.Cancelled, errors: []string{"'; DROP TABLE jobs; --"}, created: day.Add(12 * time.Hour)},
	)
	for name, c := range map[string]struct {
		q    jobs.Query
		want []int
	}{
		"all, the newest first":    {jobs.Query{}, []int{5, 4, 3, 2, 1, 0}},
		"state":                    {jobs.Query{State: jobs.Dead}, []int{2, 1}},
		"waiting state":            {jobs.Query{State: jobs.Retrying}, []int{3}},
		"kind":                     {jobs.Query{Kind: "a"}, []int{1, 0}},
		"queue":                    {jobs.Query{Queue: "p"}, []int{5, 4, 3}},
		"kind and state":           {jobs.Query{Kind: "b", State: jobs.Dead}, []int{2}},
		"kind has no wildcards":    {jobs.Query{Kind: "%"}, nil},
		"error in any case":        {jobs.Query{Error: "DISK"}, []int{3, 1}},
		"error of two letters":     {jobs.Query{Error: "DI"}, []int{3, 1}},
		"error of one strange one": {jobs.Query{Error: "ä"}, nil},
		"error with percent sign":  {jobs.Query{Error: "0%"}, []int{1}},
		"error of percent alone":   {jobs.Query{Error: "%"}, []int{1}},
		"error with underscore":    {jobs.Query{Error: "disk_1"}, []int{1}},
		"error with backslash":     {jobs.Query{Error: `c:\P`}, []int{2}},
		"error ends in backslash":  {jobs.Query{Error: `\`}, []int{2}},
		"error with quotes":        {jobs.Query{Error: "'; drop"}, []int{5}},
		"only the last error":      {jobs.Query{Error: "first"}, nil},
		"since":                    {jobs.Query{Since: day.Add(10 * time.Hour)}, []int{5, 4, 3}},
		"until":                    {jobs.Query{Until: day.Add(time.Minute)}, []int{0}},
		"since and until of error": {jobs.Query{Since: day.Add(time.Second), Until: day.Add(11 * time.Hour), Error: "used"}, []int{3, 1}},
		"time before time":         {jobs.Query{Since: time.Unix(0, 0)}, []int{5, 4, 3, 2, 1, 0}},
	} {
		page, err := r.engine.Search(t.Context(), c.q)
		require.NoError(t, err, name)
		require.Nil(t, page.Next, name)
		got := []jobs.ID{}
		for _, item := range page.Items {
			got = append(got, item.ID)
		}
		want := []jobs.ID{}
		for _, i := range c.want {
			want = append(want, ids[i])
		}
		require.Equal(t, want, got, name)
		n, err := r.engine.Matching(t.Context(), c.q)
		require.NoError(t, err, name)
		require.EqualValues(t, len(want), n, name)

		list, err := r.engine.List(t.Context(), jobs.Filter{State: c.q.State, Kind: c.q.Kind, Queue: c.q.Queue, Error: c.q.Error, Since: c.q.Since, Until: c.q.Until})
		require.NoError(t, err, name)
		require.Len(t, list, len(want), name)
	}

	// Pages join without a gap.
	var got []jobs.ID
	for q := (jobs.Query{Limit: 4}); ; {
		page, err := r.engine.Search(t.Context(), q)
		require.NoError(t, err)
		for _, item := range page.Items {
			got = append(got, item.ID)
		}
		if page.Next == nil {
			break
		}
		q.Cursor = *page.Next
	}
	require.Len(t, got, 6)
	require.Equal(t, ids[0], got[5])

	page, err := r.engine.Search(t.Context(), jobs.Query{Kind: "none"})
	require.NoError(t, err)
	encoded, err := json.Marshal(page)
	require.NoError(t, err)
	require.JSONEq(t, `{"items":[],"next":null}`, string(encoded))
}

func TestSearchRefusesNonsense(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	for name, q := range map[string]jobs.Query{
		"state":         {State: "dead' OR 'a' = 'a"},
		"NUL":           {Error: "a\x00"},
		"not UTF-8":     {Kind: "\xff"},
		"long":          {Queue: strings.Repeat("x", 321)},
		"distant time":  {Since: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)},
		"negative time": {Until: time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC)},
	} {
		_, err := r.engine.Search(t.Context(), q)
		require.ErrorIs(t, err, jobs.ErrBadQuery, name)
		_, err = r.engine.Matching(t.Context(), q)
		require.ErrorIs(t, err, jobs.ErrBadQuery, name)
		_, err = r.engine.Bulk(t.Context(), jobs.ActDelete, q, 10)
		require.ErrorIs(t, err, jobs.ErrBadQuery, name)
	}
	id, err := jobs.NewID()
	require.NoError(t, err)
	for _, cursor := range []string{"x", id.String(), jobs.CursorOf(id)[1:], jobs.CursorOf(id) + "AA", "%", "' OR 1=1", "AAAAAAAAAAAAAAAAAAAAAAA"} {
		_, err := r.engine.Search(t.Context(), jobs.Query{Cursor: cursor})
		require.ErrorIs(t, err, jobs.ErrBadCursor, cursor)
	}
	_, err = r.engine.Search(t.Context(), jobs.Query{Cursor: jobs.CursorOf(id)})
	require.NoError(t, err)
}

func FuzzCursor(f *testing.F) {
	f.Add("")
	f.Add(jobs.CursorOf(jobs.ID{1, 2, 3}))
	f.Fuzz(func(t *testing.T, text string) {
		if id, err := jobs.ParseCursor(text); err == nil {
			require.Equal(t, text, jobs.CursorOf(id))
		}
	})
}

func TestErrorGroups(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	at := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
	ids := r.insert(t,
		row{kind: "a", queue: "q", state: jobs.Dead, created: at, errors: []string{"dial 10.0.0.1:80: refused\nand more"}},
		row{kind: "a", queue: "q", state: jobs.Dead, created: at.Add(time.Minute), errors: []string{"other", "dial 10.12.0.1:443: refused\nand less"}},
		row{kind: "b", queue: "q", state: jobs.Dead, created: at, errors: []string{"dial 10.12.0.1:443: refused with token=abcdef"}},
		row{kind: "b", queue: "q", state: jobs.Dead, created: at},
		row{kind: "a", queue: "q", state: jobs.Retrying, created: at, errors: []string{"dial 10.0.0.1:80: refused"}},
	)
	groups, err := r.engine.ErrorGroups(t.Context())
	require.NoError(t, err)
	require.Len(t, groups, 3)
	require.Equal(t, jobs.ErrorGroup{
		Kind: "a", Error: "dial <n>.<n>.<n>.<n>:<n>: refused", Count: 2,
		FirstAt: at.UTC(), LastAt: at.Add(time.Minute).UTC(), SampleID: ids[1],
	}, groups[0])
	require.Empty(t, groups[1].Error)
	require.NotContains(t, groups[2].Error, "abcdef")
	// The error of a group finds all its jobs, and no others.
	for _, g := range groups {
		if g.Error == "" {
			continue // empty texts choose nothing
		}
		n, err := r.engine.Matching(t.Context(), jobs.Query{State: jobs.Dead, Kind: g.Kind, Error: g.Error})
		require.NoError(t, err)
		require.Equal(t, g.Count, n, g.Error)
	}

	none, err := newRig(t, nil).engine.ErrorGroups(t.Context())
	require.NoError(t, err)
	require.NotNil(t, none)
}

func TestNormal(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                          "",
		"plain words, deadbeef too": "plain words, deadbeef too",
		"  one\ntwo":                "one",
		"status 503 after 12.5s":    "status <n> after <n>.<n>s",
		"user 0190a8b4-0c1f-7abc-8def-0123456789ab is gone": "user <id> is gone",
		"commit 3f2a9c1b and 0xFf at e3b0c44298fc":          "commit <hex> and <hex> at <hex>",
		"v2 of sha256": "v<n> of sha<n>",
		"größe 3":      "größe <n>",
	} {
		require.Equal(t, want, jobs.Normal(in))
	}
	require.LessOrEqual(t, len(jobs.Normal(strings.Repeat("ä", 5000))), 210)
}

func FuzzNormal(f *testing.F) {
	f.Add("user 0190a8b4-0c1f-7abc-8def-0123456789ab: 0x12 \xff")
	f.Fuzz(func(t *testing.T, text string) {
		require.LessOrEqual(t, len(jobs.Normal(text)), 210)
	})
}
