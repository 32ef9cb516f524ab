package audit_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"selflink/appliance/audit"
	"selflink/appliance/auth"
	"selflink/appliance/database"
	"selflink/appliance/database/databasetest"
	"selflink/appliance/httpapi"
	"selflink/appliance/httpapi/apitest"
)

func TestMain(m *testing.M) { databasetest.Main(m) }

// rig is a trail in a database of its own.
type rig struct {
	*audit.Log
	db *databasetest.DB
}

func newRig(t testing.TB) *rig {
	t.Helper()
	db := databasetest.New(t)
	log, err := audit.New(audit.Options{DB: db.Pool, Names: func(_ context.Context, ids []int64) (map[int64]string, error) {
		names := map[int64]string{}
		for _, id := range ids {
			if id != 404 {
				names[id] = "Person " + strconv.FormatInt(id, 10)
			}
		}
		return names, nil
	}})
	require.NoError(t, err)
	return &rig{log, db}
}

func (r *rig) record(t testing.TB, action string, actor int64, object string) {
	t.Helper()
	e := audit.Entry{Action: action, ObjectType: "user", ObjectID: object, Metadata: map[string]any{"n": 1.0, "é": "\x00"}}
	if actor != 0 {
		e.Actor, e.ActorIP = &actor, "::ffff:192.0.2.7"
	}
	require.NoError(t, r.Record(t.Context(), e))
}

// tamper changes what the database refuses to change.
func (r *rig) tamper(t testing.TB, sql string, args ...any) {
	t.Helper()
	require.NoError(t, r.db.Direct.Tx(t.Context(), func(tx database.Tx) error {
		for _, s := range []string{"ALTER TABLE audit_events DISABLE TRIGGER USER", "ALTER TABLE audit_head DISABLE TRIGGER USER"} {
			if _, err := tx.Exec(t.Context(), s); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(t.Context(), sql, args...); err != nil {
			return err
		}
		for _, s := range []string{"ALTER TABLE audit_events ENABLE TRIGGER USER", "ALTER TABLE audit_head ENABLE TRIGGER USER"} {
			if _, err := tx.Exec(t.Context(), s); err != nil {
				return err
			}
		}
		return nil
	}))
}

func (r *rig) verify(t testing.TB) audit.Verification {
	t.Helper()
	v, err := r.Verify(t.Context())
	require.NoError(t, err)
	return v
}

func TestChain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	require.Equal(t, audit.Verification{OK: true}, r.verify(t))
	for i := range 5 {
		r.record(t, "a.b", int64(i), "9")
	}
	page, err := r.Page(t.Context(), audit.Query{})
	require.NoError(t, err)
	require.Nil(t, page.Next)
	require.Len(t, page.Items, 5)
	for i, item := range page.Items {
		prev := ""
		if i+1 < len(page.Items) {
			prev = page.Items[i+1].HashSelf
			require.True(t, item.CreatedAt.After(page.Items[i+1].CreatedAt))
		}
		require.Equal(t, prev, item.HashPrev)
		var actor *int64
		if n := int64(4 - i); n > 0 {
			actor = &n
			require.Equal(t, strconv.FormatInt(n, 10), *item.ActorUser)
			require.Equal(t, "Person "+*item.ActorUser, item.ActorName)
			require.Equal(t, "192.0.2.7", *item.ActorIP)
		} else {
			require.Nil(t, item.ActorUser)
			require.Nil(t, item.ActorIP)
		}
		require.Equal(t, audit.Hash("a.b", actor, item.CreatedAt, []byte(`{"n":1.0,"\u00e9":"\u0000"}`), "9", "user", prev), item.HashSelf)
	}
	require.Equal(t, audit.Verification{OK: true, Checked: 5}, r.verify(t))

	// Who undoes their transaction leaves no trace and no gap.
	undo := errors.New("undo")
	err = r.db.Pool.Tx(t.Context(), func(tx database.Tx) error {
		require.NoError(t, r.RecordTx(t.Context(), tx, audit.Entry{Action: "never"}))
		return undo
	})
	require.ErrorIs(t, err, undo)
	r.record(t, "a.c", 1, "9")
	require.Equal(t, audit.Verification{OK: true, Checked: 6}, r.verify(t))
}

func TestOneChainOfManyWriters(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const writers, each = 12, 15
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if err := r.Record(t.Context(), audit.Entry{Action: "a.b", ObjectID: fmt.Sprint(w, i)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	require.Equal(t, audit.Verification{OK: true, Checked: writers * each}, r.verify(t))
	var branches int
	require.NoError(t, r.db.Pool.QueryRow(t.Context(), "SELECT count(*) - count(DISTINCT hash_prev) FROM audit_events").Scan(&branches))
	require.Zero(t, branches)
}

func TestTheDatabaseRefusesChanges(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.record(t, "a.b", 1, "9")
	for _, sql := range []string{
		"UPDATE audit_events SET action = 'x'", "UPDATE audit_events SET actor_ip = NULL WHERE false", "DELETE FROM audit_events", "TRUNCATE audit_events",
		"DELETE FROM audit_head", "TRUNCATE audit_head", "INSERT INTO audit_head (single, seq, hash, created_at) VALUES (false, 0, '', now())",
	} {
		_, err := r.db.Pool.Exec(t.Context(), sql)
		require.Error(t, err, sql)
		if !strings.HasPrefix(sql, "INSERT") {
			require.ErrorContains(t, err, "is append-only", sql)
		}
	}
	require.Equal(t, audit.Verification{OK: true, Checked: 1}, r.verify(t))
}

func TestVerifyFinds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		sql     string
		checked int64
		bad     int // seq of the first bad event; 0: none is named
	}{
		"another action":    {"UPDATE audit_events SET action = 'x' WHERE seq = 3", 3, 3},
		"another actor":     {"UPDATE audit_events SET actor_user = 8 WHERE seq = 3", 3, 3},
		"no actor":          {"UPDATE audit_events SET actor_user = NULL WHERE seq = 3", 3, 3},
		"another time":      {"UPDATE audit_events SET created_at = created_at + interval '1 microsecond' WHERE seq = 5", 5, 5},
		"other metadata":    {`UPDATE audit_events SET metadata = '{"n":2.0}' WHERE seq = 1`, 1, 1},
		"another object":    {"UPDATE audit_events SET object_id = '8' WHERE seq = 2", 2, 2},
		"a row less":        {"DELETE FROM audit_events WHERE seq = 3", 3, 4},
		"the first missing": {"DELETE FROM audit_events WHERE seq = 1", 1, 2},
		"the last missing":  {"DELETE FROM audit_events WHERE seq = 5", 4, 4},
		"all missing":       {"DELETE FROM audit_events", 0, 0},
		"rows exchanged":    {"UPDATE audit_events SET seq = CASE seq WHEN 2 THEN 30 ELSE 2 END WHERE seq IN (2, 3)", 2, 2},
		"a shorter head":    {"UPDATE audit_head SET seq = 4, hash = (SELECT hash_self FROM audit_events WHERE seq = 4)", 4, 5},
		"another head":      {"UPDATE audit_head SET hash = repeat('0', 64)", 5, 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			ids := map[int]string{}
			for i := range 5 {
				r.record(t, "a.b", 7, "9")
				page, err := r.Page(t.Context(), audit.Query{Limit: 1})
				require.NoError(t, err)
				ids[i+1] = page.Items[0].ID
			}
			r.tamper(t, c.sql)
			v := r.verify(t)
			require.False(t, v.OK)
			require.Equal(t, c.checked, v.Checked)
			if c.bad == 0 {
				require.Nil(t, v.FirstBad)
				return
			}
			if name == "rows exchanged" {
				require.Equal(t, ids[3], *v.FirstBad)
				return
			}
			require.Equal(t, ids[c.bad], *v.FirstBad)
		})
	}
}

func TestVerifyIsBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.record(t, "a.b", 7, "9")
	hasty, err := audit.New(audit.Options{DB: r.db.Pool, VerifyTime: time.Nanosecond})
	require.NoError(t, err)
	v, err := hasty.Verify(t.Context())
	require.NoError(t, err)
	require.Equal(t, audit.Verification{OK: true, Truncated: true}, v)
	_, err = audit.New(audit.Options{})
	require.Error(t, err)
	_, err = audit.New(audit.Options{DB: r.db.Pool, VerifyTime: -1})
	require.Error(t, err)
}

func TestEntries(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for name, e := range map[string]audit.Entry{
		"no action": {}, "long action": {Action: strings.Repeat("a", 129)}, "long type": {Action: "a", ObjectType: strings.Repeat("a", 129)},
		"no JSON": {Action: "a", Metadata: map[string]any{"f": func() {}}},
	} {
		require.ErrorIs(t, r.Record(t.Context(), e), audit.ErrEntry, name)
	}
	require.NoError(t, r.Record(t.Context(), audit.Entry{
		Action: "გ\x00\xff" + strings.Repeat("é", 126), ObjectType: strings.Repeat("ü", 128), ObjectID: strings.Repeat("é", 300), ActorIP: "fe80::1%eth0",
		Metadata: map[string]any{"password": "hunter2"},
	}))
	require.NoError(t, r.Record(t.Context(), audit.Entry{Action: "b", ActorIP: "somewhere"}))
	page, err := r.Page(t.Context(), audit.Query{})
	require.NoError(t, err)
	require.Nil(t, page.Items[0].ActorIP)
	require.JSONEq(t, "{}", string(page.Items[0].Metadata))
	require.Equal(t, "fe80::1", *page.Items[1].ActorIP)
	require.Equal(t, strings.Repeat("é", 128), page.Items[1].ObjectID)
	require.JSONEq(t, `{"password":"[redacted]"}`, string(page.Items[1].Metadata))
	require.Equal(t, audit.Verification{OK: true, Checked: 2}, r.verify(t))
}

func TestPage(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for i := range 9 {
		r.record(t, []string{"a.b", "a.c", "a.d"}[i%3], []int64{0, 7, 404}[i/3], strconv.Itoa(i))
	}
	objects := func(q audit.Query) (seen []string) {
		for {
			page, err := r.Page(t.Context(), q)
			require.NoError(t, err)
			require.NotNil(t, page.Items)
			for _, item := range page.Items {
				seen = append(seen, item.ObjectID)
			}
			if page.Next == nil {
				return seen
			}
			require.Len(t, page.Items, q.Limit)
			q.Cursor = *page.Next
		}
	}
	require.Equal(t, []string{"8", "7", "6", "5", "4", "3", "2", "1", "0"}, objects(audit.Query{Limit: 4}))
	require.Equal(t, []string{"8", "7", "6", "5", "4", "3", "2", "1", "0"}, objects(audit.Query{Limit: 3}))
	require.Equal(t, []string{"7", "4", "1"}, objects(audit.Query{Limit: 2, Action: "a.c"}))
	require.Equal(t, []string{"5", "4", "3"}, objects(audit.Query{Limit: 2, Actor: 7}))
	require.Equal(t, []string{"4"}, objects(audit.Query{Actor: 7, Action: "a.c", ObjectID: "4"}))
	require.Empty(t, objects(audit.Query{ObjectID: "\x00nothing\xff"}))
	page, err := r.Page(t.Context(), audit.Query{Actor: 404})
	require.NoError(t, err)
	require.Equal(t, "404", *page.Items[0].ActorUser)
	require.Empty(t, page.Items[0].ActorName, "nobody knows them any more")
	for _, bad := range []string{"x", "YQ", strings.Repeat("A", 99), "!", "YS0x"} {
		_, err := r.Page(t.Context(), audit.Query{Cursor: bad})
		require.ErrorIs(t, err, audit.ErrCursor, bad)
	}
}

// callers are who the API's tokens mean.
type callers struct{}

func (callers) Authenticate(_ context.Context, header string) (auth.Principal, error) {
	switch header {
	case "Bearer staff":
		return auth.Principal{UserID: 1, Staff: true}, nil
	case "Bearer user":
		return auth.Principal{UserID: 2}, nil
	}
	return auth.Principal{}, nil
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for i := range 3 {
		r.record(t, "a.b", int64(i), strconv.Itoa(i))
	}
	page, err := r.Page(t.Context(), audit.Query{})
	require.NoError(t, err)
	first := page.Items[2]
	api, err := httpapi.New(httpapi.Options{Listen: []string{"127.0.0.1:0"}, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Auth: callers{}})
	require.NoError(t, err)
	r.Register(api)
	c := apitest.Serve(t, api)
	staff, user := c.As("staff"), c.As("user")

	const path = "/api/v1/audit/events/"
	const forbidden = `{"detail":"You do not have permission to perform this action."}`
	const anonymous = `{"detail":"Authentication credentials were not provided."}`
	c.Scenarios(t, []apitest.Scenario{
		{Name: "anonymous list", Get: path, Status: 401, JSON: anonymous},
		{Name: "anonymous detail", Get: path + first.ID + "/", Status: 401, JSON: anonymous},
		{Name: "user's list", As: user, Get: path, Status: 403, JSON: forbidden},
		{Name: "user's detail", As: user, Get: path + first.ID + "/", Status: 403, JSON: forbidden},
		{Name: "detail", As: staff, Get: path + first.ID + "/", Status: 200, JSON: `{"id":"` + first.ID + `","created_at":"` + first.CreatedAt.Format("2006-01-02T15:04:05.000000") + `Z",
			"actor_user":null,"actor_ip":null,"action":"a.b","object_type":"user","object_id":"0","metadata":{"n":1.0,"é":"\u0000"},"hash_prev":"","hash_self":"` + first.HashSelf + `"}`},
		{Name: "unknown", As: staff, Get: path + uuid.NewString() + "/", Status: 404, JSON: `{"detail":"No AuditEvent matches the given query."}`},
		{Name: "no id", As: staff, Get: path + "42/", Status: 404, JSON: `{"detail":"Not found."}`},
		{Name: "bad cursor", As: staff, Get: path + "?cursor=zzz", Status: 404, JSON: `{"detail":"Invalid cursor"}`},
	})

	type list struct {
		Next, Previous *string
		Results        []struct {
			ID        string `json:"id"`
			ActorUser *int64 `json:"actor_user"`
		}
	}
	get := func(url string) list {
		var l list
		res := staff.Do(t, "GET", strings.TrimPrefix(url, c.Base), "")
		require.Equal(t, 200, res.Status, res.Body)
		res.JSON(t, &l)
		return l
	}
	l := get(path + "?page_size=2")
	require.Len(t, l.Results, 2)
	require.Equal(t, page.Items[0].ID, l.Results[0].ID)
	require.EqualValues(t, 2, *l.Results[0].ActorUser)
	require.Nil(t, l.Previous)
	l = get(*l.Next)
	require.Len(t, l.Results, 1)
	require.Equal(t, first.ID, l.Results[0].ID)
	require.Nil(t, l.Next)
	require.Len(t, get(*l.Previous).Results, 2)
	require.Equal(t, first.ID, get(path + "?ordering=created_at").Results[0].ID)
	for _, method := range []string{"POST", "DELETE"} {
		require.Equal(t, 405, staff.Do(t, method, path, "").Status)
	}
}
