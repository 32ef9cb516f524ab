package realtime

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"time"

	"selflink/appliance/auth"
	"selflink/appliance/database"
	"selflink/appliance/realtime/realtimedb"
)

// ticketLife is how long a ticket waits for its connection.
const ticketLife = 30 * time.Second

// ticketBytes of randomness make a ticket.
const ticketBytes = 24

// issueTicket makes a ticket for one connection of who. Only its digest is
// kept, so that the table gives nobody a way in.
func (h *Hub) issueTicket(ctx context.Context, who auth.Principal) (string, error) {
	var raw [ticketBytes]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return "", fmt.Errorf("make a ticket: %w", err)
	}
	ticket := base64.RawURLEncoding.EncodeToString(raw[:])
	digest := sha256.Sum256([]byte(ticket))
	err := h.q.AddTicket(ctx, realtimedb.AddTicketParams{
		Digest: digest[:], UserID: who.UserID, SessionID: who.SessionID,
		IssuedAt: who.IssuedAt, EndsAt: who.ExpiresAt, LifeSeconds: int64(ticketLife / time.Second),
	})
	if err != nil {
		return "", fmt.Errorf("store a ticket: %w", err)
	}
	return ticket, nil
}

// takeTicket says who opens a connection with a ticket, which serves nobody
// afterwards. A ticket that does not serve is [auth.ErrInvalid].
func (h *Hub) takeTicket(ctx context.Context, ticket string) (auth.Principal, error) {
	if len(ticket) != base64.RawURLEncoding.EncodedLen(ticketBytes) {
		return auth.Principal{}, auth.ErrInvalid
	}
	digest := sha256.Sum256([]byte(ticket))
	row, err := h.q.TakeTicket(ctx, digest[:])
	if database.IsNoRows(err) {
		return auth.Principal{}, auth.ErrInvalid
	}
	if err != nil {
		return auth.Principal{}, fmt.Errorf("take a ticket: %w", err)
	}
	who := auth.Principal{UserID: row.UserID, SessionID: row.SessionID, IssuedAt: row.IssuedAt, ExpiresAt: row.EndsAt}
	return who, h.opts.Identity.Confirm(ctx, who)
}
