package accounts

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"time"

	"selflink/appliance/database"
	"selflink/appliance/httpapi"
	"selflink/services/accounts/accountsdb"
)

// Device is where push messages to a person may go (contract 01 §4).
type Device struct {
	ID         int64             `json:"id"`
	DeviceType string            `json:"device_type"`
	PushToken  string            `json:"push_token"`
	LastSeen   httpapi.Timestamp `json:"last_seen"`
	CreatedAt  httpapi.Timestamp `json:"created_at"`
}

type newDevice struct {
	DeviceType string `json:"device_type" max:"32"`
	PushToken  string `json:"push_token" max:"255"`
}

type deviceChanges struct {
	DeviceType httpapi.Opt[string] `json:"device_type" max:"32"`
	PushToken  httpapi.Opt[string] `json:"push_token" max:"255"`
}

func publicDevice(r accountsdb.DeviceRow) Device {
	return Device{
		ID: r.ID, DeviceType: r.DeviceType, PushToken: r.PushToken,
		LastSeen: httpapi.Timestamp(r.LastSeen), CreatedAt: httpapi.Timestamp(r.CreatedAt),
	}
}

// addDevice registers a device. Apps do so at every start: a token that is
// known is the same device (200), one of another person moves here (201).
func (s *Service) addDevice(ctx context.Context, user int64, in newDevice) (httpapi.Result[Device], error) {
	id := s.ids.Next()
	r, err := s.q.UpsertDevice(ctx, accountsdb.UpsertDeviceParams{
		ID: id, UserID: user, DeviceType: in.DeviceType, PushToken: in.PushToken, Now: s.now(),
	})
	if err != nil {
		return httpapi.Result[Device]{}, fmt.Errorf("store device: %w", err)
	}
	status := http.StatusOK
	if r.ID == id {
		status = http.StatusCreated
	}
	return httpapi.Result[Device]{Status: status, Body: publicDevice(accountsdb.DeviceRow(r))}, nil
}

// devices gives a page of a person's devices.
func (s *Service) devices(ctx context.Context, user int64, in httpapi.PageQuery) (httpapi.Page[Device], error) {
	k, err := in.Keyset(httpapi.Newest)
	if err != nil {
		return httpapi.Page[Device]{}, err
	}
	at, err := k.Time()
	if err != nil {
		return httpapi.Page[Device]{}, err
	}
	after := k.ID
	if !k.Set {
		at, after = endOfTime(k.Desc())
	}
	var rows []accountsdb.DeviceRow
	if k.Desc() {
		var found []accountsdb.DevicesDownRow
		found, err = s.q.DevicesDown(ctx, accountsdb.DevicesDownParams{UserID: user, At: at, After: after, Most: int32(k.Limit)})
		for _, r := range found {
			rows = append(rows, accountsdb.DeviceRow(r))
		}
	} else {
		var found []accountsdb.DevicesUpRow
		found, err = s.q.DevicesUp(ctx, accountsdb.DevicesUpParams{UserID: user, At: at, After: after, Most: int32(k.Limit)})
		for _, r := range found {
			rows = append(rows, accountsdb.DeviceRow(r))
		}
	}
	if err != nil {
		return httpapi.Page[Device]{}, fmt.Errorf("list devices: %w", err)
	}
	position := func(r accountsdb.DeviceRow) (string, int64) { return httpapi.TimeKey(r.CreatedAt), r.ID }
	return httpapi.BuildPage(ctx, k, rows, position, publicDevice), nil
}

// endOfTime is a position before every row in the direction of a list.
func endOfTime(desc bool) (time.Time, int64) {
	if desc {
		return time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC), math.MaxInt64
	}
	return time.Time{}, 0
}

func (s *Service) device(ctx context.Context, user, id int64) (Device, error) {
	r, err := s.q.Device(ctx, accountsdb.DeviceParams{ID: id, UserID: user})
	if database.IsNoRows(err) {
		return Device{}, httpapi.NotFound("Device")
	}
	if err != nil {
		return Device{}, fmt.Errorf("read device: %w", err)
	}
	return publicDevice(r), nil
}

// changeDevice stores changes of a device. A token that another device had
// leaves it: one token, one device.
func (s *Service) changeDevice(ctx context.Context, user, id int64, in deviceChanges) (Device, error) {
	var out Device
	err := s.db.Tx(ctx, func(tx database.Tx) error {
		q := accountsdb.New(tx)
		old, err := q.LockDevice(ctx, accountsdb.LockDeviceParams{ID: id, UserID: user})
		if database.IsNoRows(err) {
			return httpapi.NotFound("Device")
		}
		if err != nil {
			return fmt.Errorf("lock device: %w", err)
		}
		token := in.PushToken.Or(old.PushToken)
		if token != old.PushToken {
			if err := q.ReleaseToken(ctx, accountsdb.ReleaseTokenParams{PushToken: token, ID: id}); err != nil {
				return fmt.Errorf("release token: %w", err)
			}
		}
		r, err := q.UpdateDevice(ctx, accountsdb.UpdateDeviceParams{
			ID: id, UserID: user, DeviceType: in.DeviceType.Or(old.DeviceType), PushToken: token, Now: s.now(),
		})
		if database.IsUniqueViolation(err, "devices_push_token_key") { // somebody registered it this very moment
			return httpapi.Invalid("push_token", "device with this push token already exists.")
		}
		if err != nil {
			return fmt.Errorf("store device: %w", err)
		}
		out = publicDevice(accountsdb.DeviceRow(r))
		return nil
	})
	return out, err
}

func (s *Service) removeDevice(ctx context.Context, user, id int64) error {
	n, err := s.q.DeleteDevice(ctx, accountsdb.DeleteDeviceParams{ID: id, UserID: user})
	if err != nil {
		return fmt.Errorf("delete device: %w", err)
	}
	if n == 0 {
		return httpapi.NotFound("Device")
	}
	return nil
}
