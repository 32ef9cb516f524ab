package accounts

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"selflink/appliance/database"
	"selflink/appliance/httpapi"
	"selflink/services/accounts/accountsdb"
)

const (
	// maxPicture bounds a personal map with its picture, in bytes. It is held in
	// memory.
	maxPicture = 12 << 20

	// avatarFolder begins the keys of avatars. Clients set photos to web
	// addresses alone, which never begin so.
	avatarFolder = "avatars/"
)

// Avatars is what accounts needs to keep pictures of people.
type Avatars interface {
	// Receive stores a picture, durably and without saying whose it is. What is
	// wrong with it is an [AvatarRefused].
	Receive(ctx context.Context, image []byte) (Avatar, error)
	// Release says that a picture is not needed any more once tx has committed.
	Release(ctx context.Context, tx database.Tx, key string) error
	// URL is where clients read a picture: a path on this server, or an address.
	URL(ctx context.Context, key string) string
}

// Avatar is a picture that was stored.
type Avatar struct {
	Key string
	// Keep makes it somebody's. Without that it is removed some day.
	Keep func(ctx context.Context, tx database.Tx, owner int64) error
}

// AvatarRefused is what is wrong with a picture, in words for who sent it.
type AvatarRefused string

// Error implements error.
func (e AvatarRefused) Error() string { return string(e) }

// receive stores the picture of a request; nil: there is none.
func (s *Service) receive(ctx context.Context, in httpapi.Opt[httpapi.File]) (*Avatar, error) {
	if !in.Set || in.Null {
		return nil, nil //nolint:nilnil // none is no error
	}
	if s.avatars == nil {
		return nil, httpapi.Invalid("avatar_image", "Uploading images is not available.")
	}
	a, err := s.avatars.Receive(ctx, in.Value.Data)
	var refused AvatarRefused
	if errors.As(err, &refused) {
		return nil, httpapi.Invalid("avatar_image", string(refused))
	}
	if err != nil {
		return nil, fmt.Errorf("store an avatar: %w", err)
	}
	return &a, nil
}

// replaceAvatar makes a stored picture that of a person, in place of others.
func (s *Service) replaceAvatar(ctx context.Context, tx database.Tx, user int64, picture *Avatar, m *accountsdb.PersonalMapRow, u *accountsdb.LockUserRow) error {
	old := []string{m.Avatar, u.Photo}
	slices.Sort(old)
	for _, key := range slices.Compact(old) {
		if strings.HasPrefix(key, avatarFolder) {
			if err := s.avatars.Release(ctx, tx, key); err != nil {
				return err
			}
		}
	}
	m.Avatar, u.Photo = picture.Key, picture.Key
	return picture.Keep(ctx, tx, user)
}

// photo is what clients see of a stored photo: what is kept here gets its
// address now, because it may carry a signature that runs out.
func (s *Service) photo(ctx context.Context, stored string) string {
	if s.avatars != nil && strings.HasPrefix(stored, avatarFolder) {
		return s.avatars.URL(ctx, stored)
	}
	return stored
}

// avatarImage is the absolute address of an avatar.
func (s *Service) avatarImage(ctx context.Context, key string) *string {
	if key == "" || s.avatars == nil {
		return nil
	}
	address := s.avatars.URL(ctx, key)
	if strings.HasPrefix(address, "/") {
		address = httpapi.RequestInfo(ctx).BaseURL + address
	}
	return &address
}
