package accounts_test

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/audit"
	"selflink/appliance/auth"
	"selflink/appliance/database"
	"selflink/services/accounts"
)

// audited is another node whose acts are recorded.
func (r *rig) audited(t testing.TB) (*accounts.Service, *audit.Log) {
	t.Helper()
	log, err := audit.New(audit.Options{DB: r.db.Pool})
	require.NoError(t, err)
	return r.nodeWith(t, r.bus, func(d *accounts.Deps) {
		d.Audit = func(ctx context.Context, tx database.Tx, e accounts.AuditEntry) error {
			return log.RecordTx(ctx, tx, audit.Entry{Actor: e.Actor, Action: e.Action, ObjectType: e.ObjectType, ObjectID: e.ObjectID, Metadata: e.Metadata})
		}
	}), log
}

// trail gives what was recorded, oldest first: action, actor, object, metadata.
func trail(t testing.TB, log *audit.Log) (lines []string) {
	t.Helper()
	page, err := log.Page(t.Context(), audit.Query{Limit: 200})
	require.NoError(t, err)
	for i := len(page.Items) - 1; i >= 0; i-- {
		e := page.Items[i]
		actor := "-"
		if e.ActorUser != nil {
			actor = *e.ActorUser
		}
		require.Equal(t, "user", e.ObjectType)
		lines = append(lines, e.Action+" "+actor+" "+e.ObjectID+" "+string(e.Metadata))
	}
	return lines
}

func TestActsAreRecorded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	svc, log := r.audited(t)
	text := func(id int64) string { return strconv.FormatInt(id, 10) }
	ctx := t.Context()
	root, err := svc.CreateFirstAdmin(ctx, "root@example.com", password, "")
	require.NoError(t, err)
	ann, err := svc.CreateAdmin(ctx, "ann@example.com", password, "")
	require.NoError(t, err)
	bob := r.join(t, "bob")

	p, err := svc.SetRole(ctx, root, bob.ID, accounts.RoleViewer)
	require.NoError(t, err)
	require.Equal(t, accounts.RoleViewer, p.Role)
	_, err = svc.SetRole(ctx, root, bob.ID, accounts.RoleViewer) // is so already
	require.NoError(t, err)
	p, err = svc.SetRole(ctx, ann, bob.ID, accounts.RoleOperator)
	require.NoError(t, err)
	require.Equal(t, accounts.RoleOperator, p.Role)
	p, err = svc.EndSessions(ctx, root, bob.ID)
	require.NoError(t, err)
	require.Empty(t, p.Sessions)
	require.NotNil(t, p.Sessions)
	p, err = svc.SetActive(ctx, root, ann, false)
	require.NoError(t, err)
	require.False(t, p.Active)
	_, err = svc.SetActive(ctx, root, ann, false)
	require.NoError(t, err)
	p, err = svc.SetActive(ctx, root, ann, true)
	require.NoError(t, err)
	require.True(t, p.Active)
	for _, act := range []func() (int64, error){
		func() (int64, error) { return svc.Demote(ctx, "ann") },
		func() (int64, error) { return svc.Promote(ctx, "ann@example.com") },
		func() (int64, error) { return svc.ResetPassword(ctx, "ann", password) },
		func() (int64, error) { return svc.CloseAccount(ctx, "ann") },
	} {
		id, err := act()
		require.NoError(t, err)
		require.Equal(t, ann, id)
	}

	const command = `{"by":"command"}`
	require.Equal(t, []string{
		"accounts.first_admin_created " + text(root) + " " + text(root) + " {}",
		"accounts.admin_created - " + text(ann) + " " + command,
		"accounts.role_changed " + text(root) + " " + text(bob.ID) + ` {"from":"user","to":"viewer"}`,
		"accounts.role_changed " + text(ann) + " " + text(bob.ID) + ` {"from":"viewer","to":"operator"}`,
		"accounts.sessions_ended " + text(root) + " " + text(bob.ID) + " {}",
		"accounts.deactivated " + text(root) + " " + text(ann) + " {}",
		"accounts.activated " + text(root) + " " + text(ann) + " {}",
		"accounts.role_changed - " + text(ann) + ` {"by":"command","from":"operator","to":"user"}`,
		"accounts.role_changed - " + text(ann) + ` {"by":"command","from":"user","to":"operator"}`,
		"accounts.password_reset - " + text(ann) + " " + command,
		"accounts.deactivated - " + text(ann) + " " + command,
	}, trail(t, log))
	v, err := log.Verify(ctx)
	require.NoError(t, err)
	require.True(t, v.OK)

	// What cannot be recorded does not happen.
	full := errors.New("no room")
	strict := r.nodeWith(t, r.bus, func(d *accounts.Deps) {
		d.Audit = func(context.Context, database.Tx, accounts.AuditEntry) error { return full }
	})
	_, err = strict.SetRole(ctx, root, bob.ID, accounts.RoleUser)
	require.ErrorIs(t, err, full)
	_, err = strict.CreateAdmin(ctx, "eve@example.com", password, "")
	require.ErrorIs(t, err, full)
	page, err := svc.SearchPeople(ctx, accounts.PeopleQuery{Role: accounts.RoleOperator, Active: new(bool)})
	require.NoError(t, err)
	require.Len(t, page.Items, 1)
	staff, err := svc.Staff(ctx)
	require.NoError(t, err)
	require.Len(t, staff, 3)
}

func TestRefusedActs(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	svc, log := r.audited(t)
	ctx := t.Context()
	root, bob, ann := r.operator(t, "root"), r.join(t, "bob"), r.join(t, "ann")
	_, err := svc.SetRole(ctx, root, ann.ID, accounts.RoleViewer)
	require.NoError(t, err)
	const role, off, end = "role", "off", "end"
	for name, c := range map[string]struct {
		what   string
		by, id int64
		role   string
		err    error
	}{
		"closing oneself":       {off, root, root, "", accounts.ErrSelf},
		"demoting oneself":      {role, root, root, accounts.RoleViewer, accounts.ErrSelf},
		"closing the last":      {off, 0, root, "", accounts.ErrLastOperator},
		"demoting the last":     {role, 0, root, accounts.RoleViewer, accounts.ErrLastOperator},
		"a viewer closes":       {off, ann.ID, bob.ID, "", accounts.ErrNotOperator},
		"a viewer promotes":     {role, ann.ID, ann.ID, accounts.RoleOperator, accounts.ErrNotOperator},
		"a user signs out":      {end, bob.ID, ann.ID, "", accounts.ErrNotOperator},
		"nobody's act":          {end, 42, bob.ID, "", accounts.ErrNotOperator},
		"closing nobody":        {off, root, 42, "", accounts.ErrNoAccount},
		"promoting nobody":      {role, root, 42, accounts.RoleViewer, accounts.ErrNoAccount},
		"signing out of nobody": {end, root, 42, "", accounts.ErrNoAccount},
		"no role":               {role, root, bob.ID, "king", accounts.ErrRole},
	} {
		var err error
		switch c.what {
		case role:
			_, err = svc.SetRole(ctx, c.by, c.id, c.role)
		case off:
			_, err = svc.SetActive(ctx, c.by, c.id, false)
		default:
			_, err = svc.EndSessions(ctx, c.by, c.id)
		}
		require.ErrorIs(t, err, c.err, name)
	}
	_, err = svc.Demote(ctx, "root")
	require.ErrorIs(t, err, accounts.ErrLastOperator)
	_, err = svc.CloseAccount(ctx, "nobody")
	require.ErrorIs(t, err, accounts.ErrNoAccount)
	require.Len(t, trail(t, log), 1, "what was refused is no act")
	require.Equal(t, 200, bob.Do(t, "GET", me, "").Status)

	// A closed operator is none: neither counts nor acts.
	eve := r.operator(t, "eve")
	_, err = svc.SetActive(ctx, root, eve, false)
	require.NoError(t, err)
	_, err = svc.EndSessions(ctx, eve, bob.ID)
	require.ErrorIs(t, err, accounts.ErrNotOperator)
	_, err = svc.Demote(ctx, "root")
	require.ErrorIs(t, err, accounts.ErrLastOperator)
	_, err = svc.SetRole(ctx, root, eve, accounts.RoleUser)
	require.NoError(t, err, "a closed one may go")
	_, err = svc.SetRole(ctx, root, root, accounts.RoleOperator)
	require.NoError(t, err, "what is so stays so")
}

// TestTheLastOperatorStays lets operators take each other's rights at once.
func TestTheLastOperatorStays(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	nodes := []*accounts.Service{r.svc, r.node(t, r.bus)}
	ids := []int64{r.operator(t, "ann"), r.operator(t, "bob"), r.operator(t, "eve")}
	for round := range 6 {
		r.exec(t, "UPDATE users SET is_active = true, is_staff = true, is_superuser = true")
		var wg sync.WaitGroup
		for i, by := range ids {
			for j, id := range ids {
				if i == j {
					continue
				}
				wg.Go(func() {
					var err error
					node := nodes[(i+j)%2]
					switch round % 3 {
					case 0:
						_, err = node.SetRole(t.Context(), by, id, accounts.RoleViewer)
					case 1:
						_, err = node.SetActive(t.Context(), by, id, false)
					default: // commands, which are nobody's
						_, err = node.SetRole(t.Context(), 0, id, accounts.RoleUser)
					}
					if err != nil && !errors.Is(err, accounts.ErrNotOperator) && !errors.Is(err, accounts.ErrLastOperator) {
						t.Error(err)
					}
				})
			}
		}
		wg.Wait()
		var left int
		require.NoError(t, r.db.Pool.QueryRow(t.Context(), "SELECT count(*) FROM users WHERE is_active AND is_staff AND is_superuser").Scan(&left))
		require.Equal(t, 1, left, "round %d", round)
	}
}

func TestActsReachTheApp(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	other := r.serve(t, r.node(t, r.bus), noLimits)
	root, bob := r.operator(t, "root"), r.join(t, "bob")
	status := func() int { return other.As(bob.Access).Do(t, "GET", me, "").Status }
	require.Equal(t, 200, status())
	_, err := r.svc.EndSessions(t.Context(), root, bob.ID)
	require.NoError(t, err)
	require.Equal(t, 401, status())
	require.Equal(t, 401, r.refresh(t, bob.Refresh).Status)

	r.clock.Advance(2 * time.Second) // tokens tell whole seconds
	bob = r.login(t, "bob", password)
	require.Equal(t, 200, status(), "they may come back")
	claims, err := r.tokens.Verify(bob.Access, auth.Access)
	require.NoError(t, err)
	claims.Session = [16]byte{} // as of the old backend
	old, err := r.tokens.Sign(claims)
	require.NoError(t, err)
	require.Equal(t, 200, other.As(old).Do(t, "GET", me, "").Status)
	_, err = r.svc.EndSessions(t.Context(), root, bob.ID)
	require.NoError(t, err)
	require.Equal(t, 401, other.As(old).Do(t, "GET", me, "").Status)

	bob = r.login(t, "bob", password)
	_, err = r.svc.SetActive(t.Context(), root, bob.ID, false)
	require.NoError(t, err)
	require.Equal(t, inactive, other.As(bob.Access).Do(t, "GET", me, "").Body)
	_, err = r.svc.SetActive(t.Context(), root, bob.ID, true)
	require.NoError(t, err)
	require.Equal(t, 401, status(), "what has ended stays so")
	bob = r.login(t, "bob", password)
	require.Equal(t, 200, status())
}

func TestPeopleJSON(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	root := r.operator(t, "root")
	p, err := r.svc.PersonDetail(t.Context(), root)
	require.NoError(t, err)
	text, err := json.Marshal(p)
	require.NoError(t, err)
	require.JSONEq(t, `{"id":"`+strconv.FormatInt(root, 10)+`","email":"root@example.com","name":"root","handle":"root","is_active":true,"role":"operator",
		"created_at":"`+p.CreatedAt.Format("2006-01-02T15:04:05.999999Z07:00")+`","last_login":null,"sessions":[],"devices":0}`, string(text))
	_, err = r.svc.PersonDetail(t.Context(), 42)
	require.ErrorIs(t, err, accounts.ErrNoAccount)
	page, err := r.svc.SearchPeople(t.Context(), accounts.PeopleQuery{Q: "nobody at all"})
	require.NoError(t, err)
	text, err = json.Marshal(page)
	require.NoError(t, err)
	require.JSONEq(t, `{"items":[],"next":null}`, string(text))
}
