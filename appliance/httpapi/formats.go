package httpapi

import (
	"net/netip"
	"net/url"
	"strings"
	"unicode"
)

// Bounds of addresses.
const (
	maxEmail    = 320  // characters, local part and domain
	maxURL      = 2048 // characters
	maxLabel    = 63   // bytes of one label of a host name
	maxHostName = 253
)

// isEmail tells whether s has the form of an e-mail address: a dotted atom, an
// at sign, and a host name with a dot, localhost, or an address in brackets.
func isEmail(s string) bool {
	at := strings.LastIndexByte(s, '@')
	if at < 1 || len(s) > maxEmail {
		return false
	}
	local, domain := s[:at], s[at+1:]
	for atom := range strings.SplitSeq(local, ".") {
		if atom == "" {
			return false
		}
		for _, c := range []byte(atom) {
			if !isAlnum(c) && strings.IndexByte("-!#$%&'*+/=?^_`{}|~", c) < 0 {
				return false
			}
		}
	}
	if inside, ok := strings.CutPrefix(domain, "["); ok {
		inside, ok = strings.CutSuffix(inside, "]")
		_, err := netip.ParseAddr(strings.TrimPrefix(inside, "IPv6:"))
		return ok && err == nil
	}
	return domain == "localhost" || isHostName(domain)
}

// isURL tells whether s is an absolute http, https or ftp address.
func isURL(s string) bool {
	if len(s) > maxURL || strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
		return false
	}
	u, err := url.Parse(s)
	if err != nil {
		return false
	}
	switch strings.ToLower(u.Scheme) {
	case "http", "https", "ftp", "ftps":
	default:
		return false
	}
	host := u.Hostname()
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return host == "localhost" || isHostName(strings.TrimSuffix(host, "."))
}

// isHostName tells whether s is a host name of at least two labels whose last
// one is no number.
func isHostName(s string) bool {
	if len(s) > maxHostName || !strings.Contains(s, ".") {
		return false
	}
	last := ""
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > maxLabel || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, r := range label {
			if r == '-' || r < 0x80 && isAlnum(byte(r)) || r >= 0x80 && (unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r)) {
				continue
			}
			return false
		}
		last = label
	}
	return len(last) >= 2 && strings.Trim(last, "0123456789") != ""
}

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
