package accounts

import (
	"context"
	"net/http"

	"selflink/appliance/auth"
	"selflink/appliance/httpapi"
)

// SignedIn is the answer to a registration or a login.
type SignedIn struct {
	Token        string `json:"token"`
	RefreshToken string `json:"refreshToken"`
	User         User   `json:"user"`
	Message      string `json:"message"`
}

// Refreshed is the answer to a refresh.
type Refreshed struct {
	Token        string `json:"token"`
	RefreshToken string `json:"refreshToken"`
	Message      string `json:"message"`
}

// Message is an answer that is only a sentence.
type Message struct {
	Message string `json:"message"`
}

// Following is the answer to a follow or unfollow.
type Following struct {
	Following bool `json:"following"`
}

type byID struct {
	ID int64 `path:"id"`
}

type nothing struct{}

type body[T any] struct{ Body T }

type registration struct {
	Email     string `json:"email" format:"email" max:"254"`
	Password  string `json:"password" min:"8"`
	Name      string `json:"name" optional:"true" blank:"true" max:"120"`
	FullName  string `json:"fullName" optional:"true" blank:"true" max:"120"`
	Handle    string `json:"handle" optional:"true" blank:"true" max:"30"`
	Intention string `json:"intention" optional:"true" blank:"true" doc:"Accepted and discarded."`
}

type credentials struct {
	Email    string `json:"email" format:"email"`
	Password string `json:"password"`
}

// Register adds all routes of accounts to api.
func (s *Service) Register(api *httpapi.API) {
	s.registerAuth(api)
	s.registerUsers(api)
	s.registerDevices(api)
	s.registerProfiles(api)
}

func (s *Service) registerAuth(api *httpapi.API) {
	op := func(name, summary string) httpapi.Operation {
		return httpapi.Operation{
			Method: http.MethodPost, Path: "auth/" + name + "/", ID: "auth_" + name, Tag: "auth", Summary: summary,
			Access: httpapi.AccessPublic, OptionalSlash: name != "logout",
		}
	}
	register := op("register", "Make an account and sign in.")
	register.Status = http.StatusCreated
	httpapi.Handle(api, register, func(ctx context.Context, in *body[registration]) (SignedIn, error) {
		if err := httpapi.Burst(ctx, "auth"); err != nil {
			return SignedIn{}, err
		}
		name := in.Body.Name
		if name == "" {
			name = in.Body.FullName
		}
		id, err := s.create(ctx, newUser{email: in.Body.Email, password: in.Body.Password, name: name, handle: in.Body.Handle})
		if err != nil {
			return SignedIn{}, answer(err)
		}
		return s.signIn(ctx, id, nil, "Registration successful.")
	})
	httpapi.Handle(api, op("login", "Sign in."), func(ctx context.Context, in *body[credentials]) (SignedIn, error) {
		if err := httpapi.Burst(ctx, "auth"); err != nil {
			return SignedIn{}, err
		}
		c, err := s.checkLogin(ctx, in.Body)
		if err != nil {
			return SignedIn{}, answer(err)
		}
		return s.signIn(ctx, c.ID, c.TokensAfter, "Login successful.")
	})
	httpapi.Handle(api, op("refresh", "Trade a refresh token for new tokens."), func(ctx context.Context, in *body[struct {
		Refresh string `json:"refresh"`
	}]) (Refreshed, error) {
		p, err := s.Refresh(ctx, in.Body.Refresh)
		if err != nil {
			return Refreshed{}, refused(err)
		}
		return Refreshed{Token: p.Access, RefreshToken: p.Refresh, Message: "Token refreshed."}, nil
	})
	httpapi.Handle(api, op("logout", "End the session of the caller, of a refresh token, or of both."), func(ctx context.Context, in *body[struct {
		Refresh string `json:"refresh" optional:"true" blank:"true"`
	}]) (Message, error) {
		who, ok := auth.From(ctx)
		if !ok && in.Body.Refresh == "" {
			return Message{}, httpapi.Unauthorized("Authentication credentials were not provided.", "")
		}
		if err := s.Logout(ctx, who, in.Body.Refresh); err != nil {
			return Message{}, refused(err)
		}
		return Message{"Logout successful."}, nil
	})
	httpapi.Handle(api, httpapi.Operation{
		Method: http.MethodGet, Path: "home/highlights/", ID: "home_highlights", Tag: "home", Summary: "Texts of the first screen.",
		Access: httpapi.AccessPublic, OptionalSlash: true,
	}, func(context.Context, *nothing) (Highlights, error) { return highlights(), nil })
}

// caller gives who calls an operation that asks for a user.
func caller(ctx context.Context) auth.Principal {
	p, _ := auth.From(ctx)
	return p
}

func (s *Service) registerUsers(api *httpapi.API) {
	op := func(method, path, id, summary string) httpapi.Operation {
		return httpapi.Operation{Method: method, Path: "users/" + path, ID: "users_" + id, Tag: "users", Summary: summary}
	}
	httpapi.Handle(api, op("GET", "", "list", "All accounts, newest first."), func(ctx context.Context, in *listQuery) (httpapi.Page[User], error) {
		return s.list(ctx, caller(ctx), *in)
	})
	httpapi.Handle(api, op("GET", "{id}/", "detail", "One account."), func(ctx context.Context, in *byID) (User, error) {
		return s.Person(ctx, caller(ctx), in.ID)
	})
	httpapi.Handle(api, op("GET", "me/", "me", "The caller's own account."), func(ctx context.Context, _ *nothing) (User, error) {
		return s.own(ctx, caller(ctx).UserID)
	})
	httpapi.Handle(api, op("PATCH", "me/", "me_change", "Change the caller's own account."), func(ctx context.Context, in *body[changes]) (User, error) {
		return s.change(ctx, caller(ctx).UserID, in.Body)
	})
	httpapi.Handle(api, op("POST", "{id}/follow/", "follow", "Follow somebody."), func(ctx context.Context, in *byID) (Following, error) {
		return Following{true}, s.Follow(ctx, caller(ctx).UserID, in.ID, true)
	})
	httpapi.Handle(api, op("DELETE", "{id}/follow/", "unfollow", "Stop following somebody."), func(ctx context.Context, in *byID) (Following, error) {
		return Following{false}, s.Follow(ctx, caller(ctx).UserID, in.ID, false)
	})
	httpapi.Handle(api, op("GET", "{id}/followers/", "followers", "Who follows somebody: the newest 1000."), func(ctx context.Context, in *byID) ([]User, error) {
		return s.connected(ctx, caller(ctx), followersOf, in.ID)
	})
	httpapi.Handle(api, op("GET", "{id}/following/", "following", "Whom somebody follows: the newest 1000."), func(ctx context.Context, in *byID) ([]User, error) {
		return s.connected(ctx, caller(ctx), followedBy, in.ID)
	})
}

func (s *Service) registerDevices(api *httpapi.API) {
	op := func(method, path, id, summary string) httpapi.Operation {
		return httpapi.Operation{Method: method, Path: "devices/" + path, ID: "devices_" + id, Tag: "devices", Summary: summary}
	}
	httpapi.Handle(api, op("GET", "", "list", "The caller's devices."), func(ctx context.Context, in *httpapi.PageQuery) (httpapi.Page[Device], error) {
		return s.devices(ctx, caller(ctx).UserID, *in)
	})
	create := op("POST", "", "create", "Register a device; a known push token is the same device.")
	create.Status = http.StatusCreated
	httpapi.Handle(api, create, func(ctx context.Context, in *body[newDevice]) (httpapi.Result[Device], error) {
		return s.addDevice(ctx, caller(ctx).UserID, in.Body)
	})
	httpapi.Handle(api, op("GET", "{id}/", "detail", "One device."), func(ctx context.Context, in *byID) (Device, error) {
		return s.device(ctx, caller(ctx).UserID, in.ID)
	})
	httpapi.Handle(api, op("PUT", "{id}/", "replace", "Change all of a device."), func(ctx context.Context, in *struct {
		byID
		Body newDevice
	}) (Device, error) {
		return s.changeDevice(ctx, caller(ctx).UserID, in.ID, deviceChanges{set(in.Body.DeviceType), set(in.Body.PushToken)})
	})
	httpapi.Handle(api, op("PATCH", "{id}/", "change", "Change parts of a device."), func(ctx context.Context, in *struct {
		byID
		Body deviceChanges
	}) (Device, error) {
		return s.changeDevice(ctx, caller(ctx).UserID, in.ID, in.Body)
	})
	httpapi.Handle(api, op("DELETE", "{id}/", "delete", "Forget a device."), func(ctx context.Context, in *byID) (httpapi.NoContent, error) {
		return httpapi.NoContent{}, s.removeDevice(ctx, caller(ctx).UserID, in.ID)
	})
}

func (s *Service) registerProfiles(api *httpapi.API) {
	op := func(method, path, id, summary string) httpapi.Operation {
		return httpapi.Operation{Method: method, Path: path, ID: id, Tag: "profiles", Summary: summary}
	}
	httpapi.Handle(api, op("GET", "me/profile/", "personal_map", "The caller's personal map."), func(ctx context.Context, _ *nothing) (PersonalMap, error) {
		return s.personalMap(ctx, caller(ctx).UserID)
	})
	withPicture := func(o httpapi.Operation) httpapi.Operation {
		o.BodyLimit = maxPicture
		return o
	}
	httpapi.Handle(api, withPicture(op("PUT", "me/profile/", "personal_map_replace", "Store a whole personal map.")), func(ctx context.Context, in *body[mapDocument]) (PersonalMap, error) {
		return s.changeMap(ctx, caller(ctx).UserID, in.Body.changes())
	})
	httpapi.Handle(api, withPicture(op("PATCH", "me/profile/", "personal_map_change", "Store parts of a personal map.")), func(ctx context.Context, in *body[mapChanges]) (PersonalMap, error) {
		return s.changeMap(ctx, caller(ctx).UserID, in.Body)
	})
	httpapi.Handle(api, op("GET", "profile/me/", "profile", "What matching knows of the caller."), func(ctx context.Context, _ *nothing) (Profile, error) {
		r, err := readProfile(ctx, s.db, caller(ctx).UserID)
		return publicProfile(r), err
	})
	change := op("PATCH", "profile/me/", "profile_change", "Change what matching knows of the caller.")
	httpapi.Handle(api, change, func(ctx context.Context, in *body[profileChanges]) (httpapi.Result[Profile], error) {
		return s.changeProfile(ctx, caller(ctx).UserID, in.Body)
	})
}
