package realtime_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"selflink/appliance/auth"
	"selflink/appliance/broker"
	"selflink/appliance/database"
	"selflink/appliance/database/databasetest"
	"selflink/appliance/httpapi"
	"selflink/appliance/httpapi/apitest"
	"selflink/appliance/realtime"
)

func TestMain(m *testing.M) { databasetest.Main(m) }

// patience bounds every wait of a test.
const patience = time.Minute

const publishToken = "the-token-of-the-tests-0123456789"

// identity knows tokens for real and keeps who is out by itself.
type identity struct {
	tokens *auth.Tokens
	mu     sync.Mutex
	out    map[string]bool // sessions, and users as "user"
}

func (i *identity) Authenticate(ctx context.Context, header string) (auth.Principal, error) {
	token, err := auth.Bearer(header)
	if err != nil || token == "" {
		return auth.Principal{}, err
	}
	return i.Caller(ctx, token)
}

func (i *identity) Caller(ctx context.Context, access string) (auth.Principal, error) {
	c, err := i.tokens.Verify(access, auth.Access)
	if err != nil {
		return auth.Principal{}, err
	}
	p := auth.Principal{UserID: c.UserID, SessionID: c.Session.String(), IssuedAt: c.IssuedAt, ExpiresAt: c.ExpiresAt}
	return p, i.Confirm(ctx, p)
}

func (i *identity) Confirm(_ context.Context, p auth.Principal) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.out[p.SessionID] {
		return auth.ErrUserInactive
	}
	return nil
}

func (i *identity) revoke(session string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.out[session] = true
}

// rig is what a node or several have in common.
type rig struct {
	t        *testing.T
	db       *databasetest.DB
	identity *identity
	options  realtime.Options
}

// node is one hub behind HTTP.
type node struct {
	*apitest.Client
	rig       *rig
	hub       *realtime.Hub
	publisher *realtime.Publisher
	metrics   *prometheus.Registry
}

func newRig(t *testing.T) *rig {
	t.Helper()
	tokens, err := auth.NewTokens(auth.TokenOptions{Key: []byte("0123456789abcdef0123456789abcdef")})
	require.NoError(t, err)
	return &rig{t: t, db: databasetest.New(t), identity: &identity{tokens: tokens, out: make(map[string]bool)}}
}

// bus is a broker of its own.
func (r *rig) bus() *broker.Broker {
	b, err := broker.New(broker.Options{Dir: filepath.Join(r.t.TempDir(), "broker")})
	require.NoError(r.t, err)
	require.NoError(r.t, b.Start(r.t.Context()))
	r.t.Cleanup(func() { require.NoError(r.t, b.Stop(context.Background())) })
	return b
}

// node starts a hub on a bus. It is stopped at the end of the test at the
// latest.
func (r *rig) node(bus realtime.Bus) *node {
	t := r.t
	t.Helper()
	o := r.options
	n := &node{rig: r, publisher: realtime.NewPublisher(), metrics: prometheus.NewRegistry()}
	o.DB, o.Bus, o.Identity, o.Secret, o.Publisher, o.Metrics = r.db.Pool, bus, r.identity, []byte("secret of the tests"), n.publisher, n.metrics
	o.PublishToken = publishToken
	var err error
	n.hub, err = realtime.New(o)
	require.NoError(t, err)
	api, err := httpapi.New(httpapi.Options{Listen: []string{"127.0.0.1:0"}, Log: discard(), Auth: r.identity})
	require.NoError(t, err)
	n.hub.Register(api)
	require.NoError(t, n.hub.Start(t.Context()))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, n.hub.Stop(ctx))
	})
	n.Client = apitest.Serve(t, api)
	return n
}

// person is somebody with a session.
type person struct {
	id      int64
	session uuid.UUID
	token   string
}

func (r *rig) person(id int64, change ...func(*auth.Claims)) person {
	session := uuid.New()
	now := time.Now()
	c := auth.Claims{
		Type: auth.Access, ID: uuid.New(), UserID: id, Session: session,
		IssuedAt: now.Add(-time.Second).Truncate(time.Second), ExpiresAt: now.Add(time.Hour).Truncate(time.Second),
	}
	for _, f := range change {
		f(&c)
	}
	token, err := r.identity.tokens.Sign(c)
	require.NoError(r.t, err)
	return person{id: id, session: session, token: token}
}

// publish publishes n events in transactions of their own.
func (n *node) publish(to realtime.Channel, ids ...int) {
	for _, id := range ids {
		err := n.rig.db.Pool.Tx(n.rig.t.Context(), func(tx database.Tx) error {
			return n.publisher.Publish(n.rig.t.Context(), tx, to, event{id})
		})
		require.NoError(n.rig.t, err)
	}
}

// event is what the tests publish.
type event struct {
	N int `json:"n"`
}

// EventType implements realtime.Event.
func (event) EventType() string { return "test" }

// frame is anything that a client gets.
type frame struct {
	Type      string   `json:"type"`
	Message   string   `json:"message"`
	N         int      `json:"n"`
	Position  string   `json:"position"`
	Recovered *bool    `json:"recovered"`
	Channels  []string `json:"channels"`
	UserID    int64    `json:"user_id"`
	Status    string   `json:"status"`
	Session   string   `json:"session"`
	raw       string
}

// client is a WebSocket by an implementation that is not ours.
type client struct {
	t    *testing.T
	conn *websocket.Conn
}

// dial opens a WebSocket and returns the refusal's status instead when it is
// refused.
func (n *node) dial(query string, header http.Header, protocols ...string) (*client, *http.Response) {
	t := n.rig.t
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, res, err := websocket.Dial(ctx, n.Base+"/ws"+query, &websocket.DialOptions{HTTPHeader: header, Subprotocols: protocols})
	if err != nil {
		require.NotNil(t, res, "%v", err)
		return nil, res
	}
	t.Cleanup(func() { _ = conn.CloseNow() })
	conn.SetReadLimit(1 << 20)
	return &client{t, conn}, res
}

// connect opens a WebSocket that has to succeed and reads its first frame.
func (n *node) connect(who person, query string) (*client, frame) {
	t := n.rig.t
	t.Helper()
	c, res := n.dial("?"+query, http.Header{"Authorization": {"Bearer " + who.token}})
	require.NotNil(t, c, "refused: %v", res)
	ack := c.next()
	require.Equal(t, "ack", ack.Type)
	require.Equal(t, "connected", ack.Message)
	return c, ack
}

func (c *client) next() frame {
	c.t.Helper()
	f, err := c.read()
	require.NoError(c.t, err)
	return f
}

func (c *client) read() (f frame, err error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	kind, data, err := c.conn.Read(ctx)
	if err != nil {
		return f, err
	}
	require.Equal(c.t, websocket.MessageText, kind)
	require.NoError(c.t, json.Unmarshal(data, &f), string(data))
	f.raw = string(data)
	return f, nil
}

// expect reads events with these numbers, in this order and nothing between.
func (c *client) expect(ids ...int) (last frame) {
	c.t.Helper()
	for _, id := range ids {
		last = c.next()
		require.Equal(c.t, "test", last.Type, last.raw)
		require.Equal(c.t, id, last.N)
	}
	return last
}

// quiet makes sure that nothing is on its way, by a question whose answer has
// to be next.
func (c *client) quiet() {
	c.t.Helper()
	c.say(`{"type":"ping"}`)
	f := c.next()
	require.Equal(c.t, "ignored", f.Message, f.raw)
}

func (c *client) say(text string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	require.NoError(c.t, c.conn.Write(ctx, websocket.MessageText, []byte(text)))
}

// closed reads until the server closes and gives its code and reason.
func (c *client) closed() (int, string) {
	c.t.Helper()
	for {
		_, err := c.read()
		if err == nil {
			continue
		}
		var closed websocket.CloseError
		require.ErrorAs(c.t, err, &closed)
		return int(closed.Code), closed.Reason
	}
}

// stream is a client of server-sent events.
type stream struct {
	t    *testing.T
	scan *bufio.Scanner
	res  *http.Response
}

func (n *node) stream(who person, query string, headers ...string) *stream {
	t := n.rig.t
	t.Helper()
	res := n.As(who.token).Open(t, http.MethodGet, "/api/v1/events/stream/"+query, "", headers...)
	t.Cleanup(func() { _ = res.Body.Close() })
	require.Equal(t, http.StatusOK, res.StatusCode)
	require.Equal(t, "text/event-stream", res.Header.Get("Content-Type"))
	return &stream{t, bufio.NewScanner(res.Body), res}
}

// next gives the id, name and data of the next event.
func (s *stream) next() (id, name string, f frame) {
	s.t.Helper()
	data := ""
	for s.scan.Scan() {
		line := s.scan.Text()
		switch {
		case strings.HasPrefix(line, "id: "):
			id = line[4:]
		case strings.HasPrefix(line, "event: "):
			name = line[7:]
		case strings.HasPrefix(line, "data: "):
			data = line[6:]
		case line == "" && data != "":
			require.NoError(s.t, json.Unmarshal([]byte(data), &f), data)
			f.raw = data
			return id, name, f
		}
	}
	require.Fail(s.t, "the stream ended", "%v", s.scan.Err())
	return "", "", f
}

func span(from, to int) []int {
	var out []int
	for i := from; i <= to; i++ {
		out = append(out, i)
	}
	return out
}

// nodeWithBus is a single node.
func (r *rig) nodeWithBus() *node { return r.node(r.bus()) }
