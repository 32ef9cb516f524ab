package realtime

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func FuzzChannels(f *testing.F) {
	for _, s := range []string{"post:1,comment:2", "user:1", " post:1 ,post:01,post:+1,post:-1,post:", strings.Repeat("post:1,", 100), "post:9223372036854775808", "post:1\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, list string) {
		got := parseTargets(list)
		require.LessOrEqual(t, len(got), maxChannels)
		for i, c := range got {
			again, ok := parseTarget(string(c))
			require.True(t, ok)
			require.Equal(t, c, again)
			require.Regexp(t, `^(post|comment):[1-9]\d*$`, string(c))
			require.LessOrEqual(t, len(c), 64, "the log's column")
			require.NotContains(t, got[:i], c)
		}
	})
}

// FuzzPosition is what comes as since and as Last-Event-ID.
func FuzzPosition(f *testing.F) {
	p, err := newPositions([]byte("secret"))
	require.NoError(f, err)
	f.Add(p.text(place{1, 2}))
	f.Add("")
	f.Add(strings.Repeat("A", positionLength))
	f.Add(strings.Repeat("=", positionLength))
	f.Fuzz(func(t *testing.T, text string) {
		at, ok := p.parse(text)
		if !ok {
			return
		}
		require.GreaterOrEqual(t, at.seq, int64(0))
		require.Equal(t, text, p.text(at), "a place has one text")
	})
}

func TestPositions(t *testing.T) {
	t.Parallel()
	p, err := newPositions([]byte("secret"))
	require.NoError(t, err)
	other, err := newPositions([]byte("another"))
	require.NoError(t, err)
	at := place{epoch: 1 << 59, seq: 12345}
	text := p.text(at)
	got, ok := p.parse(text)
	require.True(t, ok)
	require.Equal(t, at, got)
	got, ok = other.parse(text)
	require.False(t, ok && got.epoch == at.epoch, "another installation's position means nothing")
	require.NotEqual(t, text[:8], p.text(place{1 << 59, 12346})[:8], "neighbours do not look alike")
}

// FuzzNodes is what other nodes send.
func FuzzNodes(f *testing.F) {
	f.Add(appendEntry(make([]byte, 8), &entry{seq: 7, channel: "post:1", payload: []byte(`{"type":"x"}`), closes: "*"}))
	f.Add(encodeTell("post:1", []byte("{}")))
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		if epoch, entries, err := decodeEntries(data); err == nil {
			again := make([]byte, 8)
			for _, e := range entries {
				again = appendEntry(again, e)
			}
			_, back, err := decodeEntries(again)
			require.NoError(t, err, "%d", epoch)
			require.Equal(t, len(entries), len(back))
		}
		if e, err := decodeTell(data); err == nil {
			require.Equal(t, byte('{'), e.payload[0])
		}
	})
}

// FuzzPublish is what helpers send to /internal/publish.
func FuzzPublish(f *testing.F) {
	f.Add([]byte(`{"channel":"post:1","payload":{"type":"gift.received"}}`))
	f.Add([]byte(`{"channel":1,"payload":[]}`))
	f.Add([]byte(`[{"a":`))
	f.Add([]byte("{\"channel\":\"\xff\"}"))
	f.Fuzz(func(t *testing.T, body []byte) {
		_, payload, err := parsePublish(body)
		if err != nil {
			return
		}
		var members map[string]any
		require.NoError(t, json.Unmarshal(payload, &members))
		require.False(t, bytes.ContainsAny(payload, "\n\r"), "one line")
	})
}
