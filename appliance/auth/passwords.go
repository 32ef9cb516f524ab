package auth

import (
	"context"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"
)

// Cost of a new password's hash: the minimum that OWASP's Password Storage
// Cheat Sheet asks of Argon2id, 19 MiB of memory, two passes, one thread.
const (
	argonMemory  = 19456 // KiB
	argonTime    = 2     // passes
	argonThreads = 1
	argonSalt    = 16 // bytes
	argonKey     = 32 // bytes
)

// Bounds of what a stored hash may ask for, so that a planted row cannot stop
// the server.
const (
	maxArgonMemory = 256 << 10 // KiB
	maxArgonTime   = 10
	maxIterations  = 5_000_000 // of PBKDF2; the old backend used 600 000
	maxHashText    = 512       // bytes

	// DefaultHashWait is how long a password waits for a free core. Hashing
	// takes tens of milliseconds, so a longer queue is an attack or a storm
	// that waiting makes worse.
	DefaultHashWait = 2 * time.Second

	// waitersPerCore bounds the queue: a core hashes about 40 passwords a
	// second, so those behind would not get their turn within the wait.
	waitersPerCore = 100
)

// Unusable is what is stored for an account that no password opens.
const Unusable = "!"

// PasswordOptions configure [NewPasswords]. Zero values mean the default in
// parentheses.
type PasswordOptions struct {
	Parallel int           // hashes at once (number of cores)
	Wait     time.Duration // longest wait for a turn ([DefaultHashWait])
}

// Passwords hashes and checks passwords, as many at once as there are cores.
// It is safe for concurrent use.
type Passwords struct {
	turns   chan struct{}
	waiters chan struct{}
	wait    time.Duration
	// decoy is checked when there is no account, so that the answer takes as
	// long as for one that exists.
	decoy string
}

// NewPasswords makes a hasher.
func NewPasswords(o PasswordOptions) (*Passwords, error) {
	if o.Parallel < 0 || o.Wait < 0 {
		return nil, errors.New("auth: parallelism and wait of passwords cannot be negative")
	}
	if o.Parallel == 0 {
		o.Parallel = runtime.GOMAXPROCS(0)
	}
	if o.Wait == 0 {
		o.Wait = DefaultHashWait
	}
	p := &Passwords{
		turns: make(chan struct{}, o.Parallel), waiters: make(chan struct{}, o.Parallel*waitersPerCore), wait: o.Wait,
	}
	decoy, err := p.Hash(context.Background(), rand.Text())
	if err != nil {
		return nil, err
	}
	p.decoy = decoy
	return p, nil
}

// take waits for a turn, in a queue of bounded length; free gives it back.
func (p *Passwords) take(ctx context.Context) error {
	select {
	case p.turns <- struct{}{}:
		return nil
	default:
	}
	select {
	case p.waiters <- struct{}{}:
		defer func() { <-p.waiters }()
	default:
		return ErrBusy
	}
	timer := time.NewTimer(p.wait)
	defer timer.Stop()
	select {
	case p.turns <- struct{}{}:
		return nil
	case <-timer.C:
		return ErrBusy
	case <-ctx.Done():
		return fmt.Errorf("wait to hash a password: %w", ctx.Err())
	}
}

func (p *Passwords) free() { <-p.turns }

// Hash makes what is stored of a password, as a PHC string. It fails with
// [ErrBusy] when no core becomes free in time.
func (p *Passwords) Hash(ctx context.Context, password string) (string, error) {
	if err := p.take(ctx); err != nil {
		return "", err
	}
	defer p.free()
	salt := make([]byte, argonSalt)
	if _, err := rand.Read(salt); err != nil {
		return "", fmt.Errorf("make a salt: %w", err)
	}
	key := argon2.IDKey([]byte(password), salt, argonTime, argonMemory, argonThreads, argonKey)
	enc := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version,
		argonMemory, argonTime, argonThreads, enc.EncodeToString(salt), enc.EncodeToString(key)), nil
}

// Check tells whether password is the one that stored was made of, in constant
// time of the two. An empty stored stands for an account that does not exist:
// it matches nothing and takes as long as any other. stale asks to store a new
// hash of the password that matched. The error is [ErrBusy], [ErrHash], or the
// end of ctx.
func (p *Passwords) Check(ctx context.Context, stored, password string) (ok, stale bool, err error) {
	known := stored != "" && !strings.HasPrefix(stored, Unusable)
	if !known {
		stored = p.decoy
	}
	v, err := parseHash(stored)
	if err != nil {
		return false, false, err
	}
	if err := p.take(ctx); err != nil {
		return false, false, err
	}
	defer p.free()
	got, err := v.derive(password)
	if err != nil {
		return false, false, err
	}
	ok = subtle.ConstantTimeCompare(got, v.key) == 1 && known
	return ok, ok && v.stale, nil
}

// verifier is a stored hash, taken apart.
type verifier struct {
	salt, key  []byte
	iterations int // of PBKDF2; 0: Argon2id
	memory     uint32
	time       uint32
	threads    uint8
	stale      bool
}

func (v verifier) derive(password string) ([]byte, error) {
	if v.iterations > 0 {
		key, err := pbkdf2.Key(sha256.New, password, v.salt, v.iterations, len(v.key))
		if err != nil {
			return nil, fmt.Errorf("derive an old password: %w", err)
		}
		return key, nil
	}
	return argon2.IDKey([]byte(password), v.salt, v.time, v.memory, v.threads, uint32(len(v.key))), nil
}

// parseHash reads a PHC string of Argon2id or the old backend's
// pbkdf2_sha256$iterations$salt$hash.
func parseHash(s string) (verifier, error) {
	parts := strings.Split(s, "$")
	switch {
	case len(s) > maxHashText:
	case len(parts) == 4 && parts[0] == "pbkdf2_sha256":
		n, err := strconv.Atoi(parts[1])
		key, keyErr := base64.StdEncoding.DecodeString(parts[3])
		if err == nil && keyErr == nil && n > 0 && n <= maxIterations && parts[2] != "" && len(key) == sha256.Size {
			return verifier{salt: []byte(parts[2]), key: key, iterations: n, stale: true}, nil
		}
	case len(parts) == 6 && parts[0] == "" && parts[1] == "argon2id" && parts[2] == "v="+strconv.Itoa(argon2.Version):
		return parseArgon(parts[3], parts[4], parts[5])
	}
	return verifier{}, ErrHash
}

func parseArgon(costs, salt, key string) (verifier, error) {
	var v verifier
	var n [3]uint64
	fields := strings.Split(costs, ",")
	if len(fields) != len(n) {
		return v, ErrHash
	}
	for i, name := range []string{"m=", "t=", "p="} {
		text, ok := strings.CutPrefix(fields[i], name)
		var err error
		if n[i], err = strconv.ParseUint(text, 10, 32); !ok || err != nil || n[i] == 0 {
			return v, ErrHash
		}
	}
	if n[0] < 8*n[2] || n[0] > maxArgonMemory || n[1] > maxArgonTime || n[2] > 16 {
		return v, ErrHash
	}
	v.memory, v.time, v.threads = uint32(n[0]), uint32(n[1]), uint8(n[2])
	v.stale = v.memory != argonMemory || v.time != argonTime || v.threads != argonThreads
	var err error
	if v.salt, err = base64.RawStdEncoding.DecodeString(salt); err != nil || len(v.salt) < 8 {
		return v, ErrHash
	}
	if v.key, err = base64.RawStdEncoding.DecodeString(key); err != nil || len(v.key) < 16 || len(v.key) > 64 {
		return v, ErrHash
	}
	return v, nil
}
