package jobs

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"selflink/appliance/jobs/jobsdb"
)

const (
	// pageDefault and pageMost are the sizes of a page of Search.
	pageDefault = 50
	pageMost    = 200

	// listMost bounds a page of List.
	listMost = 500

	// countMost is up to where jobs are counted: to know that there are more
	// is worth no longer walk.
	countMost = 100_000

	// needleMost is the longest text that is searched for, in bytes.
	needleMost = 320

	// idSlack is how much earlier or later than its id says a job may have
	// been created: ids are made by the clocks of the nodes, created_at by
	// Postgres's, and a transaction may be open for a while.
	idSlack = time.Hour
)

// Errors of what somebody asked for. They come wrapped in what is wrong.
var (
	// ErrBadQuery means that a filter cannot be searched for.
	ErrBadQuery = errors.New("not a filter of jobs")
	// ErrBadCursor means that a cursor is not one that [Engine.Search] gave.
	ErrBadCursor = errors.New("not a cursor of this list")
)

// Query narrows what [Engine.Search], [Engine.Matching] and [Engine.Bulk] look
// at; empty fields do not.
type Query struct {
	State State     `json:"state"`
	Kind  string    `json:"kind"`
	Queue string    `json:"queue"`
	Error string    `json:"error"` // contained in the last error in any case of letters, up to 320 bytes; what stands for a number in an [ErrorGroup] stands for anything
	Since time.Time `json:"since"` // created then or later
	Until time.Time `json:"until"` // created earlier

	Cursor string `json:"-"` // Next of the page before; Search alone reads it
	Limit  int    `json:"-"` // jobs of a page (50), up to 200; Search alone reads it
}

// Item is one job of a list.
type Item struct {
	ID          ID         `json:"id"`
	Kind        string     `json:"kind"`
	Queue       string     `json:"queue"`
	State       State      `json:"state"`
	Priority    int        `json:"priority"` // 0 to 2, 2 the most urgent
	Attempt     int        `json:"attempt"`  // runs begun that were not interrupted
	MaxAttempts int        `json:"max_attempts"`
	CreatedAt   time.Time  `json:"created_at"`
	RunAt       time.Time  `json:"run_at"`
	StartedAt   *time.Time `json:"started_at"`
	FinishedAt  *time.Time `json:"finished_at"`
	DurationMS  *int64     `json:"duration_ms"` // of the last run, once it has ended
	LastError   *string    `json:"last_error"`  // without what looks like a secret
}

// Page is a part of a list, the newest jobs first.
type Page struct {
	Items []Item  `json:"items"`
	Next  *string `json:"next"` // cursor of the next page; nil: this is the last
}

// Filter narrows a list; empty fields do not.
type Filter struct {
	State  State
	Kind   string
	Queue  string
	Error  string    // contained in the last error, in any case of letters
	Since  time.Time // created then or later
	Until  time.Time // created earlier
	Before ID        // lists jobs older than this one
	Most   int       // at most that many (50), up to 500
}

// States lists all states in the order of a job's life.
func States() []State {
	return []State{Queued, Scheduled, Retrying, Running, Succeeded, Dead, Cancelled}
}

// conditions collects what rows must fulfil. States are written out, so that
// the planner sees which partial index serves; all else are arguments.
type conditions struct {
	texts []string
	args  []any
}

// add takes a condition with one %s, the place of its argument.
func (c *conditions) add(condition string, arg any) {
	c.args = append(c.args, arg)
	c.texts = append(c.texts, fmt.Sprintf(condition, "$"+strconv.Itoa(len(c.args))))
}

// states demands one of some states, which are ours and need no quoting.
func (c *conditions) states(some ...State) {
	words := make([]string, len(some))
	for i, s := range some {
		words[i] = "'" + string(s) + "'"
	}
	c.texts = append(c.texts, "state IN ("+strings.Join(words, ", ")+")")
}

func (c *conditions) where() string {
	if len(c.texts) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(c.texts, " AND ")
}

// run asks with the arguments so far. Each execution is planned with its
// values at hand: a plan for any text and any time would be one for none.
func (c *conditions) run(ctx context.Context, db jobsdb.DBTX, sql string) (pgx.Rows, error) {
	return db.Query(ctx, sql, append([]any{pgx.QueryExecModeCacheDescribe}, c.args...)...)
}

// conditions checks the query and translates it.
func (q Query) conditions() (*conditions, error) {
	c := &conditions{}
	if q.State != "" {
		if !slices.Contains(States(), q.State) {
			return nil, fmt.Errorf("%w: there is no state %q", ErrBadQuery, short(string(q.State), 20))
		}
		c.states(q.State)
	}
	for _, text := range []string{q.Kind, q.Queue, q.Error} {
		if len(text) > needleMost || !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
			return nil, fmt.Errorf("%w: a text is longer than %d bytes or has strange characters", ErrBadQuery, needleMost)
		}
	}
	if q.Kind != "" {
		c.add("kind = %s", q.Kind)
	}
	if q.Queue != "" {
		c.add("queue = %s", q.Queue)
	}
	if q.Error != "" {
		c.add("last_error ILIKE %s", "%"+needle(q.Error)+"%")
	}
	for _, bound := range []time.Time{q.Since, q.Until} {
		if year := bound.Year(); !bound.IsZero() && (year < 1970 || year > 9999) {
			return nil, fmt.Errorf("%w: there were no jobs in the year %d", ErrBadQuery, year)
		}
	}
	if !q.Since.IsZero() {
		c.add("created_at >= %s", q.Since)
		c.add("id >= %s", firstID(q.Since.Add(-idSlack)))
	}
	if !q.Until.IsZero() {
		c.add("created_at < %s", q.Until)
		c.add("id < %s", firstID(q.Until.Add(idSlack)))
	}
	return c, nil
}

// firstID is the lowest id that [NewID] could have made at a time: ids begin
// with the milliseconds since 1970 in six bytes.
func firstID(at time.Time) (id ID) {
	ms := max(0, at.UnixMilli())
	for i := range 6 {
		id[i] = byte(ms >> (8 * (5 - i)))
	}
	return id
}

// cursorVersion is the first byte of a cursor; what follows is the id of the
// last job of the page.
const cursorVersion = 1

func cursorOf(id ID) string {
	return base64.RawURLEncoding.EncodeToString(append([]byte{cursorVersion}, id[:]...))
}

func parseCursor(text string) (ID, error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) != 1+len(ID{}) || raw[0] != cursorVersion {
		return ID{}, ErrBadCursor
	}
	return ID(raw[1:]), nil
}

// Search lists jobs, the newest first. It returns [ErrBadQuery] or
// [ErrBadCursor] for what the caller should not have asked.
func (e *Engine) Search(ctx context.Context, q Query) (Page, error) {
	c, err := q.conditions()
	if err != nil {
		return Page{}, fmt.Errorf("jobs: search: %w", err)
	}
	if q.Cursor != "" {
		before, err := parseCursor(q.Cursor)
		if err != nil {
			return Page{}, fmt.Errorf("jobs: search: %w", err)
		}
		c.add("id < %s", before)
	}
	limit := pageDefault
	if q.Limit > 0 {
		limit = min(q.Limit, pageMost)
	}
	rows, err := c.run(ctx, e.db, `SELECT id, kind, queue, state, priority, attempt, created_at, run_at, started_at, finished_at, last_error
FROM jobs`+c.where()+` ORDER BY id DESC LIMIT `+strconv.Itoa(limit+1))
	if err != nil {
		return Page{}, fmt.Errorf("jobs: search: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[itemRow])
	if err != nil {
		return Page{}, fmt.Errorf("jobs: search: %w", err)
	}
	var next *string
	if len(list) > limit {
		list = list[:limit]
		cursor := cursorOf(list[limit-1].ID)
		next = &cursor
	}
	page := Page{Items: make([]Item, len(list)), Next: next}
	for i, row := range list {
		page.Items[i] = e.item(row)
	}
	return page, nil
}

// itemRow is what an [Item] is made of.
type itemRow struct {
	ID         uuid.UUID
	Kind       string
	Queue      string
	State      string
	Priority   int16
	Attempt    int32
	CreatedAt  time.Time
	RunAt      time.Time
	StartedAt  *time.Time
	FinishedAt *time.Time
	LastError  *string
}

// item makes the row readable. How many attempts there are is known of kinds
// that have a handler here; it is 0 for others.
func (e *Engine) item(r itemRow) Item {
	item := Item{
		ID: r.ID, Kind: r.Kind, Queue: r.Queue, State: State(r.State), Priority: int(r.Priority), Attempt: int(r.Attempt),
		CreatedAt: r.CreatedAt.UTC(), RunAt: r.RunAt.UTC(), StartedAt: utc(r.StartedAt), FinishedAt: utc(r.FinishedAt),
	}
	if k := e.kinds[r.Kind]; k != nil {
		item.MaxAttempts = k.policy.Attempts
	}
	if r.StartedAt != nil && r.FinishedAt != nil {
		took := max(0, r.FinishedAt.Sub(*r.StartedAt).Milliseconds())
		item.DurationMS = &took
	}
	if r.LastError != nil {
		text := e.redact.Text(*r.LastError, errorShown)
		item.LastError = &text
	}
	return item
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	at := t.UTC()
	return &at
}

// Matching counts the jobs that a query fits, up to 100 000: that many means
// that there may be more. It returns [ErrBadQuery].
func (e *Engine) Matching(ctx context.Context, q Query) (int64, error) {
	c, err := q.conditions()
	if err != nil {
		return 0, fmt.Errorf("jobs: count: %w", err)
	}
	return e.count(ctx, c)
}

func (e *Engine) count(ctx context.Context, c *conditions) (int64, error) {
	rows, err := c.run(ctx, e.db, `SELECT count(*) FROM (SELECT 1 FROM jobs`+c.where()+` LIMIT `+strconv.Itoa(countMost)+`) AS m`)
	if err != nil {
		return 0, fmt.Errorf("jobs: count: %w", err)
	}
	n, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[int64])
	if err != nil {
		return 0, fmt.Errorf("jobs: count: %w", err)
	}
	return n, nil
}

// List returns jobs with all that is kept of them, the newest first, as the
// command line shows them. It returns [ErrBadQuery].
func (e *Engine) List(ctx context.Context, f Filter) ([]Info, error) {
	c, err := Query{State: f.State, Kind: f.Kind, Queue: f.Queue, Error: f.Error, Since: f.Since, Until: f.Until}.conditions()
	if err != nil {
		return nil, fmt.Errorf("jobs: list: %w", err)
	}
	if f.Before != (ID{}) {
		c.add("id < %s", f.Before)
	}
	if f.Most <= 0 {
		f.Most = pageDefault
	}
	rows, err := c.run(ctx, e.db, `SELECT id, kind, queue, state, priority, attempt, args, result, failures, last_error, unique_key, request_id, claimed_by, node, cancel_requested, created_at, run_at, started_at, finished_at
FROM jobs`+c.where()+` ORDER BY id DESC LIMIT `+strconv.Itoa(min(f.Most, listMost)))
	if err != nil {
		return nil, fmt.Errorf("jobs: list: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[jobsdb.ShowRow])
	if err != nil {
		return nil, fmt.Errorf("jobs: list: %w", err)
	}
	list := make([]Info, 0, len(found))
	for _, row := range found {
		info, err := infoOf(row)
		if err != nil {
			return nil, err
		}
		list = append(list, info)
	}
	return list, nil
}

// needle is the LIKE pattern of a text. What stands in an [ErrorGroup] for a
// number, an id or a secret stands for anything, so that the error of a group
// finds the jobs of the group.
func needle(text string) string {
	return strings.NewReplacer(
		`\`, `\\`, `%`, `\%`, `_`, `\_`,
		"<n>", "%", "<id>", "%", "<hex>", "%", "[redacted]", "%", "***", "%", "…", "%",
	).Replace(text)
}
