package accounts

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"selflink/appliance/database"
	"selflink/appliance/oldstack"
	"selflink/services/accounts/accountsdb"
)

type oldProfile struct {
	ID                 int64              `old:"id"`
	UserID             int64              `old:"user_id"`
	Gender             string             `old:"gender" or:"''"`
	Orientation        string             `old:"orientation" or:"''"`
	RelationshipGoal   string             `old:"relationship_goal" or:"'unsure'"`
	Values             oldstack.JSON      `old:"values" or:"'[]'"`
	PreferredLifestyle oldstack.JSON      `old:"preferred_lifestyle" or:"'[]'"`
	AttachmentStyle    string             `old:"attachment_style" or:"''"`
	LoveLanguage       oldstack.JSON      `old:"love_language" or:"'[]'"`
	BirthDate          pgtype.Date        `old:"birth_date" or:"NULL"`
	BirthTime          pgtype.Time        `old:"birth_time" or:"NULL"`
	BirthCity          string             `old:"birth_city" or:"''" max:"128"`
	BirthCountry       string             `old:"birth_country" or:"''" max:"128"`
	BirthTimezone      string             `old:"birth_timezone" or:"''" max:"64"`
	BirthLatitude      pgtype.Float8      `old:"birth_latitude" or:"NULL"`
	BirthLongitude     pgtype.Float8      `old:"birth_longitude" or:"NULL"`
	CreatedAt          pgtype.Timestamptz `old:"created_at" must:"true"`
	UpdatedAt          pgtype.Timestamptz `old:"updated_at" must:"true"`
}

type importedProfile = accountsdb.Profile

func importProfiles() oldstack.Copy[oldProfile, importedProfile] {
	user := func(r importedProfile) int64 { return r.UserID }
	find := func(q *accountsdb.Queries, ctx context.Context, users []int64) ([]importedProfile, error) {
		rows, err := q.ImportedProfiles(ctx, users)
		for i := range rows {
			rows[i].CreatedAt, rows[i].UpdatedAt = rows[i].CreatedAt.UTC(), rows[i].UpdatedAt.UTC()
		}
		return rows, err
	}
	return personal(oldstack.Copy[oldProfile, importedProfile]{
		Kind: "profiles", Table: "profile_userprofile",
		ID:      func(o *oldProfile) int64 { return o.ID },
		Convert: convertProfile,
		Blank: func(r importedProfile) bool {
			return unfilled(accountsdb.ProfileRow{
				Gender: r.Gender, Orientation: r.Orientation, RelationshipGoal: r.RelationshipGoal, Values: r.Values,
				PreferredLifestyle: r.PreferredLifestyle, AttachmentStyle: r.AttachmentStyle, LoveLanguage: r.LoveLanguage,
				BirthDate: r.BirthDate, BirthTime: r.BirthTime, BirthCity: r.BirthCity, BirthCountry: r.BirthCountry,
				BirthTimezone: r.BirthTimezone, BirthLatitude: r.BirthLatitude, BirthLongitude: r.BirthLongitude,
			})
		},
	}, user, find, func(ctx context.Context, q *accountsdb.Queries, rows []importedProfile) error {
		params := make([]accountsdb.ImportProfileParams, len(rows))
		for i, r := range rows {
			params[i] = accountsdb.ImportProfileParams{
				UserID: r.UserID, Gender: r.Gender, Orientation: r.Orientation, RelationshipGoal: r.RelationshipGoal, ValuesHeld: r.Values,
				PreferredLifestyle: r.PreferredLifestyle, AttachmentStyle: r.AttachmentStyle, LoveLanguage: r.LoveLanguage,
				BirthDate: r.BirthDate, BirthTime: r.BirthTime, BirthCity: r.BirthCity, BirthCountry: r.BirthCountry, BirthTimezone: r.BirthTimezone,
				BirthLatitude: r.BirthLatitude, BirthLongitude: r.BirthLongitude, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
			}
		}
		return allDone(q.ImportProfile(ctx, params).Exec)
	})
}

func convertProfile(o *oldProfile, _ func(string)) (importedProfile, error) {
	p := importedProfile{
		UserID: o.UserID, Gender: o.Gender, Orientation: o.Orientation, RelationshipGoal: o.RelationshipGoal, AttachmentStyle: o.AttachmentStyle,
		BirthDate: o.BirthDate, BirthTime: o.BirthTime, BirthCity: o.BirthCity, BirthCountry: o.BirthCountry, BirthTimezone: o.BirthTimezone,
		BirthLatitude: floatOf(o.BirthLatitude), BirthLongitude: floatOf(o.BirthLongitude),
		CreatedAt: o.CreatedAt.Time.UTC(), UpdatedAt: o.UpdatedAt.Time.UTC(),
	}
	for _, list := range []struct {
		name string
		from oldstack.JSON
		to   *[]string
	}{{"values", o.Values, &p.Values}, {"preferred_lifestyle", o.PreferredLifestyle, &p.PreferredLifestyle}, {"love_language", o.LoveLanguage, &p.LoveLanguage}} {
		texts, err := stringsOf(list.from)
		if err != nil {
			return p, oldstack.Refused(list.name + " " + err.Error())
		}
		*list.to = texts
	}
	return p, nil
}

func floatOf(f pgtype.Float8) *float64 {
	if !f.Valid {
		return nil
	}
	return &f.Float64
}

type oldMap struct {
	ID        int64              `old:"id"`
	UserID    int64              `old:"user_id"`
	FirstName string             `old:"first_name" or:"''" max:"120"`
	LastName  string             `old:"last_name" or:"''" max:"120"`
	BirthDate pgtype.Date        `old:"birth_date" or:"NULL"`
	BirthTime pgtype.Time        `old:"birth_time" or:"NULL"`
	Country   string             `old:"birth_place_country" or:"''" max:"120"`
	City      string             `old:"birth_place_city" or:"''" max:"120"`
	Avatar    string             `old:"avatar_image" or:"''" max:"512"`
	CreatedAt pgtype.Timestamptz `old:"created_at" must:"true"`
	UpdatedAt pgtype.Timestamptz `old:"updated_at" must:"true"`
}

type importedMap = accountsdb.PersonalMap

func importMaps() oldstack.Copy[oldMap, importedMap] {
	user := func(r importedMap) int64 { return r.UserID }
	find := func(q *accountsdb.Queries, ctx context.Context, users []int64) ([]importedMap, error) {
		rows, err := q.ImportedMaps(ctx, users)
		for i := range rows {
			rows[i].CreatedAt, rows[i].UpdatedAt = rows[i].CreatedAt.UTC(), rows[i].UpdatedAt.UTC()
		}
		return rows, err
	}
	return personal(oldstack.Copy[oldMap, importedMap]{
		Kind: "personal maps", Table: "users_personalmapprofile",
		ID: func(o *oldMap) int64 { return o.ID },
		Convert: func(o *oldMap, note func(string)) (importedMap, error) {
			if o.Avatar != "" {
				note("they have a picture: copy its file into our file storage")
			}
			return importedMap{
				UserID: o.UserID, FirstName: o.FirstName, LastName: o.LastName, BirthDate: o.BirthDate, BirthTime: o.BirthTime,
				BirthPlaceCountry: o.Country, BirthPlaceCity: o.City, Avatar: o.Avatar,
				CreatedAt: o.CreatedAt.Time.UTC(), UpdatedAt: o.UpdatedAt.Time.UTC(),
			}, nil
		},
	}, user, find, func(ctx context.Context, q *accountsdb.Queries, rows []importedMap) error {
		params := make([]accountsdb.ImportMapParams, len(rows))
		for i, r := range rows {
			params[i] = accountsdb.ImportMapParams(r)
		}
		return allDone(q.ImportMap(ctx, params).Exec)
	})
}

// importedPhoto makes a key of our storage of the address of a file that the
// old backend kept: below mediaURL, on its own host, or signed. Others stay as
// they are.
func importedPhoto(photo, mediaURL string) string {
	u, err := url.Parse(photo)
	if err != nil {
		return photo
	}
	var key string
	switch {
	case mediaURL != "" && strings.HasPrefix(photo, mediaURL):
		base, err := url.Parse(mediaURL)
		if err != nil {
			return photo
		}
		key = strings.TrimPrefix(u.Path, base.Path)
	case u.Host == "" && u.Scheme == "" && strings.HasPrefix(u.Path, "/media/"):
		key = strings.TrimPrefix(u.Path, "/media/")
	case u.Query().Has("X-Amz-Signature"), u.Query().Has("Signature") && u.Query().Has("Expires"):
		if _, rest, ok := strings.Cut(u.Path, "/"+avatarFolder); ok {
			key = avatarFolder + rest
		}
	}
	if key = strings.TrimPrefix(key, "/"); !strings.HasPrefix(key, avatarFolder) || len(key) == len(avatarFolder) {
		return photo // only below this are photos known to be keys
	}
	return key
}

type oldDevice struct {
	ID        int64              `old:"id"`
	UserID    int64              `old:"user_id"`
	Type      string             `old:"device_type" or:"''" max:"32"`
	Token     string             `old:"push_token" max:"255"`
	LastSeen  pgtype.Timestamptz `old:"last_seen" or:"created_at" must:"true"`
	CreatedAt pgtype.Timestamptz `old:"created_at" must:"true"`
}

type importedDevice = accountsdb.Device

// importDevices keeps of a push token the device that was seen last: the old
// backend let several people have one token.
func importDevices() oldstack.Copy[oldDevice, importedDevice] {
	return oldstack.Copy[oldDevice, importedDevice]{
		Kind: "devices", Table: "users_device",
		ID: func(o *oldDevice) int64 { return o.ID },
		Convert: func(o *oldDevice, _ func(string)) (importedDevice, error) {
			if o.Token == "" {
				return importedDevice{}, oldstack.Skip("push_token is empty")
			}
			return importedDevice{
				ID: o.ID, UserID: o.UserID, DeviceType: o.Type, PushToken: o.Token,
				LastSeen: o.LastSeen.Time.UTC(), CreatedAt: o.CreatedAt.Time.UTC(),
			}, nil
		},
		Parents: func(r importedDevice) []oldstack.Parent {
			return []oldstack.Parent{{Kind: ImportedAccounts, ID: r.UserID}}
		},
		Find: func(ctx context.Context, q database.Querier, rows []oldstack.Item[importedDevice]) (map[int64]importedDevice, error) {
			found, err := accountsdb.New(q).ImportedDevices(ctx, oldIDs(rows))
			if err != nil {
				return nil, fmt.Errorf("look up devices: %w", err)
			}
			ours := make(map[int64]importedDevice, len(found))
			for _, r := range found {
				r.LastSeen, r.CreatedAt = r.LastSeen.UTC(), r.CreatedAt.UTC()
				ours[r.ID] = r
			}
			return ours, nil
		},
		Clashes: laterDevices,
		Insert: func(ctx context.Context, tx database.Tx, rows []oldstack.Item[importedDevice]) error {
			params := make([]accountsdb.ImportDeviceParams, len(rows))
			for i, it := range rows {
				params[i] = accountsdb.ImportDeviceParams(it.Row)
			}
			if err := allDone(accountsdb.New(tx).ImportDevice(ctx, params).Exec); err != nil {
				return fmt.Errorf("store devices: %w", err)
			}
			return nil
		},
		Update: func(ctx context.Context, tx database.Tx, rows []oldstack.Item[importedDevice]) error {
			params := make([]accountsdb.ReimportDeviceParams, len(rows))
			for i, it := range rows {
				r := it.Row
				params[i] = accountsdb.ReimportDeviceParams{
					UserID: r.UserID, DeviceType: r.DeviceType, PushToken: r.PushToken, LastSeen: r.LastSeen, CreatedAt: r.CreatedAt, ID: r.ID,
				}
			}
			if err := allDone(accountsdb.New(tx).ReimportDevice(ctx, params).Exec); err != nil {
				return fmt.Errorf("store devices: %w", err)
			}
			return nil
		},
	}
}

// laterDevices finds those whose token another device has that was seen later.
func laterDevices(ctx context.Context, q database.Querier, rows []oldstack.Item[importedDevice]) (map[int64]error, error) {
	type seen struct {
		id int64
		at time.Time
	}
	tokens := make([]string, len(rows))
	for i, it := range rows {
		tokens[i] = it.Row.PushToken
	}
	here, err := accountsdb.New(q).ImportTokens(ctx, tokens)
	if err != nil {
		return nil, fmt.Errorf("look up push tokens: %w", err)
	}
	last := map[string]seen{}
	for _, r := range here {
		last[r.PushToken] = seen{r.ID, r.LastSeen}
	}
	for _, it := range rows {
		r := it.Row
		if l, ok := last[r.PushToken]; !ok || l.at.Before(r.LastSeen) {
			last[r.PushToken] = seen{it.ID, r.LastSeen}
		}
	}
	clashes := map[int64]error{}
	for _, it := range rows {
		if last[it.Row.PushToken].id != it.ID {
			clashes[it.ID] = oldstack.Skip("the same phone was seen later with another account")
		}
	}
	return clashes, nil
}
