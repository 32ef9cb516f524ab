package llm

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRecord(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	down := errors.New("down")
	for name, c := range map[string]struct {
		ends string // "." answered, "x" failed
		says string // "" healthy
	}{
		"nothing":              {"", ""},
		"weather":              {".x.xx", ""},
		"three in a row":       {"...xxx", "the last 3 answers failed: down"},
		"recovered":            {"...xxx.", ""},
		"every other one":      {"x.x.x.", "3 of the last 6 answers failed, at last: down"},
		"few":                  {"xx.xx", ""},
		"old ones are dropped": {"xx.xx.xx.....................", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var r record
			for _, e := range c.ends {
				if e == 'x' {
					r.note(down, now)
				} else {
					r.note(nil, now)
				}
			}
			if err := r.check(now); c.says == "" {
				require.NoError(t, err)
			} else {
				require.EqualError(t, err, c.says)
			}
		})
	}
	var r record
	for range 3 {
		r.note(down, now)
		r.note(nil, now)
	}
	require.Error(t, r.check(now))
	require.NoError(t, r.check(now.Add(time.Hour)), "the share is about now")
}
