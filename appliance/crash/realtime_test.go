//go:build crash

package crash

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	totalEvents    = 5000
	totalListeners = 200
	eventStreams   = 20 // of the listeners
	publishers     = 16
	listeningUsers = 4
	endingSessions = 20

	// channelsEach is how many channels a listener names; 20 are the most.
	channelsEach = 8

	// mostKills is what fits into some seconds; TestCrash takes all of -kills.
	mostKills = 5

	// patience bounds every wait but those that promise something.
	patience = time.Minute
)

// TestRealtime publishes events in transactions while listeners come and go,
// kills the process and its children, and then asks every listener for exactly
// what was committed, in the one order of the log.
func TestRealtime(t *testing.T) {
	n := min(*kills, mostKills)
	t.Logf("seed %d, %d kills (repeat with: make crash SEED=%d KILLS=%d)", *seed, n, *seed, n)
	require.NotEmpty(t, *bin, "-bin is needed: run make crash")
	random := rand.New(rand.NewPCG(*seed, 2))
	s := newServer(t, *bin, "REALTIME_PUBLISH_TOKEN="+publishToken,
		"THROTTLE_IP_RATE=0", "THROTTLE_USER_RATE=0", "THROTTLE_ANON_RATE=0")
	t.Logf("first start: ready in %s", s.start().Round(time.Millisecond))

	client := &api{base: "http://" + s.addr, http: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: publishers + 1}}}
	book := newProgramme(totalEvents)
	users := make([]account, listeningUsers)
	for i := range users {
		users[i] = openAccount(t, client, fmt.Sprintf("listener%d@example.com", i))
	}
	sessions := make([]session, endingSessions)
	for i := range sessions {
		sessions[i] = users[i%len(users)].signIn(t, client)
	}

	ctx, cancel := context.WithCancel(context.Background())
	crowd := newCrowd(client.base, users, book.channels)
	var listening sync.WaitGroup
	for _, l := range crowd {
		listening.Go(func() { l.run(ctx) })
	}
	t.Cleanup(func() {
		cancel()
		listening.Wait()
	})
	began := time.Now()
	await(t, "all listeners are connected", patience, func() bool { return crowd.backSince(time.Time{}) })
	t.Logf("%d listeners connected in %s", len(crowd), time.Since(began).Round(time.Millisecond))

	load := newGroup()
	t.Cleanup(load.stop)
	for i := range publishers {
		by := &publisher{number: i, random: rand.New(rand.NewPCG(*seed, 100+uint64(i)))}
		load.goLoop(func(ctx context.Context) { book.publish(ctx, t, client, by) })
	}
	leaving := newGroup()
	t.Cleanup(leaving.stop)
	leaving.wait.Go(func() { book.signOut(leaving.ctx, t, client, sessions, totalEvents) })

	// The pooler's turn is last: after it no restart heals what it leaves, so
	// the running server has to.
	victims := []string{"process", "process and broker directory", "process", "postgres", "pgbouncer, five times"}[:n]
	shuffled := min(n, mostKills-1)
	random.Shuffle(shuffled, func(i, j int) { victims[i], victims[j] = victims[j], victims[i] })
	step := totalEvents / (n + 1)
	slowest := time.Duration(0)
	for i, victim := range victims {
		// Moments are counted in events, so that each kill meets a stream of
		// them, and what is left of a step flows while listeners come back.
		book.allow((i + 1) * step)
		at := i*step + step/10 + random.IntN(step/2)
		await(t, "events are published", patience, book.reached(at))
		var ready, back time.Duration
		switch victim {
		case "postgres":
			s.killChild(victim)
			ready = s.awaitReady(victim)
		case "pgbouncer, five times":
			// The database may have committed what nobody was told of any more,
			// the numbering of events too.
			for j := range 5 {
				await(t, "events are published", patience, book.reached(at+j*step/20))
				s.killChild("pgbouncer")
				ready = max(ready, s.awaitReady(victim))
			}
		default:
			s.kill()
			killed := time.Now()
			if victim != "process" {
				require.NoError(t, os.RemoveAll(filepath.Join(s.data, "broker")))
			}
			ready = s.start()
			running := time.Now()
			await(t, "all listeners are back", patience, func() bool { return crowd.backSince(killed) })
			back = time.Since(running)
			slowest = max(slowest, back)
		}
		t.Logf("kill %d/%d at event %4d: %-28s ready again in %s, all listeners back %s later",
			i+1, n, at, victim, ready.Round(time.Millisecond), back.Round(time.Millisecond))
	}
	book.allow(totalEvents)
	await(t, "all events are published", patience, book.reached(totalEvents))
	load.stop()
	leaving.wait.Wait()
	book.finish(t, client)

	late := time.After(patience)
	for _, l := range crowd {
		select {
		case <-l.done:
		case <-late:
			cancel()
			<-l.done
			t.Errorf("%s waits for the last event and has %d", l, len(l.seen))
		}
	}
	t.Logf("promised: %d events and %d ends of sessions in %d channels to %d listeners (%d of them event streams); %d requests ended without an answer",
		book.promised-1, len(sessions), len(book.channels), len(crowd), eventStreams, book.unclear)
	requireTold(t, book, crowd)
	t.Logf("slowest: all listeners back %s after the server", slowest.Round(time.Millisecond))
	client.http.CloseIdleConnections()
	t.Logf("orderly stop in %s", s.terminate().Round(time.Millisecond))
}

// crowd is all listeners.
type crowd []*listener

// newCrowd makes listeners that all have the first channel and a choice of the
// others.
func newCrowd(base string, users []account, channels []string) crowd {
	var all crowd
	for i := range totalListeners {
		l := &listener{
			number: i, base: base, who: users[i%len(users)], stream: i < eventStreams,
			random: rand.New(rand.NewPCG(*seed, 1000+uint64(i))), done: make(chan struct{}), ends: map[string]int{},
		}
		l.channels = []string{channels[0]}
		for _, at := range l.random.Perm(len(channels) - 1)[:channelsEach-1] {
			l.channels = append(l.channels, channels[1+at])
		}
		all = append(all, l)
	}
	return all
}

// backSince tells whether each one was acknowledged after a moment. One that a
// fault has ended does not come back; it is reported at the end.
func (c crowd) backSince(moment time.Time) bool {
	for _, l := range c {
		select {
		case <-l.done:
		default:
			if at := l.acked.Load(); at == 0 || time.Unix(0, at).Before(moment) {
				return false
			}
		}
	}
	return true
}
