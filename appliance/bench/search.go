package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"time"

	"selflink/appliance/database"
)

// searchedAccounts is among how many the section search looks.
var searchedAccounts = flag.Int("accounts", 200_000, "accounts of the section search")

const (
	// searchesOfClass is how long each class of searches is asked.
	searchesOfClass = 3 * time.Second

	// blockedBy is how many accounts the second viewer blocks: among the newest,
	// and of a frequent name.
	blockedBy = 1000
)

// fillAccounts makes accounts with Georgian, Russian and Latin names. The
// triggers fold them as they do when people register.
const fillAccounts = `INSERT INTO users (id, email, email_fold, handle, password, name, bio, created_at, updated_at)
	SELECT i, 'e' || i, 'e' || i, 'u' || i, '!',
		(ARRAY['გიორგი','ნინო','მარიამ','ლუკა','ანა','Giorgi','Nino','Anna','John','Mary','Иван','Наталья','Сергей','Ольга','Zoë'])[1 + i % 15] || ' ' ||
		(ARRAY['ბერიძე','კაპანაძე','მამულაშვილი','Smith','Johnson','Müller','Иванов','Щербакова','Lee','O''Neil','გელაშვილი'])[1 + i * 7 % 11] || substr(md5(i::text), 1, 4),
		CASE WHEN i % 3 = 0 THEN 'I like ' || substr(md5((i * 3)::text), 1, 12) || ' and the mountains of Georgia' ELSE '' END,
		timestamptz '2026-01-01' + i * interval '1 second', now()
	FROM generate_series($1::int, $2::int) i`

// search looks for people among many over HTTP, one class of searches after the
// other on one connection, then all classes mixed.
func (b *bench) search(ctx context.Context) error {
	s, err := newServer(b.bin)
	if err != nil {
		return err
	}
	defer func() { _ = s.remove() }()
	if _, err := s.start(ctx); err != nil {
		return err
	}
	defer func() { _ = s.stop() }()
	free, err := s.register("viewer")
	if err != nil {
		return err
	}
	blocking, err := s.register("blocker")
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := fillSearch(ctx, s); err != nil {
		return fmt.Errorf("make accounts: %w", err)
	}
	row(fmt.Sprintf("made %d accounts", *searchedAccounts), time.Since(begin).Round(time.Second).String(), 0, 0, "")

	classes := []struct {
		name  string
		token string
		texts []string
	}{
		{"a frequent name, Latin", free, []string{"giorgi", "anna", "Smith", "MARY"}},
		{"a frequent name, Georgian", free, []string{"გიორგი", "მარიამ", "ბერიძე", "გელაშვილი"}},
		{"a frequent name, Russian", free, []string{"иван", "Наталья", "щербакова", "ОЛЬГА"}},
		{"the beginning of a name", free, []string{"gio", "ber", "нат", "კაპ", "zo"}},
		{"a whole handle", free, []string{"@u4711", "u199998", "@u77", "u123456"}},
		{"the beginning of a handle", free, []string{"@u1234", "u1999", "@u77"}},
		{"one letter", free, []string{"a", "გ", "н", "z", "~"}},
		{"two letters", free, []string{"jo", "ან", "ив", "qx"}},
		{"first and last name", free, []string{"giorgi smith", "ნინო ბერიძე", "anna lee"}},
		{"last and first name", free, []string{"beridze gio", "smith john", "иванов серг"}},
		{"a word of few bios", free, []string{"e4da3b7f", "a87ff679", "c9f0f895"}},
		{"mistyped", free, []string{"georgi beridse", "gelashvli", "mariaam", "Natalja", "jonson"}},
		{"nobody", free, []string{"xyzzy", "qqqqqqqqqqqq", "ჰჰჰჰჰ", "ъъъъ"}},
		{fmt.Sprintf("a frequent name, %d blocked", blockedBy), blocking, []string{"giorgi", "გიორგი", "a"}},
		{fmt.Sprintf("a handle, %d blocked", blockedBy), blocking, []string{"@u4711", "u199998", "u199"}},
	}
	whole := func(path, token string) []byte { return request("GET", path, token, "") }
	// What a request costs without any search, on this machine, now.
	me := whole("/api/v1/users/me/", free)
	base, err := closedLoop(s.addr, 1, searchesOfClass, http.StatusOK, func(int, int) []byte { return me })
	if err != nil {
		return fmt.Errorf("users/me: %w", err)
	}
	row("users/me, no search", fmt.Sprintf("%.0f req/s", base.rate()), base.p50, base.p99, "")
	beside := func(r result) string {
		return fmt.Sprintf("users/me ×%.1f, ×%.1f", float64(r.p50)/float64(base.p50), float64(r.p99)/float64(base.p99))
	}
	var mixed [][]byte
	for _, c := range classes {
		asked := make([][]byte, len(c.texts))
		for i, text := range c.texts {
			asked[i] = whole("/api/v1/search/users/?q="+url.QueryEscape(text), c.token)
		}
		mixed = append(mixed, asked...)
		r, err := closedLoop(s.addr, 1, searchesOfClass, http.StatusOK, func(_, turn int) []byte { return asked[turn%len(asked)] })
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		row(c.name, fmt.Sprintf("%.0f req/s", r.rate()), r.p50, r.p99, beside(r))
	}
	for _, conns := range []int{1, 8} {
		r, err := closedLoop(s.addr, conns, b.length, http.StatusOK, func(conn, turn int) []byte { return mixed[(conn*7+turn)%len(mixed)] })
		if err != nil {
			return fmt.Errorf("all classes: %w", err)
		}
		row(fmt.Sprintf("all classes, %d connections", conns), fmt.Sprintf("%.0f req/s", r.rate()), r.p50, r.p99, beside(r))
	}
	return nil
}

// fillSearch makes the accounts, and blocks of the second viewer.
func fillSearch(ctx context.Context, s *server) error {
	db, err := database.Attach(ctx, database.Options{DataDir: filepath.Join(s.dir, "data")})
	if err != nil {
		return err
	}
	defer func() { _ = db.Stop(context.WithoutCancel(ctx)) }()
	const batch = 20_000
	for first := 1; first <= *searchedAccounts; first += batch {
		if _, err := db.Direct().Exec(ctx, fillAccounts, first, min(first+batch-1, *searchedAccounts)); err != nil {
			return err
		}
	}
	if _, err := db.Direct().Exec(ctx, `INSERT INTO user_blocks (user_id, target_id)
		SELECT v.id, u.id FROM users v, (SELECT id FROM users WHERE id <= $1::int AND id % 15 IN (0, 5) ORDER BY id DESC LIMIT $2::int) u WHERE v.email = 'blocker@example.com'`,
		*searchedAccounts, blockedBy); err != nil {
		return err
	}
	// The table is read and its statistics are there, as on a server that runs.
	_, err = db.Direct().Exec(ctx, "VACUUM ANALYZE users, search_users, user_blocks")
	return err
}
