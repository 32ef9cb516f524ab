package realtimetest

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// gate stands between the browser and the appliance, and can be shut.
type gate struct {
	listener net.Listener
	target   string
	wait     sync.WaitGroup

	mu         sync.Mutex // guards what follows
	shut       bool
	noSockets  bool
	refused    int // WebSocket handshakes
	connection map[net.Conn]struct{}
}

func newGate(t *testing.T, target string) *gate {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	g := &gate{listener: listener, target: target, connection: map[net.Conn]struct{}{}}
	g.wait.Go(g.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		g.close()
		g.wait.Wait()
	})
	return g
}

func (g *gate) url() string { return "http://" + g.listener.Addr().String() }

// close cuts what stands, without a word, and lets nobody through.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = true
	for c := range g.connection {
		_ = c.Close()
	}
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = false
}

// refuseSockets makes the gate a proxy that knows no WebSocket.
func (g *gate) refuseSockets() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.noSockets = true
}

func (g *gate) refusals() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.refused
}

// hold keeps a connection for close; it is refused when the gate is shut.
func (g *gate) hold(c net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		return false
	}
	g.connection[c] = struct{}{}
	return true
}

func (g *gate) release(c net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.connection, c)
	_ = c.Close()
}

func (g *gate) accept() {
	for {
		c, err := g.listener.Accept()
		if err != nil {
			return
		}
		if !g.hold(c) {
			_ = c.Close()
			continue
		}
		g.wait.Go(func() { g.carry(c) })
	}
}

// carry passes bytes both ways until one side ends. A browser opens each
// WebSocket on a connection of its own, so the first request tells.
func (g *gate) carry(client net.Conn) {
	defer g.release(client)
	r := bufio.NewReaderSize(client, 64<<10)
	head, err := readHead(r)
	if err != nil {
		return
	}
	if strings.Contains(strings.ToLower(string(head)), "\nupgrade: websocket") && g.refuses() {
		_, _ = io.WriteString(client, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		return
	}
	server, err := net.Dial("tcp", g.target)
	if err != nil {
		return
	}
	if !g.hold(server) {
		_ = server.Close()
		return
	}
	defer g.release(server)
	if _, err := server.Write(head); err != nil {
		return
	}
	g.wait.Go(func() {
		_, _ = io.Copy(server, r)
		_ = server.Close()
	})
	_, _ = io.Copy(client, server)
}

func (g *gate) refuses() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.noSockets {
		g.refused++
	}
	return g.noSockets
}

// readHead reads a request up to the end of its headers.
func readHead(r *bufio.Reader) ([]byte, error) {
	var head []byte
	for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		head = append(head, line...)
	}
	return head, nil
}
