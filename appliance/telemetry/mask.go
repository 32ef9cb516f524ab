package telemetry

import (
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"
)

const (
	// minHidden is the shortest configured secret that is searched for.
	minHidden = 8

	// stars stand for a masked part of a text. No pattern takes them for an
	// unmasked secret in another way, so masking twice changes nothing.
	stars = "***"
)

// masker blots out secrets in running text and judges the names of
// attributes. It is safe for concurrent use.
type masker struct {
	hidden *strings.Replacer // nil: nothing configured
	rules  []rule

	names sync.Map // attribute name → judgement
	count atomic.Int64
}

// rule replaces what a pattern finds.
type rule struct {
	pattern *regexp.Regexp
	with    string
	replace func(found string) string // instead of with
}

func newMasker(hidden []string) *masker {
	m := &masker{rules: rules()}
	// The longest first: one secret may be a part of another.
	texts := slices.Clone(hidden)
	slices.SortFunc(texts, func(a, b string) int { return len(b) - len(a) })
	var pairs []string
	for _, t := range texts {
		if len(t) >= minHidden {
			pairs = append(pairs, t, stars)
		}
	}
	if len(pairs) > 0 {
		m.hidden = strings.NewReplacer(pairs...)
	}
	return m
}

// secretName matches names whose value is a secret, as a part of a pattern.
const secretName = `[\w.\-]*(?:token|password|passwd|pwd|secret|api[_\-]?key|llm[_\-]?key|signing[_\-]?key|access[_\-]?key|private[_\-]?key|signature|ticket|jwt|sessionid)`

// rules are applied in this order.
func rules() []rule {
	return []rule{
		// A JSON Web Token, wherever it stands, also a cut-off one.
		{pattern: regexp.MustCompile(`eyJ[A-Za-z0-9_\-]{4,}(?:\.[A-Za-z0-9_\-]*){0,2}`), with: stars},
		// The value of an Authorization header, with or without its name.
		{pattern: regexp.MustCompile(`(?i)\b(proxy-authorization|authorization)(["']?\s*[:=]\s*\[?["']?)(?:[a-z]+\s+)?[^\s"'\],;]+`), with: "${1}${2}" + stars},
		{pattern: regexp.MustCompile(`(?i)\b(bearer)(\s+|%20|\+)[^\s"'<>,;]+`), with: "${1} " + stars},
		{pattern: regexp.MustCompile(`(?i)\b((?:set-)?cookie["']?\s*[:=]\s*)[^\r\n]+`), with: "${1}" + stars},
		// The password of a URL; "host:port/path@x" is none.
		{pattern: regexp.MustCompile(`(?i)[a-z][a-z0-9+.\-]*://[^\s:/@]*:[^\s"'<>]*@`), replace: maskUserinfo},
		// name=value in queries, forms, connection strings and dumps of structs.
		{pattern: regexp.MustCompile(`(?i)(` + secretName + `)(\s?=\s?|:)('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^\s&"'<>,;)}\]]+)`), replace: maskPair},
		// "name": "value" in JSON, also in JSON inside of JSON.
		{pattern: regexp.MustCompile(`(?i)(\\*"` + secretName + `\\*"\s*:\s*\\*")[^"]*`), with: "${1}" + stars},
		// Keys of model providers and payment services say what they are.
		{pattern: regexp.MustCompile(`\b(?:sk|pk|rk|whsec)[-_][A-Za-z0-9_\-]{8,}`), with: stars},
	}
}

// maskUserinfo masks "scheme://user:password@".
func maskUserinfo(found string) string {
	head := strings.Index(found, "://") + len("://")
	colon := head + strings.IndexByte(found[head:], ':')
	rest := found[colon+1:]
	if end := strings.IndexAny(rest, "/?#"); end > 0 && strings.Trim(rest[:end], "0123456789") == "" {
		return found // a port
	}
	return found[:colon+1] + stars + "@"
}

// maskPair masks the value after the first = or : and keeps the name.
func maskPair(found string) string {
	i := strings.IndexAny(found, "=:")
	if strings.HasPrefix(found[i:], "://") {
		return found
	}
	return strings.TrimRight(found[:i+1], " ") + stars
}

// text masks one text and bounds its length.
func (m *masker) text(s string) string {
	if len(s) > maxText {
		cut := maxText
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut] + "…"
	}
	if m.hidden != nil {
		s = m.hidden.Replace(s)
	}
	if !suspicious(s) {
		return s
	}
	for _, r := range m.rules {
		if r.replace != nil {
			s = r.pattern.ReplaceAllStringFunc(s, r.replace)
		} else {
			s = r.pattern.ReplaceAllString(s, r.with)
		}
	}
	return s
}

// suspicious spares most texts the patterns, which cost microseconds: every
// pattern needs one of these.
func suspicious(s string) bool {
	return strings.ContainsAny(s, "=:") || strings.Contains(s, "eyJ") || containsFold(s, "bearer") ||
		strings.Contains(s, "sk-") || strings.Contains(s, "sk_") || strings.Contains(s, "pk_") || strings.Contains(s, "pk-") ||
		strings.Contains(s, "rk_") || strings.Contains(s, "rk-") || strings.Contains(s, "whsec")
}

// containsFold reports whether s contains the lower-case ASCII text part in
// any case.
func containsFold(s, part string) bool {
	for i := 0; i+len(part) <= len(s); i++ {
		if strings.EqualFold(s[i:i+len(part)], part) {
			return true
		}
	}
	return false
}
