package accounts_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"selflink/appliance/auth"
	"selflink/appliance/database"
	"selflink/appliance/httpapi"
	"selflink/services/accounts"
)

func TestFound(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ann, bob, cat, dan, eve := r.join(t, "ann"), r.join(t, "bob"), r.join(t, "cat"), r.join(t, "dan"), r.join(t, "eve")
	r.exec(t, "INSERT INTO user_blocks (user_id, target_id) VALUES ($1, $2), ($3, $1)", ann.ID, bob.ID, cat.ID)
	require.NoError(t, r.svc.Deactivate(t.Context(), dan.ID))
	require.NoError(t, r.svc.Follow(t.Context(), ann.ID, eve.ID, true))
	everybody := []int64{eve.ID, 5, dan.ID, cat.ID, bob.ID, ann.ID}

	found, err := r.svc.Found(t.Context(), auth.Principal{UserID: ann.ID}, everybody)
	require.NoError(t, err)
	require.Len(t, found, 2)
	require.Equal(t, eve.ID, found[0].ID)
	require.True(t, found[0].IsFollowing)
	require.Nil(t, found[0].Email)
	require.Equal(t, ann.ID, found[1].ID)
	require.NotNil(t, found[1].Email, "one's own")

	found, err = r.svc.Found(t.Context(), auth.Principal{UserID: eve.ID, Staff: true}, everybody)
	require.NoError(t, err)
	require.Len(t, found, 4)
	require.NotNil(t, found[1].Email)
	found, err = r.svc.Found(t.Context(), auth.Principal{UserID: eve.ID}, nil)
	require.NoError(t, err)
	require.NotNil(t, found)
	require.Empty(t, found)
}

func TestChangesAreTold(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var created, changed []int64
	var refuse error
	svc := r.nodeWith(t, r.bus, func(d *accounts.Deps) {
		d.Created = func(_ context.Context, _ database.Tx, id int64) error { created = append(created, id); return refuse }
		d.Changed = func(_ context.Context, _ database.Tx, id int64) error { changed = append(changed, id); return refuse }
	})
	ctx := t.Context()
	id, err := svc.CreateAdmin(ctx, "root@example.com", password, "")
	require.NoError(t, err)
	require.Equal(t, []int64{id}, created)
	ann := r.join(t, "ann")
	require.NoError(t, svc.Deactivate(ctx, ann.ID))
	require.NoError(t, svc.Deactivate(ctx, ann.ID), "is so already")
	_, err = svc.SetActive(ctx, id, ann.ID, true)
	require.NoError(t, err)
	require.Equal(t, []int64{ann.ID, ann.ID}, changed)

	refuse = errors.New("no")
	_, err = svc.SetActive(ctx, id, ann.ID, false)
	require.ErrorIs(t, err, refuse)
	var active bool
	require.NoError(t, r.db.Pool.QueryRow(ctx, "SELECT is_active FROM users WHERE id = $1", ann.ID).Scan(&active))
	require.True(t, active, "an error undoes the change")
	refuse, changed = nil, nil

	owner := r.serve(t, svc, httpapi.Limits{}).As(r.login(t, "ann", password).Access)
	res := owner.Do(t, "PATCH", "/api/v1/users/me/", `{"bio":"hello"}`)
	require.Equal(t, 200, res.Status, res.Body)
	res = owner.Do(t, "PATCH", "/api/v1/me/profile/", `{"first_name":"Ann"}`)
	require.Equal(t, 200, res.Status, res.Body)
	require.Equal(t, []int64{ann.ID, ann.ID}, changed)
}
