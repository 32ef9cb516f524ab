package config

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseEnv(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ line, key, value string }{
		{"A=b", "A", "b"},
		{"  A = b c  ", "A", "b c"},
		{"export A=b", "A", "b"},
		{"export\tA=b", "A", "b"},
		{"exported=b", "exported", "b"},
		{"export=b", "export", "b"},
		{"A=", "A", ""},
		{"A= # nothing", "A", ""},
		{"A=b # comment", "A", "b"},
		{"A=b#c", "A", "b#c"},
		{"A=b=c", "A", "b=c"},
		{"A='b # c' # d", "A", "b # c"},
		{`A='b\n"c'`, "A", `b\n"c`},
		{"A='b\nc'", "A", "b\nc"},
		{`A="\я"`, "A", `\я`},
		{`A="b\n\"c\" \$d \\ \x # e"`, "A", "b\n\"c\" $d \\ \\x # e"},
		{`A=""`, "A", ""},
		{"A=it's", "A", "it's"},
		{"A=postgres://u:p@h/d?x=1&y=2", "A", "postgres://u:p@h/d?x=1&y=2"},
		{"A=грузія", "A", "грузія"},
		{"A=b\r", "A", "b"},
		{"\ufeff" + "A=b", "A", "b"},
	} {
		entries, err := ParseEnv(c.line)
		require.NoError(t, err, c.line)
		require.Equal(t, []Entry{{Key: c.key, Value: c.value, Line: 1}}, entries, c.line)
	}
	entries, err := ParseEnv("\n# comment\n  \nA=1\r\n\r\nB=2")
	require.NoError(t, err)
	require.Equal(t, []Entry{{Key: "A", Value: "1", Line: 4}, {Key: "B", Value: "2", Line: 6}}, entries)

	for _, bad := range []string{"A", "=b", "1A=b", "A B=c", `A="b`, "A='b", `A="b\`, `A="b" c`, "A='b'c", "A=b\x00", "A-B=c", "A=\xff"} {
		_, err := ParseEnv(bad)
		require.Error(t, err, bad)
	}
	_, err = ParseEnv("nothing\nB=1\nA=\"topsecret\n")
	require.ErrorContains(t, err, "line 1: has no =")
	require.ErrorContains(t, err, "line 3: the closing quote is missing")
	require.NotContains(t, err.Error(), "topsecret")
	_, err = ParseEnv(strings.Repeat("#", maxEnvFile+1))
	require.Error(t, err)
}

// FuzzParseEnv checks that whatever was read can be written and read again,
// and that no error repeats a value.
func FuzzParseEnv(f *testing.F) {
	for _, seed := range []string{"A=b", "export A='b'\n", "A=\"b\\n\"", "\ufeffA=b\r\n#c", "A=\"", "A", "A=b # c"} {
		f.Add(seed)
	}
	quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`)
	f.Fuzz(func(t *testing.T, text string) {
		entries, err := ParseEnv(text)
		if err == nil {
			require.LessOrEqual(t, len(entries), strings.Count(text, "\n")+1)
		}
		for _, e := range entries {
			require.True(t, isName(e.Key))
			again, err := ParseEnv(e.Key + `="` + quote.Replace(e.Value) + `"`)
			require.NoError(t, err)
			require.Len(t, again, 1)
			require.Equal(t, []any{e.Key, e.Value, 1}, []any{again[0].Key, again[0].Value, again[0].Line})
		}
		if _, err := ParseEnv(text + "\nhunter2\nA=\"hunter2"); err != nil {
			require.NotContains(t, err.Error(), "hunter2")
		}
	})
}
