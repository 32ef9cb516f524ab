package mentor

import (
	"context"
	"fmt"
	"time"

	"selflink/appliance/database"
	"selflink/services/mentor/mentordb"
)

// purgeBatch is how many rows one statement of a purge deletes, so that it
// holds no lock for long.
const purgeBatch = 1000

// Purged counts what a purge deleted.
type Purged struct {
	Messages int64
	Sessions int64
	Memories int64 // remembered questions
}

// Purge deletes conversations older than olderThan and what is remembered of
// them. Of what it deletes only the daily counts stay. A purge that is
// interrupted is gone on with by the next.
func (s *Service) Purge(ctx context.Context, olderThan time.Duration) (Purged, error) {
	var out Purged
	before := s.Clock().Add(-olderThan)
	var err error
	out.Messages, err = batches(ctx, func(ctx context.Context) (int64, error) {
		return s.q.PurgeMessages(ctx, mentordb.PurgeMessagesParams{Before: before, Most: purgeBatch})
	})
	if err != nil {
		return out, fmt.Errorf("purge messages: %w", err)
	}
	out.Sessions, err = batches(ctx, func(ctx context.Context) (int64, error) {
		n, err := s.q.PurgeSessions(ctx, mentordb.PurgeSessionsParams{Before: before, Most: purgeBatch})
		if isGone(err) { // one of them got a message at this very moment; it goes another day
			return 0, nil
		}
		return n, err
	})
	if err != nil {
		return out, fmt.Errorf("purge sessions: %w", err)
	}
	if err := s.q.PurgeStreams(ctx); err != nil {
		return out, fmt.Errorf("purge streams: %w", err)
	}
	_, err = batches(ctx, func(ctx context.Context) (int64, error) {
		n, forgotten, err := s.purgeMemories(ctx, before)
		out.Memories += forgotten
		return n, err
	})
	if err != nil {
		return out, fmt.Errorf("purge memories: %w", err)
	}
	return out, nil
}

// batches repeats purge until a batch was not full.
func batches(ctx context.Context, purge func(ctx context.Context) (int64, error)) (total int64, err error) {
	for {
		n, err := purge(ctx)
		total += n
		if err != nil || n < purgeBatch {
			return total, err
		}
	}
}

// purgeMemories forgets old entries of a batch of memories.
func (s *Service) purgeMemories(ctx context.Context, before time.Time) (memories, forgotten int64, err error) {
	err = s.DB.Tx(ctx, func(tx database.Tx) error {
		q := mentordb.New(tx)
		rows, err := q.OldMemories(ctx, mentordb.OldMemoriesParams{Before: before, Most: purgeBatch})
		if err != nil {
			return err
		}
		memories = int64(len(rows))
		for _, r := range rows {
			old := readNotes(r.Notes)
			var kept notes
			for _, e := range old.Entries {
				if !e.Timestamp.Before(before) {
					kept.Entries = append(kept.Entries, e)
				}
			}
			forgotten += int64(len(old.Entries) - len(kept.Entries))
			if len(kept.Entries) == 0 {
				err = q.DeleteMemory(ctx, r.UserID)
			} else {
				err = storeNotes(ctx, q, r.UserID, kept)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, 0, err
	}
	return memories, forgotten, nil
}
