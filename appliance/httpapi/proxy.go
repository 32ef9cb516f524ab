package httpapi

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/valyala/fasthttp"
)

// hostList are the hosts that the server answers for.
type hostList struct {
	any    bool
	exact  map[string]bool
	suffix []string // with their leading dot
}

func parseHosts(names []string) hostList {
	l := hostList{any: len(names) == 0, exact: make(map[string]bool)}
	for _, n := range names {
		n = strings.ToLower(strings.TrimSpace(n))
		switch {
		case n == "*":
			l.any = true
		case strings.HasPrefix(n, "."):
			l.suffix = append(l.suffix, n)
			l.exact[n[1:]] = true
		case n != "":
			l.exact[n] = true
		}
	}
	return l
}

// allow tells whether host, which may carry a port, is one of ours and safe to
// build links with.
func (l hostList) allow(host string) bool {
	for i := range len(host) {
		c := host[i]
		if !isAlnum(c) && c != '.' && c != '-' && c != ':' && c != '[' && c != ']' && c != '_' {
			return false
		}
	}
	if host == "" {
		return false
	}
	if l.any {
		return true
	}
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.ToLower(strings.TrimSuffix(strings.Trim(name, "[]"), "."))
	if l.exact[name] {
		return true
	}
	for _, s := range l.suffix {
		if strings.HasSuffix(name, s) {
			return true
		}
	}
	return false
}

// proxyList are the peers whose X-Forwarded headers count.
type proxyList struct {
	any      bool
	nets     []netip.Prefix
	unlisted *unlisted
}

func parseProxies(texts []string) (proxyList, error) {
	l := proxyList{unlisted: &unlisted{}}
	for _, s := range texts {
		s = strings.TrimSpace(s)
		switch {
		case s == "":
			continue
		case s == "*":
			l.any = true
			continue
		}
		if p, err := netip.ParsePrefix(s); err == nil {
			l.nets = append(l.nets, p.Masked())
			continue
		}
		a, err := netip.ParseAddr(s)
		if err != nil {
			return l, fmt.Errorf("trusted proxy %q is neither an address nor a network", s)
		}
		a = a.Unmap()
		l.nets = append(l.nets, netip.PrefixFrom(a, a.BitLen()))
	}
	return l, nil
}

func (l proxyList) trusts(a netip.Addr) bool {
	if l.any {
		return true
	}
	for _, n := range l.nets {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

// client gives the address of the client and whether it came by HTTPS. Only
// trusted peers are believed: the client is the right-most address of
// X-Forwarded-For that is not itself a trusted proxy, so that what a client
// writes into the header does not count.
func (l proxyList) client(fctx *fasthttp.RequestCtx) (addr netip.Addr, secure bool) {
	if tcp, ok := fctx.RemoteAddr().(*net.TCPAddr); ok {
		addr = tcp.AddrPort().Addr().Unmap()
	} else {
		addr = netip.IPv6Loopback() // a local socket or a test's in-memory connection
	}
	secure = fctx.IsTLS()
	h := &fctx.Request.Header
	if !l.trusts(addr) {
		if len(h.Peek("X-Forwarded-For")) > 0 {
			l.unlisted.note(addr, time.Now())
		}
		return addr, secure
	}
	if proto := h.Peek("X-Forwarded-Proto"); len(proto) > 0 {
		last := proto[bytes.LastIndexByte(proto, ',')+1:]
		secure = strings.EqualFold(string(bytes.TrimSpace(last)), "https")
	}
	for _, line := range reversed(h.PeekAll("X-Forwarded-For")) {
		for len(line) > 0 {
			i := bytes.LastIndexByte(line, ',')
			text := string(bytes.TrimSpace(line[i+1:]))
			line = line[:max(i, 0)]
			a, err := netip.ParseAddr(strings.Trim(text, "[]"))
			if err != nil {
				ap, err := netip.ParseAddrPort(text)
				if err != nil {
					return addr, secure // not written by a proxy of ours: go no further
				}
				a = ap.Addr()
			}
			addr = a.Unmap()
			if l.any || !l.trusts(addr) {
				return addr, secure
			}
		}
	}
	return addr, secure
}

func reversed(lines [][]byte) [][]byte {
	out := make([][]byte, 0, len(lines))
	for i := len(lines) - 1; i >= 0; i-- {
		out = append(out, lines[i])
	}
	return out
}
