//go:build crash

package crash

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	// publishToken opens /internal/publish of the server under test.
	publishToken = "the-token-of-the-crash-suite-0123"

	// roomPerChannel bounds the events of one channel, told or only tried.
	// Retention keeps 200 (docs/REALTIME.md) and may run at any time, so a
	// "recovered": false below that is never the listener's own fault.
	roomPerChannel = 190

	// lastID is the id of the event after which nothing comes.
	lastID = 1
)

// publication is one event that was sent to the server, known by a key that
// listeners can tell from what they get.
type publication struct {
	channel  string
	by, turn int  // its publisher and how many that one had sent before
	promised bool // answered: it exists
}

// programme is everything that publishers have sent.
type programme struct {
	channels []string

	mu       sync.Mutex
	events   map[string]*publication
	tried    map[string]int // events by channel
	limit    int            // publishers pause when this many are promised
	promised int
	unclear  int // without an answer: they may or may not exist
	serial   int
}

// newProgramme has channels enough for total events and as many unclear ones
// as some kills may leave.
func newProgramme(total int) *programme {
	p := &programme{events: map[string]*publication{}, tried: map[string]int{}, serial: lastID}
	for i := range total/roomPerChannel*3/2 + 1 {
		kind := "post"
		if i%4 == 3 {
			kind = "comment"
		}
		p.channels = append(p.channels, fmt.Sprintf("%s:%d", kind, i+1))
	}
	return p
}

func giftKey(id json.Number) string    { return "gift " + id.String() }
func sessionKey(session string) string { return "end of session " + session }
func number(n int) json.Number         { return json.Number(strconv.Itoa(n)) }

// allow lets publishers go on until so many events are promised.
func (p *programme) allow(promised int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limit = promised
}

func (p *programme) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.promised
}

func (p *programme) reached(n int) func() bool { return func() bool { return p.count() >= n } }

// publisher sends one event after the other: the next when the one before was
// answered.
type publisher struct {
	number int
	turn   int
	random *rand.Rand
}

// take notes an event before it is sent. ok is false at the limit.
func (p *programme) take(by *publisher) (id json.Number, channel string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.promised >= p.limit {
		return "", "", false
	}
	start := by.random.IntN(len(p.channels))
	for i := range p.channels {
		channel = p.channels[(start+i)%len(p.channels)]
		if p.tried[channel] >= roomPerChannel {
			continue
		}
		p.tried[channel]++
		p.serial++
		by.turn++
		id = number(p.serial)
		p.events[giftKey(id)] = &publication{channel: channel, by: by.number, turn: by.turn}
		return id, channel, true
	}
	return "", "", false
}

func (p *programme) answered(key string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !ok {
		p.unclear++
		return
	}
	p.events[key].promised = true
	p.promised++
}

// publish sends one event. A request that never reached the server is sent
// again; one without an answer is not, since the event may exist.
func (p *programme) publish(ctx context.Context, t *testing.T, client *api, by *publisher) {
	id, channel, ok := p.take(by)
	if !ok {
		pause(ctx)
		return
	}
	for {
		status, err := send(t.Context(), client, id, channel)
		if refused := new(net.OpError); errors.As(err, &refused) && refused.Op == "dial" && t.Context().Err() == nil {
			pause(t.Context())
			continue
		}
		ok = err == nil && status == http.StatusOK
		p.answered(giftKey(id), ok)
		if !ok {
			pause(ctx)
		}
		return
	}
}

func send(ctx context.Context, client *api, id json.Number, channel string) (int, error) {
	body := map[string]any{"channel": channel, "payload": map[string]any{"type": "gift.received", "id": id}}
	var answer struct{ Status string }
	return client.call(ctx, "POST", "/internal/publish", publishToken, body, &answer)
}

// finish publishes the last event, on the channel that everybody has.
func (p *programme) finish(t *testing.T, client *api) {
	key := giftKey(number(lastID))
	p.events[key] = &publication{channel: p.channels[0], by: -2, turn: 1}
	status, err := send(t.Context(), client, number(lastID), p.channels[0])
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	p.answered(key, true)
}

// account is a user who listens.
type account struct {
	email, token string
	channel      string
}

// session is one of a user's that ends while others listen.
type session struct {
	token, id string
	channel   string
}

const password = "crash-pass-1"

func openAccount(t *testing.T, client *api, email string) account {
	var answer struct {
		Token string
		User  struct{ ID json.Number }
	}
	status, err := client.call(t.Context(), "POST", "/api/v1/auth/register/", "", map[string]string{"email": email, "password": password, "name": "Crash Test"}, &answer)
	require.NoError(t, err)
	require.Equal(t, http.StatusCreated, status)
	return account{email: email, token: answer.Token, channel: "user:" + answer.User.ID.String()}
}

// signIn opens one more session of a.
func (a account) signIn(t *testing.T, client *api) session {
	var answer struct{ Token string }
	status, err := client.call(t.Context(), "POST", "/api/v1/auth/login/", "", map[string]string{"email": a.email, "password": password}, &answer)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	parts := strings.Split(answer.Token, ".")
	require.Len(t, parts, 3)
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	require.NoError(t, err)
	var c struct{ SID string }
	require.NoError(t, json.Unmarshal(claims, &c))
	require.NotZero(t, c.SID)
	return session{token: answer.Token, id: c.SID, channel: a.channel}
}

// signOut ends sessions one after the other, spread over the programme. A
// request without an answer is repeated until the server says that the session
// is over; however often that was, its end is told once.
func (p *programme) signOut(ctx context.Context, t *testing.T, client *api, sessions []session, total int) {
	for i, s := range sessions {
		for at := total * i / len(sessions); ctx.Err() == nil && p.count() < at; {
			pause(ctx)
		}
		if ctx.Err() != nil {
			return
		}
		key := sessionKey(s.id)
		p.mu.Lock()
		p.events[key] = &publication{channel: s.channel, by: -1, turn: i + 1}
		p.mu.Unlock()
		for {
			var answer struct{ Message string }
			status, err := client.call(t.Context(), "POST", "/api/v1/auth/logout/", s.token, map[string]string{}, &answer)
			if err == nil && (status == http.StatusOK || status == http.StatusUnauthorized) {
				break
			}
			if t.Context().Err() != nil {
				return
			}
			pause(t.Context())
		}
		p.mu.Lock()
		p.events[key].promised = true
		p.mu.Unlock()
	}
}

// await waits for a condition and fails after long.
func await(t *testing.T, what string, long time.Duration, met func() bool) {
	t.Helper()
	require.Eventually(t, met, long, 2*time.Millisecond, what)
}
