package accounts

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"selflink/appliance/database"
	"selflink/appliance/httpapi"
	"selflink/services/accounts/accountsdb"
)

// maxItems is the most items of a list in a profile.
const maxItems = 32

// Profile is what matching knows of a person (contract 01 §8).
type Profile struct {
	Gender             string         `json:"gender"`
	Orientation        string         `json:"orientation"`
	RelationshipGoal   string         `json:"relationship_goal"`
	Values             []string       `json:"values"`
	PreferredLifestyle []string       `json:"preferred_lifestyle"`
	AttachmentStyle    string         `json:"attachment_style"`
	LoveLanguage       []string       `json:"love_language"`
	BirthDate          httpapi.Date   `json:"birth_date"`
	BirthTime          *httpapi.Clock `json:"birth_time"`
	BirthCity          string         `json:"birth_city"`
	BirthCountry       string         `json:"birth_country"`
	BirthTimezone      string         `json:"birth_timezone"`
	BirthLatitude      *float64       `json:"birth_latitude"`
	BirthLongitude     *float64       `json:"birth_longitude"`
}

type profileChanges struct {
	Gender             httpapi.Opt[string]          `json:"gender" blank:"true" enum:"male,female,non_binary,other,prefer_not_to_say"`
	Orientation        httpapi.Opt[string]          `json:"orientation" blank:"true" enum:"hetero,homo,bi,pan,asexual,other,prefer_not_to_say"`
	RelationshipGoal   httpapi.Opt[string]          `json:"relationship_goal" enum:"casual,long_term,marriage,unsure"`
	Values             httpapi.Opt[json.RawMessage] `json:"values"`
	PreferredLifestyle httpapi.Opt[json.RawMessage] `json:"preferred_lifestyle"`
	AttachmentStyle    httpapi.Opt[string]          `json:"attachment_style" blank:"true" enum:"secure,anxious,avoidant,mixed"`
	LoveLanguage       httpapi.Opt[json.RawMessage] `json:"love_language"`
	BirthDate          httpapi.Opt[httpapi.Date]    `json:"birth_date" null:"true"`
	BirthTime          httpapi.Opt[httpapi.Clock]   `json:"birth_time" null:"true"`
	BirthCity          httpapi.Opt[string]          `json:"birth_city" blank:"true" max:"128"`
	BirthCountry       httpapi.Opt[string]          `json:"birth_country" blank:"true" max:"128"`
	BirthTimezone      httpapi.Opt[string]          `json:"birth_timezone" blank:"true" max:"64"`
	BirthLatitude      httpapi.Opt[float64]         `json:"birth_latitude" null:"true" min:"-90" max:"90"`
	BirthLongitude     httpapi.Opt[float64]         `json:"birth_longitude" null:"true" min:"-180" max:"180"`
}

// defaultGoal is the goal of somebody who named none.
const defaultGoal = "unsure"

func publicProfile(r accountsdb.ProfileRow) Profile {
	return Profile{
		Gender: r.Gender, Orientation: r.Orientation, RelationshipGoal: r.RelationshipGoal,
		Values: filled(r.Values), PreferredLifestyle: filled(r.PreferredLifestyle),
		AttachmentStyle: r.AttachmentStyle, LoveLanguage: filled(r.LoveLanguage),
		BirthDate: dateOf(r.BirthDate), BirthTime: clockOf(r.BirthTime), BirthCity: r.BirthCity, BirthCountry: r.BirthCountry,
		BirthTimezone: r.BirthTimezone, BirthLatitude: r.BirthLatitude, BirthLongitude: r.BirthLongitude,
	}
}

// filled makes an empty list of a missing one.
func filled(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func readProfile(ctx context.Context, db database.Querier, user int64) (accountsdb.ProfileRow, error) {
	r, err := accountsdb.New(db).Profile(ctx, user)
	if database.IsNoRows(err) {
		return accountsdb.ProfileRow{RelationshipGoal: defaultGoal}, nil
	}
	if err != nil {
		return r, fmt.Errorf("read profile: %w", err)
	}
	return r, nil
}

// unfilled reports whether nobody has filled anything in yet.
func unfilled(r accountsdb.ProfileRow) bool {
	return r.Gender == "" && r.Orientation == "" && r.RelationshipGoal == defaultGoal &&
		len(r.Values)+len(r.PreferredLifestyle)+len(r.LoveLanguage) == 0 && r.AttachmentStyle == "" &&
		!r.BirthDate.Valid && !r.BirthTime.Valid && r.BirthCity == "" && r.BirthCountry == "" && r.BirthTimezone == "" &&
		r.BirthLatitude == nil && r.BirthLongitude == nil
}

// changeProfile stores parts of a profile. The status is 201 while the stored
// profile was still unfilled, else 200.
func (s *Service) changeProfile(ctx context.Context, user int64, in profileChanges) (httpapi.Result[Profile], error) {
	out := httpapi.Result[Profile]{Status: http.StatusOK}
	var bad httpapi.FieldErrors
	values := stringList(&bad, "values", in.Values)
	lifestyle := stringList(&bad, "preferred_lifestyle", in.PreferredLifestyle)
	language := stringList(&bad, "love_language", in.LoveLanguage)
	if err := bad.Err(); err != nil {
		return out, err
	}
	err := s.db.Tx(ctx, func(tx database.Tx) error {
		if _, err := lockUser(ctx, tx, user); err != nil {
			return err
		}
		r, err := readProfile(ctx, tx, user)
		if err != nil {
			return err
		}
		if unfilled(r) {
			out.Status = http.StatusCreated
		}
		in.apply(&r)
		r.Values, r.PreferredLifestyle, r.LoveLanguage = values.Or(r.Values), lifestyle.Or(r.PreferredLifestyle), language.Or(r.LoveLanguage)
		out.Body = publicProfile(r)
		err = accountsdb.New(tx).SaveProfile(ctx, accountsdb.SaveProfileParams{
			UserID: user, Gender: r.Gender, Orientation: r.Orientation, RelationshipGoal: r.RelationshipGoal,
			ValuesHeld: out.Body.Values, PreferredLifestyle: out.Body.PreferredLifestyle,
			AttachmentStyle: r.AttachmentStyle, LoveLanguage: out.Body.LoveLanguage,
			BirthDate: r.BirthDate, BirthTime: r.BirthTime, BirthCity: r.BirthCity, BirthCountry: r.BirthCountry,
			BirthTimezone: r.BirthTimezone, BirthLatitude: r.BirthLatitude, BirthLongitude: r.BirthLongitude, Now: s.now(),
		})
		if err != nil {
			return fmt.Errorf("store profile: %w", err)
		}
		return nil
	})
	return out, err
}

// apply changes everything but the lists.
func (in profileChanges) apply(r *accountsdb.ProfileRow) {
	r.Gender, r.Orientation = in.Gender.Or(r.Gender), in.Orientation.Or(r.Orientation)
	r.RelationshipGoal, r.AttachmentStyle = in.RelationshipGoal.Or(r.RelationshipGoal), in.AttachmentStyle.Or(r.AttachmentStyle)
	r.BirthCity, r.BirthCountry = in.BirthCity.Or(r.BirthCity), in.BirthCountry.Or(r.BirthCountry)
	r.BirthTimezone = in.BirthTimezone.Or(r.BirthTimezone)
	if in.BirthDate.Set {
		r.BirthDate = pgDate(in.BirthDate.Value)
	}
	if in.BirthTime.Set {
		r.BirthTime = pgClock(in.BirthTime.Ptr())
	}
	if in.BirthLatitude.Set {
		r.BirthLatitude = in.BirthLatitude.Ptr()
	}
	if in.BirthLongitude.Set {
		r.BirthLongitude = in.BirthLongitude.Ptr()
	}
}

// stringList reads a short list of texts.
func stringList(bad *httpapi.FieldErrors, field string, in httpapi.Opt[json.RawMessage]) httpapi.Opt[[]string] {
	out := httpapi.Opt[[]string]{Set: in.Set}
	if !in.Set {
		return out
	}
	var items []*string
	err := json.Unmarshal(in.Value, &items)
	for _, item := range items {
		if err != nil || item == nil {
			items = nil
			break
		}
		out.Value = append(out.Value, strings.ReplaceAll(*item, "\x00", ""))
	}
	switch {
	case err != nil || items == nil:
		bad.Add(field, field+" must be a list of strings.")
	case len(items) > maxItems:
		bad.Add(field, field+" must contain 32 items or fewer.")
	}
	return out
}
