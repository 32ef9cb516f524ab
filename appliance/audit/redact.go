package audit

import (
	"strings"
	"unicode"
)

// redacted stands for what is never stored.
const redacted = "[redacted]"

// secretNames are parts of the names of secrets, without the signs between
// their words.
var secretNames = []string{
	"password", "passwd", "passphrase", "secret", "token", "authorization", "cookie", "credential", "csrf", "jwt",
	"apikey", "privatekey", "signingkey", "accesskey", "secretkey",
}

// secret reports whether a name says that its value is a secret. Numbers and
// truths are none: they count tokens or say that there is a password.
func secret(name string, value any) bool {
	switch value.(type) {
	case nil, bool, int, int32, int64, uint64, float64:
		return false
	case string: // an empty text tells that there is none
		if value == "" {
			return false
		}
	}
	plain := strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, name)
	for _, part := range secretNames {
		if strings.Contains(plain, part) {
			return true
		}
	}
	return false
}
