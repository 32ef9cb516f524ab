package realtime

import (
	"context"
	"fmt"

	"selflink/appliance/realtime/realtimedb"
)

const (
	// missedMost and missedBytes bound what one connection is sent of its
	// past. Whoever missed more is better served by reading its state anew.
	missedMost  = 4000
	missedBytes = 4 << 20

	// readers bounds how many connections read their past from Postgres at
	// once.
	readers = 8
)

// missed gives what a connection has not seen: the events of its channels
// after its position up to a number. complete is false when not all of it is
// there any more; then there is nothing.
func (h *Hub) missed(ctx context.Context, since place, until int64, channels []Channel) (entries []*entry, complete bool, err error) {
	if since.seq >= until {
		return nil, true, nil // it may have seen more on another node
	}
	entries, ok := h.log.recent(since, until, channels)
	if !ok {
		if entries, ok, err = h.missedInStore(ctx, since.seq, until, channels); err != nil || !ok {
			return nil, false, err
		}
	}
	size := 0
	for _, e := range entries {
		size += len(e.payload)
	}
	if len(entries) >= missedMost || size > missedBytes {
		return nil, false, nil
	}
	return entries, true, nil
}

func (h *Hub) missedInStore(ctx context.Context, after, until int64, channels []Channel) ([]*entry, bool, error) {
	select {
	case h.readers <- struct{}{}:
		defer func() { <-h.readers }()
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
	names := make([]string, len(channels))
	for i, c := range channels {
		names[i] = string(c)
	}
	rows, err := h.q.Missed(ctx, realtimedb.MissedParams{Channels: names, After: after, Until: until, Most: missedMost})
	if err != nil {
		return nil, false, fmt.Errorf("read missed events: %w", err)
	}
	lost, err := h.q.Lost(ctx, realtimedb.LostParams{After: after, Channels: names})
	if err != nil {
		return nil, false, fmt.Errorf("ask whether events are gone: %w", err)
	}
	if lost {
		return nil, false, nil
	}
	entries := make([]*entry, len(rows))
	for i, r := range rows {
		entries[i] = h.log.entry(r.Seq, r.Channel, r.Payload, r.Closes)
	}
	return entries, true, nil
}
