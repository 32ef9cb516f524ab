package accounts

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"selflink/appliance/database"
	"selflink/appliance/httpapi"
	"selflink/services/accounts/accountsdb"
)

// changes are what a person may change of their account. Other fields are
// ignored.
type changes struct {
	Name       httpapi.Opt[string]          `json:"name" max:"120"`
	Bio        httpapi.Opt[string]          `json:"bio" blank:"true"`
	Photo      httpapi.Opt[string]          `json:"photo" blank:"true" max:"200" format:"url"`
	BirthDate  httpapi.Opt[httpapi.Date]    `json:"birth_date" null:"true"`
	BirthTime  httpapi.Opt[httpapi.Clock]   `json:"birth_time" null:"true"`
	BirthPlace httpapi.Opt[string]          `json:"birth_place" blank:"true" max:"255"`
	Locale     httpapi.Opt[string]          `json:"locale" max:"32"`
	Settings   httpapi.Opt[settingsChanges] `json:"settings"`
}

type settingsChanges struct {
	Privacy       httpapi.Opt[string]          `json:"privacy" max:"32"`
	DMPolicy      httpapi.Opt[string]          `json:"dm_policy" max:"32"`
	Language      httpapi.Opt[string]          `json:"language" max:"32"`
	QuietHours    httpapi.Opt[json.RawMessage] `json:"quiet_hours"`
	PushEnabled   httpapi.Opt[bool]            `json:"push_enabled"`
	EmailEnabled  httpapi.Opt[bool]            `json:"email_enabled"`
	DigestEnabled httpapi.Opt[bool]            `json:"digest_enabled"`
}

// change stores what a person changes and gives the account as it is then.
func (s *Service) change(ctx context.Context, id int64, in changes) (User, error) {
	now := s.now()
	err := s.db.Tx(ctx, func(tx database.Tx) error {
		u, err := lockUser(ctx, tx, id)
		if err != nil {
			return err
		}
		u.Name, u.Bio, u.Photo = in.Name.Or(u.Name), in.Bio.Or(u.Bio), in.Photo.Or(u.Photo)
		u.BirthPlace, u.Locale = in.BirthPlace.Or(u.BirthPlace), in.Locale.Or(u.Locale)
		if in.BirthDate.Set {
			u.BirthDate = pgDate(in.BirthDate.Value)
		}
		if in.BirthTime.Set {
			u.BirthTime = pgClock(in.BirthTime.Ptr())
		}
		if err := saveUser(ctx, tx, id, u, &now); err != nil {
			return err
		}
		if set := in.Settings; set.Set {
			if err := saveSettings(ctx, tx, id, set.Value); err != nil {
				return err
			}
		}
		s.changed(tx, id)
		return s.tellChange(ctx, tx, id)
	})
	if err != nil {
		return User{}, fmt.Errorf("change account: %w", err)
	}
	return s.own(ctx, id)
}

func lockUser(ctx context.Context, tx database.Tx, id int64) (accountsdb.LockUserRow, error) {
	u, err := accountsdb.New(tx).LockUser(ctx, id)
	if database.IsNoRows(err) {
		return u, httpapi.NotFound("User")
	}
	if err != nil {
		return u, fmt.Errorf("lock account: %w", err)
	}
	return u, nil
}

// saveUser writes an account and the mirror of what identifies the person. A
// nil time leaves updated_at alone.
func saveUser(ctx context.Context, tx database.Tx, id int64, u accountsdb.LockUserRow, at *time.Time) error {
	err := accountsdb.New(tx).UpdateUser(ctx, accountsdb.UpdateUserParams{
		ID: id, Name: u.Name, Bio: u.Bio, Photo: u.Photo, BirthDate: u.BirthDate, BirthTime: u.BirthTime,
		BirthPlace: u.BirthPlace, Locale: u.Locale, UpdatedAt: at,
	})
	if err != nil {
		return fmt.Errorf("store account: %w", err)
	}
	return nil
}

func saveSettings(ctx context.Context, tx database.Tx, id int64, in settingsChanges) error {
	p := accountsdb.UpdateSettingsParams{
		UserID: id, Privacy: in.Privacy.Ptr(), DmPolicy: in.DMPolicy.Ptr(), Language: in.Language.Ptr(),
		PushEnabled: in.PushEnabled.Ptr(), EmailEnabled: in.EmailEnabled.Ptr(), DigestEnabled: in.DigestEnabled.Ptr(),
	}
	if in.QuietHours.Set {
		p.QuietHours = in.QuietHours.Value
	}
	if err := accountsdb.New(tx).UpdateSettings(ctx, p); err != nil {
		return fmt.Errorf("store settings: %w", err)
	}
	return nil
}
