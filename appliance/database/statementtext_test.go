package database

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestPlainStatement(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"SELECT 1": "SELECT $…",
		"UPDATE a SET b = $1, c = 'it''s', d=1.5e-7 WHERE e2 = -3": "UPDATE a SET b = $1, c = $…, d=$… WHERE e2 = -$…",
		"ALTER ROLE \"Me'\" PASSWORD 'secret'":                     "ALTER ROLE \"Me'\" PASSWORD $…",
		"SELECT E'a\\'secret' , x":                                 "SELECT $… , x",
		"SELECT 'a\\' , 'secret' , x":                              "SELECT $… …",
		"SELECT 'C:\\dir', x":                                      "SELECT $…, x",
		"SELECT $$secret$$, $tag$se$$cret$tag$, $12::int, a$b":     "SELECT $…, $…, $12::int, a$b",
		"SELECT x -- secret\n FROM /* a /* secret */ b */ y":       "SELECT x FROM y",
		"SELECT 'cut off secr":                                     "SELECT $…",
		"SELECT $tag$cut off secr":                                 "SELECT $…",
		"SELECT $tag":                                              "SELECT $…",
		"SELECT X'ff', B'01', U&'d\\0061t'":                        "SELECT $…, $…, U&$…",
		"SELECT 0x1F, 1_000, 12abc":                                "SELECT $…, $…, $…",
		"SELECT \"cut":                                             "SELECT…",
		"":                                                         "",
		"  \n\t":                                                   "",
	} {
		require.Equal(t, want, plainStatement(text), text)
	}
	long := plainStatement("SELECT " + strings.Repeat("ä", 5000))
	require.Equal(t, 200, utf8.RuneCountInString(long))
	require.True(t, strings.HasSuffix(long, "ä…"))
}

// What is inside of a literal is not shown, whatever is before it.
func FuzzPlainStatement(f *testing.F) {
	for _, text := range []string{"a = ", "'x' || ", "$1, ", "E'\\'", "-- x\n", "/*", "\"", "U&", "$a$", "'\\'"} {
		f.Add(text)
	}
	const secret = "hunterTWO"
	f.Fuzz(func(t *testing.T, before string) {
		shown := plainStatement(before)
		require.LessOrEqual(t, utf8.RuneCountInString(shown), 200)
		require.True(t, utf8.ValidString(shown))
		// Where the quote opens a literal for sure:
		if !strings.ContainsAny(before, `'"$\/-`) && !strings.Contains(before, secret) {
			require.NotContains(t, plainStatement(before+" '"+secret+"' "), secret)
			require.NotContains(t, plainStatement(before+" '"+secret), secret)
			require.NotContains(t, plainStatement(before+" $x$"+secret+"$x$"), secret)
		}
	})
}
