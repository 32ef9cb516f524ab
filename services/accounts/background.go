package accounts

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgtype"

	"selflink/appliance/database"
)

// UserContext is what the mentor may know of a person. What is not known is
// empty.
type UserContext struct {
	Name, Handle, Bio string
	Locale, Language  string
	BirthDate         string // YYYY-MM-DD
	BirthTime         string // HH:MM:SS[.ffffff]
	BirthPlace        string
}

// UserContext gives what the mentor may know. Birth date and time come from
// the first that has them of profile, personal map and account; the place from
// the account, else as "city, country", else as a city. It fails with
// [ErrNoAccount].
func (s *Service) UserContext(ctx context.Context, id int64) (UserContext, error) {
	r, err := s.q.Background(ctx, id)
	if database.IsNoRows(err) {
		return UserContext{}, ErrNoAccount
	}
	if err != nil {
		return UserContext{}, fmt.Errorf("read what the mentor may know: %w", err)
	}
	c := UserContext{Name: r.Name, Handle: r.Handle, Bio: r.Bio, Locale: r.Locale, Language: r.Language}
	for _, d := range []pgtype.Date{r.ProfileDate, r.MapDate, r.BirthDate} {
		if d.Valid {
			c.BirthDate = dateOf(d).String()
			break
		}
	}
	for _, t := range []pgtype.Time{r.ProfileTime, r.MapTime, r.BirthTime} {
		if clock := clockOf(t); clock != nil {
			c.BirthTime = clock.String()
			break
		}
	}
	c.BirthPlace = birthPlace(r.BirthPlace, [2]string{text(r.ProfileCity), text(r.ProfileCountry)}, [2]string{text(r.MapCity), text(r.MapCountry)})
	return c, nil
}

// birthPlace chooses the fullest place: the account's own text, else the first
// pair with city and country, else the first city.
func birthPlace(own string, pairs ...[2]string) string {
	if own != "" {
		return own
	}
	for _, p := range pairs {
		if p[0] != "" && p[1] != "" {
			return p[0] + ", " + p[1]
		}
	}
	for _, p := range pairs {
		if p[0] != "" {
			return p[0]
		}
	}
	return ""
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
