package config

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The parsers get a trimmed, non-blank value, or a default which may be blank.
// Their errors say what a good value looks like and never repeat the value of
// something that may be secret.

func parseText(raw string) (string, error) { return raw, nil }

func parseSecret(raw string) (Secret, error) { return NewSecret(raw), nil }

func parseBool(raw string) (bool, error) {
	switch strings.ToLower(raw) {
	case "true", "1", "yes", "on":
		return true, nil
	case "false", "0", "no", "off":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither true nor false", raw)
}

// parseInt accepts whole numbers from low to high.
func parseInt(low, high int) func(string) (int, error) {
	return func(raw string) (int, error) {
		n, err := strconv.Atoi(raw)
		if err != nil {
			return 0, fmt.Errorf("%q is not a whole number", raw)
		}
		if n < low || n > high {
			return 0, fmt.Errorf("%d is not between %d and %d", n, low, high)
		}
		return n, nil
	}
}

// parseSpan accepts numbers, fractions included, of a unit.
func parseSpan(unit time.Duration, low, high float64) func(string) (time.Duration, error) {
	return func(raw string) (time.Duration, error) {
		n, err := strconv.ParseFloat(raw, 64)
		if err != nil || math.IsNaN(n) || math.IsInf(n, 0) {
			return 0, fmt.Errorf("%q is not a number", raw)
		}
		if n < low || n > high {
			return 0, fmt.Errorf("%v is not between %v and %v", n, low, high)
		}
		return time.Duration(n * float64(unit)), nil
	}
}

// parseSize accepts bytes with an optional binary unit: 64MiB, 1g, 1048576.
func parseSize(raw string) (int64, error) {
	text := strings.ToLower(strings.TrimSpace(raw))
	digits := strings.TrimRight(text, "kmgtib ")
	unit := strings.TrimSpace(text[len(digits):])
	shift, ok := map[string]uint{
		"": 0, "b": 0, "k": 10, "kb": 10, "kib": 10, "m": 20, "mb": 20, "mib": 20,
		"g": 30, "gb": 30, "gib": 30, "t": 40, "tb": 40, "tib": 40,
	}[unit]
	n, err := strconv.ParseInt(digits, 10, 64)
	if !ok || err != nil || n <= 0 || n > math.MaxInt64>>shift {
		return 0, fmt.Errorf("%q is not a size such as 64MiB or 1GiB", raw)
	}
	return n << shift, nil
}

// parseMiB accepts whole mebibytes from low up and gives bytes.
func parseMiB(low int) func(string) (int64, error) {
	return func(raw string) (int64, error) {
		n, err := parseInt(low, math.MaxInt32)(raw)
		return int64(n) * mib, err
	}
}

// parseMemory is parseSize that also knows "off" and, as a default, nothing.
func parseMemory(raw string) (int64, error) {
	switch strings.ToLower(raw) {
	case "":
		return 0, nil
	case "off":
		return -1, nil
	}
	return parseSize(raw)
}

func parseLevel(raw string) (slog.Level, error) {
	switch strings.ToUpper(raw) {
	case "DEBUG", "NOTSET":
		return slog.LevelDebug, nil
	case "INFO":
		return slog.LevelInfo, nil
	case "WARNING", "WARN":
		return slog.LevelWarn, nil
	case "ERROR", "CRITICAL", "FATAL":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("%q is not one of DEBUG, INFO, WARNING, ERROR", raw)
}

func parseRequestLevel(raw string) (slog.Level, error) {
	if raw == "" {
		return slog.LevelInfo, nil // until derive knows better
	}
	return parseLevel(raw)
}

// parseRate accepts "N/period" and gives nothing when nothing is limited.
func parseRate(raw string) (string, error) {
	wrong := fmt.Errorf("%q is not a rate such as 60/min, or 0 for no limit", raw)
	if raw == "" {
		return "", nil
	}
	count, period, ok := strings.Cut(raw, "/")
	n, err := strconv.ParseUint(strings.TrimSpace(count), 10, 31)
	if err != nil {
		return "", wrong
	}
	period = strings.ToLower(strings.TrimSpace(period))
	if ok && (period == "" || !strings.ContainsRune("smhd", rune(period[0]))) || !ok && n != 0 {
		return "", wrong
	}
	if n == 0 {
		return "", nil
	}
	return strconv.FormatUint(n, 10) + "/" + period, nil
}

// splitList splits a comma list and drops empty parts.
func splitList(raw string) []string {
	var out []string
	for part := range strings.SplitSeq(raw, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

func parseList(raw string) ([]string, error) { return splitList(raw), nil }

// parseListen accepts a comma list of host:port; an empty host means every
// address of the machine.
func parseListen(raw string) ([]string, error) {
	var out []string
	for _, address := range splitList(raw) {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, fmt.Errorf("%q is not host:port, such as 127.0.0.1:8000", address)
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil {
			return nil, fmt.Errorf("%q: the port is not a number up to 65535", address)
		} else if n != 0 && slices.Contains(out, address) {
			return nil, fmt.Errorf("%q is listed twice", address)
		}
		if strings.ContainsAny(host, " /@") {
			return nil, fmt.Errorf("%q is not host:port, such as 127.0.0.1:8000", address)
		}
		out = append(out, address)
	}
	if len(out) == 0 {
		return nil, errors.New("no address to listen on, such as 127.0.0.1:8000")
	}
	return out, nil
}

func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	return isLocalHost(host)
}

func isLocalHost(host string) bool {
	if strings.EqualFold(strings.TrimSuffix(host, "."), "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.Unmap().IsLoopback()
}

// parseProxies accepts addresses and networks; "*" is everybody.
func parseProxies(raw string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, text := range splitList(raw) {
		if text == "*" {
			out = append(out, netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0))
			continue
		}
		if p, err := netip.ParsePrefix(text); err == nil {
			out = append(out, p.Masked())
			continue
		}
		a, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("%q is neither an address nor a network such as 10.0.0.0/8", text)
		}
		a = a.Unmap().WithZone("")
		out = append(out, netip.PrefixFrom(a, a.BitLen()))
	}
	return out, nil
}

// parseHosts accepts host names, ".domain" and "*".
func parseHosts(raw string) ([]string, error) {
	list := splitList(raw)
	for _, host := range list {
		if strings.ContainsAny(host, "/@ ") {
			return nil, fmt.Errorf("%q is not a host name: leave out scheme, path and port", host)
		}
	}
	return list, nil
}

// parseURL accepts http and https addresses and strips slashes at the end.
func parseURL(raw string) (string, error) {
	if raw == "" {
		return "", nil
	}
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" {
		return "", errors.New("is not a web address such as https://host/path")
	}
	return strings.TrimRight(raw, "/"), nil
}

// parseOllama accepts what Ollama itself does: a URL, host:port or a host.
// The address it listens on everywhere with is reached on this machine.
func parseOllama(raw string) (string, error) {
	if !strings.Contains(raw, "://") {
		raw = "http://" + raw
	}
	text, err := parseURL(raw)
	if err != nil {
		return "", errors.New("is not an address such as http://localhost:11434")
	}
	u, err := url.Parse(text)
	if err != nil {
		return "", errors.New("is not an address such as http://localhost:11434")
	}
	host, port := u.Hostname(), u.Port()
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	if port == "" && u.Scheme == "http" {
		port = "11434"
	}
	if port != "" {
		u.Host = net.JoinHostPort(host, port)
	}
	return strings.TrimRight(u.String(), "/"), nil
}

// parsePostgres accepts a URL of a Postgres database.
func parsePostgres(raw string) (Secret, error) {
	if raw == "" {
		return Secret{}, nil
	}
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return Secret{}, errors.New("is not a URL such as postgres://user:password@host:5432/database")
	}
	switch strings.ToLower(scheme) {
	case "postgres", "postgresql", "pgsql", "psql", "postgis":
	default:
		return Secret{}, fmt.Errorf("%s is not supported: only Postgres is, as postgres://user:password@host:5432/database", scheme)
	}
	raw = "postgres://" + rest
	u, err := url.Parse(raw)
	if err != nil {
		return Secret{}, errors.New("is not a valid URL: write @ : / # ? % inside the password as %40 %3A %2F %23 %3F %25")
	}
	if u.Hostname() == "" && u.Query().Get("host") == "" {
		return Secret{}, errors.New("names no host")
	}
	if strings.Trim(u.Path, "/") == "" && u.Query().Get("dbname") == "" {
		return Secret{}, errors.New("names no database: it goes to the end, as in postgres://user:password@host:5432/database")
	}
	return NewSecret(raw), nil
}

// hostsOf gives the hosts of a database URL.
func hostsOf(address Secret) []string {
	u, err := url.Parse(address.Reveal())
	if err != nil {
		return nil
	}
	var hosts []string
	for _, part := range append(strings.Split(u.Host, ","), strings.Split(u.Query().Get("host"), ",")...) {
		if host, _, err := net.SplitHostPort(part); err == nil {
			part = host
		}
		if part != "" {
			hosts = append(hosts, strings.Trim(part, "[]"))
		}
	}
	return hosts
}

func parseProvider(raw string) (string, error) {
	switch p := strings.ToLower(raw); p {
	case "", ProviderMock, ProviderOllama, ProviderOpenAI:
		return p, nil
	}
	return "", fmt.Errorf("%q is not one of mock, ollama, openai", raw)
}

// parsePooler accepts auto and managed; the managed database always has one.
func parsePooler(raw string) (bool, error) {
	switch strings.ToLower(raw) {
	case "managed":
		return true, nil
	case "auto":
		return false, nil
	}
	return false, fmt.Errorf("%q is not one of auto, managed", raw)
}

func parseLocation(raw string) (*time.Location, error) {
	if strings.EqualFold(raw, "local") { // would mean something else on each machine
		return nil, fmt.Errorf("%q is not the name of a time zone such as Asia/Tbilisi", raw)
	}
	loc, err := time.LoadLocation(strings.TrimPrefix(raw, ":"))
	if err != nil {
		return nil, fmt.Errorf("%q is not the name of a time zone such as Asia/Tbilisi", raw)
	}
	return loc, nil
}

func parsePath(raw string) (string, error) {
	if raw == "" {
		return "", nil
	}
	if strings.ContainsRune(raw, 0) {
		return "", errors.New("is not a path")
	}
	abs, err := filepath.Abs(raw)
	if err != nil {
		return "", fmt.Errorf("is not a path: %w", err)
	}
	return abs, nil
}

// showURL masks the password of a URL, in its authority and its query.
func showURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Opaque != "" || u.Scheme == "" {
		return masked
	}
	if _, ok := u.User.Password(); ok {
		u.User = url.UserPassword(u.User.Username(), "PASSWORD")
	}
	q := u.Query()
	for name := range q {
		if lower := strings.ToLower(name); strings.Contains(lower, "pass") || strings.Contains(lower, "token") || strings.Contains(lower, "key") {
			q.Set(name, "PASSWORD")
		}
	}
	u.RawQuery = q.Encode()
	return strings.ReplaceAll(u.String(), "PASSWORD", masked)
}
