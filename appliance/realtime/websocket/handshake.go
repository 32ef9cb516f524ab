package websocket

import (
	"crypto/sha1" //nolint:gosec // the protocol's, not for secrecy
	"encoding/base64"
	"errors"
	"strings"
)

// guid is part of the protocol (RFC 6455 §1.3).
const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// ErrHandshake is a request that asks for an upgrade and breaks its rules.
var ErrHandshake = errors.New("websocket: broken handshake")

// Asked reports whether a request with these headers wants to become a
// WebSocket.
func Asked(connection, upgrade string) bool {
	return listed(connection, "upgrade") && listed(upgrade, "websocket")
}

// Accept checks the key and version that a client sent and gives the answer's
// Sec-WebSocket-Accept. The error is [ErrHandshake].
func Accept(key, version string) (string, error) {
	raw, err := base64.StdEncoding.DecodeString(key)
	if err != nil || len(raw) != 16 || version != "13" {
		return "", ErrHandshake
	}
	sum := sha1.Sum([]byte(key + guid)) //nolint:gosec // the protocol's
	return base64.StdEncoding.EncodeToString(sum[:]), nil
}

// Subprotocols splits a Sec-WebSocket-Protocol header.
func Subprotocols(header string) []string {
	var list []string
	for part := range strings.SplitSeq(header, ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}

// listed reports whether a comma list holds a word, in any case.
func listed(list, word string) bool {
	for part := range strings.SplitSeq(list, ",") {
		if strings.EqualFold(strings.TrimSpace(part), word) {
			return true
		}
	}
	return false
}
