package payments

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"
)

// maxSignature is the longest header that is looked at, in bytes. Stripe's is
// some hundred while a secret is replaced.
const maxSignature = 4096

// Why a webhook is not believed.
const (
	refusedUnsigned  = "unsigned"  // no signature, or none of Stripe's form
	refusedSecret    = "no_secret" // no secret is configured
	refusedSignature = "signature" // of another secret or another body
	refusedOld       = "too_old"
	refusedBody      = "unreadable" // signed, and yet no event
)

// signed reports whether the header signs exactly this body with one of the
// secrets, not more than [Tolerance] before now.
func signed(header string, body []byte, secrets []string, now time.Time) bool {
	return judge(header, body, secrets, now) == ""
}

// judge says why a webhook is not believed, or nothing when it is. Like Stripe's
// own libraries it says nothing about moments to come: only who has the secret
// can sign one.
func judge(header string, body []byte, secrets []string, now time.Time) (why string) {
	at, signatures, ok := parseSignature(header)
	if !ok {
		return refusedUnsigned
	}
	given, found := false, false
	for _, secret := range secrets {
		if secret == "" {
			continue
		}
		given = true
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write(strconv.AppendInt(nil, at, 10))
		mac.Write([]byte{'.'})
		mac.Write(body)
		want := mac.Sum(nil)
		for _, signature := range signatures {
			found = hmac.Equal(signature, want) || found
		}
	}
	switch {
	case !given:
		return refusedSecret
	case !found:
		return refusedSignature
	case now.Sub(time.Unix(at, 0)) > Tolerance:
		return refusedOld
	}
	return ""
}

// parseSignature reads "t=1495999758,v1=ABC,v1=DEF,v0=GHI". Signatures of other
// versions are left out.
func parseSignature(header string) (at int64, signatures [][]byte, ok bool) {
	if header == "" || len(header) > maxSignature {
		return 0, nil, false
	}
	timed := false
	for pair := range strings.SplitSeq(header, ",") {
		name, value, found := strings.Cut(pair, "=")
		if !found || strings.Contains(value, "=") {
			return 0, nil, false
		}
		switch name {
		case "t":
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil || timed || n < 0 || n > maxUnix {
				return 0, nil, false
			}
			at, timed = n, true
		case "v1":
			if b, err := hex.DecodeString(value); err == nil && len(b) == sha256.Size {
				signatures = append(signatures, b)
			}
		}
	}
	return at, signatures, timed && len(signatures) > 0
}

// maxUnix is the last second that is taken for a moment: the end of the year
// 9999.
const maxUnix = 253402300799
