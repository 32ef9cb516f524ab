package search

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"selflink/appliance/database"
)

const (
	// newest is how many of the newest accounts are looked through before any
	// index of texts is asked. A text that many have is found among them at
	// once and in the right order; for one that is not, the index gives few.
	// Neither way depends on what the planner believes of a text.
	newest = 2000

	// newestShort is the same for texts of one or two letters, of which no
	// trigram can be made: beyond them only the beginnings of words are found. It
	// is also looked through for who has so many blocks that they may be all that
	// the newest have of a text.
	newestShort = 20_000

	// shortText is the longest text that counts as short, in bytes of folded
	// text.
	shortText = 2

	// wordsMost bounds how many rows with the beginnings of words are read, in
	// no order; the newest of them are given.
	wordsMost = 2000

	// similar is how much of a text's trigrams a name must have to be looked
	// at as a mistyped one. Of at most similarMost such names, because telling
	// how similar costs some 10 µs each, the nearMost nearest are looked at
	// closely by [near], which decides.
	similar     = "0.4"
	similarMost = 500
	nearMost    = 200
)

// setupTTL is for how long the answer to whether pg_trgm is there is kept: it
// may be brought in while we run.
const setupTTL = time.Minute

// Postgres searches the table search_users, which triggers keep up to date.
// Accounts that are closed are not in it; who blocks the viewer or is blocked
// by them is left out here, so that pages are full.
//
// First come the accounts that have the text in their handle, name or bio, the
// newest first (contract 14 §3.1). What room they leave is filled with those
// that have all its words as beginnings of words, in any order. When there is
// nobody, those are given whose handle or name differs by a small typing error.
type Postgres struct {
	db       database.Pool
	trigrams atomic.Pointer[setup]
}

// setup is what is known of the database.
type setup struct {
	trigrams bool
	until    time.Time
}

var _ Engine = (*Postgres)(nil)

// NewPostgres makes the engine.
func NewPostgres(db database.Pool) *Postgres { return &Postgres{db: db} }

// Name implements [Engine].
func (p *Postgres) Name() string { return "postgres" }

// visible leaves out whom the viewer $1 must not find. They are gathered once,
// not looked up for every row: who has many blocks is rare, a text that many
// have is not.
const visible = ` AND s.user_id NOT IN (SELECT b.target_id FROM user_blocks b WHERE b.user_id = $1
	UNION ALL SELECT b.user_id FROM user_blocks b WHERE b.target_id = $1)`

const (
	selectNewest = `SELECT s.user_id FROM (
	SELECT user_id, created_at, names, bio FROM search_users ORDER BY created_at DESC, user_id DESC LIMIT $4
) s WHERE (s.names LIKE $2 OR s.bio LIKE $2)` + visible + `
ORDER BY s.created_at DESC, s.user_id DESC LIMIT $3`

	// countBlocks counts whom the viewer must not find, to a bound.
	countBlocks = `SELECT count(*) FROM (SELECT 1 FROM (SELECT b.target_id FROM user_blocks b WHERE b.user_id = $1
	UNION ALL SELECT b.user_id FROM user_blocks b WHERE b.target_id = $1) all_of_them LIMIT $2) few`

	// The inner query has neither order nor limit, so that it can only be
	// answered by the indexes of texts or by reading all.
	selectRare = `WITH s AS MATERIALIZED (SELECT user_id, created_at FROM search_users WHERE names LIKE $2 OR bio LIKE $2)
SELECT s.user_id FROM s WHERE true` + visible + `
ORDER BY s.created_at DESC, s.user_id DESC LIMIT $3`

	selectWords = `WITH s AS MATERIALIZED (SELECT user_id, created_at FROM search_users WHERE words @@ to_tsquery('simple', $2) LIMIT $4)
SELECT s.user_id FROM s WHERE true` + visible + `
ORDER BY s.created_at DESC, s.user_id DESC LIMIT $3`

	// The index knows names with enough of the text's trigrams; how many is a
	// setting of the transaction.
	selectSimilar = `WITH s AS MATERIALIZED (SELECT user_id, created_at, names FROM search_users WHERE $2 <% names LIMIT $4)
SELECT s.user_id, s.names FROM s WHERE true` + visible + `
ORDER BY word_similarity($2, s.names) DESC, s.created_at DESC, s.user_id DESC LIMIT $3`
)

// Search implements [Engine].
func (p *Postgres) Search(ctx context.Context, q Query) ([]int64, error) {
	var folded, words string
	err := p.db.QueryRow(ctx, "SELECT f, search_words(f) FROM search_fold($1) f", q.Text).Scan(&folded, &words)
	if err != nil {
		return nil, fmt.Errorf("fold the text: %w", err)
	}
	if folded == "" { // of signs that mean nothing, such as accents alone
		return nil, nil
	}
	f := finder{db: p.db, q: q, folded: folded, words: strings.Fields(words), most: q.Offset + q.Limit}
	if err := f.contained(ctx); err != nil {
		return nil, err
	}
	if !f.full() {
		if err := f.beginnings(ctx); err != nil {
			return nil, err
		}
	}
	if len(f.ids) == 0 && len(folded) > shortText {
		trigrams, err := p.hasTrigrams(ctx)
		if err != nil {
			return nil, err
		}
		if trigrams {
			if err := f.mistyped(ctx); err != nil {
				return nil, err
			}
		}
	}
	return f.ids[min(q.Offset, len(f.ids)):], nil
}

// hasTrigrams reports whether pg_trgm is there.
func (p *Postgres) hasTrigrams(ctx context.Context) (bool, error) {
	if known := p.trigrams.Load(); known != nil && time.Now().Before(known.until) {
		return known.trigrams, nil
	}
	s := &setup{until: time.Now().Add(setupTTL)}
	if err := p.db.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'pg_trgm')").Scan(&s.trigrams); err != nil {
		return false, fmt.Errorf("look for pg_trgm: %w", err)
	}
	p.trigrams.Store(s)
	return s.trigrams, nil
}

// finder gathers the ids of one search.
type finder struct {
	db     database.Pool
	q      Query
	folded string
	words  []string
	most   int
	ids    []int64
	seen   map[int64]bool
}

func (f *finder) full() bool { return len(f.ids) >= f.most }

// add appends what is new while there is room.
func (f *finder) add(ids ...int64) {
	if f.seen == nil {
		f.seen = make(map[int64]bool, f.most)
	}
	for _, id := range ids {
		if f.full() {
			return
		}
		if !f.seen[id] {
			f.seen[id] = true
			f.ids = append(f.ids, id)
		}
	}
}

func (f *finder) query(ctx context.Context, what, sql string, args ...any) ([]int64, error) {
	rows, err := f.db.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", what, err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", what, err)
	}
	return ids, nil
}

// contained finds those that have the text, the newest first.
func (f *finder) contained(ctx context.Context) error {
	window, pattern := newest, "%"+likeEscape(f.folded)+"%"
	if len(f.folded) <= shortText {
		window = newestShort
	}
	ids, err := f.query(ctx, "among the newest", selectNewest, f.q.Viewer, pattern, f.most, window)
	if err != nil {
		return err
	}
	if len(ids) < f.most && window == newest {
		var blocks int
		if err := f.db.QueryRow(ctx, countBlocks, f.q.Viewer, f.most).Scan(&blocks); err != nil {
			return fmt.Errorf("count blocks: %w", err)
		}
		if blocks >= f.most {
			// A text that many have may be missing because they are blocked.
			if ids, err = f.query(ctx, "among more of the newest", selectNewest, f.q.Viewer, pattern, f.most, newestShort); err != nil {
				return err
			}
		}
	}
	if len(ids) < f.most && window == newest {
		if ids, err = f.query(ctx, "a rare text", selectRare, f.q.Viewer, pattern, f.most); err != nil {
			return err
		}
	}
	f.add(ids...)
	return nil
}

// beginnings finds those that have all words as beginnings of theirs.
func (f *finder) beginnings(ctx context.Context) error {
	if len(f.words) == 0 {
		return nil
	}
	terms := make([]string, len(f.words))
	for i, word := range f.words {
		terms[i] = "'" + strings.ReplaceAll(word, "'", "''") + "':*"
	}
	ids, err := f.query(ctx, "words", selectWords, f.q.Viewer, strings.Join(terms, " & "), f.most, wordsMost)
	if err != nil {
		return err
	}
	f.add(ids...)
	return nil
}

// mistyped finds those whose names are nearly the text, the nearest first.
func (f *finder) mistyped(ctx context.Context) error {
	return f.db.Tx(ctx, func(tx database.Tx) error {
		// For this transaction alone: the connection is shared.
		if _, err := tx.Exec(ctx, "SELECT set_config('pg_trgm.word_similarity_threshold', $1, true)", similar); err != nil {
			return fmt.Errorf("prepare a search for similar names: %w", err)
		}
		rows, err := tx.Query(ctx, selectSimilar, f.q.Viewer, f.folded, nearMost, similarMost)
		if err != nil {
			return fmt.Errorf("find similar names: %w", err)
		}
		var id int64
		var names string
		_, err = pgx.ForEachRow(rows, []any{&id, &names}, func() error {
			if near(f.words, names) {
				f.add(id)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("find similar names: %w", err)
		}
		return nil
	})
}

// likeEscape takes the meaning out of the wildcards of LIKE.
func likeEscape(s string) string {
	return strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(s)
}

// near reports whether every word is one of those in text but for a small
// typing error: one in words of three to five letters, two in longer ones.
func near(words []string, text string) bool {
	if len(words) == 0 {
		return false
	}
	candidates := strings.FieldsFunc(text, func(r rune) bool {
		return r == '\n' || r == ' ' || r < utf8.RuneSelf && !letterOrDigit(r)
	})
	for _, word := range words {
		if !nearAny([]rune(word), candidates) {
			return false
		}
	}
	return true
}

func letterOrDigit(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}

func nearAny(word []rune, candidates []string) bool {
	allowed := 0
	switch {
	case len(word) > 5:
		allowed = 2
	case len(word) > 2:
		allowed = 1
	}
	for _, c := range candidates {
		if mistakes(word, []rune(c), allowed) <= allowed {
			return true
		}
	}
	return false
}

// mistakes counts the letters that are missing, too many, wrong or swapped
// with their neighbour between two words. Beyond most it may stop counting.
func mistakes(a, b []rune, most int) int {
	if d := len(a) - len(b); d > most || -d > most {
		return most + 1
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
