package mentor

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"time"
)

// failureKept is for how long a failed generation answers those who ask the
// same again: the old client does so twice a second, and a model that is down
// need not hear of it each time.
const failureKept = 5 * time.Second

// streamKey names what was asked through a stream.
type streamKey struct {
	user        int64
	fingerprint [sha256.Size]byte
}

// generations are the answers that this process makes for streams. Each has
// one goroutine, which belongs to it and not to a client: clients come and go,
// and the last one to go ends it. It is safe for concurrent use.
type generations struct {
	linger time.Duration

	// mu guards everything below and the clients of every generation. It is
	// never held while a generation's own mu is wanted.
	mu         sync.Mutex
	byKey      map[streamKey]*generation
	byQuestion map[int64]*generation
	stopped    bool
	goroutines sync.WaitGroup
}

// generation is one answer in the making.
type generation struct {
	key      streamKey
	question int64
	session  int64
	cancel   context.CancelFunc
	done     chan struct{} // closed when the answer is stored or has failed

	clients int         // guarded by generations.mu
	timer   *time.Timer // until it ends for want of clients, or is forgotten; guarded by generations.mu

	mu        sync.Mutex
	text      []byte
	listeners map[chan struct{}]struct{}
	finished  bool
	answer    answer
	err       error
}

func newGenerations(linger time.Duration) *generations {
	return &generations{linger: linger, byKey: map[streamKey]*generation{}, byQuestion: map[int64]*generation{}}
}

// errStopping ends generations when the service stops.
var errStopping = errors.New("mentor: stopping")

// join gives the generation of key, or begins one with run, in a goroutine of
// its own. The caller is a client of it until it leaves. It fails when the
// service stops.
func (r *generations) join(key streamKey, question, session int64, run func(ctx context.Context, g *generation) (answer, error)) (*generation, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return nil, errStopping
	}
	if g := r.byKey[key]; g != nil {
		r.enter(g)
		return g, nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	g := &generation{
		key: key, question: question, session: session, cancel: cancel, clients: 1,
		done: make(chan struct{}), listeners: map[chan struct{}]struct{}{},
	}
	r.byKey[key], r.byQuestion[question] = g, g
	r.goroutines.Go(func() {
		defer cancel()
		a, err := run(ctx, g)
		r.finish(g, a, err)
	})
	return g, nil
}

// known gives the generation of key, also one that failed a moment ago, or
// nil.
func (r *generations) known(key streamKey) *generation {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.enter(r.byKey[key])
}

// running gives the generation of key that is under way, or nil.
func (r *generations) running(key streamKey) *generation {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.enterRunning(r.byKey[key])
}

// runningQuestion gives the generation under way that answers question, or
// nil.
func (r *generations) runningQuestion(question int64) *generation {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.enterRunning(r.byQuestion[question])
}

func (r *generations) enterRunning(g *generation) *generation {
	if g == nil {
		return nil
	}
	select {
	case <-g.done:
		return nil
	default:
		return r.enter(g)
	}
}

// enter adds a client. The caller holds mu.
func (r *generations) enter(g *generation) *generation {
	if g == nil {
		return nil
	}
	g.clients++
	select {
	case <-g.done: // the timer is that of forgetting
	default:
		if g.timer != nil {
			g.timer.Stop()
			g.timer = nil
		}
	}
	return g
}

// leave takes a client away. When the last one has gone and nobody comes for a
// while, the generation ends.
func (r *generations) leave(g *generation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	g.clients--
	if g.clients > 0 || r.byKey[g.key] != g {
		return
	}
	select {
	case <-g.done:
		return
	default:
	}
	g.timer = time.AfterFunc(r.linger, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if g.clients > 0 || r.byKey[g.key] != g {
			return
		}
		// Whoever asks from now on gets a new one.
		r.forget(g)
		g.cancel()
	})
}

// forget removes a generation. The caller holds mu.
func (r *generations) forget(g *generation) {
	if r.byKey[g.key] == g {
		delete(r.byKey, g.key)
	}
	if r.byQuestion[g.question] == g {
		delete(r.byQuestion, g.question)
	}
}

// finish ends a generation. An answer is found in the database from now on; a
// failure is remembered for a moment.
func (r *generations) finish(g *generation, a answer, err error) {
	r.mu.Lock()
	if g.timer != nil {
		g.timer.Stop()
		g.timer = nil
	}
	known := r.byKey[g.key] == g
	r.forget(g)
	if err != nil && known && !r.stopped {
		r.byKey[g.key] = g
		g.timer = time.AfterFunc(failureKept, func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.forget(g)
		})
	}
	r.mu.Unlock()

	g.mu.Lock()
	g.answer, g.err, g.finished = a, err, true
	g.mu.Unlock()
	close(g.done)
}

// stop ends all generations and waits for them, or for ctx.
func (r *generations) stop(ctx context.Context) error {
	r.mu.Lock()
	r.stopped = true
	for _, g := range r.byKey {
		if g.timer != nil {
			g.timer.Stop()
		}
		g.cancel()
	}
	r.mu.Unlock()
	done := make(chan struct{})
	go func() {
		r.goroutines.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// add appends a piece of text and wakes who listens.
func (g *generation) add(piece string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.text = append(g.text, piece...)
	for l := range g.listeners {
		select {
		case l <- struct{}{}:
		default: // it is awake already
		}
	}
}

// after gives the text from a position on, and whether that is all.
func (g *generation) after(at int) (text string, finished bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return string(g.text[at:]), g.finished
}

// wait gives the answer when it is stored.
func (g *generation) wait(ctx context.Context) (answer, error) {
	select {
	case <-g.done:
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.answer, g.err
	case <-ctx.Done():
		return answer{}, ctx.Err()
	}
}

// follow passes the text on from its beginning, as it grows but at most once
// every interval, until it is complete. It returns the generation's error, or
// those of ctx and each. A follower costs one timer.
func (g *generation) follow(ctx context.Context, interval time.Duration, each func(text string) error) error {
	wake := make(chan struct{}, 1)
	g.mu.Lock()
	g.listeners[wake] = struct{}{}
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		delete(g.listeners, wake)
		g.mu.Unlock()
	}()
	pause := time.NewTimer(interval)
	pause.Stop()
	defer pause.Stop()
	for at := 0; ; {
		text, finished := g.after(at)
		if text != "" {
			if err := each(text); err != nil {
				return err
			}
			at += len(text)
		}
		if finished {
			_, err := g.wait(ctx)
			return err
		}
		// After a frame the clock decides when the next may go out; without
		// one, the next piece does.
		next, news := pause.C, wake
		if text != "" {
			pause.Reset(interval)
			news = nil
		} else {
			next = nil
		}
		select {
		case <-news:
		case <-next:
		case <-g.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
