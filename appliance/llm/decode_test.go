package llm

import (
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestReadEvents(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		in   string
		want []string
	}{
		"plain":         {"data: a\n\ndata: b\n\n", []string{"a", "b"}},
		"crlf":          {"data: a\r\n\r\ndata:b\r\n\r\n", []string{"a", "b"}},
		"several lines": {"event: x\nid: 1\ndata: a\ndata: b\n\n", []string{"a\nb"}},
		"comments":      {": ping\n\n: ping\n\ndata: a\n\n", []string{"a"}},
		"no last blank": {"data: a\n\ndata: b\n", []string{"a", "b"}},
		"empty data":    {"data:\n\n", []string{""}},
		"nothing":       {"", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			err := readEvents(iotest.OneByteReader(strings.NewReader(c.in)), func(data []byte) (bool, error) {
				got = append(got, string(data))
				return false, nil
			})
			require.ErrorIs(t, err, errBrokenOff)
			require.Equal(t, c.want, got)
		})
	}
	require.NoError(t, readEvents(strings.NewReader("data: [DONE]"), func(data []byte) (bool, error) { return true, nil }))
}

// FuzzNDJSON: whatever an Ollama server sends, pieces are valid text, within
// bounds, and nothing panics.
func FuzzNDJSON(f *testing.F) {
	for _, seed := range []string{
		"{\"response\":\"a\"}\n{\"done\":true}\n", "{\"message\":{\"content\":\"b\"}}\n\n[]\nnull\n{\"error\":1}\n",
		"{\"response\":\"\\ud83d\"}\n", "{\"response\":\"\xff\x00\\u0000\",\"done\":true,\"eval_count\":-9}", "{\"response\":3}\r\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		fuzz(t, func(g *generation, usage *Usage) error {
			return readLines(strings.NewReader(in), func(line []byte) (bool, error) { return ollamaPiece(line, usage, g.piece) })
		})
	})
}

// FuzzSSE is FuzzNDJSON for both protocols of OpenAI.
func FuzzSSE(f *testing.F) {
	for _, seed := range []string{
		"data: {\"type\":\"response.output_text.delta\",\"delta\":\"a\"}\n\ndata: {\"type\":\"response.completed\"}\n\n",
		"data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
		"data: {\"choices\":[{\"index\":-1}],\"usage\":{\"prompt_tokens\":-1}}\r\n\r\n", "data: {\"type\":\"error\"}", ":\n\ndata\n\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		for _, read := range []func([]byte, *Usage, *bool, func(string) error) (bool, error){responsePiece, completionPiece} {
			fuzz(t, func(g *generation, usage *Usage) error {
				var finished bool
				return readEvents(strings.NewReader(in), func(data []byte) (bool, error) { return read(data, usage, &finished, g.piece) })
			})
		}
	})
}

func fuzz(t *testing.T, decode func(g *generation, usage *Usage) error) {
	t.Helper()
	var text strings.Builder
	g := newGeneration(func(piece string) error {
		if piece == "" || !utf8.ValidString(piece) || strings.ContainsRune(piece, 0) {
			t.Fatalf("bad piece %q", piece)
		}
		text.WriteString(piece)
		return nil
	}, 100, DefaultIdleTimeout, func(error) {})
	defer g.silence.Stop()
	var usage Usage
	if err := decode(g, &usage); err != nil {
		require.ErrorIs(t, err, ErrModelDown)
	}
	require.LessOrEqual(t, text.Len(), 100)
	require.GreaterOrEqual(t, usage.InputTokens, 0)
	require.GreaterOrEqual(t, usage.OutputTokens, 0)
}
