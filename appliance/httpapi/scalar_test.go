package httpapi_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/httpapi"
)

func TestScalars(t *testing.T) {
	t.Parallel()
	encode := func(v any) string {
		b, err := json.Marshal(v)
		require.NoError(t, err)
		return string(b)
	}
	at := time.Date(2026, 11, 23, 0, 54, 12, 55108000, time.UTC)
	require.Equal(t, `"2026-11-23T00:54:12.055108Z"`, encode(httpapi.Timestamp(at)))
	require.Equal(t, `"2026-11-23T00:54:12Z"`, encode(httpapi.Timestamp(at.Truncate(time.Second))))
	require.Equal(t, `"2026-11-23T00:54:12.000100Z"`, encode(httpapi.Timestamp(at.Truncate(time.Second).Add(100*time.Microsecond))))
	require.Equal(t, `"2026-11-22T20:54:12Z"`, encode(httpapi.Timestamp(at.Truncate(time.Second).In(time.FixedZone("", 4*3600)).Add(-4*time.Hour))))
	require.Equal(t, `null`, encode(httpapi.Timestamp{}))
	require.Equal(t, `null`, encode(httpapi.NullTimestamp(nil)))
	require.Equal(t, `"1990-05-01"`, encode(httpapi.Date{Year: 1990, Month: 5, Day: 1}))
	require.Equal(t, `null`, encode(httpapi.Date{}))
	require.Equal(t, `"08:30:00"`, encode(httpapi.Clock(8*time.Hour+30*time.Minute)))
	require.Equal(t, `"08:30:00.500000"`, encode(httpapi.Clock(8*time.Hour+30*time.Minute+500*time.Millisecond)))

	var ts httpapi.Timestamp
	for _, text := range []string{"2026-11-23T00:54:12.055108Z", "2026-11-23T04:54:12.055108+04:00", "2026-11-23T00:54:12.055108", "2026-11-23 00:54:12.055108"} {
		require.NoError(t, json.Unmarshal([]byte(`"`+text+`"`), &ts))
		require.True(t, ts.Time().Equal(at), text)
	}
	require.Error(t, json.Unmarshal([]byte(`"yesterday"`), &ts))

	for text, want := range map[string]bool{"1990-05-01": true, "1990-5-1": true, "1990-02-30": false, "01/05/1990": false, "0000-01-01": false, "10000-01-01": false, "": false} {
		_, ok := httpapi.ParseDate(text)
		require.Equal(t, want, ok, text)
	}
	for text, want := range map[string]string{"8:30": "08:30:00", "08:30:15": "08:30:15", "23:59:59.999999": "23:59:59.999999", "00:00": "00:00:00", "24:00": "", "x": "", "08:30:15.1234567": "08:30:15.123456"} {
		c, ok := httpapi.ParseClock(text)
		require.Equal(t, want != "", ok, text)
		if ok {
			require.Equal(t, want, c.String())
		}
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	var f httpapi.FieldErrors
	require.NoError(t, f.Err())
	f.Nest("settings")
	require.NoError(t, f.Err(), "an empty nest is no problem")
	f.Add("b", "one")
	f.Nest("settings").Add("x", "two")
	f.Add("b", `thr"ee`)
	require.True(t, f.Has("b"))
	require.False(t, f.Has("c"))
	require.Equal(t, `httpapi: answer 400 {"settings":{"x":["two"]},"b":["one","thr\"ee"]}`, f.Err().Error())
	require.Equal(t, `{"detail":"Request was throttled. Expected available in 2 seconds."}`, string(httpapi.Throttled(1001*time.Millisecond).Body))
	require.Equal(t, `{"detail":"Request was throttled. Expected available in 1 second."}`, string(httpapi.Throttled(1).Body))
	require.Equal(t, `{"detail":"\u0001\n\t\\ <&> ünï �"}`, string(httpapi.Detail(400, "\x01\n\t\\ <&> ünï \xff").Body))
}
