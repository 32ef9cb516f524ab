package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// gateway keeps the protocol of docs/REALTIME.md as far as the load client
// needs it. Positions are numbers of the history.
type gateway struct {
	addr   string
	fault  string // lose, double or swap: what happens to the tenth event of one client
	refuse atomic.Bool
	queue  int // messages

	mu      sync.Mutex
	history []string // payloads
	clients map[*gatewayClient]bool
}

// gatewayClient has a queue; one that it overflows is cut.
type gatewayClient struct {
	gateway   *gateway
	number    int
	queue     chan []byte
	cut       func()
	positions bool
	held      []byte
	sent      int
}

func newGateway(t *testing.T, queue int, fault string) *gateway {
	t.Helper()
	g := &gateway{queue: queue, fault: fault, clients: map[*gatewayClient]bool{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ws", g.socket)
	mux.HandleFunc("GET /api/v1/events/stream/", g.stream)
	mux.HandleFunc("POST /internal/publish", g.publish)
	server := httptest.NewServer(mux)
	t.Cleanup(func() {
		g.mu.Lock()
		for c := range g.clients {
			c.leave()
		}
		g.mu.Unlock()
		server.Close()
	})
	g.addr = server.Listener.Addr().String()
	return g
}

// join greets a client and gives it what it has missed.
func (g *gateway) join(r *http.Request, cut func()) *gatewayClient {
	c := &gatewayClient{gateway: g, queue: make(chan []byte, g.queue), cut: cut}
	since := r.URL.Query().Get("since")
	c.positions = since != "" || r.URL.Query().Get("positions") == "1"
	g.mu.Lock()
	defer g.mu.Unlock()
	ack := `{"type":"ack","message":"connected"}`
	from := len(g.history)
	if c.positions {
		ack = fmt.Sprintf(`{"type":"ack","message":"connected","channels":["post:1"],"position":"p+%d"}`, from)
	}
	if since != "" {
		n, err := strconv.Atoi(strings.TrimPrefix(since, "p+"))
		if err == nil {
			from = n
			ack = strings.TrimSuffix(ack, "}") + `,"recovered":true}`
		}
	}
	c.queue <- []byte(ack)
	for ; from < len(g.history); from++ {
		c.push(from)
	}
	c.number = len(g.clients)
	g.clients[c] = true
	return c
}

// push is called with the lock held.
func (c *gatewayClient) push(n int) {
	payload := c.gateway.history[n]
	if c.positions {
		payload = fmt.Sprintf(`%s,"position":"p+%d"}`, strings.TrimSuffix(payload, "}"), n+1)
	}
	c.sent++
	fault := ""
	if c.number == 1 && c.sent == 10 {
		fault = c.gateway.fault
	}
	switch {
	case fault == "lose":
		return
	case fault == "swap":
		c.held = []byte(payload)
		return
	case fault == "double":
		c.queue <- []byte(payload)
	}
	for _, m := range [][]byte{[]byte(payload), c.held} {
		if m == nil {
			continue
		}
		select {
		case c.queue <- m:
		default:
			c.leave()
			return
		}
	}
	c.held = nil
}

// leave is called with the lock held.
func (c *gatewayClient) leave() {
	if c.gateway.clients[c] {
		delete(c.gateway.clients, c)
		close(c.queue)
		c.cut()
	}
}

func (g *gateway) gone(c *gatewayClient) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c.leave()
}

func (g *gateway) socket(w http.ResponseWriter, r *http.Request) {
	if g.refuse.Load() {
		http.Error(w, `{"detail":"auth_failed"}`, http.StatusForbidden)
		return
	}
	conn, buffer, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = buffer.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + wsAccept + "\r\n\r\n")
	if buffer.Flush() != nil {
		return
	}
	c := g.join(r, func() { _ = conn.(*net.TCPConn).SetLinger(0); _ = conn.Close() })
	defer g.gone(c)
	for m := range c.queue {
		if _, err := conn.Write(serverFrame(m)); err != nil {
			return
		}
	}
}

func (g *gateway) stream(w http.ResponseWriter, r *http.Request) {
	c := g.join(r, func() {})
	defer g.gone(c)
	w.Header().Set("Content-Type", "text/event-stream")
	for n := 0; ; n++ {
		select {
		case <-r.Context().Done():
			return
		case m, ok := <-c.queue:
			if !ok {
				return
			}
			if _, err := fmt.Fprintf(w, ": ping\n\nid: p%d\ndata: %s\n\n", n, m); err != nil {
				return
			}
			if http.NewResponseController(w).Flush() != nil {
				return
			}
		}
	}
}

func (g *gateway) publish(w http.ResponseWriter, r *http.Request) {
	var event struct{ Payload json.RawMessage }
	if err := json.NewDecoder(r.Body).Decode(&event); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.history = append(g.history, string(event.Payload))
	for c := range g.clients {
		c.push(len(g.history) - 1)
	}
	_, _ = w.Write([]byte(`{"status":"ok"}`))
}
