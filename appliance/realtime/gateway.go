package realtime

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"selflink/appliance/auth"
	"selflink/appliance/httpapi"
	"selflink/appliance/realtime/websocket"
)

// connectIn is what a client says when it connects.
type connectIn struct {
	Channels  string `query:"channels" raw:"true" doc:"Comma list of post:<n> and comment:<n>, at most 20."`
	Ticket    string `query:"ticket" raw:"true" doc:"From realtime/ticket/; opens one connection."`
	Since     string `query:"since" raw:"true" doc:"The last position that the client has seen."`
	Token     string `query:"token" raw:"true" doc:"An access token, for old clients of the WebSocket."`
	Positions string `query:"positions" raw:"true" doc:"1: each event carries its position."`
}

type ticketOut struct {
	Ticket    string `json:"ticket" doc:"Serves once."`
	ExpiresIn int    `json:"expires_in" doc:"Seconds."`
}

// Register adds the gateway's routes to api.
func (h *Hub) Register(api *httpapi.API) {
	httpapi.StreamIn(api, httpapi.Operation{
		Method: http.MethodGet, Path: "/ws", ID: "realtime_websocket", Tag: "realtime", Summary: "Be told what happens, over a WebSocket",
		Description: "Answers 101. Frames, close codes and limits are described in docs/REALTIME.md.",
		Access:      httpapi.AccessPublic, OwnLimits: true, Status: http.StatusSwitchingProtocols,
		Errors: []int{http.StatusBadRequest, http.StatusForbidden, http.StatusTooManyRequests, http.StatusServiceUnavailable},
	}, h.webSocket)
	httpapi.StreamIn(api, httpapi.Operation{
		Method: http.MethodGet, Path: "events/stream/", ID: "realtime_stream", Tag: "realtime", Summary: "Be told what happens, as server-sent events",
		Description: "The same events as over the WebSocket. The id of an event is its position; Last-Event-ID resumes after it.",
		Access:      httpapi.AccessPublic, OwnLimits: true, Produces: "text/event-stream",
		Errors: []int{http.StatusForbidden, http.StatusTooManyRequests, http.StatusServiceUnavailable},
	}, h.eventStream)
	httpapi.Handle(api, httpapi.Operation{
		Method: http.MethodPost, Path: "realtime/ticket/", ID: "realtime_ticket", Tag: "realtime", Status: http.StatusCreated,
		Summary:     "Get a ticket to open one connection",
		Description: "For clients that cannot send a header with a WebSocket or an event stream. It serves once, within 30 seconds, on any node.",
	}, func(ctx context.Context, _ *struct{}) (ticketOut, error) {
		who, _ := auth.From(ctx)
		ticket, err := h.issueTicket(ctx, who)
		return ticketOut{ticket, int(ticketLife / time.Second)}, err
	})
	h.registerPublish(api)
}

// Refusals of a connection. They must not hold the words by which the mobile
// app recognises a dead session, so there is no 401.
func refusedAuth() error { return httpapi.Detail(http.StatusForbidden, reasonAuth) }

func refusedLater(status int, text string) error {
	e := httpapi.Detail(status, text)
	e.Header = []httpapi.Header{{Name: "Retry-After", Value: "5"}}
	return e
}

// subprotocol is what a client speaks that proves itself by a subprotocol,
// since browsers cannot send a header with a WebSocket.
const (
	subprotocol   = "selflink.v1"
	bearerOffered = "bearer."
)

func (h *Hub) webSocket(c *fiber.Ctx, in *connectIn) error {
	if !websocket.Asked(c.Get(fiber.HeaderConnection), c.Get(fiber.HeaderUpgrade)) {
		return httpapi.Detail(http.StatusNotFound, "Not Found")
	}
	accept, err := websocket.Accept(c.Get("Sec-WebSocket-Key"), c.Get("Sec-WebSocket-Version"))
	if err != nil {
		c.Set("Sec-WebSocket-Version", "13")
		return httpapi.Detail(http.StatusBadRequest, "Bad WebSocket handshake.")
	}
	offered := websocket.Subprotocols(c.Get("Sec-WebSocket-Protocol"))
	shape := plain
	if in.Positions == "1" || in.Since != "" {
		shape = positioned
	}
	s, err := h.admitted(c, in, offered, shape, "websocket")
	if err != nil {
		return err
	}
	c.Set(fiber.HeaderUpgrade, "websocket")
	c.Set(fiber.HeaderConnection, "Upgrade")
	c.Set("Sec-WebSocket-Accept", accept)
	for _, p := range offered {
		if p == subprotocol {
			c.Set("Sec-WebSocket-Protocol", subprotocol)
		}
	}
	return h.takeOver(c, s, http.StatusSwitchingProtocols, in.Since, "websocket")
}

func (h *Hub) eventStream(c *fiber.Ctx, in *connectIn) error {
	in.Token = "" // an old client's, and those have no event streams
	s, err := h.admitted(c, in, nil, streamed, "sse")
	if err != nil {
		return err
	}
	since := in.Since
	if last := c.Get("Last-Event-ID"); last != "" {
		since = strings.Clone(last)
	}
	c.Set(fiber.HeaderContentType, "text/event-stream")
	c.Set(fiber.HeaderCacheControl, "no-cache")
	c.Set(fiber.HeaderConnection, "close")
	c.Set("X-Accel-Buffering", "no")
	return h.takeOver(c, s, http.StatusOK, since, "sse")
}

// admitted checks who connects and counts the connection in. Whoever gets a
// socket has to release it.
func (h *Hub) admitted(c *fiber.Ctx, in *connectIn, offered []string, shape form, transport string) (*socket, error) {
	ctx := c.UserContext()
	who, proof, err := h.prove(ctx, c.Get(fiber.HeaderAuthorization), offered, in)
	var refusal *auth.TokenError
	if errors.As(err, &refusal) {
		h.metrics.refused.WithLabelValues("auth").Inc()
		return nil, refusedAuth()
	}
	if err != nil {
		return nil, err
	}
	channels := []Channel{User(who.UserID), Broadcast}
	for _, target := range parseTargets(in.Channels) {
		if h.opts.Permit != nil {
			ok, err := h.opts.Permit(ctx, who.UserID, target)
			if err != nil {
				return nil, fmt.Errorf("may %d subscribe to %s: %w", who.UserID, target, err)
			}
			if !ok {
				continue
			}
		}
		channels = append(channels, target)
	}
	switch err := h.admit(who.UserID); {
	case errors.Is(err, errCrowded):
		h.metrics.refused.WithLabelValues("crowded").Inc()
		return nil, refusedLater(http.StatusTooManyRequests, "Too many connections.")
	case err != nil:
		h.metrics.refused.WithLabelValues("full").Inc()
		return nil, refusedLater(http.StatusServiceUnavailable, "Service is busy.")
	}
	h.metrics.opened.WithLabelValues(transport, proof).Inc()
	h.metrics.all.Add(1)
	s := &socket{id: h.ids.Add(1), form: shape, who: who, channels: channels, hub: h}
	s.shard = h.shards[s.id%uint64(len(h.shards))]
	return s, nil
}

// prove says who connects, and by what.
func (h *Hub) prove(ctx context.Context, header string, offered []string, in *connectIn) (who auth.Principal, proof string, err error) {
	token, proof := "", ""
	switch bearer, headerErr := auth.Bearer(header); {
	case in.Ticket != "":
		who, err := h.takeTicket(ctx, in.Ticket)
		return who, "ticket", err
	case headerErr != nil:
		return who, "", headerErr
	case bearer != "":
		token, proof = bearer, "header"
	case len(offered) > 0 && offeredToken(offered) != "":
		token, proof = offeredToken(offered), "subprotocol"
	case in.Token != "":
		token, proof = in.Token, "query"
	default:
		return who, "", auth.ErrInvalid
	}
	who, err = h.opts.Identity.Caller(ctx, token)
	return who, proof, err
}

func offeredToken(offered []string) string {
	for _, p := range offered {
		if token, ok := strings.CutPrefix(p, bearerOffered); ok {
			return token
		}
	}
	return ""
}

// takeOver makes a request's connection the socket's.
func (h *Hub) takeOver(c *fiber.Ctx, s *socket, status int, since, transport string) error {
	since = strings.Clone(since)
	taken := false
	defer func() {
		if !taken {
			h.release(s.who.UserID)
		}
	}()
	err := httpapi.TakeOver(c, status, func(conn net.Conn, head, early []byte) {
		// The request's memory is free only when this returns, and attach may
		// have to wait for the database.
		go h.attach(s, conn, head, early, since, transport)
	})
	taken = err == nil
	return err
}

// joinWait bounds how long a new connection waits for what it missed.
const joinWait = 10 * time.Second

// attach subscribes a connection, sends it what it missed, and listens to it
// until it ends. It owns the connection; [Hub.Stop] waits for it.
func (h *Hub) attach(s *socket, conn net.Conn, head, early []byte, since, transport string) {
	s.conn = conn
	gauge := h.metrics.connected.WithLabelValues(transport)
	gauge.Inc()
	if s.form == streamed {
		h.metrics.streams.Add(1)
		defer h.metrics.streams.Add(-1)
	} else {
		h.metrics.sockets.Add(1)
		defer h.metrics.sockets.Add(-1)
	}
	defer func() {
		s.shard.do(task{leave: s}, 0)
		s.farewell()
		_ = conn.Close()
		h.presence.disconnected(s.who.UserID)
		gauge.Dec()
		h.release(s.who.UserID)
	}()
	h.presence.connected(s.who.UserID)
	now := time.Now()
	s.heard.Store(now.Unix())
	s.beaten, s.opened = now.Unix(), uint32(now.Unix())
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(sendBuffer)
		if raw, err := tcp.SyscallConn(); err == nil {
			s.raw = raw
		}
	}
	if !h.welcome(s, head, since) {
		return
	}
	s.read(withEarly(early, conn))
}

// welcome joins the channels and sends the head, the acknowledgement and what
// was missed. It returns false when the connection has to end.
func (h *Hub) welcome(s *socket, head []byte, since string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), joinWait)
	defer cancel()
	var from place
	asked, known := since != "", false
	if asked {
		from, known = h.log.positions.parse(since)
		if known = known && from.epoch == h.log.epoch.Load(); known {
			s.after = from.seq
		}
	}
	at := make(chan int64, 1)
	s.shard.do(task{join: s, at: at}, 0)
	joined := <-at

	// A session that ended while this connection was on its way was closed
	// before it joined, so ask again now.
	if err := h.opts.Identity.Confirm(ctx, s.who); err != nil {
		var refusal *auth.TokenError
		code, reason := codeInternal, reasonBroken
		if errors.As(err, &refusal) {
			code, reason = codeAuth, reasonAuth
		}
		s.close(code, reason)
		s.begin(head)
		return false
	}
	if !asked {
		s.begin(append(head, s.acknowledgement(h.position(joined), nil)...))
		return true
	}
	var missed []*entry
	complete := false
	if known {
		var err error
		if missed, complete, err = h.missed(ctx, from, joined, s.channels); err != nil {
			h.logger.Warn("what a client missed could not be read", "user_id", s.who.UserID, "error", err)
			s.close(codeInternal, reasonBroken)
			s.begin(head)
			return false
		}
	}
	position := h.position(joined)
	if complete {
		position = since // not the present yet: what was missed follows only now
	}
	h.metrics.cameBack(complete)
	first := append(head, s.acknowledgement(position, &complete)...)
	s.begin(s.form.encode(first, missed))
	return true
}

func (h *Hub) position(seq int64) string {
	return h.log.positions.text(place{h.log.epoch.Load(), seq})
}
