package accounts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"selflink/appliance/database"
	"selflink/appliance/oldstack"
	"selflink/services/accounts/accountsdb"
)

// ImportedAccounts is the kind of rows that accounts are when they come from
// the old backend.
const ImportedAccounts = "accounts"

// ImportOptions say what is known of the old backend.
type ImportOptions struct {
	// MediaURL is where it served its files, as "https://api.example.com/media/"
	// or "https://s3.example.com/bucket/". Photos below it become keys of our
	// storage, into which the files are copied. Host-relative addresses and
	// signed ones, which run out, do so anyway.
	MediaURL string
}

// Imports are the tables of the old backend that become ours, in the order in
// which they are copied. Ids, times and passwords' verifiers stay as they are.
// With each new account all comes about that comes about with any other.
func (s *Service) Imports(o ImportOptions) []oldstack.Step {
	return []oldstack.Step{
		s.importAccounts(o), importSettings(), importDetails(), importProfiles(), importMaps(),
		importDevices(), importFollows(), importBlocks(), importMutes(),
	}
}

type oldAccount struct {
	ID          int64              `old:"id"`
	Email       string             `old:"email" max:"254"`
	Handle      string             `old:"handle" max:"30"`
	Password    string             `old:"password"`
	Name        string             `old:"name" or:"''" max:"120"`
	Bio         string             `old:"bio" or:"''"`
	Photo       string             `old:"photo" or:"''"`
	BirthDate   pgtype.Date        `old:"birth_date" or:"NULL"`
	BirthTime   pgtype.Time        `old:"birth_time" or:"NULL"`
	BirthPlace  string             `old:"birth_place" or:"''" max:"255"`
	Locale      string             `old:"locale" or:"'en-US'" max:"32"`
	Flags       oldstack.JSON      `old:"flags" or:"'{}'"`
	IsActive    bool               `old:"is_active" or:"true"`
	IsStaff     bool               `old:"is_staff" or:"false"`
	IsSuperuser bool               `old:"is_superuser" or:"false"`
	LastLogin   pgtype.Timestamptz `old:"last_login" or:"NULL"`
	CreatedAt   pgtype.Timestamptz `old:"created_at" must:"true"`
	UpdatedAt   pgtype.Timestamptz `old:"updated_at" must:"true"`
}

type importedAccount = accountsdb.ImportedAccountsRow

func (s *Service) importAccounts(o ImportOptions) oldstack.Copy[oldAccount, importedAccount] {
	return oldstack.Copy[oldAccount, importedAccount]{
		Kind: ImportedAccounts, Table: "users_user", Core: true,
		ID: func(o *oldAccount) int64 { return o.ID },
		Convert: func(old *oldAccount, note func(string)) (importedAccount, error) {
			return convertAccount(old, o, note)
		},
		Find: func(ctx context.Context, q database.Querier, rows []oldstack.Item[importedAccount]) (map[int64]importedAccount, error) {
			found, err := accountsdb.New(q).ImportedAccounts(ctx, oldIDs(rows))
			if err != nil {
				return nil, fmt.Errorf("look up accounts: %w", err)
			}
			ours := make(map[int64]importedAccount, len(found))
			for _, r := range found {
				r.CreatedAt, r.UpdatedAt = r.CreatedAt.UTC(), r.UpdatedAt.UTC()
				if r.LastLogin != nil {
					*r.LastLogin = r.LastLogin.UTC()
				}
				ours[r.ID] = r
			}
			return ours, nil
		},
		Exist: func(ctx context.Context, q database.Querier, ids []int64) ([]int64, error) {
			found, err := accountsdb.New(q).ImportIDs(ctx, ids)
			if err != nil {
				return nil, fmt.Errorf("look up accounts: %w", err)
			}
			return found, nil
		},
		Clashes: takenAccounts,
		Insert:  s.insertAccounts,
		Update:  s.updateAccounts,
	}
}

// convertAccount makes an account of an old one. Nothing is cut or corrected:
// what cannot be kept as it is is refused.
func convertAccount(old *oldAccount, o ImportOptions, note func(string)) (importedAccount, error) {
	photo := importedPhoto(old.Photo, o.MediaURL)
	switch {
	case old.ID <= 0:
		return importedAccount{}, oldstack.Refused("its id is not above zero")
	case old.Email == "":
		return importedAccount{}, oldstack.Refused("email is empty")
	case old.Handle == "":
		return importedAccount{}, oldstack.Refused("handle is empty")
	case len([]rune(photo)) > maxPhoto:
		return importedAccount{}, oldstack.Refused(fmt.Sprintf("photo is longer than %d characters", maxPhoto))
	}
	if photo != old.Photo {
		note("their photo becomes a key of our file storage")
	}
	if normalHandle(old.Handle) != old.Handle {
		note("their handle has other signs than a-z, 0-9 and _; it stays as it is")
	}
	switch {
	case old.Password == "", strings.HasPrefix(old.Password, "!"):
		note("they have no password, as before")
	case !strings.HasPrefix(old.Password, "pbkdf2_sha256$"):
		note("their password is stored in a way that is not known here: they need a new one")
	}
	return importedAccount{
		ID: old.ID, Email: old.Email, Handle: old.Handle, Password: old.Password, Name: old.Name, Bio: old.Bio, Photo: photo,
		BirthDate: old.BirthDate, BirthTime: old.BirthTime, BirthPlace: old.BirthPlace, Locale: old.Locale, Flags: json.RawMessage(old.Flags),
		IsActive: old.IsActive, IsStaff: old.IsStaff, IsSuperuser: old.IsSuperuser, LastLogin: momentOf(old.LastLogin),
		CreatedAt: old.CreatedAt.Time.UTC(), UpdatedAt: old.UpdatedAt.Time.UTC(),
	}, nil
}

// maxPhoto is the longest address of a photo in characters.
const maxPhoto = 200

// takenAccounts finds addresses and handles that are those of others: of
// accounts here, and of rows before. The first one keeps them.
func takenAccounts(ctx context.Context, q database.Querier, rows []oldstack.Item[importedAccount]) (map[int64]error, error) {
	var p accountsdb.ImportTakenParams
	for _, it := range rows {
		p.Folds = append(p.Folds, foldEmail(it.Row.Email))
		p.Handles = append(p.Handles, it.Row.Handle)
	}
	taken, err := accountsdb.New(q).ImportTaken(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("look up addresses and handles: %w", err)
	}
	folds, handles := map[string]int64{}, map[string]int64{}
	for _, r := range taken {
		folds[r.EmailFold], handles[r.Handle] = r.ID, r.ID
	}
	clashes := map[int64]error{}
	for i, it := range rows {
		byFold, foldTaken := folds[p.Folds[i]]
		byHandle, handleTaken := handles[it.Row.Handle]
		switch {
		case foldTaken && byFold != it.ID:
			clashes[it.ID] = oldstack.Refused(fmt.Sprintf("email is that of account %d, in whatever case", byFold))
		case handleTaken && byHandle != it.ID:
			clashes[it.ID] = oldstack.Refused(fmt.Sprintf("handle is that of account %d", byHandle))
		default:
			folds[p.Folds[i]], handles[it.Row.Handle] = it.ID, it.ID
		}
	}
	return clashes, nil
}

func (s *Service) insertAccounts(ctx context.Context, tx database.Tx, rows []oldstack.Item[importedAccount]) error {
	params := make([]accountsdb.ImportAccountParams, len(rows))
	for i, it := range rows {
		r := it.Row
		params[i] = accountsdb.ImportAccountParams{
			ID: r.ID, Email: r.Email, EmailFold: foldEmail(r.Email), Handle: r.Handle, Password: r.Password, Name: r.Name, Bio: r.Bio,
			Photo: r.Photo, BirthDate: r.BirthDate, BirthTime: r.BirthTime, BirthPlace: r.BirthPlace, Locale: r.Locale, Flags: r.Flags,
			IsActive: r.IsActive, IsStaff: r.IsStaff, IsSuperuser: r.IsSuperuser, LastLogin: r.LastLogin, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
		}
	}
	if err := allDone(accountsdb.New(tx).ImportAccount(ctx, params).Exec); err != nil {
		return fmt.Errorf("store accounts: %w", err)
	}
	for _, it := range rows {
		if s.created != nil {
			if err := s.created(ctx, tx, it.ID); err != nil {
				return err
			}
		}
	}
	s.changed(tx, oldIDs(rows)...)
	return nil
}

// updateAccounts makes accounts follow what changed in the old backend. Who got
// another password there, or was closed, is signed out here.
func (s *Service) updateAccounts(ctx context.Context, tx database.Tx, rows []oldstack.Item[importedAccount]) error {
	q := accountsdb.New(tx)
	states, err := q.ImportStates(ctx, oldIDs(rows))
	if err != nil {
		return fmt.Errorf("hold accounts: %w", err)
	}
	before := make(map[int64]accountsdb.ImportStatesRow, len(states))
	for _, st := range states {
		before[st.ID] = st
	}
	params := make([]accountsdb.ReimportAccountParams, len(rows))
	for i, it := range rows {
		r := it.Row
		params[i] = accountsdb.ReimportAccountParams{
			ID: r.ID, Email: r.Email, EmailFold: foldEmail(r.Email), Handle: r.Handle, Password: r.Password, Name: r.Name, Bio: r.Bio,
			Photo: r.Photo, BirthDate: r.BirthDate, BirthTime: r.BirthTime, BirthPlace: r.BirthPlace, Locale: r.Locale, Flags: r.Flags,
			IsActive: r.IsActive, IsStaff: r.IsStaff, IsSuperuser: r.IsSuperuser, LastLogin: r.LastLogin, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
		}
	}
	if err := allDone(q.ReimportAccount(ctx, params).Exec); err != nil {
		return fmt.Errorf("store accounts: %w", err)
	}
	for _, it := range rows {
		why := ""
		switch was := before[it.ID]; {
		case was.IsActive && !it.Row.IsActive:
			why = whyDeactivated
		case was.Password != it.Row.Password:
			why = whyPassword
		}
		if why != "" {
			if err := q.VoidTokens(ctx, accountsdb.VoidTokensParams{ID: it.ID, Now: s.now()}); err != nil {
				return fmt.Errorf("void tokens: %w", err)
			}
			if err := s.endAll(ctx, tx, it.ID, why); err != nil {
				return err
			}
		}
		if err := s.tellChange(ctx, tx, it.ID); err != nil {
			return err
		}
	}
	s.changed(tx, oldIDs(rows)...)
	return nil
}

type oldSettings struct {
	ID            int64         `old:"id"`
	UserID        int64         `old:"user_id"`
	Privacy       string        `old:"privacy" or:"'public'" max:"32"`
	DMPolicy      string        `old:"dm_policy" or:"'everyone'" max:"32"`
	Language      string        `old:"language" or:"'en'" max:"32"`
	QuietHours    oldstack.JSON `old:"quiet_hours" or:"'{}'"`
	PushEnabled   bool          `old:"push_enabled" or:"true"`
	EmailEnabled  bool          `old:"email_enabled" or:"true"`
	DigestEnabled bool          `old:"digest_enabled" or:"false"`
}

type importedSettings = accountsdb.UserSetting

func importSettings() oldstack.Copy[oldSettings, importedSettings] {
	user := func(r importedSettings) int64 { return r.UserID }
	return personal(oldstack.Copy[oldSettings, importedSettings]{
		Kind: "settings", Table: "users_usersettings",
		ID: func(o *oldSettings) int64 { return o.ID },
		Convert: func(o *oldSettings, _ func(string)) (importedSettings, error) {
			return importedSettings{
				UserID: o.UserID, Privacy: o.Privacy, DmPolicy: o.DMPolicy, Language: o.Language, QuietHours: json.RawMessage(o.QuietHours),
				PushEnabled: o.PushEnabled, EmailEnabled: o.EmailEnabled, DigestEnabled: o.DigestEnabled,
			}, nil
		},
		Blank: func(r importedSettings) bool {
			d := defaultSettings()
			return r.Privacy == d.Privacy && r.DmPolicy == d.DMPolicy && r.Language == d.Language && string(r.QuietHours) == "{}" &&
				r.PushEnabled && r.EmailEnabled && !r.DigestEnabled
		},
	}, user, (*accountsdb.Queries).ImportedSettings, func(ctx context.Context, q *accountsdb.Queries, rows []importedSettings) error {
		params := make([]accountsdb.ImportSettingsParams, len(rows))
		for i, r := range rows {
			params[i] = accountsdb.ImportSettingsParams(r)
		}
		return allDone(q.ImportSettings(ctx, params).Exec)
	})
}

type oldDetails struct {
	ID       int64         `old:"id"`
	UserID   int64         `old:"user_id"`
	Phone    string        `old:"phone_number" or:"''" max:"32"`
	Metadata oldstack.JSON `old:"metadata" or:"'{}'"`
}

type importedDetails = accountsdb.ImportedDetailsRow

// importDetails takes from the mirror of what identifies people only what the
// account does not say itself.
func importDetails() oldstack.Copy[oldDetails, importedDetails] {
	user := func(r importedDetails) int64 { return r.UserID }
	return personal(oldstack.Copy[oldDetails, importedDetails]{
		Kind: "personal details", Table: "users_userpii",
		ID: func(o *oldDetails) int64 { return o.ID },
		Convert: func(o *oldDetails, _ func(string)) (importedDetails, error) {
			return importedDetails{UserID: o.UserID, PhoneNumber: o.Phone, Metadata: json.RawMessage(o.Metadata)}, nil
		},
		Blank: func(r importedDetails) bool { return r.PhoneNumber == "" && string(r.Metadata) == "{}" },
	}, user, (*accountsdb.Queries).ImportedDetails, func(ctx context.Context, q *accountsdb.Queries, rows []importedDetails) error {
		params := make([]accountsdb.ImportDetailsParams, len(rows))
		for i, r := range rows {
			params[i] = accountsdb.ImportDetailsParams{PhoneNumber: r.PhoneNumber, Metadata: r.Metadata, UserID: r.UserID}
		}
		return allDone(q.ImportDetails(ctx, params).Exec)
	})
}

// personal completes the copy of a table in which everybody has at most one
// row.
func personal[O, T any](
	c oldstack.Copy[O, T], user func(T) int64,
	find func(q *accountsdb.Queries, ctx context.Context, users []int64) ([]T, error),
	save func(ctx context.Context, q *accountsdb.Queries, rows []T) error,
) oldstack.Copy[O, T] {
	c.Personal = true
	c.Parents = func(row T) []oldstack.Parent { return []oldstack.Parent{{Kind: ImportedAccounts, ID: user(row)}} }
	c.Find = func(ctx context.Context, q database.Querier, rows []oldstack.Item[T]) (map[int64]T, error) {
		users := make([]int64, len(rows))
		for i, it := range rows {
			users[i] = user(it.Row)
		}
		found, err := find(accountsdb.New(q), ctx, users)
		if err != nil {
			return nil, fmt.Errorf("look up %s: %w", c.Kind, err)
		}
		of := make(map[int64]T, len(found))
		for _, r := range found {
			of[user(r)] = r
		}
		ours := make(map[int64]T, len(found))
		for _, it := range rows {
			if r, ok := of[user(it.Row)]; ok {
				ours[it.ID] = r
			}
		}
		return ours, nil
	}
	c.Insert = func(ctx context.Context, tx database.Tx, rows []oldstack.Item[T]) error {
		plain := make([]T, len(rows))
		for i, it := range rows {
			plain[i] = it.Row
		}
		if err := save(ctx, accountsdb.New(tx), plain); err != nil {
			return fmt.Errorf("store %s: %w", c.Kind, err)
		}
		return nil
	}
	c.Update = c.Insert
	return c
}

func oldIDs[T any](rows []oldstack.Item[T]) []int64 {
	ids := make([]int64, len(rows))
	for i, it := range rows {
		ids[i] = it.ID
	}
	return ids
}

// allDone runs a batch of statements and gives its first error.
func allDone(exec func(each func(int, error))) error {
	var first error
	exec(func(_ int, err error) {
		if first == nil {
			first = err
		}
	})
	return first
}

func momentOf(t pgtype.Timestamptz) *time.Time {
	if !t.Valid {
		return nil
	}
	utc := t.Time.UTC()
	return &utc
}

var errNotList = errors.New("is not a list of texts")

// stringsOf reads a list of texts.
func stringsOf(j oldstack.JSON) ([]string, error) {
	var list []*string
	if err := json.Unmarshal([]byte(j), &list); err != nil {
		return nil, errNotList
	}
	texts := make([]string, len(list))
	for i, s := range list {
		if s == nil {
			return nil, errNotList
		}
		texts[i] = *s
	}
	return texts, nil
}
