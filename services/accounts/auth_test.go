package accounts_test

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"selflink/appliance/auth"
	"selflink/appliance/httpapi"
	"selflink/appliance/httpapi/apitest"
)

const (
	badToken   = `{"detail":"Token is invalid","code":"token_not_valid"}`
	badAccess  = `{"detail":"Given token not valid for any token type","code":"token_not_valid","messages":[{"token_class":"AccessToken","token_type":"access","message":"Token is invalid"}]}`
	badLogin   = `{"non_field_errors":["Invalid credentials"]}`
	noAuth     = `{"detail":"Authentication credentials were not provided."}`
	inactive   = `{"detail":"User is inactive","code":"user_inactive"}`
	me         = "/api/v1/users/me/"
	challenged = `Bearer realm="api"`
)

func TestRegister(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const path = "/api/v1/auth/register/"
	post := func(name, body string, status int, want string) apitest.Scenario {
		return apitest.Scenario{Name: name, Post: path, Body: body, Status: status, JSON: want}
	}
	r.Scenarios(t, []apitest.Scenario{
		post("first", `{"email":"Ann@Example.COM","password":" `+password+` ","handle":"__An n!_a__b","name":" Ann Lee "}`, 201, ""),
		post("nothing", `{}`, 400, `{"email":["This field is required."],"password":["This field is required."]}`),
		post("nulls", `{"email":null,"password":null,"name":null}`, 400, `{"email":["This field may not be null."],"password":["This field may not be null."],"name":["This field may not be null."]}`),
		post("short after trimming", `{"email":"b@example.com","password":"  short  ","name":"B"}`, 400, `{"password":["Ensure this field has at least 8 characters."]}`),
		post("no name", `{"email":"b@example.com","password":"12345678","name":" ","fullName":""}`, 400, `{"fullName":["Please provide your full name."]}`),
		post("empty handle", `{"email":"b@example.com","password":"12345678","name":"B","handle":"!?"}`, 400, `{"handle":["Handle must contain letters or numbers."]}`),
		post("long handle", `{"email":"b@example.com","password":"12345678","name":"B","handle":"`+strings.Repeat("a", 31)+`"}`, 400, `{"handle":["Ensure this field has no more than 30 characters."]}`),
		post("same address", `{"email":"Ann@example.com","password":"12345678","name":"B"}`, 400, `{"email":["user with this email already exists."]}`),
		post("same address in other case", `{"email":"ANN@example.com","password":"12345678","name":"B"}`, 400, `{"email":["user with this email already exists."]}`),
		post("same handle as typed", `{"email":"b@example.com","password":"12345678","name":"B","handle":"ann_a_b"}`, 400, `{"handle":["user with this handle already exists."]}`),
		post("same handle once normal", `{"email":"b@example.com","password":"12345678","name":"B","handle":"ANN_A_B"}`, 400, `{"handle":["Handle is already taken."]}`),
		post("both taken", `{"email":"ann@example.com","password":"12345678","name":"B","handle":"ann_a_b"}`, 400, `{"email":["user with this email already exists."],"handle":["user with this handle already exists."]}`),
		{Name: "form, bad header, no slash", Post: "/api/v1/auth/register", Body: "email=form%40example.com&password=12345678&fullName=F+Orm", Header: []string{"Content-Type", "application/x-www-form-urlencoded", "Authorization", "Bearer nonsense"}, Status: 201},
	})
	var b signInBody
	r.Do(t, "POST", "/api/v1/auth/login/", `{"email":"Ann@example.com","password":"`+password+`"}`).JSON(t, &b)
	require.Equal(t, "Ann@example.com", b.User["email"], "the domain in lower case")
	require.Equal(t, "ann_a_b", b.User["handle"])
	require.Equal(t, "Ann Lee", b.User["name"])

	handles := map[string]string{}
	for _, in := range [][2]string{{"one", "Zoë Stone"}, {"two", "Zoë Stone"}, {"two2", "გიორგი"}, {"selflink", "გიორგი"}, {"ზ", "გ"}} {
		res := r.Do(t, "POST", path, `{"email":"`+in[0]+`@h.example.com","password":"12345678","name":"`+in[1]+`"}`)
		if in[0] == "ზ" { // no address of ours
			require.Equal(t, 400, res.Status)
			continue
		}
		require.Equal(t, 201, res.Status, res.Body)
		var b signInBody
		res.JSON(t, &b)
		handles[in[0]] = b.User["handle"].(string)
	}
	require.Equal(t, map[string]string{"one": "zostone", "two": "two", "two2": "two2", "selflink": "selflink"}, handles)
	res := r.Do(t, "POST", path, `{"email":"two@other.example.com","password":"12345678","name":"Zoë Stone"}`)
	res.JSON(t, &b)
	require.Regexp(t, `^zostone[0-9a-f]{4}$`, b.User["handle"])

	var accounts, complete int
	require.NoError(t, r.db.Pool.QueryRow(t.Context(), `SELECT count(*), count(s.user_id + p.user_id + f.user_id) FROM users u
		LEFT JOIN user_settings s ON s.user_id = u.id LEFT JOIN user_pii p ON p.user_id = u.id AND p.email = u.email AND p.full_name = u.name
		LEFT JOIN profiles f ON f.user_id = u.id`).Scan(&accounts, &complete))
	require.Equal(t, accounts, complete, "settings, mirror and profile come with every account")
}

func TestRegisterRaces(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const n = 8
	run := func(body func(i int) string) (status map[int]int, refused map[string]bool) {
		status, refused = map[int]int{}, map[string]bool{}
		var mu sync.Mutex
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				res := r.Do(t, "POST", "/api/v1/auth/register/", body(i))
				mu.Lock()
				defer mu.Unlock()
				status[res.Status]++
				if res.Status != 201 {
					refused[res.Body] = true
				}
			})
		}
		wg.Wait()
		return status, refused
	}
	status, refused := run(func(i int) string {
		return fmt.Sprintf(`{"email":"%s@example.com","password":"12345678","name":"A","handle":"h%d"}`, []string{"same", "SAME"}[i%2], i)
	})
	require.Equal(t, map[int]int{201: 1, 400: n - 1}, status)
	require.Equal(t, map[string]bool{`{"email":["user with this email already exists."]}`: true}, refused)
	status, refused = run(func(i int) string {
		return fmt.Sprintf(`{"email":"r%d@example.com","password":"12345678","name":"A","handle":"Same!"}`, i)
	})
	require.Equal(t, map[int]int{201: 1, 400: n - 1}, status)
	require.Equal(t, map[string]bool{`{"handle":["Handle is already taken."]}`: true}, refused)
	status, _ = run(func(i int) string {
		return fmt.Sprintf(`{"email":"s@%d.example.com","password":"12345678","name":"Same Name"}`, i)
	})
	require.Equal(t, map[int]int{201: n}, status, "everybody without a handle gets one")
}

func TestLogin(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ann := r.join(t, "ann")
	key, err := pbkdf2.Key(sha256.New, "old-password", []byte("saltsalt"), 1000, 32)
	require.NoError(t, err)
	old := r.join(t, "old")
	r.exec(t, "UPDATE users SET password = $1 WHERE id = $2", "pbkdf2_sha256$1000$saltsalt$"+base64.StdEncoding.EncodeToString(key), old.ID)
	broken := r.join(t, "broken")
	r.exec(t, "UPDATE users SET password = 'plain' WHERE id = $1", broken.ID)
	gone := r.join(t, "gone")
	require.NoError(t, r.svc.Deactivate(t.Context(), gone.ID))
	// Two accounts of the old backend whose addresses differ in case.
	twin := r.join(t, "twin")
	r.exec(t, "UPDATE users SET email = 'Old@example.com', email_fold = 'old@example.com#2' WHERE id = $1", twin.ID)

	const path = "/api/v1/auth/login/"
	post := func(name, email, password string, status int, want string) apitest.Scenario {
		return apitest.Scenario{Name: name, Post: path, Body: `{"email":"` + email + `","password":"` + password + `"}`, Status: status, JSON: want}
	}
	r.Scenarios(t, []apitest.Scenario{
		post("right", "ann@example.com", password, 200, ""),
		post("other case", "ANN@Example.com", password, 200, ""),
		post("wrong", "ann@example.com", "nope-nope", 400, badLogin),
		post("unknown", "nobody@example.com", "nope-nope", 400, badLogin),
		post("inactive", "gone@example.com", password, 400, badLogin),
		post("unreadable hash", "broken@example.com", password, 400, badLogin),
		post("no address", "ann", password, 400, `{"email":["Enter a valid email address."]}`),
		post("blank", "ann@example.com", " ", 400, `{"password":["This field may not be blank."]}`),
		{Name: "nothing", Post: path, Body: `{}`, Status: 400, JSON: `{"email":["This field is required."],"password":["This field is required."]}`},
		post("old hash, wrong", "old@example.com", "nope-nope", 400, badLogin),
		post("old hash", "old@example.com", "old-password", 200, ""),
		post("upgraded hash", "old@example.com", "old-password", 200, ""),
		post("exact spelling first", "Old@example.com", password, 200, ""),
		{Name: "wrong method", Get: path, Status: 405},
		{Name: "form and a bad header", Post: "/api/v1/auth/login", Body: "email=ann%40example.com&password=" + password, Header: []string{"Content-Type", "application/x-www-form-urlencoded", "Authorization", "Bearer a.b.c"}, Status: 200},
	})
	var stored string
	require.NoError(t, r.db.Pool.QueryRow(t.Context(), "SELECT password FROM users WHERE id = $1", old.ID).Scan(&stored))
	require.True(t, strings.HasPrefix(stored, "$argon2id$"), stored)
	_ = ann
}

func TestTokensAreRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ann := r.join(t, "ann")
	other, err := auth.NewTokens(auth.TokenOptions{Key: []byte("another key"), Now: r.clock.Now})
	require.NoError(t, err)
	now := r.clock.Now()
	claims := auth.Claims{Type: auth.Access, ID: uuid.New(), UserID: ann.ID, IssuedAt: now, ExpiresAt: now.Add(time.Minute)}
	sign := func(by *auth.Tokens, change func(*auth.Claims)) string {
		c := claims
		change(&c)
		s, err := by.Sign(c)
		require.NoError(t, err)
		return s
	}
	get := func(name, header string, status int, want string) apitest.Scenario {
		s := apitest.Scenario{Name: name, Get: me, Status: status, JSON: want}
		if header != "" {
			s.Header = []string{"Authorization", header}
		}
		if status == 401 {
			s.Want = []string{"WWW-Authenticate", challenged}
		}
		return s
	}
	r.Scenarios(t, []apitest.Scenario{
		get("no header", "", 401, noAuth),
		get("other scheme", "Token x", 401, noAuth),
		get("no value", "Bearer", 401, `{"detail":"Authorization header must contain two space-delimited values","code":"bad_authorization_header"}`),
		get("two values", "Bearer a b", 401, `{"detail":"Authorization header must contain two space-delimited values","code":"bad_authorization_header"}`),
		get("garbage", "Bearer abc.def.ghi", 401, badAccess),
		get("other key", "Bearer "+sign(other, func(*auth.Claims) {}), 401, badAccess),
		get("expired", "Bearer "+sign(r.tokens, func(c *auth.Claims) { c.ExpiresAt = now.Add(-time.Second) }), 401, strings.Replace(badAccess, "Token is invalid", "Token is expired", 1)),
		get("refresh token", "Bearer "+ann.Refresh, 401, strings.Replace(badAccess, "Token is invalid", "Token has wrong type", 1)),
		get("unknown session", "Bearer "+sign(r.tokens, func(c *auth.Claims) { c.Session = uuid.New() }), 401, badAccess),
		get("unknown user", "Bearer "+sign(r.tokens, func(c *auth.Claims) { c.UserID = 5 }), 401, `{"detail":"User not found","code":"user_not_found"}`),
		get("old backend", "Bearer "+sign(r.tokens, func(*auth.Claims) {}), 200, ""),
		get("good", "Bearer "+ann.Access, 200, ""),
	})
	_, err = r.svc.ResetPassword(t.Context(), "ann", "another-password")
	require.NoError(t, err)
	r.Scenarios(t, []apitest.Scenario{
		get("old backend after a reset", "Bearer "+sign(r.tokens, func(*auth.Claims) {}), 401, badAccess),
		get("session after a reset", "Bearer "+ann.Access, 401, badAccess),
		{Name: "refresh after a reset", Post: "/api/v1/auth/refresh/", Body: `{"refresh":"` + ann.Refresh + `"}`, Status: 401, JSON: badToken},
		{Name: "old password", Post: "/api/v1/auth/login/", Body: `{"email":"ann@example.com","password":"` + password + `"}`, Status: 400, JSON: badLogin},
	})
	again := r.login(t, "ann", "another-password")
	require.NoError(t, r.svc.Deactivate(t.Context(), ann.ID))
	r.Scenarios(t, []apitest.Scenario{
		{Name: "deactivated", As: again.Client, Get: me, Status: 401, JSON: inactive},
		{Name: "refresh when deactivated", Post: "/api/v1/auth/refresh/", Body: `{"refresh":"` + again.Refresh + `"}`, Status: 401, JSON: inactive},
		{Name: "adopt when deactivated", Post: "/api/v1/auth/refresh/", Body: `{"refresh":"` + sign(r.tokens, func(c *auth.Claims) { c.Type = auth.Refresh }) + `"}`, Status: 401, JSON: inactive},
	})
}

func TestRefreshRotates(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ann := r.join(t, "ann")
	r.clock.Advance(time.Minute)
	first := r.refresh(t, ann.Refresh)
	require.Equal(t, 200, first.Status, first.Body)
	var b signInBody
	first.JSON(t, &b)
	require.Equal(t, "Token refreshed.", b.Message)
	require.NotEqual(t, ann.Refresh, b.RefreshToken)

	parent, err := r.tokens.Verify(ann.Refresh, auth.Refresh)
	require.NoError(t, err)
	access, err := r.tokens.Verify(b.Token, auth.Access)
	require.NoError(t, err)
	require.Equal(t, parent.IssuedAt, access.IssuedAt, "as the old backend: the iat of the refresh token")
	require.Equal(t, parent.Session, access.Session)

	r.clock.Advance(29 * time.Second)
	require.Equal(t, first.Body, r.refresh(t, ann.Refresh).Body, "within the grace the same tokens again")
	second := r.refresh(t, b.RefreshToken)
	require.Equal(t, 200, second.Status)
	var c signInBody
	second.JSON(t, &c)
	require.Equal(t, 200, r.As(c.Token).Do(t, "GET", me, "").Status)

	r.clock.Advance(2 * time.Second)
	for range 2 {
		res := r.refresh(t, ann.Refresh)
		require.Equal(t, 401, res.Status)
		require.JSONEq(t, badToken, res.Body)
		require.Equal(t, challenged, res.Header.Get("WWW-Authenticate"))
	}
	require.Equal(t, 401, r.refresh(t, c.RefreshToken).Status, "reuse ends the family")
	require.JSONEq(t, badAccess, r.As(c.Token).Do(t, "GET", me, "").Body)
	require.Equal(t, 200, r.login(t, "ann", password).Do(t, "GET", me, "").Status, "other sessions may begin")

	for body, want := range map[string]string{
		`{}`: `{"refresh":["This field is required."]}`, `{"refresh":"abc"}`: badToken,
		`{"refresh":"` + r.login(t, "ann", password).Access + `"}`: `{"detail":"Token has wrong type","code":"token_not_valid"}`,
	} {
		require.JSONEq(t, want, r.Do(t, "POST", "/api/v1/auth/refresh", body, "Authorization", "Bearer bad").Body)
	}
}

func TestRefreshAtOnceGivesOneSuccessor(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ann := r.join(t, "ann")
	now := r.clock.Now()
	old, err := r.tokens.Sign(auth.Claims{Type: auth.Refresh, ID: uuid.New(), UserID: ann.ID, IssuedAt: now, ExpiresAt: now.Add(time.Hour)})
	require.NoError(t, err)
	for _, token := range []string{ann.Refresh, old} {
		var mu sync.Mutex
		bodies := map[string]int{}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				res := r.refresh(t, token)
				mu.Lock()
				defer mu.Unlock()
				bodies[fmt.Sprint(res.Status, res.Body)]++
			})
		}
		wg.Wait()
		require.Len(t, bodies, 1, "everybody gets the same tokens")
	}
	var families int
	require.NoError(t, r.db.Pool.QueryRow(t.Context(), "SELECT count(*) FROM auth_sessions WHERE user_id = $1", ann.ID).Scan(&families))
	require.Equal(t, 2, families)
	r.clock.Advance(time.Minute)
	require.Equal(t, 401, r.refresh(t, old).Status, "an old token is adopted once")

	var dump string
	require.NoError(t, r.db.Pool.QueryRow(t.Context(), "SELECT string_agg(t::text, ' ') FROM auth_refresh_tokens t").Scan(&dump))
	require.NotContains(t, dump, strings.Split(old, ".")[2], "no token is stored")
}

func TestLogout(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	other := r.serve(t, r.node(t, r.bus), httpapi.Limits{}) // another node with its own caches
	const path = "/api/v1/auth/logout/"
	ann, bob := r.join(t, "ann"), r.join(t, "bob")
	phone := r.login(t, "ann", password)
	for _, c := range []string{ann.Access, phone.Access, bob.Access} {
		require.Equal(t, 200, other.As(c).Do(t, "GET", me, "").Status)
	}
	now := r.clock.Now()
	old, err := r.tokens.Sign(auth.Claims{Type: auth.Refresh, ID: uuid.New(), UserID: ann.ID, IssuedAt: now, ExpiresAt: now.Add(time.Hour)})
	require.NoError(t, err)
	r.Scenarios(t, []apitest.Scenario{
		{Name: "anonymous", Post: path, Status: 401, JSON: noAuth},
		{Name: "bad token", Post: path, Body: `{"refresh":"abc"}`, Status: 401, JSON: badToken},
		{Name: "somebody else's token", As: bob.Client, Post: path, Body: `{"refresh":"` + ann.Refresh + `"}`, Status: 401, JSON: badToken},
		{Name: "still there", As: ann.Client, Get: me, Status: 200},
		{Name: "by access token", As: ann.Client, Post: path, Status: 200, JSON: `{"message":"Logout successful."}`},
		{Name: "ended", As: ann.Client, Get: me, Status: 401, JSON: badAccess},
		{Name: "ended elsewhere", As: other.As(ann.Access), Get: me, Status: 401, JSON: badAccess},
		{Name: "no refresh", Post: "/api/v1/auth/refresh/", Body: `{"refresh":"` + ann.Refresh + `"}`, Status: 401, JSON: badToken},
		{Name: "the phone stays", As: other.As(phone.Access), Get: me, Status: 200},
		{Name: "by refresh token", Post: path, Body: `{"refresh":"` + phone.Refresh + `"}`, Status: 200},
		{Name: "the phone went", As: other.As(phone.Access), Get: me, Status: 401},
		{Name: "twice", Post: path, Body: `{"refresh":"` + phone.Refresh + `"}`, Status: 200},
		{Name: "of the old backend", Post: path, Body: `{"refresh":"` + old + `"}`, Status: 200},
		{Name: "which cannot be traded then", Post: "/api/v1/auth/refresh/", Body: `{"refresh":"` + old + `"}`, Status: 401, JSON: badToken},
		{Name: "bob stays", As: bob.Client, Get: me, Status: 200},
	})
}

func TestPruneSessions(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ann := r.join(t, "ann")
	r.clock.Advance(3 * 24 * time.Hour)
	res := r.refresh(t, ann.Refresh)
	require.Equal(t, 200, res.Status)
	r.join(t, "bob")
	n, err := r.svc.PruneSessions(t.Context())
	require.NoError(t, err)
	require.Zero(t, n)
	r.clock.Advance(4*24*time.Hour + time.Minute)
	n, err = r.svc.PruneSessions(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1, n, "the token that was rotated")
	r.clock.Advance(8 * 24 * time.Hour)
	n, err = r.svc.PruneSessions(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 2, n, "both sessions, with their tokens")
}

func TestBurst(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.serve(t, r.svc, httpapi.Limits{Bursts: true, AuthIP: 1})
	refused := 0
	for i := range 6 {
		res := c.Do(t, "POST", []string{"/api/v1/auth/login/", "/api/v1/auth/register"}[i%2], `{}`)
		require.Equal(t, 400, res.Status, "what is no login does not count")
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	for range 8 {
		wg.Go(func() {
			res := c.Do(t, "POST", "/api/v1/auth/login/", `{"email":"a@example.com","password":"x"}`)
			mu.Lock()
			defer mu.Unlock()
			if res.Status == 429 {
				refused++
				require.JSONEq(t, `{"detail":"Rate limit exceeded."}`, res.Body)
			}
		})
	}
	wg.Wait()
	require.Positive(t, refused)
}
