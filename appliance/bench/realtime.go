package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// realtimeRuns are the parts of the section, in their order. Those of one
// group share a server.
var realtimeRuns = []struct {
	names string
	run   func(*bench, context.Context, func(name string) bool) error
}{
	{"connect,idle,burst5000", (*bench).realtimeIdle},
	{"closed,burst,paced,bare", (*bench).realtimeDeliver},
	{"churn", (*bench).realtimeChurn},
	{"slow", (*bench).realtimeSlow},
	{"sse", (*bench).realtimeSSE},
}

// The sizes of the runs.
const (
	someSockets  = 1000
	manySockets  = 5000
	someStreams  = 2000
	pacedRate    = 25 // events a second
	closedTime   = 15
	pacedTime    = 8
	churnTime    = 12
	slowTime     = 6
	burstEvents  = 2000
	burstAtMany  = 400
	burstSenders = 16
	bigEvent     = 2 << 10 // bytes that fill the slow one's queue
)

// realtime measures the gateway with many connections of one load client.
func (b *bench) realtime(ctx context.Context) error {
	if err := raiseFiles(); err != nil {
		return err
	}
	known := false
	for _, group := range realtimeRuns {
		names := strings.Split(group.names, ",")
		asked := func(name string) bool {
			return b.runs == "" || slices.Contains(strings.Split(b.runs, ","), name)
		}
		if !slices.ContainsFunc(names, asked) {
			continue
		}
		known = true
		if err := group.run(b, ctx, asked); err != nil {
			return fmt.Errorf("%s: %w", group.names, err)
		}
	}
	if !known {
		return fmt.Errorf("no such run: %s", b.runs)
	}
	return b.writeFigures()
}

// withRig runs f beside a new server.
func (b *bench) withRig(ctx context.Context, f func(*rig) error) (err error) {
	r, err := newRealtimeRig(ctx, b.bin)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	r.note = b.note
	return f(r)
}

// figure is what a run gave, for machines. Times are in nanoseconds.
type figure struct {
	Run    string
	Report *report       `json:",omitempty"`
	Server time.Duration // cpu of each delivery or connection
	Tree   time.Duration
	KiB    float64 `json:",omitempty"` // PSS of each connection
}

// note keeps a figure for -json.
func (b *bench) note(f figure) { b.figures = append(b.figures, f) }

// writeFigures writes them as one JSON document to the file that was asked for.
func (b *bench) writeFigures() error {
	if b.json == "" {
		return nil
	}
	text, err := json.MarshalIndent(b.figures, "", " ")
	if err != nil {
		return fmt.Errorf("encode the figures: %w", err)
	}
	return os.WriteFile(b.json, append(text, '\n'), 0o644)
}

// measured runs an order and says what it cost of each side's cpu, for each
// delivery or for each of n.
func (r *rig) measured(name string, o order, n int) (report, string, error) {
	alone, tree, err := cpuOf(r.pid)
	if err != nil {
		return report{}, "", err
	}
	got, err := r.load.order(o)
	if err != nil {
		return got, "", err
	}
	aloneThen, treeThen, err := cpuOf(r.pid)
	if err != nil {
		return got, "", err
	}
	if n == 0 {
		n = max(got.Deliveries, 1)
	}
	each := func(d time.Duration) time.Duration { return (d / time.Duration(n)).Round(100 * time.Nanosecond) }
	r.note(figure{Run: name, Report: &got, Server: each(aloneThen - alone), Tree: each(treeThen - tree)})
	return got, fmt.Sprintf("cpu each: server %s, tree %s, load %s", each(aloneThen-alone), each(treeThen-tree), each(got.CPU)), nil
}

// deliveries prints a run; beside says what it is compared with.
func deliveries(what string, got report, cpu, beside string) {
	parts := []string{fmt.Sprintf("%d lost, %d reordered", got.Lost, got.Reordered)}
	if got.Duplicate > 0 {
		parts = append(parts, fmt.Sprintf("%d twice", got.Duplicate))
	}
	if beside != "" {
		parts = append(parts, beside)
	}
	parts = append(parts, fmt.Sprintf("%.1f a read", float64(got.Deliveries)/float64(max(got.Reads, 1))), cpu)
	row(what, fmt.Sprintf("%.0f/s", perSecond(got)), got.P50, got.P99, strings.Join(parts, "; "))
}

func perSecond(r report) float64 { return float64(r.Deliveries) / r.Elapsed.Seconds() }

// complete makes a loss an error: a figure of something that lost events is
// none.
func complete(got report) error {
	if got.Lost > 0 || got.Duplicate > 0 || got.Reordered > 0 {
		return fmt.Errorf("%d lost, %d twice, %d reordered of %d deliveries", got.Lost, got.Duplicate, got.Reordered, got.Deliveries)
	}
	return nil
}

// realtimeIdle opens sockets, weighs them, and publishes to all of them.
func (b *bench) realtimeIdle(ctx context.Context, asked func(string) bool) error {
	return b.withRig(ctx, func(r *rig) error {
		_, empty, err := quietPSS(r.pid)
		if err != nil {
			return err
		}
		for _, n := range []int{someSockets, manySockets} {
			if err := r.connect("ws", n, true); err != nil {
				return err
			}
			if asked("idle") {
				if err := r.weighEach("idle socket", n, empty); err != nil {
					return err
				}
			}
		}
		if !asked("burst5000") {
			return nil
		}
		got, cpu, err := r.measured("burst5000", order{Do: "burst", Events: burstAtMany, Publishers: burstSenders}, 0)
		if err != nil {
			return err
		}
		deliveries(fmt.Sprintf("burst of %d events, %d sockets", burstAtMany, manySockets), got, cpu, "")
		return complete(got)
	})
}

// connect brings the connections to n.
func (r *rig) connect(kind string, n int, tell bool) error {
	opened := n - r.open
	got, cpu, err := r.measured(fmt.Sprintf("connect %s %d", kind, n), order{Do: "open", Kind: kind, Count: n}, opened)
	if err != nil {
		return err
	}
	r.open = n
	if tell {
		row(fmt.Sprintf("connect %d, up to %d %s, all acknowledged", opened, n, plural[kind]), got.Elapsed.Round(time.Millisecond).String(), 0, 0,
			fmt.Sprintf("%.0f a second; %s", float64(opened)/got.Elapsed.Seconds(), cpu))
	}
	return nil
}

var plural = map[string]string{"ws": "sockets", "sse": "streams"}

func (r *rig) weighEach(what string, n int, empty float64) error {
	first, quiet, err := quietPSS(r.pid)
	if err != nil {
		return err
	}
	r.note(figure{Run: fmt.Sprintf("%s, %d open", what, n), KiB: (quiet - empty) / float64(n)})
	row(fmt.Sprintf("memory of an %s, %d open", what, n), fmt.Sprintf("%.1f KiB PSS", (quiet-empty)/float64(n)), 0, 0,
		fmt.Sprintf("at once %.1f KiB; the process %.0f MiB, empty %.0f", (first-empty)/float64(n), quiet/1024, empty/1024))
	return nil
}

// realtimeDeliver measures what reaches 1 000 sockets, beside the plain
// gateway.
func (b *bench) realtimeDeliver(ctx context.Context, asked func(string) bool) error {
	bare := map[string]report{}
	if asked("bare") {
		if err := b.bareGateway(ctx, bare, asked); err != nil {
			return fmt.Errorf("plain gateway: %w", err)
		}
	}
	if !asked("closed") && !asked("burst") && !asked("paced") {
		return nil
	}
	return b.withRig(ctx, func(r *rig) error {
		if err := r.connect("ws", someSockets, false); err != nil {
			return err
		}
		for _, run := range gatewayRuns(1) {
			if !asked(run.name) {
				continue
			}
			got, cpu, err := r.measured(run.name, run.order, 0)
			if err != nil {
				return err
			}
			beside := ""
			if plain, ok := bare[run.name]; ok {
				beside = fmt.Sprintf("plain %.0f/s (×%.2f)", perSecond(plain), perSecond(got)/perSecond(plain))
			}
			deliveries(run.what, got, cpu, beside)
			if err := complete(got); err != nil {
				return err
			}
		}
		return nil
	})
}

type gatewayRun struct {
	name, what string
	order      order
}

// gatewayRuns are the runs that both gateways make, the plain one a shorter
// part of them.
func gatewayRuns(part float64) []gatewayRun {
	return []gatewayRun{
		{"closed", fmt.Sprintf("closed loop, %d sockets", someSockets), order{Do: "closed", Seconds: closedTime * part}},
		{"burst", fmt.Sprintf("burst of %d events, %d sockets", burstEvents, someSockets), order{Do: "burst", Events: int(burstEvents * part), Publishers: burstSenders}},
		{"paced", fmt.Sprintf("%d events/s, %d sockets", pacedRate, someSockets), order{Do: "paced", Seconds: pacedTime * part, Rate: pacedRate}},
	}
}

func (b *bench) bareGateway(ctx context.Context, into map[string]report, asked func(string) bool) (err error) {
	r, err := newBareRig(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	r.note = b.note
	if err := r.connect("ws", someSockets, false); err != nil {
		return err
	}
	for _, run := range gatewayRuns(0.25) {
		if !asked(run.name) {
			continue
		}
		got, cpu, err := r.measured("plain "+run.name, run.order, 0)
		if err != nil {
			return err
		}
		into[run.name] = got
		deliveries("plain gateway, "+run.what, got, cpu, "")
	}
	return nil
}

// realtimeChurn has clients leave and come back with their positions while
// events are published.
func (b *bench) realtimeChurn(ctx context.Context, _ func(string) bool) error {
	return b.withRig(ctx, func(r *rig) error {
		if _, err := r.load.order(order{Do: "open", Kind: "ws", Count: someSockets, Positions: true}); err != nil {
			return err
		}
		got, cpu, err := r.measured("churn", order{Do: "paced", Seconds: churnTime, Rate: pacedRate, Churn: 0.1}, 0)
		if err != nil {
			return err
		}
		deliveries(fmt.Sprintf("%d events/s, a tenth of %d come anew each second", pacedRate, someSockets), got, cpu,
			fmt.Sprintf("%d of %d recovered, %d twice", got.Recovered, got.Reconnects, got.Duplicate))
		if got.Behind > 0 || got.Recovered != got.Reconnects {
			return fmt.Errorf("%d of %d reconnections were recovered, %d were told that they can't be", got.Recovered, got.Reconnects, got.Behind)
		}
		return complete(got)
	})
}

// realtimeSlow measures what a client that does not read does to the others.
func (b *bench) realtimeSlow(ctx context.Context, _ func(string) bool) error {
	return b.withRig(ctx, func(r *rig) error {
		if err := r.connect("ws", someSockets, false); err != nil {
			return err
		}
		what := fmt.Sprintf("closed loop, %d sockets, %d B events", someSockets, bigEvent)
		alone, cpu, err := r.measured("slow, before", order{Do: "closed", Seconds: slowTime, Pad: bigEvent}, 0)
		if err != nil {
			return err
		}
		deliveries(what, alone, cpu, "")
		_, before, err := quietPSS(r.pid)
		if err != nil {
			return err
		}
		if _, err := r.load.order(order{Do: "open", Slow: true}); err != nil {
			return err
		}
		got, cpu, err := r.measured("slow", order{Do: "closed", Seconds: 1, Pad: bigEvent, UntilCut: true}, 0)
		if err != nil {
			return err
		}
		first, after, err := quietPSS(r.pid)
		if err != nil {
			return err
		}
		deliveries("  beside one that does not read", got, cpu, fmt.Sprintf("p99 until it is cut %s (%+.0f %%)",
			got.P99Cut.Round(10*time.Microsecond), 100*(got.P99Cut.Seconds()/alone.P99.Seconds()-1)))
		row("  until it is cut", got.Cut.Round(10*time.Millisecond).String(), 0, 0,
			fmt.Sprintf("memory before %.1f MiB PSS, at the end %.1f, quiet %.1f", before/1024, first/1024, after/1024))
		return errors.Join(complete(alone), complete(got))
	})
}

// realtimeSSE measures streams of server-sent events.
func (b *bench) realtimeSSE(ctx context.Context, _ func(string) bool) error {
	return b.withRig(ctx, func(r *rig) error {
		_, empty, err := quietPSS(r.pid)
		if err != nil {
			return err
		}
		if err := r.connect("sse", someStreams, true); err != nil {
			return err
		}
		if err := r.weighEach("idle stream", someStreams, empty); err != nil {
			return err
		}
		got, cpu, err := r.measured("sse", order{Do: "closed", Seconds: slowTime}, 0)
		if err != nil {
			return err
		}
		deliveries(fmt.Sprintf("closed loop, %d streams of server-sent events", someStreams), got, cpu, "")
		return complete(got)
	})
}
