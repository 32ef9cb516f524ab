package accounts

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"selflink/services/accounts/accountsdb"
)

// What an account may do.
const (
	RoleUser     = "user"     // nothing beyond its own
	RoleViewer   = "viewer"   // look at everything in the dashboard: is_staff
	RoleOperator = "operator" // act there too: is_staff and is_superuser
)

func roleOf(staff, superuser bool) string {
	switch {
	case staff && superuser:
		return RoleOperator
	case staff:
		return RoleViewer
	}
	return RoleUser
}

const (
	// peopleLimit and maxPeople are the people of a page: unless told, and at
	// most.
	peopleLimit = 50
	maxPeople   = 200
	// maxSearch is where a search is cut, in bytes: no field is longer.
	maxSearch = 254
	// maxSessions are how many sessions are shown of a person, the newest.
	maxSessions = 100
	// maxStaff bounds the list of those with a role.
	maxStaff = 1000
)

// Errors of [Service.SearchPeople].
var (
	// ErrCursor means that a cursor is not of this list.
	ErrCursor = errors.New("accounts: not a cursor of this list")
	// ErrRole means that a role is none of [RoleUser], [RoleViewer] and
	// [RoleOperator].
	ErrRole = errors.New("accounts: a role is user, viewer or operator")
)

// PeopleQuery narrows a list of people; empty fields do not.
type PeopleQuery struct {
	Q      string // text inside handle, name or address, or exactly an id
	Role   string
	Active *bool
	Cursor string // Next of the page before
	Limit  int    // people (50), up to 200
}

// PeoplePage is a part of a list of people, the newest first.
type PeoplePage struct {
	Items []PersonSummary `json:"items"`
	Next  *string         `json:"next"` // nil: there are no more
}

// PersonSummary is what an operator sees of a person in a list.
type PersonSummary struct {
	ID        int64      `json:"id,string"`
	Email     string     `json:"email"`
	Name      string     `json:"name"`
	Handle    string     `json:"handle"`
	Active    bool       `json:"is_active"`
	Role      string     `json:"role"`
	CreatedAt time.Time  `json:"created_at"`
	LastLogin *time.Time `json:"last_login"` // to the dashboard; that to the app is not kept
}

// PersonDetails are what an operator sees of one person.
type PersonDetails struct {
	PersonSummary
	Sessions []SessionInfo `json:"sessions"` // that live, the newest 100
	Devices  int64         `json:"devices"`
}

// SessionInfo is one sign-in of a person.
type SessionInfo struct {
	ID        string    `json:"id"`
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at"`
}

// SearchPeople lists accounts for operators. It fails with [ErrRole] and
// [ErrCursor].
func (s *Service) SearchPeople(ctx context.Context, q PeopleQuery) (PeoplePage, error) {
	q.Limit = min(q.Limit, maxPeople)
	if q.Limit <= 0 {
		q.Limit = peopleLimit
	}
	sql, args, err := directorySQL(q)
	if err != nil {
		return PeoplePage{}, err
	}
	items, err := s.directory(ctx, sql, args...)
	if err != nil {
		return PeoplePage{}, err
	}
	page := PeoplePage{Items: items}
	if len(items) > q.Limit {
		page.Items = items[:q.Limit]
		last := page.Items[q.Limit-1]
		next := base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(last.CreatedAt.UnixMicro(), 10) + "." + strconv.FormatInt(last.ID, 10)))
		page.Next = &next
	}
	return page, nil
}

// Staff lists who has a role, the newest account first.
func (s *Service) Staff(ctx context.Context) ([]PersonSummary, error) {
	return s.directory(ctx, selectDirectory+" WHERE u.is_staff ORDER BY u.created_at DESC, u.id DESC LIMIT $1", maxStaff)
}

// PersonDetail gives one account for operators. It fails with [ErrNoAccount].
func (s *Service) PersonDetail(ctx context.Context, id int64) (PersonDetails, error) {
	rows, err := s.directory(ctx, selectDirectory+" WHERE u.id = $1", id)
	if err != nil {
		return PersonDetails{}, err
	}
	if len(rows) == 0 {
		return PersonDetails{}, ErrNoAccount
	}
	out := PersonDetails{PersonSummary: rows[0], Sessions: []SessionInfo{}}
	sessions, err := s.q.LiveSessions(ctx, accountsdb.LiveSessionsParams{UserID: id, Now: s.now(), Most: maxSessions})
	if err != nil {
		return PersonDetails{}, fmt.Errorf("read sessions: %w", err)
	}
	for _, r := range sessions {
		out.Sessions = append(out.Sessions, SessionInfo{ID: r.ID.String(), CreatedAt: r.CreatedAt.UTC(), ExpiresAt: r.ExpiresAt.UTC()})
	}
	if out.Devices, err = s.q.CountDevices(ctx, id); err != nil {
		return PersonDetails{}, fmt.Errorf("count devices: %w", err)
	}
	return out, nil
}

// Names gives the names of accounts, or the handles of those without; who is
// unknown is left out.
func (s *Service) Names(ctx context.Context, ids []int64) (map[int64]string, error) {
	rows, err := s.q.Names(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("read names: %w", err)
	}
	names := make(map[int64]string, len(rows))
	for _, r := range rows {
		names[r.ID] = r.Name
	}
	return names, nil
}

const selectDirectory = "SELECT u.id, u.email, u.name, u.handle, u.is_active, u.is_staff, u.is_superuser, u.created_at, u.last_login FROM users u"

func (s *Service) directory(ctx context.Context, sql string, args ...any) ([]PersonSummary, error) {
	rows, err := s.db.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("list people: %w", err)
	}
	items, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (PersonSummary, error) {
		var p PersonSummary
		var staff, superuser bool
		err := row.Scan(&p.ID, &p.Email, &p.Name, &p.Handle, &p.Active, &staff, &superuser, &p.CreatedAt, &p.LastLogin)
		p.Role, p.CreatedAt = roleOf(staff, superuser), p.CreatedAt.UTC()
		if p.LastLogin != nil {
			*p.LastLogin = p.LastLogin.UTC()
		}
		return p, err
	})
	if err != nil {
		return nil, fmt.Errorf("list people: %w", err)
	}
	return append([]PersonSummary{}, items...), nil // never nil
}

// directorySQL writes the query of a page and one more. Everything a client
// sends is an argument; the text is made of constants alone.
func directorySQL(q PeopleQuery) (string, []any, error) {
	var conditions []string
	var args []any
	arg := func(v any) string {
		args = append(args, v)
		return "$" + strconv.Itoa(len(args))
	}
	text := clean(q.Q)
	if text = clean(text[:min(len(text), maxSearch)]); text != "" { // again: the cut may have split a letter
		like := arg("%" + likeEscape(strings.TrimPrefix(text, "@")) + "%")
		condition := "u.handle ILIKE " + like + " OR u.name ILIKE " + like + " OR u.email ILIKE " + like
		if id, err := strconv.ParseInt(text, 10, 64); err == nil {
			condition += " OR u.id = " + arg(id)
		}
		conditions = append(conditions, "("+condition+")")
	}
	switch q.Role {
	case "":
	case RoleUser:
		conditions = append(conditions, "NOT u.is_staff")
	case RoleViewer:
		conditions = append(conditions, "u.is_staff AND NOT u.is_superuser")
	case RoleOperator:
		conditions = append(conditions, "u.is_staff AND u.is_superuser")
	default:
		return "", nil, ErrRole
	}
	switch {
	case q.Active == nil:
	case *q.Active:
		conditions = append(conditions, "u.is_active")
	default:
		conditions = append(conditions, "NOT u.is_active")
	}
	if q.Cursor != "" {
		at, id, err := directoryCursor(q.Cursor)
		if err != nil {
			return "", nil, err
		}
		conditions = append(conditions, "(u.created_at, u.id) < ("+arg(at)+"::timestamptz, "+arg(id)+"::bigint)")
	}
	sql := selectDirectory
	if len(conditions) > 0 {
		sql += " WHERE " + strings.Join(conditions, " AND ")
	}
	return sql + " ORDER BY u.created_at DESC, u.id DESC LIMIT " + arg(q.Limit+1), args, nil
}

// maxMicros keeps a forged cursor within what Postgres can hold: about the
// year 8300.
const maxMicros = 200_000_000_000_000_000

// directoryCursor reads a position: when an account was made, and its id.
func directoryCursor(s string) (time.Time, int64, error) {
	if len(s) > 64 {
		return time.Time{}, 0, ErrCursor
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return time.Time{}, 0, ErrCursor
	}
	moment, number, ok := strings.Cut(string(b), ".")
	us, err := strconv.ParseInt(moment, 10, 64)
	id, idErr := strconv.ParseInt(number, 10, 64)
	if !ok || err != nil || idErr != nil || us > maxMicros || us < -maxMicros {
		return time.Time{}, 0, ErrCursor
	}
	return time.UnixMicro(us).UTC(), id, nil
}
