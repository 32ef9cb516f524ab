package broker

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	// askWait bounds one question to a peer; it is below a health check's.
	askWait = time.Second

	// askAgain is how old an answer may be, however often health is asked.
	askAgain = 2 * time.Second

	// maxInfo bounds a peer's introduction in bytes; it is below 1 KiB.
	maxInfo = 16 << 10
)

// peer is what is known of one named address.
type peer struct {
	self  bool   // the address is this node's
	id    string // of the server there when it was last asked
	err   error  // why it could not be asked
	asked time.Time
}

// learn forgets what an earlier run knew and finds this node among its peers,
// as far as that shows without asking anybody.
func (b *bus) learn() {
	own := map[netip.Addr]bool{}
	if list, err := net.InterfaceAddrs(); err == nil {
		for _, address := range list {
			if prefix, err := netip.ParsePrefix(address.String()); err == nil {
				own[prefix.Addr().Unmap()] = true
			}
		}
	}
	listen := b.server.ClusterAddr()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.known = map[string]peer{}
	for _, address := range b.peers {
		host, port, err := splitAddress(address)
		if err != nil { // newBus has checked them
			continue
		}
		ip, err := netip.ParseAddr(host)
		reached := listen.IP.IsUnspecified() || err == nil && listen.AddrPort().Addr().Unmap() == ip.Unmap()
		b.known[address] = peer{self: err == nil && port == listen.Port && reached && own[ip.Unmap()]}
	}
}

// named counts the peers without this node.
func (b *bus) named() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, address := range b.peers {
		if !b.known[address].self {
			n++
		}
	}
	return n
}

// missing says which peers are not connected, and why as far as they tell.
func (b *bus) missing(ctx context.Context, s *server.Server) error {
	routes := joined(s)
	configured := 0
	for _, r := range routes {
		if r.configured {
			configured++
		}
	}
	if configured >= b.named() {
		return nil
	}
	// Routes don't say which address they belong to, because half of them come
	// from the other side. The peers themselves do.
	b.ask(ctx, s.ID(), routes)
	b.mu.Lock()
	defer b.mu.Unlock()
	var away []string
	named := 0
	for _, address := range b.peers {
		p := b.known[address]
		if p.self {
			continue
		}
		named++
		_, connected := routes[p.id]
		switch {
		case connected:
		case p.err != nil:
			away = append(away, fmt.Sprintf("%s: %v", address, p.err))
		default:
			away = append(away, address+": answers, its route is not open yet")
		}
	}
	if len(away) == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d peers connected; %s", named-len(away), named, strings.Join(away, "; "))
}

// ask asks the peers that are not known to be connected who they are, once at
// a time.
func (b *bus) ask(ctx context.Context, self string, routes map[string]route) {
	b.asking.Lock()
	defer b.asking.Unlock()
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	var all sync.WaitGroup
	for _, address := range b.peers {
		b.mu.Lock()
		p := b.known[address]
		b.mu.Unlock()
		if _, connected := routes[p.id]; connected || p.self || time.Since(p.asked) < askAgain {
			continue
		}
		all.Go(func() {
			id, err := introduce(ctx, address, b.creds.tls)
			if err == nil {
				p.id, p.self = id, id == self
			}
			p.err, p.asked = err, time.Now()
			b.mu.Lock()
			b.known[address] = p
			b.mu.Unlock()
		})
	}
	all.Wait()
}

// introduce asks the server at a route address for its id: the first thing
// that it says, once it has seen our certificate.
func introduce(ctx context.Context, address string, config *tls.Config) (id string, err error) {
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", address)
	if err != nil {
		return "", plainDial(err)
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return "", err
		}
	}
	line, err := bufio.NewReader(io.LimitReader(conn, maxInfo)).ReadString('\n')
	if err != nil {
		return "", plainDial(err)
	}
	return introduction(line)
}

// errStranger is told of what listens at a peer's address and is none.
var errStranger = errors.New("is no node of this cluster")

// introduction reads the id out of a server's first line.
func introduction(line string) (string, error) {
	text, ok := strings.CutPrefix(line, "INFO ")
	var info struct {
		ID string `json:"server_id"`
	}
	if !ok || json.Unmarshal([]byte(text), &info) != nil || info.ID == "" {
		return "", errStranger
	}
	return info.ID, nil
}

// plainDial says what went wrong in an operator's words.
func plainDial(err error) error {
	var stranger x509.UnknownAuthorityError
	var plain tls.RecordHeaderError
	var wait net.Error
	switch {
	case errors.As(err, &stranger):
		return errors.New("has another CLUSTER_TOKEN")
	case errors.As(err, &plain), errors.Is(err, io.EOF):
		return errStranger
	case errors.Is(err, syscall.ECONNREFUSED):
		return errors.New("nothing listens there")
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &wait) && wait.Timeout():
		return errors.New("no answer within " + askWait.String())
	}
	return err
}
