package accounts

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"selflink/appliance/database"
	"selflink/appliance/httpapi"
	"selflink/services/accounts/accountsdb"
)

const (
	maxName  = 120 // characters of an account's name
	maxPlace = 255 // characters of an account's birth place
)

// PersonalMap is what a person fills in about themselves (contract 01 §7).
type PersonalMap struct {
	Email             string         `json:"email"`
	FirstName         string         `json:"first_name"`
	LastName          string         `json:"last_name"`
	BirthDate         httpapi.Date   `json:"birth_date"`
	BirthTime         *httpapi.Clock `json:"birth_time"`
	BirthPlaceCountry string         `json:"birth_place_country"`
	BirthPlaceCity    string         `json:"birth_place_city"`
	AvatarImage       *string        `json:"avatar_image"`
	IsComplete        bool           `json:"is_complete"`
}

// mapDocument is a whole personal map, as PUT sends it.
type mapDocument struct {
	FirstName         string                     `json:"first_name" max:"120"`
	LastName          string                     `json:"last_name" max:"120"`
	BirthDate         httpapi.Date               `json:"birth_date" format:"date" formats:"YYYY-MM-DD,DD/MM/YYYY"`
	BirthTime         httpapi.Opt[httpapi.Clock] `json:"birth_time" null:"true" format:"time" formats:"hh:mm,hh:mm:ss"`
	BirthPlaceCountry string                     `json:"birth_place_country" max:"120"`
	BirthPlaceCity    string                     `json:"birth_place_city" max:"120"`
	AvatarImage       httpapi.Opt[httpapi.File]  `json:"avatar_image" null:"true"`
}

// mapChanges are parts of one, as PATCH sends them.
type mapChanges struct {
	FirstName         httpapi.Opt[string]        `json:"first_name" max:"120"`
	LastName          httpapi.Opt[string]        `json:"last_name" max:"120"`
	BirthDate         httpapi.Opt[httpapi.Date]  `json:"birth_date" format:"date" formats:"YYYY-MM-DD,DD/MM/YYYY"`
	BirthTime         httpapi.Opt[httpapi.Clock] `json:"birth_time" null:"true" format:"time" formats:"hh:mm,hh:mm:ss"`
	BirthPlaceCountry httpapi.Opt[string]        `json:"birth_place_country" max:"120"`
	BirthPlaceCity    httpapi.Opt[string]        `json:"birth_place_city" max:"120"`
	AvatarImage       httpapi.Opt[httpapi.File]  `json:"avatar_image" null:"true"`
}

func set[T any](v T) httpapi.Opt[T] { return httpapi.Opt[T]{Set: true, Value: v} }

func (d mapDocument) changes() mapChanges {
	return mapChanges{
		FirstName: set(d.FirstName), LastName: set(d.LastName), BirthDate: set(d.BirthDate), BirthTime: d.BirthTime,
		BirthPlaceCountry: set(d.BirthPlaceCountry), BirthPlaceCity: set(d.BirthPlaceCity), AvatarImage: d.AvatarImage,
	}
}

func (s *Service) publicMap(ctx context.Context, email string, m accountsdb.PersonalMapRow) PersonalMap {
	return PersonalMap{
		AvatarImage: s.avatarImage(ctx, m.Avatar),

		Email: email, FirstName: m.FirstName, LastName: m.LastName, BirthDate: dateOf(m.BirthDate), BirthTime: clockOf(m.BirthTime),
		BirthPlaceCountry: m.BirthPlaceCountry, BirthPlaceCity: m.BirthPlaceCity, IsComplete: complete(m),
	}
}

func complete(m accountsdb.PersonalMapRow) bool {
	return m.FirstName != "" && m.LastName != "" && m.BirthDate.Valid && m.BirthPlaceCountry != "" && m.BirthPlaceCity != ""
}

// readMap gives a stored map, or an empty one.
func readMap(ctx context.Context, db database.Querier, user int64) (accountsdb.PersonalMapRow, error) {
	m, err := accountsdb.New(db).PersonalMap(ctx, user)
	if err != nil && !database.IsNoRows(err) {
		return m, fmt.Errorf("read personal map: %w", err)
	}
	return m, nil
}

func (s *Service) personalMap(ctx context.Context, user int64) (PersonalMap, error) {
	u, err := s.own(ctx, user)
	if err != nil {
		return PersonalMap{}, err
	}
	m, err := readMap(ctx, s.db, user)
	return s.publicMap(ctx, *u.Email, m), err
}

// changeMap stores parts of a personal map, which may stay a draft, and copies
// what it says onto the account.
func (s *Service) changeMap(ctx context.Context, user int64, in mapChanges) (PersonalMap, error) {
	picture, err := s.receive(ctx, in.AvatarImage)
	if err != nil {
		return PersonalMap{}, err
	}
	var m accountsdb.PersonalMapRow
	err = s.db.Tx(ctx, func(tx database.Tx) error {
		u, err := lockUser(ctx, tx, user) // also keeps two first drafts apart
		if err != nil {
			return err
		}
		if m, err = readMap(ctx, tx, user); err != nil {
			return err
		}
		m.FirstName, m.LastName = in.FirstName.Or(m.FirstName), in.LastName.Or(m.LastName)
		m.BirthPlaceCountry, m.BirthPlaceCity = in.BirthPlaceCountry.Or(m.BirthPlaceCountry), in.BirthPlaceCity.Or(m.BirthPlaceCity)
		if in.BirthDate.Set {
			m.BirthDate = pgDate(in.BirthDate.Value)
		}
		if in.BirthTime.Set {
			m.BirthTime = pgClock(in.BirthTime.Ptr())
		}
		switch {
		case picture != nil:
			if err := s.replaceAvatar(ctx, tx, user, picture, &m, &u); err != nil {
				return err
			}
		case in.AvatarImage.Set: // the account keeps its photo
			m.Avatar = ""
		}
		err = accountsdb.New(tx).SavePersonalMap(ctx, accountsdb.SavePersonalMapParams{
			UserID: user, FirstName: m.FirstName, LastName: m.LastName, BirthDate: m.BirthDate, BirthTime: m.BirthTime,
			BirthPlaceCountry: m.BirthPlaceCountry, BirthPlaceCity: m.BirthPlaceCity, Avatar: m.Avatar, Now: s.now(),
		})
		if err != nil {
			return fmt.Errorf("store personal map: %w", err)
		}
		mirror(&u, m, in.BirthTime.Set)
		if err := saveUser(ctx, tx, user, u, nil); err != nil {
			return err
		}
		s.changed(tx, user)
		return s.tellChange(ctx, tx, user)
	})
	if err != nil {
		return PersonalMap{}, fmt.Errorf("change personal map: %w", err)
	}
	own, err := s.own(ctx, user)
	if err != nil {
		return PersonalMap{}, err
	}
	return s.publicMap(ctx, *own.Email, m), nil
}

// mirror copies a map onto its account. A draft copies only the parts that are
// whole, so that it takes nothing away.
func mirror(u *accountsdb.LockUserRow, m accountsdb.PersonalMapRow, timeGiven bool) {
	if m.FirstName != "" && m.LastName != "" {
		u.Name = cut(m.FirstName+" "+m.LastName, maxName)
	}
	if m.BirthDate.Valid {
		u.BirthDate = m.BirthDate
	}
	if timeGiven || complete(m) {
		u.BirthTime = m.BirthTime
	}
	if m.BirthPlaceCity != "" && m.BirthPlaceCountry != "" {
		u.BirthPlace = cut(m.BirthPlaceCity+", "+m.BirthPlaceCountry, maxPlace)
	}
}

// cut keeps at most n characters.
func cut(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return strings.TrimSpace(string([]rune(s)[:n]))
}
