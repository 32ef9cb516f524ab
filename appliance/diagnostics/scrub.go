package diagnostics

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const (
	// blot stands for a secret. It needs no escape in JSON.
	blot = "[secret]"

	// minSecret is the shortest secret that is searched for, in bytes.
	minSecret = 4
)

// shapes are secrets that tell themselves by how they look, whoever made them.
var shapes = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.\-]*://[^\s:/@"'<>]*:)[^\s/@"'<>]+@`), "${1}" + blot + "@"}, // the password of a URL
	{regexp.MustCompile(`eyJ[A-Za-z0-9_\-]{8,}(?:\.[A-Za-z0-9_\-]*){1,2}`), blot},                         // a JSON Web Token
	{regexp.MustCompile(`(?i)\b(bearer|basic)(\s+|%20)[A-Za-z0-9._~+/=\-]{8,}`), "${1} " + blot},
	{regexp.MustCompile(`\b(?:sk|pk|rk|whsec)[-_][A-Za-z0-9_\-]{8,}`), blot}, // keys of providers
	{regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\z)`), blot},
}

// scrubber blots secrets out. It is safe for concurrent use.
type scrubber struct {
	replace *strings.Replacer // nil: none is known
	longest int               // of all ways to write any
}

func newScrubber(hidden []string) *scrubber {
	var ways []string
	for _, secret := range hidden {
		if len(secret) >= minSecret {
			ways = append(ways, written(secret)...)
		}
	}
	// The longest first: one may be a part of another.
	slices.SortFunc(ways, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	s := &scrubber{}
	var pairs []string
	for _, way := range slices.Compact(ways) {
		pairs = append(pairs, way, blot)
		s.longest = max(s.longest, len(way))
	}
	if len(pairs) > 0 {
		s.replace = strings.NewReplacer(pairs...)
	}
	return s
}

// written are the ways in which a secret may stand in a text.
func written(secret string) []string {
	ways := []string{
		secret, url.QueryEscape(secret), url.PathEscape(secret), url.UserPassword("", secret).String()[1:],
		hex.EncodeToString([]byte(secret)), strings.ToUpper(hex.EncodeToString([]byte(secret))),
	}
	for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		// As a part of something longer it is written in three ways, by where
		// it begins; the letters at its ends depend on its neighbours.
		for skip := range 3 {
			text := e.EncodeToString([]byte(strings.Repeat("\x00", skip) + secret))
			first := []int{0, 2, 3}[skip]
			last := (len(secret) + skip) * 8 / 6
			if last-first >= minSecret {
				ways = append(ways, text[first:last])
			}
		}
	}
	quoted := strconv.Quote(secret)
	ways = append(ways, quoted[1:len(quoted)-1])
	for text, rounds := secret, 0; rounds < 2; rounds++ { // JSON, and JSON inside of JSON
		html, err := json.Marshal(text) // with < > & escaped
		plain, err2 := indented(text)
		if err != nil || err2 != nil {
			break
		}
		text = strings.TrimSpace(string(plain))
		text = text[1 : len(text)-1]
		ways = append(ways, string(html[1:len(html)-1]), text)
	}
	return slices.DeleteFunc(ways, func(way string) bool { return len(way) < minSecret })
}

func (s *scrubber) clean(text []byte) []byte {
	out := string(text)
	if s.replace != nil {
		out = s.replace.Replace(out)
	}
	for _, shape := range shapes {
		out = shape.pattern.ReplaceAllString(out, shape.with)
	}
	return []byte(out)
}

// shapeMost is about how long a secret is that is known by its shape alone.
const shapeMost = 8 << 10

// cut cleans text and shortens it to about most bytes. No secret is left in
// part at the end, where the cut went through it.
func (s *scrubber) cut(text []byte, most int) (out []byte, shorter bool) {
	if len(text) <= most {
		return s.clean(text), false
	}
	margin := max(s.longest, shapeMost)
	text = text[:min(len(text), most+margin)]
	out = s.clean(text)
	return out[:max(0, min(most, len(out)-margin))], true
}
