package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestFramesInPieces(t *testing.T) {
	t.Parallel()
	short, long := []byte(`{"a":1}`), bytes.Repeat([]byte("x"), 300)
	stream := slices.Concat(serverFrame(short), serverFrame(long), []byte{0x80 | opPing, 1, 'p'})
	for cut := range len(stream) {
		var got []string
		rest := stream[:cut:cut]
		for _, more := range [][]byte{nil, stream[cut:]} {
			rest = append(rest, more...)
			for {
				op, payload, size := nextFrame(rest)
				if size == 0 {
					break
				}
				got = append(got, fmt.Sprintf("%x%s", op, payload))
				rest = rest[size:]
			}
		}
		if want := []string{"1" + string(short), "1" + string(long), "9p"}; !slices.Equal(got, want) || len(rest) != 0 {
			t.Fatalf("cut at %d: %q and %d bytes", cut, got, len(rest))
		}
	}
	for _, bad := range []string{"\x01\x00", "\x81\x80", "\xc1\x00", "\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff"} {
		if op, _, _ := nextFrame([]byte(bad)); op != opBad {
			t.Errorf("%q is taken as %x", bad, op)
		}
	}
}

func TestChunkedEventsInPieces(t *testing.T) {
	t.Parallel()
	const stream = "b\r\nid: 1\ndata:\r\n6;x=y\r\n one\n\n\r\n1B\r\n: ping\n\nid: 2\ndata: two\n\n:\n\r\n0\r\n\r\n"
	for cut := range len(stream) {
		var (
			c    chunks
			rest []byte
			got  []string
		)
		for _, more := range []string{stream[:cut], stream[cut:]} {
			rest = append(rest, c.strip([]byte(more))...)
			for {
				data, size := nextEvent(rest)
				if size == 0 {
					break
				}
				if data != nil {
					got = append(got, string(data))
				}
				rest = rest[size:]
			}
		}
		if !slices.Equal(got, []string{"one", "two"}) || !c.ended || string(rest) != ":\n" {
			t.Fatalf("cut at %d: %q, ended %v, %q", cut, got, c.ended, rest)
		}
	}
}

func TestPlace(t *testing.T) {
	t.Parallel()
	var p place
	for _, event := range []string{
		`{"type":"gift.received","id":1000000001,"sent":1795600000000000000}`,
		`{"id":1000000001,"sent":1795600000000000000,"type":"gift.received","position":"x"}`,
	} {
		id, sent, ok := p.read([]byte(event))
		if !ok || id != 1000000001 || sent != 1795600000000000000 {
			t.Errorf("%s: %d %d %v", event, id, sent, ok)
		}
	}
	for _, other := range []string{`{}`, `{"id":1,"sent":2}`, `{"type":"presence","user_id":1}`} {
		if _, _, ok := p.read([]byte(other)); ok {
			t.Errorf("%s is taken as an event", other)
		}
	}
	if got := positionOf([]byte(`{"position":"no","x":1,"position":"p/1=="}`)); string(got) != "p/1==" {
		t.Errorf("position %q", got)
	}
	if got := escape(nil, []byte("a+/=")); string(got) != "a%2B%2F%3D" {
		t.Errorf("escaped %q", got)
	}
}

func TestHistogram(t *testing.T) {
	t.Parallel()
	var h histogram
	values := make([]time.Duration, 10_000)
	for i := range values {
		values[i] = time.Duration(rand.Int64N(1 << rand.IntN(36)))
		h.add(int64(values[i]))
	}
	slices.Sort(values)
	for _, p := range []float64{1, 50, 99, 99.9} {
		got, want := h.percentile(p), max(1, values[int(float64(len(values))*p/100)])
		if got < want || float64(got) > float64(want)*1.016+1 {
			t.Errorf("p%v is %d, wanted %d", p, got, want)
		}
	}
	if h.percentile(100) != values[len(values)-1] {
		t.Error("p100 is not the most")
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	one := "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody"
	for cut := range len(one) {
		if _, _, size := httpAnswer([]byte(one[:cut])); size != 0 {
			t.Fatalf("%d bytes are taken as an answer", cut)
		}
	}
	if status, body, size := httpAnswer([]byte(one + one)); status != 200 || string(body) != "body" || size != len(one) {
		t.Errorf("%d %q %d", status, body, size)
	}
}

// connected opens n connections to a gateway.
func connected(t *testing.T, g *gateway, o order) *load {
	t.Helper()
	l, err := newLoad()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.closeAll)
	if r := l.obey(order{Do: "setup", Addr: g.addr, Tokens: []string{"a", "b"}}); r.Error != "" {
		t.Fatal(r.Error)
	}
	o.Do = "open"
	if r := l.obey(o); r.Error != "" {
		t.Fatal(r.Error)
	}
	return l
}

func TestRunsAreComplete(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"ws", "sse"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			l := connected(t, newGateway(t, 1000, ""), order{Kind: kind, Count: 20, Positions: kind == "ws"})
			for _, o := range []order{
				{Do: "closed", Seconds: 0.2},
				{Do: "closed", Seconds: 0.2, Pad: 2000},
				{Do: "burst", Events: 500, Publishers: 16},
				{Do: "paced", Seconds: 0.3, Rate: 100},
			} {
				r := l.obey(o)
				if r.Error != "" || r.Events == 0 || r.Deliveries != 20*r.Events || complete(r) != nil || r.P99 < r.P50 || r.P50 == 0 {
					t.Errorf("%+v: %+v", o, r)
				}
			}
		})
	}
}

func TestChurnIsRecovered(t *testing.T) {
	t.Parallel()
	l := connected(t, newGateway(t, 1000, ""), order{Kind: "ws", Count: 20, Positions: true})
	r := l.obey(order{Do: "paced", Seconds: 2, Rate: 100, Churn: 0.1})
	if r.Error != "" || complete(r) != nil || r.Events != 200 || r.Reconnects == 0 || r.Recovered != r.Reconnects {
		t.Errorf("%+v", r)
	}
}

func TestSlowIsSeenToBeCut(t *testing.T) {
	t.Parallel()
	g := newGateway(t, 50, "")
	l := connected(t, g, order{Kind: "ws", Count: 5})
	if r := l.obey(order{Do: "open", Slow: true}); r.Error != "" {
		t.Fatal(r.Error)
	}
	r := l.obey(order{Do: "closed", Seconds: 0.1, Pad: 30_000, UntilCut: true})
	if r.Error != "" || complete(r) != nil || r.Cut == 0 || r.P99Cut == 0 {
		t.Errorf("%+v", r)
	}
}

// TestFaultsAreSeen has a gateway lose, double and swap events.
func TestFaultsAreSeen(t *testing.T) {
	t.Parallel()
	for fault, seen := range map[string]func(report) bool{
		"lose":   func(r report) bool { return r.Lost == 1 && r.Error != "" },
		"double": func(r report) bool { return r.Duplicate == 1 && r.Reordered > 0 },
		"swap":   func(r report) bool { return r.Reordered > 0 && r.Lost == 0 },
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			l := connected(t, newGateway(t, 1000, fault), order{Kind: "ws", Count: 3})
			l.patience = 300 * time.Millisecond
			r := l.obey(order{Do: "burst", Events: 50, Publishers: 1})
			if !seen(r) || complete(r) == nil {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestRefusalIsTold(t *testing.T) {
	t.Parallel()
	g := newGateway(t, 1000, "")
	g.refuse.Store(true)
	l, err := newLoad()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.closeAll)
	l.obey(order{Do: "setup", Addr: g.addr, Tokens: []string{"a"}})
	if r := l.obey(order{Do: "open", Kind: "ws", Count: 2}); !strings.Contains(r.Error, "403") {
		t.Errorf("%+v", r)
	}
}
