package dashboard

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"

	"selflink/appliance/auth"
	"selflink/appliance/httpapi"
)

// How often a topic is looked at while somebody watches.
const (
	fast = 2 * time.Second // what lies in memory, or costs a short query
	slow = 5 * time.Second // what asks several others
)

const (
	// maxWatchers bounds the live streams of this process.
	maxWatchers = 100
	// snapshotTime bounds one look.
	snapshotTime = 4 * time.Second
)

// topic is a page's document, which all who watch it share.
type topic struct {
	name  string
	every time.Duration
	look  func(ctx context.Context) (any, error)

	mu   sync.Mutex
	at   time.Time
	json []byte
}

// live holds the topics; it is complete when the server starts.
type live struct{ topics map[string]*topic }

// Topic adds a document that live streams follow: look is called again every
// so often while somebody watches, once for all of them.
func (d *Desk) Topic(name string, every time.Duration, look func(ctx context.Context) (any, error)) {
	if d.live.topics == nil {
		d.live.topics = map[string]*topic{}
	}
	d.live.topics[name] = &topic{name: name, every: every, look: look}
}

// snapshot is the document, at most so old as half its period.
func (t *topic) snapshot(ctx context.Context) ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Since(t.at) < t.every/2 {
		return t.json, nil
	}
	ctx, cancel := context.WithTimeout(ctx, snapshotTime)
	defer cancel()
	v, err := t.look(ctx)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", t.name, err)
	}
	t.at, t.json = time.Now(), b
	return b, nil
}

type liveInput struct {
	Topic string `query:"topic" max:"32"`
}

func (d *Desk) registerLive() {
	Stream(d, Operation{
		Method: http.MethodGet, Path: "live", ID: "live", Produces: "text/event-stream", Errors: []int{404, 503},
		Summary: "A page's document again and again, when it has changed.",
		Description: "Events are named like the topic and carry the same JSON as GET of that path. On every stream come also " +
			"`verdict` when it changes, and `gone` before the end when the session has ended.",
	}, d.watch)
}

func (d *Desk) watch(c *fiber.Ctx, in *liveInput) error {
	t := d.live.topics[in.Topic]
	if t == nil {
		return httpapi.Detail(http.StatusNotFound, "There is no such topic.")
	}
	if d.watchers.Add(1) > maxWatchers {
		d.watchers.Add(-1)
		return httpapi.Unavailable()
	}
	info := httpapi.RequestInfo(c.UserContext())
	token, local := cookie(info.Header("Cookie")), info.Local
	return httpapi.ServeEvents(c, func(ctx context.Context, w *httpapi.EventWriter) error {
		defer d.watchers.Add(-1)
		return d.follow(ctx, w, t, func() bool { return local || d.still(ctx, token) })
	})
}

// still tells whether the session goes on, as far as can be known.
func (d *Desk) still(ctx context.Context, token string) bool {
	_, err := d.caller(ctx, token, true)
	return !errors.As(err, new(*httpapi.Error)) && !errors.As(err, new(*auth.TokenError))
}

// errGone is the cause of a stream's end when its session has ended.
var errGone = errors.New("dashboard: the session has ended")

// whileSignedIn gives a context that ends, with errGone as its cause, when the
// session does. stop must be called; it waits.
func (d *Desk) whileSignedIn(ctx context.Context, token string, local bool) (signedIn context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		ticker := time.NewTicker(slow)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				if !local && !d.still(ctx, token) {
					cancel(errGone)
					return
				}
			}
		}
	})
	return ctx, func() {
		cancel(nil)
		watching.Wait()
	}
}

func (d *Desk) follow(ctx context.Context, w *httpapi.EventWriter, t *topic, still func() bool) error {
	ticker := time.NewTicker(t.every)
	defer ticker.Stop()
	var last, lastVerdict []byte
	for {
		if !still() {
			return w.Event("", "gone", []byte(`{"detail":"Sign in."}`))
		}
		v, err := json.Marshal(verdict(d.opts.Health.Problems()))
		if err != nil {
			return fmt.Errorf("encode the verdict: %w", err)
		}
		if !bytes.Equal(v, lastVerdict) {
			if err := w.Event("", "verdict", v); err != nil {
				return err
			}
			lastVerdict = v
		}
		// What cannot be had now may come later: health says what is wrong.
		if doc, err := t.snapshot(ctx); err == nil && !bytes.Equal(doc, last) {
			if err := w.Event("", t.name, doc); err != nil {
				return err
			}
			last = doc
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}
