package mentor

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"selflink/appliance/database"
	"selflink/appliance/httpapi"
	"selflink/services/mentor/mentordb"
)

// Profile is how somebody wants to be spoken to. Everybody has at most one.
type Profile struct {
	ID          int64           `json:"id"`
	Tone        string          `json:"tone"`
	Level       string          `json:"level"`
	Preferences json.RawMessage `json:"preferences"`
}

// profileChanges serve POST, PUT and PATCH alike: every field has a default,
// so none is required.
type profileChanges struct {
	Tone        httpapi.Opt[string]          `json:"tone" max:"32"`
	Level       httpapi.Opt[string]          `json:"level" max:"32"`
	Preferences httpapi.Opt[json.RawMessage] `json:"preferences"`
}

func (c profileChanges) preferences() json.RawMessage {
	if !c.Preferences.Set || c.Preferences.Null {
		return nil
	}
	return c.Preferences.Value
}

// profiles gives the list of the caller's profile, if there is one.
func (s *Service) profiles(ctx context.Context, user int64, in httpapi.PageQuery) (httpapi.Page[Profile], error) {
	k, p, err := readPosition(in)
	if err != nil {
		return httpapi.Page[Profile]{}, err
	}
	var rows []mentordb.ProfileRow
	r, err := s.q.Profile(ctx, user)
	switch {
	case database.IsNoRows(err):
	case err != nil:
		return httpapi.Page[Profile]{}, fmt.Errorf("read profile: %w", err)
	default:
		newer := r.CreatedAt.After(p.at) || r.CreatedAt.Equal(p.at) && r.ID > p.after
		older := r.CreatedAt.Before(p.at) || r.CreatedAt.Equal(p.at) && r.ID < p.after
		if p.down && older || !p.down && newer {
			rows = append(rows, r)
		}
	}
	return httpapi.BuildPage(ctx, k, rows,
		func(r mentordb.ProfileRow) (string, int64) { return httpapi.TimeKey(r.CreatedAt), r.ID },
		func(r mentordb.ProfileRow) Profile { return Profile{r.ID, r.Tone, r.Level, r.Preferences} }), nil
}

// setProfile makes a profile (201) or changes the one there is (200).
func (s *Service) setProfile(ctx context.Context, user int64, in profileChanges) (httpapi.Result[Profile], error) {
	id := s.IDs.Next()
	r, err := s.q.SetProfile(ctx, mentordb.SetProfileParams{
		ID: id, UserID: user, Tone: in.Tone.Ptr(), Level: in.Level.Ptr(), Preferences: in.preferences(),
	})
	if err != nil {
		return httpapi.Result[Profile]{}, fmt.Errorf("store profile: %w", err)
	}
	status := http.StatusOK
	if r.ID == id {
		status = http.StatusCreated
	}
	return httpapi.Result[Profile]{Status: status, Body: Profile(r)}, nil
}

func (s *Service) profile(ctx context.Context, user, id int64) (Profile, error) {
	r, err := s.q.Profile(ctx, user)
	if database.IsNoRows(err) || err == nil && r.ID != id {
		return Profile{}, httpapi.NotFound("MentorProfile")
	}
	if err != nil {
		return Profile{}, fmt.Errorf("read profile: %w", err)
	}
	return Profile{r.ID, r.Tone, r.Level, r.Preferences}, nil
}

func (s *Service) changeProfile(ctx context.Context, user, id int64, in profileChanges) (Profile, error) {
	r, err := s.q.ChangeProfile(ctx, mentordb.ChangeProfileParams{
		ID: id, UserID: user, Tone: in.Tone.Ptr(), Level: in.Level.Ptr(), Preferences: in.preferences(),
	})
	if database.IsNoRows(err) {
		return Profile{}, httpapi.NotFound("MentorProfile")
	}
	if err != nil {
		return Profile{}, fmt.Errorf("store profile: %w", err)
	}
	return Profile(r), nil
}

func (s *Service) removeProfile(ctx context.Context, user, id int64) error {
	n, err := s.q.DeleteProfile(ctx, mentordb.DeleteProfileParams{ID: id, UserID: user})
	if err != nil {
		return fmt.Errorf("delete profile: %w", err)
	}
	if n == 0 {
		return httpapi.NotFound("MentorProfile")
	}
	return nil
}
