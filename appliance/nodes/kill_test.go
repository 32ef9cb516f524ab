package nodes

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// model speaks Ollama's protocol. It holds the first question until whoever
// asked is gone and answers all others.
type model struct {
	url   string
	asked chan struct{} // closed by the first question
}

func newModel(t *testing.T) *model {
	m := &model{asked: make(chan struct{})}
	var first sync.Once
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			fmt.Fprint(w, `{}`)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body) // else the end of the connection does not show
		held := false
		first.Do(func() { held = true; close(m.asked) })
		if held {
			<-r.Context().Done()
			return
		}
		w.Header().Set("Content-Type", "application/x-ndjson")
		fmt.Fprintln(w, `{"response":"Breathe.","done":false}`)
		fmt.Fprintln(w, `{"response":"","done":true}`)
	}))
	t.Cleanup(server.Close)
	m.url = server.URL
	return m
}

// returning is a client that comes back, to another node, with the last
// position that it has seen.
type returning struct {
	who      person
	query    string
	at       *socket
	position string
	events   []frame
}

func (c *returning) take(events ...frame) {
	for _, f := range events {
		c.position = f.Position
	}
	c.events = append(c.events, events...)
}

// killed kills a node in the midst of events and of a job. Its clients come
// back to the other one and have every committed event once and in order; the
// other goes on all the time, and takes over the job.
func (c *cluster) killed(t *testing.T) {
	const channel, publishers, each, killAfter = "post:3", 4, 40, 50
	ann, bob, lone := c.a.register(t, "kill-ann"), c.b.register(t, "kill-bob"), c.a.register(t, "kill-lone")
	asker := c.a.register(t, "kill-asker")

	var clients []*returning
	for _, place := range []struct {
		who person
		n   *node
	}{{ann, c.a}, {bob, c.a}, {ann, c.b}} {
		client := &returning{who: place.who, query: "channels=" + channel}
		s, ack := place.n.connect(t, place.who, client.query+"&positions=1")
		client.at, client.position = s, ack.Position
		clients = append(clients, client)
	}
	away, stayed := clients[:2], clients[2]
	c.a.connect(t, lone, "")
	waits, _ := c.b.connect(t, asker, "")
	c.b.awaitUsers(t, 4)

	var task struct {
		ID string `json:"task_id"`
	}
	c.a.post(t, "/api/v1/mentor/chat/", asker.token, map[string]any{"message": "hello"}, http.StatusAccepted, &task)
	select {
	case <-c.model.asked:
	case <-time.After(patience):
		require.Fail(t, "the model was not asked")
	}

	// The publishers of the dying node end with it.
	var publishing sync.WaitGroup
	answered := make(chan int, publishers*each)
	failed := make(chan error, publishers)
	for p := range publishers {
		n := []*node{c.a, c.b}[p%2]
		publishing.Go(func() {
			for i := range each {
				err := n.gift(t.Context(), channel, p*1000+i)
				switch {
				case err == nil:
				case n == c.b || errors.Is(err, errRefused):
					failed <- err
					return
				default:
					return
				}
				answered <- p*1000 + i
			}
		})
	}
	var promised []int
	for len(promised) < killAfter {
		select {
		case id := <-answered:
			promised = append(promised, id)
		case <-time.After(patience):
			require.Fail(t, "the publishers are stuck", "%d failed", len(failed))
		}
	}
	c.a.kill()
	for _, client := range away {
		events, code := client.at.closed(t)
		require.Zero(t, code, "a killed process says nothing")
		client.take(events...)
		s, ack := c.b.connect(t, client.who, client.query+"&since="+client.position)
		require.True(t, *ack.Recovered)
		client.at = s
	}
	publishing.Wait()
	require.Empty(t, failed, "the other node did not go on, or this one refused")
	close(answered)
	for id := range answered {
		promised = append(promised, id)
	}
	require.NoError(t, c.b.gift(t.Context(), channel, 9000))
	promised = append(promised, 9000)

	// What is committed is what the clients have to have: all that was answered
	// for, and perhaps one of each publisher that has heard nothing.
	for _, client := range clients {
		for len(client.events) == 0 || client.events[len(client.events)-1].ID != 9000 {
			client.take(next(t, client.at))
		}
	}
	log := c.log(t, channel)
	require.Subset(t, log, promised)
	require.LessOrEqual(t, len(log), len(promised)+publishers/2)
	for _, client := range clients {
		require.Equal(t, log, ids(client.events))
	}
	require.Equal(t, stayed.events, away[0].events, "the positions differ")

	// The job goes to the node that is left.
	reply := next(t, waits)
	require.Equal(t, "mentor.reply", reply.Type)
	require.Equal(t, task.ID, reply.TaskID)
	require.Equal(t, "Breathe.", reply.Reply)
	c.answeredOnce(t, asker)

	c.a.start(t)
	c.a.await(t)
	c.b.await(t)
	s, _ := c.a.connect(t, bob, "channels="+channel)
	for i, n := range []*node{c.a, c.b} {
		require.NoError(t, n.gift(t.Context(), channel, 9001+i))
		require.Equal(t, 9001+i, next(t, s).ID)
		for _, client := range clients {
			require.Equal(t, 9001+i, next(t, client.at).ID)
		}
	}
	for _, client := range clients {
		require.NoError(t, client.at.conn.CloseNow())
	}
	waits.quiet(t)
	for _, open := range []*socket{s, waits} {
		require.NoError(t, open.conn.CloseNow())
	}
}

// log gives the numbers of what is committed on a channel, in order.
func (c *cluster) log(t *testing.T, channel string) (numbers []int) {
	rows, err := c.db.Direct.Query(t.Context(), "SELECT payload FROM realtime_events WHERE channel = $1 AND seq IS NOT NULL ORDER BY seq", channel)
	require.NoError(t, err)
	defer rows.Close()
	for rows.Next() {
		var payload string
		require.NoError(t, rows.Scan(&payload))
		var f frame
		require.NoError(t, json.Unmarshal([]byte(payload), &f))
		numbers = append(numbers, f.ID)
	}
	require.NoError(t, rows.Err())
	return numbers
}

// answeredOnce makes sure that the other node has stored one answer to the one
// question of somebody.
func (c *cluster) answeredOnce(t *testing.T, who person) {
	status, body, err := c.b.call(t.Context(), http.MethodGet, "/api/v1/mentor/history/", who.token, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status, string(body))
	var history struct {
		Results []struct{ Role string }
	}
	require.NoError(t, json.Unmarshal(body, &history), string(body))
	require.Len(t, history.Results, 2, "a question and its answer")
}
