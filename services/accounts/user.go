package accounts

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"selflink/appliance/cache"
	"selflink/appliance/httpapi"
	"selflink/services/accounts/accountsdb"
)

// User is an account as its viewer may see it (contract 01 §1).
type User struct {
	ID             int64             `json:"id"`
	Email          *string           `json:"email"`
	Handle         string            `json:"handle"`
	Name           string            `json:"name"`
	Bio            string            `json:"bio"`
	Photo          string            `json:"photo"`
	BirthDate      httpapi.Date      `json:"birth_date"`
	BirthTime      *httpapi.Clock    `json:"birth_time"`
	BirthPlace     *string           `json:"birth_place"`
	Locale         string            `json:"locale"`
	Flags          json.RawMessage   `json:"flags"`
	FollowersCount int               `json:"followers_count"`
	FollowingCount int               `json:"following_count"`
	PostsCount     int               `json:"posts_count"`
	IsFollowing    bool              `json:"is_following"`
	CreatedAt      httpapi.Timestamp `json:"created_at"`
	UpdatedAt      httpapi.Timestamp `json:"updated_at"`
	Settings       Settings          `json:"settings"`
}

// Settings are a person's choices (contract 01 §5).
type Settings struct {
	Privacy       string          `json:"privacy"`
	DMPolicy      string          `json:"dm_policy"`
	Language      string          `json:"language"`
	QuietHours    json.RawMessage `json:"quiet_hours"`
	PushEnabled   bool            `json:"push_enabled"`
	EmailEnabled  bool            `json:"email_enabled"`
	DigestEnabled bool            `json:"digest_enabled"`
}

// defaultSettings are those of a new account, and what others see of any.
func defaultSettings() Settings {
	return Settings{
		Privacy: "public", DMPolicy: "everyone", Language: "en", QuietHours: json.RawMessage("{}"),
		PushEnabled: true, EmailEnabled: true,
	}
}

// account is what the cache holds of a person: all that a request of theirs
// needs. A zero account is one that does not exist.
type account struct {
	user        User // as its owner sees it
	active      bool
	staff       bool
	superuser   bool
	tokensAfter time.Time
}

func (a account) exists() bool { return a.user.ID != 0 }

// account gives a person from the cache.
func (s *Service) account(ctx context.Context, id int64) (account, error) {
	return s.accounts.Get(ctx, cache.ID(id), func(ctx context.Context) (account, error) {
		return s.loads.accounts.Do(ctx, id)
	})
}

// accountOf makes what is cached of a row.
func accountOf(r *accountsdb.AccountsRow) account {
	a := account{
		user: User{
			ID: r.ID, Email: &r.Email, Handle: r.Handle, Name: r.Name, Bio: r.Bio, Photo: r.Photo,
			BirthDate: dateOf(r.BirthDate), BirthTime: clockOf(r.BirthTime), BirthPlace: &r.BirthPlace,
			Locale: r.Locale, Flags: r.Flags,
			FollowersCount: int(r.FollowersCount), FollowingCount: int(r.FollowingCount), PostsCount: int(r.PostsCount),
			CreatedAt: httpapi.Timestamp(r.CreatedAt), UpdatedAt: httpapi.Timestamp(r.UpdatedAt),
			Settings: Settings{
				Privacy: r.Privacy, DMPolicy: r.DmPolicy, Language: r.Language, QuietHours: r.QuietHours,
				PushEnabled: r.PushEnabled, EmailEnabled: r.EmailEnabled, DigestEnabled: r.DigestEnabled,
			},
		},
		active: r.IsActive, staff: r.IsStaff, superuser: r.IsSuperuser,
	}
	if r.TokensAfter != nil {
		a.tokensAfter = *r.TokensAfter
	}
	return a
}

// own gives a person's own object.
func (s *Service) own(ctx context.Context, id int64) (User, error) {
	a, err := s.account(ctx, id)
	if err != nil {
		return User{}, err
	}
	if !a.exists() {
		return User{}, httpapi.NotFound("User")
	}
	a.user.Photo = s.photo(ctx, a.user.Photo)
	return a.user, nil
}

// dateOf and the three after it translate between Postgres and the wire. Null
// is the zero Date and the nil Clock.
func dateOf(d pgtype.Date) httpapi.Date {
	if !d.Valid {
		return httpapi.Date{}
	}
	return httpapi.DateOf(d.Time)
}

func pgDate(d httpapi.Date) pgtype.Date {
	return pgtype.Date{Time: d.Time(), Valid: !d.IsZero()}
}

func clockOf(t pgtype.Time) *httpapi.Clock {
	if !t.Valid {
		return nil
	}
	c := httpapi.Clock(time.Duration(t.Microseconds) * time.Microsecond)
	return &c
}

func pgClock(c *httpapi.Clock) pgtype.Time {
	if c == nil {
		return pgtype.Time{}
	}
	return pgtype.Time{Microseconds: time.Duration(*c).Microseconds(), Valid: true}
}
