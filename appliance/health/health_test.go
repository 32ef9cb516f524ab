package health_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"selflink/appliance/health"
)

func well(context.Context) error { return nil }

// watch is a clock that only the test moves.
type watch struct {
	mu  sync.Mutex
	now time.Time
}

func newWatch() *watch { return &watch{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (w *watch) Now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *watch) Add(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// part is something that works until the test breaks it.
type part struct {
	mu  sync.Mutex
	err error
	ran int
}

func (p *part) fail(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = errors.New(text)
}

func (p *part) mend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = nil
}

func (p *part) runs() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ran
}

func (p *part) Run(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ran++
	return p.err
}

// rig is a registry whose rounds and clock the test decides.
type rig struct {
	*health.Registry
	clock *watch
	log   *bytes.Buffer
}

func newRig(checks ...health.Check) *rig {
	r := &rig{clock: newWatch(), log: &bytes.Buffer{}}
	r.Registry = health.New(health.Options{Clock: r.clock.Now, Node: "here", Logger: slog.New(slog.NewTextHandler(r.log, nil))})
	for _, c := range checks {
		r.Add(c)
	}
	return r
}

// after lets time pass and holds a round.
func (r *rig) after(t testing.TB, d time.Duration) {
	r.clock.Add(d)
	r.Round(t.Context())
}

func (r *rig) codes() []string {
	codes := []string{}
	for _, p := range r.Problems() {
		codes = append(codes, p.Code)
	}
	return codes
}

func (r *rig) state(t testing.TB, code string) health.State {
	for _, c := range r.Checks() {
		for _, s := range c.Checks {
			if s.Code == code {
				return s.State
			}
		}
	}
	require.Fail(t, "no such check", code)
	return ""
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	var r health.Registry
	r.Add(health.Check{Code: "well", Ready: true, Run: well})
	r.Add(health.Check{Code: "optional", Run: func(context.Context) error { return errors.New("odd") }})
	results, ready := r.Run(t.Context())
	require.True(t, ready, "a failing check that is not required is only reported")
	require.Equal(t, []health.Result{{Name: "well", OK: true, Ready: true}, {Name: "optional", Error: "odd"}}, results)

	release := make(chan struct{})
	defer close(release)
	r.Add(health.Check{Code: "hung", Ready: true, Run: func(context.Context) error { <-release; return nil }})
	r.Add(health.Check{Code: "panics", Run: func(context.Context) error { panic("oops") }})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	results, ready = r.Run(ctx)
	require.False(t, ready, "a hung check must not hide the others")
	require.Contains(t, results[2].Error, "no answer")
	require.Eventually(t, func() bool {
		results, _ = r.Run(t.Context())
		return strings.Contains(results[3].Error, "panicked: oops")
	}, 60*time.Second, time.Millisecond)
}

func TestTransientFaultIsNobodysBusiness(t *testing.T) {
	t.Parallel()
	var p part
	r := newRig(health.Check{Code: "part", Title: "It fails", Severity: health.High, Visible: 10 * time.Second, Run: p.Run})
	require.Equal(t, health.StateUnknown, r.state(t, "part"))
	r.after(t, 0)
	require.Equal(t, health.StateHealthy, r.state(t, "part"))

	p.fail("one")
	r.after(t, 5*time.Second)
	r.after(t, 9*time.Second)
	require.Equal(t, health.StateTransient, r.state(t, "part"))
	p.mend()
	r.after(t, time.Second)
	require.Empty(t, r.log.String(), "it passed")

	p.fail("two")
	r.after(t, time.Second)
	r.after(t, 9*time.Second)
	require.Empty(t, r.codes(), "the time begins anew")
	r.after(t, time.Second)
	r.after(t, time.Hour)
	require.Equal(t, []string{"part"}, r.codes())
	problem := r.Problems()[0]
	require.Equal(t, "two", problem.Text)
	require.Equal(t, 10*time.Second, problem.Visible.Sub(problem.Since))
	require.Equal(t, 1, strings.Count(r.log.String(), "a problem appeared"), "told once")
	require.NoError(t, testutil.CollectAndCompare(r, strings.NewReader(`
# HELP selflink_health_problem Whether a problem is there: 1 or 0.
# TYPE selflink_health_problem gauge
selflink_health_problem{code="part",severity="high"} 1
# HELP selflink_health_problem_since_seconds Unix time since when a problem's check fails; only while it is there.
# TYPE selflink_health_problem_since_seconds gauge
selflink_health_problem_since_seconds{code="part",severity="high"} 1.772366416e+09
`)))

	p.mend()
	r.after(t, time.Second)
	r.after(t, time.Second)
	require.Empty(t, r.codes())
	require.Equal(t, 1, strings.Count(r.log.String(), "a problem has cleared"))
	require.Equal(t, 1, strings.Count(r.log.String(), "a problem appeared"))
}

func TestEffectsAreHiddenBehindTheirCause(t *testing.T) {
	t.Parallel()
	var root, middle, leaf part
	r := newRig(
		health.Check{Code: "leaf.a", Title: "Leaf", DependsOn: []string{"nobody.knows", "middle"}, Run: leaf.Run},
		health.Check{Code: "middle", DependsOn: []string{"root", "leaf.a"}, Every: time.Hour, Run: middle.Run},
		health.Check{Code: "root", Severity: health.High, Visible: 20 * time.Second, Run: root.Run},
	)
	r.after(t, 0)

	// The effect shows before its cause is known.
	leaf.fail("leaf")
	r.after(t, time.Second)
	require.Equal(t, []string{"leaf.a"}, r.codes())
	root.fail("root")
	r.after(t, time.Second)
	require.Empty(t, r.codes(), "hidden, though the cause is still transient")
	require.Equal(t, health.StateHidden, r.state(t, "leaf.a"))
	require.Contains(t, r.log.String(), "hidden_behind=root")
	r.after(t, 20*time.Second)
	require.Equal(t, []string{"root"}, r.codes())
	require.Equal(t, []string{"leaf.a"}, r.Problems()[0].Effects, "through what lies between, which was not asked")

	// The cause is gone; effects get a moment to notice.
	root.mend()
	r.after(t, time.Second)
	require.Empty(t, r.codes())
	require.Equal(t, health.StateTransient, r.state(t, "leaf.a"))
	leaf.mend()
	r.after(t, 5*time.Second)
	require.Equal(t, health.StateHealthy, r.state(t, "leaf.a"))
	leaf.fail("leaf again")
	r.after(t, time.Second)
	require.Equal(t, []string{"leaf.a"}, r.codes())

	components := r.Checks()
	require.Len(t, components, 3)
	require.Equal(t, "leaf", components[0].Name)
	require.Equal(t, health.Medium, components[0].Worst)
	require.Equal(t, health.Healthy, components[2].Worst)
}

func TestCircleOfCausesEnds(t *testing.T) {
	t.Parallel()
	var a, b part
	r := newRig(
		health.Check{Code: "a", DependsOn: []string{"b", "a"}, Run: a.Run},
		health.Check{Code: "b", DependsOn: []string{"a"}, Run: b.Run},
	)
	a.fail("a")
	r.after(t, 0)
	require.Equal(t, []string{"a"}, r.codes())
}

func TestCostlyChecksAreAskedLessOften(t *testing.T) {
	t.Parallel()
	var cheap, costly part
	r := newRig(
		health.Check{Code: "cheap", Run: cheap.Run},
		health.Check{Code: "costly", Every: time.Minute, Run: costly.Run},
	)
	for range 13 {
		r.after(t, 5*time.Second)
	}
	require.Equal(t, 13, cheap.runs())
	require.Equal(t, 2, costly.runs())
	costly.fail("odd")
	r.after(t, time.Minute)
	r.after(t, time.Second)
	require.Equal(t, 4, costly.runs(), "a failing one is asked again, to see it mended")
}

// A check that hangs is reported, and costs one goroutine however long it does.
func TestHungCheckIsRunOnce(t *testing.T) {
	t.Parallel()
	release, begun := make(chan struct{}), make(chan struct{}, 10)
	var other part
	r := newRig(
		health.Check{Code: "hung", Timeout: time.Millisecond, Run: func(context.Context) error {
			begun <- struct{}{}
			<-release
			return nil
		}},
		health.Check{Code: "other", Run: other.Run},
	)
	for range 3 {
		r.after(t, time.Second)
	}
	require.Equal(t, []string{"hung"}, r.codes())
	require.Equal(t, "no answer within 1ms", r.Problems()[0].Text)
	require.Equal(t, 3, other.runs())
	require.Len(t, begun, 1)
	close(release)
	require.Eventually(t, func() bool {
		r.Round(t.Context())
		return len(r.codes()) == 0
	}, 60*time.Second, time.Millisecond)
}

// While the loop runs, what is required is asked for each answer, and the rest
// is not.
func TestLoop(t *testing.T) {
	t.Parallel()
	var required, optional part
	r := health.New(health.Options{Interval: time.Hour})
	r.Add(health.Check{Code: "required", Ready: true, Run: required.Run})
	r.Add(health.Check{Code: "optional", Run: optional.Run})
	require.NoError(t, r.Start(t.Context()))
	require.NoError(t, r.Start(t.Context()), "starting twice does nothing")
	require.Eventually(t, func() bool { return required.runs() > 0 && optional.runs() > 0 }, 60*time.Second, time.Millisecond)
	require.Eventually(t, func() bool { // the first round has noted its answers
		for _, c := range r.Checks() {
			if c.Checks[0].State != health.StateHealthy {
				return false
			}
		}
		return true
	}, 60*time.Second, time.Millisecond)

	required.fail("gone")
	optional.fail("gone")
	results, ready := r.Run(t.Context())
	require.False(t, ready, "known at once")
	require.False(t, results[0].OK)
	require.True(t, results[1].OK, "as the last round has found it")
	require.NoError(t, r.Stop(t.Context()))
	require.NoError(t, r.Stop(t.Context()), "stopping twice does nothing")
	results, _ = r.Run(t.Context())
	require.False(t, results[1].OK, "without the loop everything is asked")
}

func TestStopDoesNotWaitForEver(t *testing.T) {
	t.Parallel()
	release, begun := make(chan struct{}), make(chan struct{})
	r := health.New(health.Options{})
	r.Add(health.Check{Code: "hung", Timeout: time.Hour, Run: func(context.Context) error {
		close(begun)
		<-release
		return nil
	}})
	require.NoError(t, r.Start(t.Context()))
	<-begun
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, r.Stop(ctx), context.Canceled)
	close(release)
}

func TestSecondCheckOfACodeReplacesTheFirst(t *testing.T) {
	t.Parallel()
	var first, second part
	r := newRig(health.Check{Code: "a", Run: first.Run}, health.Check{Code: "a", Run: second.Run})
	r.after(t, 0)
	require.Zero(t, first.runs())
	require.Equal(t, 1, second.runs())
	require.Len(t, r.Checks(), 1)
}

func TestSeverityInWords(t *testing.T) {
	t.Parallel()
	for _, s := range []health.Severity{health.Healthy, health.Low, health.Medium, health.High} {
		text, err := s.MarshalText()
		require.NoError(t, err)
		var back health.Severity
		require.NoError(t, back.UnmarshalText(text))
		require.Equal(t, s, back)
	}
	var s health.Severity
	require.Error(t, s.UnmarshalText([]byte("awful")))
	require.Equal(t, "severity 9", health.Severity(9).String())
}

func TestTurnedTellsOfTheLastRound(t *testing.T) {
	t.Parallel()
	r := health.New(health.Options{})
	require.Zero(t, r.Turned())
	before := time.Now()
	r.Round(context.Background())
	first := r.Turned()
	require.False(t, first.Before(before))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r.Round(ctx) // was cut short
	require.Equal(t, first, r.Turned())
}
