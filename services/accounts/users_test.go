package accounts_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"selflink/appliance/auth"
	"selflink/appliance/database"
	"selflink/appliance/httpapi/apitest"
	"selflink/services/accounts"
)

func TestAnonymousIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var table []apitest.Scenario
	for path, methods := range map[string]string{
		"users/": "GET", "users/1/": "GET", "users/me/": "GET PATCH", "users/1/follow/": "POST DELETE",
		"users/1/followers/": "GET", "users/1/following/": "GET",
		"devices/": "GET POST", "devices/1/": "GET PUT PATCH DELETE",
		"me/profile/": "GET PUT PATCH", "profile/me/": "GET PATCH", "auth/logout/": "POST",
	} {
		for method := range strings.FieldsSeq(methods) {
			table = append(table, apitest.Scenario{
				Name: method + " " + path, Method: method, Path: "/api/v1/" + path, Body: map[bool]string{true: "{}"}[method != "GET"],
				Status: 401, JSON: noAuth, Want: []string{"WWW-Authenticate", challenged},
			})
		}
	}
	r.Scenarios(t, table)
}

func TestMe(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ann, bob := r.join(t, "ann"), r.join(t, "bob")
	patch := func(name, body string, status int, want string) apitest.Scenario {
		return apitest.Scenario{Name: name, As: ann.Client, Patch: me, Body: body, Status: status, JSON: want}
	}
	r.Scenarios(t, []apitest.Scenario{
		patch("texts", `{"name":" Ann B ","bio":"","photo":"https://example.com/a.png","birth_date":"1990-05-01","birth_time":"08:30","birth_place":"Tbilisi","locale":"ka-GE"}`, 200, ""),
		patch("settings", `{"settings":{"push_enabled":"no","quiet_hours":{"start":"22:00","end":"07:00"}}}`, 200, ""),
		patch("what is not for them", `{"email":"x@example.com","handle":"x","flags":{"a":1},"id":1,"followers_count":9,"is_staff":true}`, 200, ""),
		patch("nothing", `{}`, 200, ""),
		patch("wrong", `{"name":"","bio":null,"photo":"/media/a.png","birth_date":"31-12-1990","birth_time":"25:00","locale":" ","settings":null}`, 400,
			`{"name":["This field may not be blank."],"bio":["This field may not be null."],"photo":["Enter a valid URL."],"birth_date":["Date has wrong format. Use one of these formats instead: YYYY-MM-DD."],"birth_time":["Time has wrong format. Use one of these formats instead: hh:mm[:ss[.uuuuuu]]."],"locale":["This field may not be blank."],"settings":["This field may not be null."]}`),
		patch("wrong settings", `{"settings":{"push_enabled":"maybe","language":"`+strings.Repeat("x", 33)+`"}}`, 400, `{"settings":{"language":["Ensure this field has no more than 32 characters."],"push_enabled":["Must be a valid boolean."]}}`),
		patch("settings no object", `{"settings":"x"}`, 400, `{"settings":{"non_field_errors":["Invalid data. Expected a dictionary, but got str."]}}`),
		{Name: "put", As: ann.Client, Put: me, Body: `{}`, Status: 405, JSON: `{"detail":"Method \"PUT\" not allowed."}`},
		{Name: "without slash", As: ann.Client, Get: "/api/v1/users/me", Status: 301, Want: []string{"Location", "/api/v1/users/me/"}},
	})
	var u accounts.User
	ann.Do(t, "GET", me, "").JSON(t, &u)
	require.Equal(t, "Ann B", u.Name)
	require.Equal(t, "ann@example.com", *u.Email)
	require.Equal(t, "ann", u.Handle)
	require.Equal(t, "08:30:00", u.BirthTime.String())
	require.Equal(t, "ka-GE", u.Locale)
	require.True(t, u.UpdatedAt.Time().After(u.CreatedAt.Time()))
	require.JSONEq(t, `{"privacy":"public","dm_policy":"everyone","language":"en","quiet_hours":{"start":"22:00","end":"07:00"},"push_enabled":false,"email_enabled":true,"digest_enabled":false}`, marshal(t, u.Settings))
	require.JSONEq(t, "{}", string(u.Flags))

	require.Equal(t, 200, ann.Do(t, "PATCH", me, `{"birth_date":null,"birth_time":null}`).Status)
	ann.Do(t, "GET", me, "").JSON(t, &u)
	require.Nil(t, u.BirthTime)
	require.True(t, u.BirthDate.IsZero())
	var name, place string
	require.NoError(t, r.db.Pool.QueryRow(t.Context(), "SELECT full_name, birth_place FROM user_pii WHERE user_id = $1 AND birth_date IS NULL", ann.ID).Scan(&name, &place))
	require.Equal(t, []string{"Ann B", "Tbilisi"}, []string{name, place}, "the mirror follows")

	// Once known, a caller is answered without the database.
	bob.Do(t, "GET", me, "")
	require.NoError(t, r.db.Direct.Tx(t.Context(), func(tx database.Tx) error {
		if _, err := tx.Exec(t.Context(), "LOCK TABLE users, user_settings, auth_sessions IN ACCESS EXCLUSIVE MODE"); err != nil {
			return err
		}
		require.Equal(t, 200, bob.Do(t, "GET", me, "").Status)
		return nil
	}))
}

func marshal(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return string(b)
}

type userPage struct {
	Next, Previous *string
	Results        []accounts.User
}

func (p userPage) handles() string {
	var out []string
	for _, u := range p.Results {
		out = append(out, u.Handle)
	}
	return strings.Join(out, " ")
}

func TestPeople(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ann, bob, eve := r.join(t, "ann"), r.join(t, "bob"), r.join(t, "eve_x")
	require.Equal(t, 200, bob.Do(t, "PATCH", me, `{"name":"Bob 100% Stone","birth_date":"1990-05-01","birth_time":"08:30","birth_place":"Tbilisi","settings":{"language":"ka","quiet_hours":{"start":"1"}}}`).Status)
	require.NoError(t, r.svc.Deactivate(t.Context(), eve.ID))

	list := func(as *apitest.Client, query string) userPage {
		t.Helper()
		res := as.Do(t, "GET", "/api/v1/users/"+query, "")
		require.Equal(t, 200, res.Status, res.Body)
		var p userPage
		res.JSON(t, &p)
		return p
	}
	all := list(ann.Client, "")
	require.Equal(t, "eve_x bob ann", all.handles(), "newest first, the inactive and oneself too")
	require.Equal(t, "ann@example.com", *all.Results[2].Email)
	other := all.Results[1]
	require.Nil(t, other.Email)
	require.Nil(t, other.BirthPlace)
	require.Nil(t, other.BirthTime)
	require.True(t, other.BirthDate.IsZero())
	const defaults = `{"privacy":"public","dm_policy":"everyone","language":"en","quiet_hours":{},"push_enabled":true,"email_enabled":true,"digest_enabled":false}`
	require.JSONEq(t, defaults, marshal(t, other.Settings))
	var one accounts.User
	ann.Do(t, "GET", fmt.Sprintf("/api/v1/users/%d/", bob.ID), "").JSON(t, &one)
	require.Equal(t, marshal(t, other), marshal(t, one), "the same object everywhere")
	bob.Do(t, "GET", fmt.Sprintf("/api/v1/users/%d/", bob.ID), "").JSON(t, &one)
	require.Equal(t, "ka", one.Settings.Language)
	require.Equal(t, "Tbilisi", *one.BirthPlace)

	for query, want := range map[string]string{
		"?q=BO":                       "bob",
		"?q=100%25":                   "bob",
		"?q=%25":                      "bob", // not a wildcard
		"?q=_":                        "eve_x",
		"?q=%00":                      "eve_x bob ann",
		"?q=bob%40example.com":        "", // nobody else's address
		"?q=1990":                     "",
		"?search=stone+bob":           "bob",
		"?search=%22bob+100%25%22":    "bob",
		"?search=stone,ann":           "",
		"?search=lee":                 "eve_x ann",
		"?search=lee&q=eve":           "eve_x",
		"?ordering=handle":            "ann bob eve_x",
		"?ordering=-handle":           "eve_x bob ann",
		"?ordering=name":              "bob ann eve_x",
		"?ordering=id":                "ann bob eve_x",
		"?ordering=created_at":        "ann bob eve_x",
		"?ordering=-updated_at":       "eve_x bob ann",
		"?ordering=email":             "eve_x bob ann", // ignored
		"?ordering=birth_date,handle": "ann bob eve_x",
		"?q=a%C3":                     "", // broken UTF-8
	} {
		got := list(ann.Client, query).handles()
		require.Equal(t, want, got, query)
	}
	for _, ordering := range []string{"id", "-id", "handle", "-handle", "name", "-name", "created_at", "-created_at", "updated_at", "-updated_at"} {
		whole := list(ann.Client, "?ordering="+ordering).handles()
		var walked []string
		next := "?page_size=1&ordering=" + ordering
		var last userPage
		for next != "" {
			last = list(ann.Client, next)
			walked = append(walked, last.handles())
			next = ""
			if last.Next != nil {
				next = strings.TrimPrefix(*last.Next, r.Base+"/api/v1/users/")
			}
		}
		require.Equal(t, whole, strings.Join(walked, " "), ordering)
		back := list(ann.Client, strings.TrimPrefix(*last.Previous, r.Base+"/api/v1/users/"))
		require.Equal(t, strings.Fields(whole)[1], back.handles(), ordering)
	}

	require.Equal(t, 200, ann.Do(t, "PATCH", me, `{"name":"Георгий"}`).Status)
	require.Equal(t, "ann", list(ann.Client, "?q=ГЕОРГ").handles(), "case does not matter in other scripts either")

	_, err := r.svc.Promote(t.Context(), "ann@example.com")
	require.NoError(t, err)
	staff := list(ann.Client, "?q=bob%40example.com")
	require.Equal(t, "bob", staff.handles(), "the staff finds addresses")
	require.Equal(t, "bob@example.com", *staff.Results[0].Email)
	require.JSONEq(t, defaults, marshal(t, staff.Results[0].Settings))

	r.Scenarios(t, []apitest.Scenario{
		{Name: "unknown", As: ann.Client, Get: "/api/v1/users/1/", Status: 404, JSON: `{"detail":"No User matches the given query."}`},
		{Name: "no number", As: ann.Client, Get: "/api/v1/users/abc/", Status: 404, JSON: `{"detail":"Not found."}`},
		{Name: "over 64 bits", As: ann.Client, Get: "/api/v1/users/99999999999999999999/", Status: 404, JSON: `{"detail":"Not found."}`},
		{Name: "bad cursor", As: ann.Client, Get: "/api/v1/users/?cursor=zzz", Status: 404, JSON: `{"detail":"Invalid cursor"}`},
	})
}

func TestFollow(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ann, bob, eve := r.join(t, "ann"), r.join(t, "bob"), r.join(t, "eve")
	path := func(who *signedIn, end string) string {
		return "/api/v1/users/" + strconv.FormatInt(who.ID, 10) + "/" + end + "/"
	}
	r.Scenarios(t, []apitest.Scenario{
		{Name: "follow", As: ann.Client, Post: path(bob, "follow"), Status: 200, JSON: `{"following":true}`},
		{Name: "twice", As: ann.Client, Post: path(bob, "follow"), Status: 200, JSON: `{"following":true}`},
		{Name: "another", As: eve.Client, Post: path(bob, "follow"), Status: 200},
		{Name: "oneself", As: ann.Client, Post: path(ann, "follow"), Status: 400, JSON: `{"detail":"Cannot follow yourself"}`},
		{Name: "not oneself", As: ann.Client, Delete: path(ann, "follow"), Status: 400, JSON: `{"detail":"Cannot follow yourself"}`},
		{Name: "nobody", As: ann.Client, Post: "/api/v1/users/1/follow/", Status: 404, JSON: `{"detail":"No User matches the given query."}`},
		{Name: "followers of nobody", As: ann.Client, Get: "/api/v1/users/1/followers/", Status: 404, JSON: `{"detail":"No User matches the given query."}`},
		{Name: "nobody follows ann", As: ann.Client, Get: path(ann, "followers"), Status: 200, JSON: `[]`},
	})
	list := func(as *signedIn, at string) []accounts.User {
		t.Helper()
		var out []accounts.User
		as.Do(t, "GET", at, "").JSON(t, &out)
		return out
	}
	followers := list(ann, path(bob, "followers"))
	require.Len(t, followers, 2)
	require.Equal(t, "eve", followers[0].Handle, "newest first")
	require.NotNil(t, followers[1].Email, "oneself")
	following := list(ann, path(ann, "following"))
	require.Len(t, following, 1)
	require.True(t, following[0].IsFollowing)
	require.Equal(t, 2, following[0].FollowersCount)
	var u accounts.User
	bob.Do(t, "GET", me, "").JSON(t, &u)
	require.Equal(t, 2, u.FollowersCount, "one's own object follows at once")
	require.JSONEq(t, `{"following":false}`, ann.Do(t, "DELETE", path(bob, "follow"), "").Body)
	require.JSONEq(t, `{"following":false}`, ann.Do(t, "DELETE", path(bob, "follow"), "").Body)
	bob.Do(t, "GET", me, "").JSON(t, &u)
	require.Equal(t, 1, u.FollowersCount)

	// Everybody follows and unfollows everybody at once.
	people := []*signedIn{ann, bob, eve}
	var wg sync.WaitGroup
	for range 6 {
		for i, a := range people {
			b := people[(i+1)%len(people)]
			for _, method := range []string{"POST", "DELETE", "POST"} {
				wg.Go(func() {
					if res := a.Do(t, method, path(b, "follow"), ""); res.Status != 200 {
						t.Errorf("%d %s", res.Status, res.Body)
					}
				})
				wg.Go(func() {
					if res := b.Do(t, method, path(a, "follow"), ""); res.Status != 200 {
						t.Errorf("%d %s", res.Status, res.Body)
					}
				})
			}
		}
	}
	wg.Wait()
	var wrong int
	require.NoError(t, r.db.Pool.QueryRow(t.Context(), `SELECT count(*) FROM users u
		WHERE followers_count <> (SELECT count(*) FROM follows WHERE followee_id = u.id)
		   OR following_count <> (SELECT count(*) FROM follows WHERE follower_id = u.id)`).Scan(&wrong))
	require.Zero(t, wrong, "the counters are exact")
}

func TestRelation(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ann, bob := r.join(t, "ann"), r.join(t, "bob")
	got, err := r.svc.Relation(t.Context(), ann.ID, bob.ID)
	require.NoError(t, err)
	require.Zero(t, got)
	r.exec(t, "INSERT INTO user_blocks (user_id, target_id) VALUES ($1, $2)", ann.ID, bob.ID)
	r.exec(t, "INSERT INTO user_mutes (user_id, target_id) VALUES ($1, $2)", bob.ID, ann.ID)
	got, err = r.svc.Relation(t.Context(), ann.ID, bob.ID)
	require.NoError(t, err)
	require.Equal(t, accounts.Relation{Blocks: true}, got)
	got, err = r.svc.Relation(t.Context(), bob.ID, ann.ID)
	require.NoError(t, err)
	require.Equal(t, accounts.Relation{BlockedBy: true, Mutes: true}, got)
}

func TestAdministration(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	there, err := r.svc.AdminExists(ctx)
	require.NoError(t, err)
	require.False(t, there)
	for _, in := range [][2]string{{"root", "long-enough"}, {"a b@example.com", "long-enough"}, {"@example.com", "long-enough"}} {
		_, err = r.svc.CreateAdmin(ctx, in[0], in[1], "")
		require.ErrorIs(t, err, accounts.ErrEmail, in[0])
	}
	_, err = r.svc.CreateAdmin(ctx, "root@example.com", " short ", "")
	require.ErrorIs(t, err, accounts.ErrPassword)
	id, err := r.svc.CreateAdmin(ctx, "root@example.com", password, "")
	require.NoError(t, err)
	_, err = r.svc.CreateAdmin(ctx, "ROOT@example.com", password, "")
	require.ErrorContains(t, err, "already exists")
	there, err = r.svc.AdminExists(ctx)
	require.NoError(t, err)
	require.True(t, there)
	p, err := r.svc.Authenticate(ctx, "Bearer "+r.login(t, "root", password).Access)
	require.NoError(t, err)
	require.False(t, p.ExpiresAt.IsZero())
	require.NoError(t, r.svc.Confirm(ctx, p))
	require.Equal(t, auth.Principal{UserID: id, SessionID: p.SessionID, Staff: true, Superuser: true, IssuedAt: p.IssuedAt, ExpiresAt: p.ExpiresAt}, p)

	ann := r.join(t, "ann")
	p, err = r.svc.Authenticate(ctx, "Bearer "+ann.Access)
	require.NoError(t, err)
	require.False(t, p.Staff)
	got, err := r.svc.Promote(ctx, " @Ann ")
	require.NoError(t, err)
	require.Equal(t, ann.ID, got)
	p, err = r.svc.Authenticate(ctx, "Bearer "+ann.Access)
	require.NoError(t, err)
	require.True(t, p.Staff && p.Superuser, "at once")

	_, err = r.svc.Promote(ctx, "nobody")
	require.ErrorIs(t, err, accounts.ErrNoAccount)
	_, err = r.svc.ResetPassword(ctx, "nobody", password)
	require.ErrorIs(t, err, accounts.ErrNoAccount)
	_, err = r.svc.ResetPassword(ctx, "ann", "short")
	require.ErrorIs(t, err, accounts.ErrPassword)
	require.ErrorIs(t, r.svc.Deactivate(ctx, 1), accounts.ErrNoAccount)
}

// Whoever changes an account beside the nodes says what they have to forget.
func TestForget(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	type end struct {
		user    int64
		session string
	}
	var ends []end
	passwords, err := auth.NewPasswords(auth.PasswordOptions{Wait: time.Minute})
	require.NoError(t, err)
	command, err := accounts.New(accounts.Deps{
		DB: r.db.Pool, IDs: r.ids, Tokens: r.tokens, Passwords: passwords, Clock: r.clock.Now,
		Ended: func(_ context.Context, _ database.Tx, user int64, session uuid.UUID) error {
			ends = append(ends, end{user, session.String()})
			return nil
		},
		EndedAll: func(_ context.Context, _ database.Tx, user int64) error {
			ends = append(ends, end{user, ""})
			return nil
		},
	})
	require.NoError(t, err)

	ann := r.join(t, "ann")
	again := r.login(t, "ann", password)
	for _, token := range []string{ann.Access, again.Access} {
		_, err := r.svc.Authenticate(ctx, "Bearer "+token)
		require.NoError(t, err)
	}
	_, err = command.ResetPassword(ctx, "ann", "another-password")
	require.NoError(t, err)
	require.Len(t, ends, 3)
	require.Equal(t, end{ann.ID, ""}, ends[2], "all of them come last")
	for _, e := range ends {
		r.svc.Forget(e.user, e.session)
	}
	for _, token := range []string{ann.Access, again.Access} {
		_, err := r.svc.Authenticate(ctx, "Bearer "+token)
		require.ErrorIs(t, err, auth.ErrInvalid)
	}

	bob := r.join(t, "bob")
	_, err = r.svc.Authenticate(ctx, "Bearer "+bob.Access)
	require.NoError(t, err)
	require.NoError(t, command.Deactivate(ctx, bob.ID))
	r.svc.Forget(bob.ID, "")
	_, err = r.svc.Authenticate(ctx, "Bearer "+bob.Access)
	require.ErrorIs(t, err, auth.ErrUserInactive)
}

func TestUserContext(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ann := r.join(t, "ann")
	ctx := context.Background()
	get := func() accounts.UserContext {
		t.Helper()
		c, err := r.svc.UserContext(ctx, ann.ID)
		require.NoError(t, err)
		return c
	}
	want := accounts.UserContext{Name: "ann Lee", Handle: "ann", Locale: "en-US", Language: "en"}
	require.Equal(t, want, get())
	ann.Do(t, "PATCH", "/api/v1/profile/me/", `{"birth_city":"Batumi"}`)
	want.BirthPlace = "Batumi"
	require.Equal(t, want, get())
	r.exec(t, "INSERT INTO personal_maps (user_id, birth_date, birth_place_city, birth_place_country, created_at, updated_at) VALUES ($1, '1991-01-01', 'Gori', 'GE', now(), now())", ann.ID)
	want.BirthPlace, want.BirthDate = "Gori, GE", "1991-01-01"
	require.Equal(t, want, get())
	ann.Do(t, "PATCH", me, `{"birth_place":"Tbilisi","birth_date":"1990-01-01","birth_time":"08:30","bio":"hi","settings":{"language":"ka"}}`)
	want.BirthPlace, want.BirthTime, want.Bio, want.Language = "Tbilisi", "08:30:00", "hi", "ka"
	require.Equal(t, want, get())
	ann.Do(t, "PATCH", "/api/v1/profile/me/", `{"birth_date":"1992-02-02","birth_time":"09:00"}`)
	want.BirthDate, want.BirthTime = "1992-02-02", "09:00:00"
	require.Equal(t, want, get())
	_, err := r.svc.UserContext(ctx, 1)
	require.ErrorIs(t, err, accounts.ErrNoAccount)
}
