package accounts

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5/pgtype"

	"selflink/appliance/database"
	"selflink/appliance/oldstack"
	"selflink/services/accounts/accountsdb"
)

type oldFollow struct {
	ID         int64              `old:"id"`
	FollowerID int64              `old:"follower_id"`
	FolloweeID int64              `old:"followee_id"`
	CreatedAt  pgtype.Timestamptz `old:"created_at" must:"true"`
}

type oldPair struct {
	ID        int64              `old:"id"`
	UserID    int64              `old:"user_id"`
	TargetID  int64              `old:"target_id"`
	CreatedAt pgtype.Timestamptz `old:"created_at" must:"true"`
}

type (
	importedFollow = accountsdb.Follow
	importedBlock  = accountsdb.UserBlock
	importedMute   = accountsdb.UserMute
)

// pair is what such a row is known by.
type pair [2]int64

const oneself = oldstack.Skip("it is of somebody with themselves")

func importFollows() oldstack.Copy[oldFollow, importedFollow] {
	return ties(oldstack.Copy[oldFollow, importedFollow]{
		Kind: "follows", Table: "social_follow",
		ID: func(o *oldFollow) int64 { return o.ID },
		Convert: func(o *oldFollow, _ func(string)) (importedFollow, error) {
			if o.FollowerID == o.FolloweeID {
				return importedFollow{}, oneself
			}
			return importedFollow{FollowerID: o.FollowerID, FolloweeID: o.FolloweeID, CreatedAt: o.CreatedAt.Time.UTC()}, nil
		},
		Insert: insertFollows,
	}, func(r importedFollow) pair { return pair{r.FollowerID, r.FolloweeID} },
		func(ctx context.Context, q *accountsdb.Queries, from, to []int64) ([]importedFollow, error) {
			return q.ImportedFollows(ctx, accountsdb.ImportedFollowsParams{Followers: from, Followees: to})
		})
}

// insertFollows also makes the counters of everybody in it exact.
func insertFollows(ctx context.Context, tx database.Tx, rows []oldstack.Item[importedFollow]) error {
	q := accountsdb.New(tx)
	params := make([]accountsdb.ImportFollowParams, len(rows))
	var people []int64
	for i, it := range rows {
		params[i] = accountsdb.ImportFollowParams(it.Row)
		people = append(people, it.Row.FollowerID, it.Row.FolloweeID)
	}
	slices.Sort(people)
	people = slices.Compact(people)
	if _, err := q.LockPair(ctx, people); err != nil {
		return fmt.Errorf("hold accounts: %w", err)
	}
	if err := allDone(q.ImportFollow(ctx, params).Exec); err != nil {
		return fmt.Errorf("store follows: %w", err)
	}
	if err := q.RecountFollows(ctx, people); err != nil {
		return fmt.Errorf("count follows: %w", err)
	}
	return nil
}

func importBlocks() oldstack.Copy[oldPair, importedBlock] {
	return ties(oldstack.Copy[oldPair, importedBlock]{
		Kind: "blocks", Table: "users_block",
		ID: func(o *oldPair) int64 { return o.ID },
		Convert: func(o *oldPair, _ func(string)) (importedBlock, error) {
			if o.UserID == o.TargetID {
				return importedBlock{}, oneself
			}
			return importedBlock{UserID: o.UserID, TargetID: o.TargetID, CreatedAt: o.CreatedAt.Time.UTC()}, nil
		},
		Insert: func(ctx context.Context, tx database.Tx, rows []oldstack.Item[importedBlock]) error {
			params := make([]accountsdb.ImportBlockParams, len(rows))
			for i, it := range rows {
				params[i] = accountsdb.ImportBlockParams(it.Row)
			}
			if err := allDone(accountsdb.New(tx).ImportBlock(ctx, params).Exec); err != nil {
				return fmt.Errorf("store blocks: %w", err)
			}
			return nil
		},
	}, func(r importedBlock) pair { return pair{r.UserID, r.TargetID} },
		func(ctx context.Context, q *accountsdb.Queries, from, to []int64) ([]importedBlock, error) {
			return q.ImportedBlocks(ctx, accountsdb.ImportedBlocksParams{Users: from, Targets: to})
		})
}

func importMutes() oldstack.Copy[oldPair, importedMute] {
	return ties(oldstack.Copy[oldPair, importedMute]{
		Kind: "mutes", Table: "users_mute",
		ID: func(o *oldPair) int64 { return o.ID },
		Convert: func(o *oldPair, _ func(string)) (importedMute, error) {
			if o.UserID == o.TargetID {
				return importedMute{}, oneself
			}
			return importedMute{UserID: o.UserID, TargetID: o.TargetID, CreatedAt: o.CreatedAt.Time.UTC()}, nil
		},
		Insert: func(ctx context.Context, tx database.Tx, rows []oldstack.Item[importedMute]) error {
			params := make([]accountsdb.ImportMuteParams, len(rows))
			for i, it := range rows {
				params[i] = accountsdb.ImportMuteParams(it.Row)
			}
			if err := allDone(accountsdb.New(tx).ImportMute(ctx, params).Exec); err != nil {
				return fmt.Errorf("store mutes: %w", err)
			}
			return nil
		},
	}, func(r importedMute) pair { return pair{r.UserID, r.TargetID} },
		func(ctx context.Context, q *accountsdb.Queries, from, to []int64) ([]importedMute, error) {
			return q.ImportedMutes(ctx, accountsdb.ImportedMutesParams{Users: from, Targets: to})
		})
}

// ties completes the copy of a table of pairs of people.
func ties[O, T any](c oldstack.Copy[O, T], of func(T) pair, find func(ctx context.Context, q *accountsdb.Queries, from, to []int64) ([]T, error)) oldstack.Copy[O, T] {
	c.Pair = true
	c.Parents = func(row T) []oldstack.Parent {
		p := of(row)
		return []oldstack.Parent{{Kind: ImportedAccounts, ID: p[0]}, {Kind: ImportedAccounts, ID: p[1]}}
	}
	c.Find = func(ctx context.Context, q database.Querier, rows []oldstack.Item[T]) (map[int64]T, error) {
		from, to := make([]int64, len(rows)), make([]int64, len(rows))
		for i, it := range rows {
			p := of(it.Row)
			from[i], to[i] = p[0], p[1]
		}
		found, err := find(ctx, accountsdb.New(q), from, to)
		if err != nil {
			return nil, fmt.Errorf("look up %s: %w", c.Kind, err)
		}
		here := make(map[pair]T, len(found))
		for _, r := range found {
			here[of(r)] = r
		}
		ours := make(map[int64]T, len(found))
		for _, it := range rows {
			if r, ok := here[of(it.Row)]; ok {
				ours[it.ID] = r
			}
		}
		return ours, nil
	}
	return c
}
