package nodes

import (
	"context"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"selflink/appliance/database/databasetest"
)

// cluster is two joined nodes, a model that both ask, and their database.
type cluster struct {
	a, b  *node
	db    *databasetest.DB
	model *model
}

// TestTwoNodes shows what clients of two nodes may rely on. The killing comes
// first: all the rest is then asked of a pair that has lost a node and has it
// back, and meanwhile the dead process's connections are forgotten.
func TestTwoNodes(t *testing.T) {
	t.Parallel()
	c := &cluster{model: newModel(t)}
	open := func() (pooled, direct string) {
		c.db = databasetest.New(t)
		return c.db.URL, c.db.DirectURL
	}
	c.a, c.b = newNodes(t, open, "MENTOR_LLM_PROVIDER=ollama", "MENTOR_LLM_BASE_URL="+c.model.url, "MENTOR_CHAT_WAIT=0")

	c.killed(t)
	t.Run("one order", c.oneOrder)
	t.Run("ticket", c.ticket)
	t.Run("logout", c.logout)
	t.Run("reset by command", c.resetByCommand)
	t.Run("presence", c.presence)
	t.Run("orderly stop", c.orderlyStop)
}

// oneOrder has several publishers on both nodes at once, and clients of every
// form on both.
func (c *cluster) oneOrder(t *testing.T) {
	const publishers, each = 6, 60
	ann := c.a.register(t, "order")
	var all []listener
	for _, n := range []*node{c.a, c.b} {
		plain, _ := n.connect(t, ann, "channels=post:1")
		positioned, _ := n.connect(t, ann, "channels=post:1&positions=1")
		all = append(all, positioned, n.stream(t, ann, "channels=post:1"), plain)
	}

	// Each publisher goes from node to node: its next event is published when
	// the one before is committed, so they have to arrive in that order.
	var publishing sync.WaitGroup
	failed := make(chan error, publishers)
	for p := range publishers {
		publishing.Go(func() {
			for i := range each {
				n := []*node{c.a, c.b}[(p+i)%2]
				if err := n.gift(t.Context(), "post:1", p*1000+i); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	publishing.Wait()
	require.Empty(t, failed)

	first := gifts(t, all[0], publishers*each)
	seen := map[int]int{} // publisher → how many of its events
	for _, f := range first {
		p, i := f.ID/1000, f.ID%1000
		require.Equal(t, seen[p], i, "publisher %d", p)
		seen[p]++
	}
	for _, l := range all[1:] {
		events := gifts(t, l, publishers*each)
		require.Equal(t, ids(first), ids(events))
		if _, ok := l.(*socket); ok && events[0].Position == "" {
			continue // a client without positions
		}
		require.Equal(t, first, events, "the positions differ")
	}

	// Whatever came twice would come before this.
	require.NoError(t, c.b.gift(t.Context(), "post:1", 9000))
	for _, l := range all {
		require.Equal(t, 9000, next(t, l).ID)
	}
}

// ticket has one ticket shown to both nodes at the same time.
func (c *cluster) ticket(t *testing.T) {
	var ticket struct{ Ticket string }
	who := c.a.register(t, "ticket")
	c.a.post(t, "/api/v1/realtime/ticket/", who.token, map[string]any{}, http.StatusCreated, &ticket)
	s, refused := c.b.dial(t, "", "ticket="+ticket.Ticket)
	require.NotNil(t, s, "refused: %d", refused)
	require.Equal(t, "connected", next(t, s).Message)
	for _, n := range []*node{c.a, c.b} {
		s, refused := n.dial(t, "", "ticket="+ticket.Ticket)
		require.Nil(t, s, "the ticket served again on %s", n.name)
		require.Equal(t, http.StatusForbidden, refused)
	}

	c.b.post(t, "/api/v1/realtime/ticket/", who.token, map[string]any{}, http.StatusCreated, &ticket)
	var dialing sync.WaitGroup
	var mu sync.Mutex
	opened := 0
	for i := range 8 {
		dialing.Go(func() {
			if s, _ := []*node{c.a, c.b}[i%2].dial(t, "", "ticket="+ticket.Ticket); s != nil {
				mu.Lock()
				defer mu.Unlock()
				opened++
			}
		})
	}
	dialing.Wait()
	require.Equal(t, 1, opened, "connections by one ticket")
}

// logout at one node closes the session's connections at both, and tells the
// others of the user.
func (c *cluster) logout(t *testing.T) {
	for _, at := range []struct{ here, there *node }{{c.a, c.b}, {c.b, c.a}} {
		leaves := at.here.register(t, "logout-"+at.here.name)
		stays := at.there.login(t, leaves)
		var closing, staying []*socket
		for _, n := range []*node{at.here, at.there} {
			gone, _ := n.connect(t, leaves, "")
			left, _ := n.connect(t, stays, "")
			closing, staying = append(closing, gone), append(staying, left)
		}
		at.here.post(t, "/api/v1/auth/logout/", leaves.token, map[string]any{}, http.StatusOK, nil)
		session := ""
		for _, s := range closing {
			before, code := s.closed(t)
			require.Equal(t, 4401, code)
			require.Len(t, before, 1)
			require.Equal(t, "session.revoked", before[0].Type)
			session = before[0].Session
			require.NotEmpty(t, session)
		}
		for _, s := range staying {
			f := next(t, s)
			require.Equal(t, "session.revoked", f.Type)
			require.Equal(t, session, f.Session)
			s.quiet(t)
		}
		c.shutOut(t, leaves)
	}
}

// shutOut makes sure that a token opens nothing any more, on either node.
func (c *cluster) shutOut(t *testing.T, who person) {
	t.Helper()
	for _, n := range []*node{c.a, c.b} {
		s, refused := n.dial(t, who.token, "")
		require.Nil(t, s, "node %s let an ended session in", n.name)
		require.Equal(t, http.StatusForbidden, refused)
	}
}

// resetByCommand has a command beside the nodes end all sessions of a user.
func (c *cluster) resetByCommand(t *testing.T) {
	who := c.a.register(t, "reset")
	again := c.b.login(t, who)
	other := c.a.register(t, "not-reset")
	var closing, staying []*socket
	for _, n := range []*node{c.a, c.b} {
		for _, p := range []person{who, again} {
			s, _ := n.connect(t, p, "")
			closing = append(closing, s)
		}
		s, _ := n.connect(t, other, "")
		staying = append(staying, s)
	}
	c.a.run(t, "admin", "reset-password", "--generate", who.email)
	for _, s := range closing {
		_, code := s.closed(t)
		require.Equal(t, 4401, code)
	}
	c.shutOut(t, who)
	c.shutOut(t, again)
	for _, s := range staying {
		s.quiet(t)
	}
}

// presence counts each user once, wherever its connections are.
func (c *cluster) presence(t *testing.T) {
	users := func(want int) {
		t.Helper()
		c.a.awaitUsers(t, want)
		c.b.awaitUsers(t, want)
	}
	// Those of before are gone, also those of the process that was killed.
	users(0)
	ann, bob, carl := c.a.register(t, "ann"), c.a.register(t, "bob"), c.b.register(t, "carl")
	annA, _ := c.a.connect(t, ann, "")
	annB, _ := c.b.connect(t, ann, "")
	c.b.connect(t, bob, "")
	users(2)
	require.NoError(t, annA.conn.CloseNow())
	c.a.connect(t, carl, "") // told not before ann's end at this node
	users(3)
	require.NoError(t, annB.conn.CloseNow())
	users(2)
}

// orderlyStop has a node tell its clients to come back, and the other forget
// its users at once.
func (c *cluster) orderlyStop(t *testing.T) {
	who := c.a.register(t, "stop")
	s, ack := c.a.connect(t, who, "channels=post:5&positions=1")
	c.b.awaitUsers(t, 1)
	c.a.terminate(t)
	_, code := s.closed(t)
	require.Equal(t, 1012, code)
	c.a.exited(t)
	require.NoError(t, c.b.gift(context.Background(), "post:5", 1))
	back, again := c.b.connect(t, who, "channels=post:5&since="+ack.Position)
	require.True(t, *again.Recovered)
	require.Equal(t, 1, next(t, back).ID)
	require.NoError(t, back.conn.CloseNow())
	c.b.awaitUsers(t, 0)
}
