package realtime

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
)

// place is where somebody stands in the log: everything up to seq has been
// seen. The epoch tells logs apart whose numbers mean different events.
type place struct {
	epoch, seq int64
}

// positions turns places into what clients are given, and back. A position is
// one encrypted block: the numbers of the log would tell every client how much
// goes on between two of its own events.
type positions struct{ block cipher.Block }

// positionLength is the length of a position's text.
const positionLength = 22

func newPositions(secret []byte) (positions, error) {
	key, err := hkdf.Key(sha256.New, secret, nil, "selflink realtime positions", 32)
	if err != nil {
		return positions{}, fmt.Errorf("derive the key of positions: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return positions{}, fmt.Errorf("key of positions: %w", err)
	}
	return positions{block}, nil
}

// text gives the position of a place.
func (p positions) text(at place) string {
	var b [aes.BlockSize]byte
	binary.BigEndian.PutUint64(b[:8], uint64(at.epoch))
	binary.BigEndian.PutUint64(b[8:], uint64(at.seq))
	p.block.Encrypt(b[:], b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// parse reads a position; ok is false for what this installation has not made.
// A made-up one decrypts to an epoch that does not exist.
func (p positions) parse(text string) (at place, ok bool) {
	if len(text) != positionLength {
		return place{}, false
	}
	var b [aes.BlockSize]byte
	if n, err := base64.RawURLEncoding.Strict().Decode(b[:], []byte(text)); err != nil || n != aes.BlockSize {
		return place{}, false
	}
	p.block.Decrypt(b[:], b[:])
	at = place{epoch: int64(binary.BigEndian.Uint64(b[:8])), seq: int64(binary.BigEndian.Uint64(b[8:]))}
	return at, at.seq >= 0
}
