package httpapi_test

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"io"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/httpapi"
	"selflink/appliance/httpapi/apitest"
)

type row struct {
	id   int64
	made time.Time
}

// list serves rows the way a service does with SQL: strictly after the
// position, in the direction of the keyset, at most Limit.
func list(t *testing.T, rows *[]row) *apitest.Client {
	t.Helper()
	api, err := httpapi.New(options(io.Discard))
	require.NoError(t, err)
	httpapi.Handle(api, httpapi.Operation{Method: "GET", Path: "rows/", ID: "rows", Access: httpapi.AccessPublic},
		func(ctx context.Context, in *struct {
			httpapi.PageQuery
			Q string `query:"q"`
		}) (httpapi.Page[int64], error) {
			k, err := in.Keyset(httpapi.Newest, "created_at", "id")
			if err != nil {
				return httpapi.Page[int64]{}, err
			}
			at, err := k.Time()
			if err != nil {
				return httpapi.Page[int64]{}, err
			}
			return httpapi.BuildPage(ctx, k, fetch(*rows, k, at),
				func(r row) (string, int64) { return httpapi.TimeKey(r.made), r.id },
				func(r row) int64 { return r.id }), nil
		})
	return apitest.Serve(t, api)
}

func fetch(rows []row, k httpapi.Keyset, at time.Time) []row {
	less := func(a, b row) int { return cmp.Or(a.made.Compare(b.made), cmp.Compare(a.id, b.id)) }
	if k.Desc() {
		asc := less
		less = func(a, b row) int { return asc(b, a) }
	}
	sorted := slices.SortedFunc(slices.Values(rows), less)
	var out []row
	for _, r := range sorted {
		if (!k.Set || less(row{k.ID, at}, r) < 0) && len(out) < k.Limit {
			out = append(out, r)
		}
	}
	return out
}

type page struct {
	Next, Previous *string
	Results        []int64
}

func TestPages(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 23, 0, 0, 0, 1000, time.UTC)
	var rows []row
	for i := range int64(7) {
		rows = append(rows, row{i + 1, start.Add(time.Duration(i/3) * time.Second)}) // three rows share each moment
	}
	c := list(t, &rows)
	get := func(u string) page {
		t.Helper()
		var p page
		res := c.Do(t, "GET", strings.TrimPrefix(u, c.Base), "")
		require.Equal(t, 200, res.Status, res.Body)
		res.JSON(t, &p)
		return p
	}
	first := get("/api/v1/rows/?page_size=3&q=a%20b&x=1")
	require.Equal(t, []int64{7, 6, 5}, first.Results)
	require.Nil(t, first.Previous)
	require.True(t, strings.HasPrefix(*first.Next, c.Base+"/api/v1/rows/?cursor="))
	require.True(t, strings.HasSuffix(*first.Next, "&page_size=3&q=a%20b&x=1"), *first.Next)
	second := get(*first.Next)
	require.Equal(t, []int64{4, 3, 2}, second.Results)
	third := get(*second.Next)
	require.Equal(t, []int64{1}, third.Results)
	require.Nil(t, third.Next)
	back := get(*third.Previous)
	require.Equal(t, []int64{4, 3, 2}, back.Results, "backwards in the same order")
	require.Equal(t, []int64{1}, get(*back.Next).Results)
	back = get(*back.Previous)
	require.Equal(t, []int64{7, 6, 5}, back.Results)
	require.Nil(t, back.Previous)

	up := get("/api/v1/rows/?page_size=4&ordering=nonsense,created_at")
	require.Equal(t, []int64{1, 2, 3, 4}, up.Results)
	require.Equal(t, []int64{5, 6, 7}, get(*up.Next).Results)

	rows = rows[1:] // the last page's row goes away
	empty := get(*second.Next)
	require.Equal(t, []int64{}, empty.Results)
	require.Equal(t, []int64{4, 3, 2}, get(*empty.Previous).Results)

	rows = rows[:3] // now 2, 3 and 4: the page after 4 is empty
	empty = get(*up.Next)
	require.Equal(t, []int64{}, empty.Results)
	require.Equal(t, []int64{2, 3, 4}, get(*empty.Previous).Results, "the row at the boundary is not lost")

	for _, size := range []string{"", "x", "0", "-5"} {
		require.Len(t, get("/api/v1/rows/?page_size="+size).Results, 3)
	}
}

func TestBadCursors(t *testing.T) {
	t.Parallel()
	rows := []row{{1, time.Now()}, {2, time.Now()}}
	c := list(t, &rows)
	var p page
	c.Do(t, "GET", "/api/v1/rows/?page_size=1", "").JSON(t, &p)
	u, err := url.Parse(*p.Next)
	require.NoError(t, err)
	good := u.Query().Get("cursor")
	require.Equal(t, 200, c.Do(t, "GET", "/api/v1/rows/?cursor="+good, "").Status)
	require.Equal(t, 404, c.Do(t, "GET", "/api/v1/rows/?ordering=created_at&cursor="+good, "").Status, "a cursor belongs to its order")
	for _, bad := range []string{
		"zzz", "%00", good + "!", good[:len(good)-8], strings.Repeat("A", 5000), "cD0yMDI2",
		forged("\x01\x00\x0b-created_at\x02"),
		forged("\x01\x00\x0b-created_at\x029223372036854775807"),
		forged("\x01\x00\x0b-created_at\x02\xff"),
		forged("\x01\x00\x0b-created_at\x02\x00"),
		forged("\x01\x00\xff-created_at\x021"),
		forged("\x02\x00\x0b-created_at\x021"),
		forged("\x01\x02\x0b-created_at\x021"),
		forged("\x01\x00\x0b-created_at" + strings.Repeat("\xff", 12)),
	} {
		res := c.Do(t, "GET", "/api/v1/rows/?cursor="+bad, "")
		require.Equal(t, 404, res.Status, bad)
		require.Equal(t, `{"detail":"Invalid cursor"}`, res.Body)
	}
}

// forged makes a cursor of any content with the right checksum.
func forged(content string) string {
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint32([]byte(content), crc32.ChecksumIEEE([]byte(content))))
}

func TestPageSize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{
		"": 20, "2": 2, "100": 100, "101": 100, "1000000": 100, "99999999999999999999": 100, "0": 20, "-1": 20, "x": 20, "2.5": 20, " 7 ": 7,
	} {
		require.Equal(t, want, httpapi.PageQuery{PageSize: text}.Size(), text)
	}
}
