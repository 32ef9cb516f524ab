package diagnostics_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"selflink/appliance/diagnostics"
)

func value(v any) func(context.Context) (any, error) {
	return func(context.Context) (any, error) { return v, nil }
}

// open gives the files of a bundle by their names, and the whole of it.
func open(t *testing.T, packed []byte) (files map[string]string, all string) {
	t.Helper()
	plain, err := gzip.NewReader(bytes.NewReader(packed))
	require.NoError(t, err)
	whole, err := io.ReadAll(plain)
	require.NoError(t, err)
	files = map[string]string{}
	for r := tar.NewReader(bytes.NewReader(whole)); ; {
		head, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files, string(whole)
		}
		require.NoError(t, err)
		require.EqualValues(t, 0o600, head.Mode)
		text, err := io.ReadAll(r)
		require.NoError(t, err)
		require.Equal(t, "selflink-diagnostics-20261127T220102Z", path.Dir(head.Name))
		require.NotContains(t, files, path.Base(head.Name))
		files[path.Base(head.Name)] = string(text)
	}
}

func write(t *testing.T, o diagnostics.Options) (files map[string]string, all string) {
	t.Helper()
	o.Clock = func() time.Time { return time.Date(2026, 11, 27, 22, 1, 2, 0, time.UTC) }
	var b bytes.Buffer
	require.NoError(t, diagnostics.Write(t.Context(), &b, o))
	return open(t, b.Bytes())
}

func TestWrite(t *testing.T) {
	t.Parallel()
	metrics := prometheus.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "selflink_things_total", Help: "Things."})
	metrics.MustRegister(counter)
	counter.Add(3)
	forever := make(chan struct{})
	defer close(forever)
	files, _ := write(t, diagnostics.Options{Wait: 500 * time.Millisecond, Bytes: 1000, Sections: []diagnostics.Section{
		{"versions", value(map[string]string{"selflink": "1 <b>"})},
		{"Log lines", value([]byte("one\ntwo\n"))},
		{"metrics", diagnostics.Metrics(metrics)},
		{"../../etc/passwd", value("plain")},
		{"metrics", value("again")},
		{"", value("no name")},
		{"manifest", value("not mine")},
		{"fails", func(context.Context) (any, error) { return nil, errors.New("the broker is away") }},
		{"panics", func(context.Context) (any, error) { panic("oh") }},
		{"hangs", func(context.Context) (any, error) { <-forever; return nil, nil }},
		{"obeys", func(ctx context.Context) (any, error) { <-ctx.Done(); return nil, ctx.Err() }},
		{"odd", value(func() {})},
		{"long", value(strings.Repeat("x", 1e6))},
	}})
	require.Len(t, files, 14)
	require.Equal(t, "{\n  \"selflink\": \"1 <b>\"\n}\n", files["versions.json"])
	require.Equal(t, "one\ntwo\n", files["log-lines.txt"])
	require.Contains(t, files["metrics.txt"], "selflink_things_total 3")
	require.Equal(t, "plain", files["etc-passwd.txt"])
	require.Equal(t, "again", files["metrics-2.txt"])
	require.Equal(t, "no name", files["section.txt"])
	require.Equal(t, "not mine", files["manifest-2.txt"])
	require.Equal(t, "This part could not be read: the broker is away\n", files["fails.error.txt"])
	require.Contains(t, files["panics.error.txt"], "it panicked: oh")
	require.Contains(t, files["hangs.error.txt"], "longer than 500ms")
	require.Contains(t, files, "obeys.error.txt")
	require.Contains(t, files["odd.error.txt"], "unsupported type")
	require.Less(t, len(files["long.txt"]), 1100)
	require.Contains(t, files["long.txt"], "xxx\n[cut here")
	var manifest struct {
		Sections []struct {
			File, Error string
			Bytes       int
			Cut         bool
		}
	}
	require.NoError(t, json.Unmarshal([]byte(files["manifest.json"]), &manifest))
	require.Len(t, manifest.Sections, 13)
	require.Equal(t, "the broker is away", manifest.Sections[7].Error)
	require.True(t, manifest.Sections[12].Cut)
}

// Secrets are planted everywhere, in every way of writing them, and none comes
// out.
func TestNoSecretInTheBundle(t *testing.T) {
	t.Parallel()
	hidden := []string{
		"pV8r2Qy7mW1zK5xT9sLc", `qu"ote<d>&back\slash`, "with space+plus/and%percent", "ключ-от-двери", "hunter2", "line\nbreak\ttab",
		"pV8r2Qy7mW1zK5xT9sLc-and-more", "abc",
	}
	secrets := hidden[:7]
	type nested struct {
		Text string
		Raw  json.RawMessage
		Map  map[string]any
	}
	var sections []diagnostics.Section
	plant := func(name string, v any) { sections = append(sections, diagnostics.Section{Name: name, Get: value(v)}) }
	for i, s := range secrets {
		inner, err := json.Marshal(map[string]string{"key": s})
		require.NoError(t, err)
		inJSON, err := json.Marshal(string(inner))
		require.NoError(t, err)
		plant(fmt.Sprintf("json-%d", i), nested{s, inJSON, map[string]any{s: s, "in": "x" + s + "y"}})
		plant(fmt.Sprintf("html-%d", i), string(inner))
		plant(fmt.Sprintf("text-%d", i), []byte("before"+s+"after"))
		plant(fmt.Sprintf("quoted-%d", i), fmt.Sprintf("%q", s))
		plant(fmt.Sprintf("query-%d", i), "?token="+url.QueryEscape(s)+"&p="+url.PathEscape(s))
		plant(fmt.Sprintf("url-%d", i), (&url.URL{Scheme: "postgres", User: url.UserPassword("me", s), Host: "db"}).String())
		plant(fmt.Sprintf("hex-%d", i), hex.EncodeToString([]byte(s))+strings.ToUpper(hex.EncodeToString([]byte(s))))
		for _, before := range []string{"", "a", "ab", "abc"} {
			plant("base64", base64.StdEncoding.EncodeToString([]byte(before+s+"tail"))+" "+base64.URLEncoding.EncodeToString([]byte(before+s)))
		}
		sections = append(sections, diagnostics.Section{Name: "fails-" + s, Get: func(context.Context) (any, error) {
			return nil, errors.New("cannot connect with " + s)
		}})
	}
	const shaped = "shapedSecret1"
	plant("shapes", "redis://:"+shaped+"@cache Authorization: Bearer "+shaped+" sk-"+shaped+"\n-----BEGIN EC PRIVATE KEY-----\n"+shaped+"\n-----END EC PRIVATE KEY-----\n")
	plant("jwt", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0."+shaped)
	plant("abc", "abc is too short to be hidden")
	for i := 0; i < len(sections); i += 60 {
		files, all := write(t, diagnostics.Options{Hidden: hidden, Sections: sections[i:min(len(sections), i+60)]})
		require.NotEmpty(t, files)
		decoded := all
		for _, word := range strings.FieldsFunc(all, func(r rune) bool { return strings.ContainsRune(" \n\x00\"", r) }) {
			for _, e := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
				if text, err := e.DecodeString(word); err == nil {
					decoded += "\n" + string(text)
				}
			}
			if text, err := url.QueryUnescape(word); err == nil {
				decoded += "\n" + text
			}
		}
		for _, s := range append(secrets, shaped) {
			require.False(t, strings.Contains(decoded, s), s)
			require.False(t, strings.Contains(strings.ToLower(all), hex.EncodeToString([]byte(s))), s)
			quoted, err := json.Marshal(s)
			require.NoError(t, err)
			require.False(t, strings.Contains(all, string(quoted[1:len(quoted)-1])), s)
		}
	}
}

// A cut through a secret leaves no part of it.
func TestCutThroughASecret(t *testing.T) {
	t.Parallel()
	const secret = "0123456789abcdefghijklmnopqrstuvwxyz"
	for length := 950; length < 1060; length++ {
		text := strings.Repeat(".", length) + secret + strings.Repeat("!", 5000)
		files, _ := write(t, diagnostics.Options{Hidden: []string{secret}, Bytes: 1000, Sections: []diagnostics.Section{{"x", value(text)}}})
		require.NotContains(t, files["x.txt"], "0123")
		files, _ = write(t, diagnostics.Options{Hidden: []string{secret}, Bytes: 1000, Sections: []diagnostics.Section{{"x", value(text[:length+20])}}})
		if length > 1000 {
			require.NotContains(t, files["x.txt"], "0123")
		}
	}
}

func TestWriteEnds(t *testing.T) {
	t.Parallel()
	require.ErrorIs(t, diagnostics.Write(t.Context(), io.Discard, diagnostics.Options{Sections: make([]diagnostics.Section, 65)}), diagnostics.ErrTooMany)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, diagnostics.Write(ctx, io.Discard, diagnostics.Options{Sections: []diagnostics.Section{{"x", value("y")}}}), context.Canceled)
	err := diagnostics.Write(t.Context(), broken{}, diagnostics.Options{Sections: []diagnostics.Section{{"x", value("y")}}})
	require.ErrorIs(t, err, io.ErrClosedPipe)
}

type broken struct{}

// Write implements io.Writer.
func (broken) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
