package accounts

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"selflink/services/accounts/accountsdb"
)

const (
	// maxGuesses is how many wrong passwords one address may have within
	// guessWindow before the dashboard refuses to look at more: 960 a day, from
	// wherever they come.
	maxGuesses = 10
	// guessWindow slides: the lock opens when the oldest of them is that old.
	guessWindow = 15 * time.Minute
)

// LockedError refuses a sign-in to the dashboard because too many passwords
// were wrong. The app's login knows no such lock. A new password by
// [Service.ResetPassword] opens it.
type LockedError struct {
	Wait time.Duration // until the next may be tried
}

// Error implements error.
func (e *LockedError) Error() string {
	return "accounts: too many wrong passwords, wait " + e.Wait.Round(time.Second).String()
}

// guess is a sign-in whose password is not looked at yet. It counts as wrong
// until it was right, so many at once are not more than one after the other.
//
// They are counted in Postgres: for all nodes together, over restarts, and by
// the hash of the address, whether or not somebody has it. Their number is
// bounded by what the cores can check within the window, since each new one
// sweeps away old ones.
type guess struct {
	s       *Service
	address []byte
	at      time.Time
}

func (s *Service) guess(ctx context.Context, email string) (guess, error) {
	sum := sha256.Sum256([]byte(foldEmail(normalEmail(email))))
	g := guess{s: s, address: sum[:], at: s.now()}
	since := g.at.Add(-guessWindow)
	if err := s.q.PruneGuesses(ctx, since); err != nil {
		return g, fmt.Errorf("forget old sign-ins: %w", err)
	}
	n, err := s.q.TakeGuess(ctx, accountsdb.TakeGuessParams{Address: g.address, Now: g.at, Since: since, Most: maxGuesses})
	if err != nil {
		return g, fmt.Errorf("count a sign-in: %w", err)
	}
	if n > 0 {
		return g, nil
	}
	oldest, err := s.q.OldestGuess(ctx, accountsdb.OldestGuessParams{Address: g.address, Since: since})
	if err != nil {
		return g, fmt.Errorf("find the oldest sign-in: %w", err)
	}
	return g, &LockedError{Wait: max(oldest.Sub(since), time.Second)}
}

// undo takes back a guess whose password was not looked at.
func (g guess) undo(ctx context.Context) error {
	if err := g.s.q.ReturnGuess(ctx, accountsdb.ReturnGuessParams{Address: g.address, Taken: g.at}); err != nil {
		return fmt.Errorf("take back a sign-in: %w", err)
	}
	return nil
}

// right forgets all guesses of the address.
func (g guess) right(ctx context.Context) error {
	if err := g.s.q.ForgetGuesses(ctx, g.address); err != nil {
		return fmt.Errorf("forget wrong sign-ins: %w", err)
	}
	return nil
}
