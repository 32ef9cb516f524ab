package httpapi

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"
)

// FuzzCursor reads cursors with and without a right checksum.
func FuzzCursor(f *testing.F) {
	k := Keyset{Order: Newest, Set: true, Key: "1795395508301432", ID: 382706366684336128}
	f.Add(k.encode(), "-created_at")
	f.Add("\x01\x00\x0b-created_at\x021", "")
	f.Fuzz(func(t *testing.T, cursor, ordering string) {
		for _, c := range []string{cursor, sealCursor([]byte(cursor))} {
			k, err := PageQuery{Cursor: c, Ordering: ordering}.Keyset(Newest, "id")
			if err != nil {
				require.Equal(t, `httpapi: answer 404 {"detail":"Invalid cursor"}`, err.Error())
				continue
			}
			if !utf8.ValidString(k.Key) || strings.ContainsRune(k.Key, 0) {
				t.Fatalf("cursor %q holds a text that cannot be stored", c)
			}
			if at, err := k.Time(); err == nil && k.Set && (at.Year() > 9999 || at.Year() < -9999) {
				t.Fatalf("cursor %q leads to the year %d", c, at.Year())
			}
		}
	})
}

type fuzzInput struct {
	PageQuery
	ID   int64      `path:"id"`
	Q    string     `query:"q"`
	Any  []string   `query:"any"`
	N    Opt[int32] `query:"n"`
	Body struct {
		Name  string               `json:"name" max:"50" min:"2" format:"email"`
		URL   string               `json:"url" format:"url" optional:"true" blank:"true"`
		Key   string               `json:"key" format:"uuid" optional:"true"`
		Kind  string               `json:"kind" enum:"a,b" default:"a"`
		On    bool                 `json:"on" optional:"true"`
		Count *int                 `json:"count" null:"true" min:"-5" max:"5"`
		Ratio float64              `json:"ratio" optional:"true" max:"90"`
		At    Opt[Timestamp]       `json:"at" null:"true"`
		Born  Date                 `json:"born" optional:"true" formats:"YYYY-MM-DD,DD/MM/YYYY"`
		Clock Opt[Clock]           `json:"clock"`
		Raw   Opt[json.RawMessage] `json:"raw" null:"true"`
		Tags  []string             `json:"tags" optional:"true" max:"3" empty:"false"`
		Photo Opt[File]            `json:"photo" null:"true"`
		Inner struct {
			List []struct {
				X int64 `json:"x"`
			} `json:"list" optional:"true"`
		} `json:"inner" optional:"true"`
	}
}

// FuzzBind binds any body of any media type. It must never panic; what it
// accepts must be storable text, and what it refuses a 4xx in valid JSON.
func FuzzBind(f *testing.F) {
	for _, s := range []string{
		`{"name":"a@b.co","count":1.0,"ratio":"1e3","at":"2026-11-23T00:54:12Z","born":"01/05/1990","raw":{"x":[1]},"tags":["a"],"inner":{"list":[{"x":1},{}]}}`,
		`{"name":null,"count":99999999999999999999,"kind":[1],"on":"off","photo":"x"}`,
	} {
		f.Add([]byte(s), "application/json", "q=%00&n=5&any=a&any=b", "7")
	}
	f.Add([]byte("name=a&tags=x&tags=y&inner.list=1&count="), "application/x-www-form-urlencoded", "n=x", "-1")
	f.Add([]byte("--b\r\nContent-Disposition: form-data; name=\"photo\"; filename=\"../a.png\"\r\n\r\nabc\r\n--b--\r\n"), "multipart/form-data; boundary=b", "", "x")
	api, err := New(Options{Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	require.NoError(f, err)
	plan, err := compilePlan(reflect.TypeFor[fuzzInput](), Operation{Path: "/x/{id}/"})
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, body []byte, media, query, id string) {
		var fctx fasthttp.RequestCtx
		fctx.Request.SetBody(body)
		fctx.Request.Header.SetContentType(media)
		fctx.Request.SetRequestURI("/x/1/?" + strings.ReplaceAll(query, "#", ""))
		c := api.app.AcquireCtx(&fctx)
		defer api.app.ReleaseCtx(c)
		rc := &request{api: api, fc: c, live: true, query: string(fctx.URI().QueryString())}
		rc.params[0] = id
		var in fuzzInput
		err := plan.bind(rc, reflect.ValueOf(&in).Elem())
		if err != nil {
			answer, ok := err.(*Error)
			if !ok || answer.Status < 400 || answer.Status >= 500 || !json.Valid(answer.Body) || answer.Status == http.StatusNotFound && len(answer.Header) > 0 {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		for _, s := range []string{in.Q, in.Body.Name, in.Body.URL, string(in.Body.Raw.Value)} {
			if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
				t.Fatalf("accepted %q", s)
			}
		}
		if in.Body.Raw.Set && !in.Body.Raw.Null && !json.Valid(in.Body.Raw.Value) {
			t.Fatalf("accepted %q as JSON", in.Body.Raw.Value)
		}
	})
}
