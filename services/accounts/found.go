package accounts

import (
	"context"

	"selflink/appliance/auth"
)

// found reads those of the people $2 whom the viewer $1 may find, in the order
// of $2.
const found = selectPeople + `JOIN unnest($2::bigint[]) WITH ORDINALITY AS wanted (id, place) ON wanted.id = u.id
WHERE u.is_active
AND NOT EXISTS (SELECT 1 FROM user_blocks b WHERE b.user_id = $1 AND b.target_id = u.id)
AND NOT EXISTS (SELECT 1 FROM user_blocks b WHERE b.user_id = u.id AND b.target_id = $1)
ORDER BY wanted.place`

// Found gives those of ids whom viewer may find, as viewer sees them and in the
// order of ids: accounts that are open, with no block between them and the
// viewer in either direction. The others are left out.
func (s *Service) Found(ctx context.Context, viewer auth.Principal, ids []int64) ([]User, error) {
	if len(ids) == 0 {
		return []User{}, nil
	}
	rows, err := s.people(ctx, found, viewer.UserID, ids)
	if err != nil {
		return nil, err
	}
	return s.allSeen(ctx, viewer, rows)
}
