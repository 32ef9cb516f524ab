package accounts

import (
	"context"
	"fmt"
	"net/http"

	"selflink/appliance/database"
	"selflink/appliance/httpapi"
	"selflink/services/accounts/accountsdb"
)

// Follow makes follower follow followee, or stop it. Doing it twice is no
// error. The counters of both are exact whatever happens at the same time.
func (s *Service) Follow(ctx context.Context, follower, followee int64, on bool) error {
	if follower == followee {
		return httpapi.Detail(http.StatusBadRequest, "Cannot follow yourself")
	}
	return s.db.Tx(ctx, func(tx database.Tx) error {
		q := accountsdb.New(tx)
		found, err := q.LockPair(ctx, []int64{follower, followee})
		if err != nil {
			return fmt.Errorf("lock both accounts: %w", err)
		}
		if len(found) < 2 {
			return httpapi.NotFound("User")
		}
		var changed int64
		step := int32(1)
		if on {
			changed, err = q.Follow(ctx, accountsdb.FollowParams{FollowerID: follower, FolloweeID: followee, CreatedAt: s.now()})
		} else {
			step = -1
			changed, err = q.Unfollow(ctx, accountsdb.UnfollowParams{FollowerID: follower, FolloweeID: followee})
		}
		if err != nil {
			return fmt.Errorf("store follow: %w", err)
		}
		if changed == 0 {
			return nil
		}
		err = q.CountFollow(ctx, accountsdb.CountFollowParams{FollowerID: follower, FolloweeID: followee, Step: step})
		if err != nil {
			return fmt.Errorf("count follow: %w", err)
		}
		s.changed(tx, follower, followee)
		return nil
	})
}

func relation(ctx context.Context, db database.Querier, viewer, other int64) (Relation, error) {
	r, err := accountsdb.New(db).Relation(ctx, accountsdb.RelationParams{Viewer: viewer, Other: other})
	if err != nil {
		return Relation{}, fmt.Errorf("look up blocks: %w", err)
	}
	return Relation{Blocks: r.Blocks, BlockedBy: r.BlockedBy, Mutes: r.Mutes}, nil
}
