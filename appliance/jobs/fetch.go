package jobs

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// pullBeat is how often the stream says that it knows of our request for
	// ids. Under load one is lost now and then, and the client asks again only
	// after two silent beats: with its default a full queue stood still for
	// 30 s. This is the least it allows.
	pullBeat = 500 * time.Millisecond
)

// fetch moves ids from the stream into memory.
func (q *queue) fetch(ctx context.Context, level int) {
	for wait := retryFirst; ctx.Err() == nil; {
		got, err := q.follow(ctx, level)
		if got {
			wait = retryFirst
		}
		if ctx.Err() != nil {
			return
		}
		q.engine.log.Warn("fetch jobs", "queue", q.name, "error", err)
		pause(ctx, wait)
		wait = min(2*wait, retryMost)
	}
}

// follow takes ids until ctx ends or something fails. got reports whether any
// came. The request must not be made anew by a fresh iterator: what is on its
// way to the old one would be dropped and come again only after ackWait.
func (q *queue) follow(ctx context.Context, level int) (got bool, err error) {
	messages, err := q.consumers[level].Messages(jetstream.PullMaxMessages(fetched),
		jetstream.PullHeartbeat(pullBeat), jetstream.WithMessagesErrOnMissingHeartbeat(false))
	if err != nil {
		return false, err
	}
	defer messages.Stop()
	defer context.AfterFunc(ctx, messages.Stop)()
	for {
		message, err := messages.Next()
		if err != nil {
			return got, err
		}
		got = true
		q.lastFetch.Store(time.Now().UnixNano())
		id, err := uuid.ParseBytes(message.Data())
		if err != nil {
			_ = message.Term()
			continue
		}
		select {
		case q.ids[level] <- ticket{id, message}:
		case <-ctx.Done():
			_ = message.Nak()
		}
	}
}
