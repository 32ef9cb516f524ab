package accounts

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"selflink/appliance/auth"
	"selflink/appliance/httpapi"
)

const (
	// maxFollows is how many people followers/ and following/ show: they are
	// plain arrays without pages.
	maxFollows = 1000
	// maxTerms bounds the words of one search, each of which is a condition.
	maxTerms = 10
)

// person is a row of somebody else, or of the viewer among others.
type person struct {
	ID                                         int64
	Email, Handle, Name, Bio, Photo            string
	BirthDate                                  pgtype.Date
	BirthTime                                  pgtype.Time
	BirthPlace, Locale                         string
	Flags                                      json.RawMessage
	FollowersCount, FollowingCount, PostsCount int32
	CreatedAt, UpdatedAt                       time.Time
	IsFollowing                                bool
}

// selectPeople reads persons as the viewer $1 sees them; conditions follow.
const selectPeople = `SELECT u.id, u.email, u.handle, u.name, u.bio, u.photo, u.birth_date, u.birth_time, u.birth_place, u.locale, u.flags,
	u.followers_count, u.following_count, u.posts_count, u.created_at, u.updated_at,
	EXISTS (SELECT 1 FROM follows mine WHERE mine.follower_id = $1::bigint AND mine.followee_id = u.id)
FROM users u `

const (
	onePerson = selectPeople + `WHERE u.id = $2`

	followersOf = selectPeople + `JOIN follows f ON f.follower_id = u.id
WHERE f.followee_id = $2 ORDER BY f.created_at DESC, f.follower_id DESC LIMIT $3`

	followedBy = selectPeople + `JOIN follows f ON f.followee_id = u.id
WHERE f.follower_id = $2 ORDER BY f.created_at DESC, f.followee_id DESC LIMIT $3`
)

// people runs one of the queries above.
func (s *Service) people(ctx context.Context, sql string, args ...any) ([]person, error) {
	rows, err := s.db.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("read people: %w", err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowToStructByPos[person])
	if err != nil {
		return nil, fmt.Errorf("read people: %w", err)
	}
	return out, nil
}

// seen gives a person as viewer may see them: address and birth data are for
// the staff and for themselves, settings for themselves alone.
func (s *Service) seen(ctx context.Context, viewer auth.Principal, self Settings, p person) User {
	u := User{
		ID: p.ID, Handle: p.Handle, Name: p.Name, Bio: p.Bio, Photo: s.photo(ctx, p.Photo), Locale: p.Locale, Flags: p.Flags,
		FollowersCount: int(p.FollowersCount), FollowingCount: int(p.FollowingCount), PostsCount: int(p.PostsCount),
		IsFollowing: p.IsFollowing,
		CreatedAt:   httpapi.Timestamp(p.CreatedAt), UpdatedAt: httpapi.Timestamp(p.UpdatedAt),
		Settings: defaultSettings(),
	}
	if p.ID == viewer.UserID {
		u.Settings = self
	}
	if p.ID == viewer.UserID || viewer.Staff {
		u.Email, u.BirthPlace = &p.Email, &p.BirthPlace
		u.BirthDate, u.BirthTime = dateOf(p.BirthDate), clockOf(p.BirthTime)
	}
	return u
}

// selfSettings gives the viewer's own settings, for lists they may be in.
func (s *Service) selfSettings(ctx context.Context, viewer auth.Principal) (Settings, error) {
	a, err := s.account(ctx, viewer.UserID)
	return a.user.Settings, err
}

func (s *Service) allSeen(ctx context.Context, viewer auth.Principal, rows []person) ([]User, error) {
	self, err := s.selfSettings(ctx, viewer)
	if err != nil {
		return nil, err
	}
	out := make([]User, len(rows))
	for i, p := range rows {
		out[i] = s.seen(ctx, viewer, self, p)
	}
	return out, nil
}

// Person gives somebody as viewer sees them.
func (s *Service) Person(ctx context.Context, viewer auth.Principal, id int64) (User, error) {
	rows, err := s.people(ctx, onePerson, viewer.UserID, id)
	if err != nil {
		return User{}, err
	}
	if len(rows) == 0 {
		return User{}, httpapi.NotFound("User")
	}
	out, err := s.allSeen(ctx, viewer, rows)
	if err != nil {
		return User{}, err
	}
	return out[0], nil
}

// connected gives who follows id, or whom id follows, newest first.
func (s *Service) connected(ctx context.Context, viewer auth.Principal, sql string, id int64) ([]User, error) {
	if a, err := s.account(ctx, id); err != nil {
		return nil, err
	} else if !a.exists() {
		return nil, httpapi.NotFound("User")
	}
	rows, err := s.people(ctx, sql, viewer.UserID, id, maxFollows)
	if err != nil {
		return nil, err
	}
	return s.allSeen(ctx, viewer, rows)
}

// listQuery is a list of people: filters and the page.
type listQuery struct {
	httpapi.PageQuery
	Q      string `query:"q" raw:"true" doc:"Text inside the handle or the name."`
	Search string `query:"search" raw:"true" doc:"Words of which each must be inside the handle or the name; quotes keep words together."`
}

// orderColumn are the fields that people may be ordered by, which are none
// that others may not see.
func orderColumn(field string) (column string, moment bool) {
	switch field {
	case "id", "handle", "name":
		return "u." + field, false
	case "updated_at":
		return "u.updated_at", true
	}
	return "u.created_at", true
}

// list gives a page of all people.
func (s *Service) list(ctx context.Context, viewer auth.Principal, in listQuery) (httpapi.Page[User], error) {
	k, err := in.Keyset(httpapi.Newest, "id", "handle", "name", "updated_at")
	if err != nil {
		return httpapi.Page[User]{}, err
	}
	sql, args, err := listSQL(viewer, in, k)
	if err != nil {
		return httpapi.Page[User]{}, err
	}
	rows, err := s.people(ctx, sql, args...)
	if err != nil {
		return httpapi.Page[User]{}, err
	}
	self, err := s.selfSettings(ctx, viewer)
	if err != nil {
		return httpapi.Page[User]{}, err
	}
	position := func(p person) (string, int64) {
		switch k.Order.Field {
		case "id":
			return strconv.FormatInt(p.ID, 10), p.ID
		case "handle":
			return p.Handle, p.ID
		case "name":
			return p.Name, p.ID
		case "updated_at":
			return httpapi.TimeKey(p.UpdatedAt), p.ID
		}
		return httpapi.TimeKey(p.CreatedAt), p.ID
	}
	return httpapi.BuildPage(ctx, k, rows, position, func(p person) User { return s.seen(ctx, viewer, self, p) }), nil
}

// listSQL writes the query of a page. Everything a client sends is an
// argument; the text is made of constants alone.
func listSQL(viewer auth.Principal, in listQuery, k httpapi.Keyset) (string, []any, error) {
	var b strings.Builder
	b.WriteString(selectPeople)
	args := []any{viewer.UserID}
	where := " WHERE "
	arg := func(v any) string {
		args = append(args, v)
		return "$" + strconv.Itoa(len(args))
	}
	terms := searchTerms(in.Search)
	if q := clean(in.Q); q != "" {
		terms = append(terms, q)
	}
	for _, term := range terms {
		at := arg("%" + likeEscape(term) + "%")
		b.WriteString(where + "(u.handle ILIKE " + at + " OR u.name ILIKE " + at)
		if viewer.Staff {
			b.WriteString(" OR u.email ILIKE " + at)
		}
		b.WriteString(")")
		where = " AND "
	}
	column, moment := orderColumn(k.Order.Field)
	dir, cmp := "", " > "
	if k.Desc() {
		dir, cmp = " DESC", " < "
	}
	if k.Set {
		var key any = k.Key
		if moment {
			at, err := k.Time()
			if err != nil {
				return "", nil, err
			}
			key = at
		}
		if column == "u.id" {
			b.WriteString(where + "u.id" + cmp + arg(k.ID))
		} else {
			b.WriteString(where + "(" + column + ", u.id)" + cmp + "(" + arg(key) + ", " + arg(k.ID) + ")")
		}
	}
	b.WriteString(" ORDER BY " + column + dir)
	if column != "u.id" {
		b.WriteString(", u.id" + dir)
	}
	b.WriteString(" LIMIT " + arg(k.Limit))
	return b.String(), args, nil
}

// clean makes text from an address harmless to Postgres, which holds no NUL
// and no broken UTF-8.
func clean(s string) string {
	return strings.TrimSpace(strings.ReplaceAll(strings.ToValidUTF8(s, ""), "\x00", ""))
}

// likeEscape takes the meaning out of the wildcards of LIKE.
func likeEscape(s string) string {
	return strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(s)
}

// searchTerms splits a search at spaces and commas; quotes keep words
// together.
func searchTerms(s string) []string {
	var terms []string
	var word strings.Builder
	var quote rune
	flush := func() {
		if t := strings.TrimSpace(word.String()); t != "" && len(terms) < maxTerms {
			terms = append(terms, t)
		}
		word.Reset()
	}
	for _, r := range clean(s) {
		switch {
		case quote != 0 && r == quote:
			quote = 0
			flush()
		case quote != 0:
			word.WriteRune(r)
		case (r == '"' || r == '\'') && word.Len() == 0:
			quote = r
		case r == ',' || r == ' ' || r == '\t' || r == '\n' || r == '\r':
			flush()
		default:
			word.WriteRune(r)
		}
	}
	flush()
	return terms
}

// Relation is what two people have against each other.
type Relation struct {
	Blocks    bool // viewer blocked other
	BlockedBy bool // other blocked viewer
	Mutes     bool // viewer muted other
}

// Relation looks up blocks and mutes between two people.
func (s *Service) Relation(ctx context.Context, viewer, other int64) (Relation, error) {
	return relation(ctx, s.db, viewer, other)
}
