package database

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/jackc/pgx/v5"
)

// Attach reaches the database for a command that runs beside the server: the
// managed one that is already running, or, when none is, one that it starts
// itself and that Stop ends again. An external database is reached as it is.
//
// It needs to read the passwords in the data directory, so only root and the
// directory's owner can.
func Attach(ctx context.Context, o Options) (*Server, error) { return attach(ctx, o, true) }

// Join is Attach for a command that must not start a database: it returns
// [ErrNotRunning] when the managed one does not run.
func Join(ctx context.Context, o Options) (*Server, error) { return attach(ctx, o, false) }

func attach(ctx context.Context, o Options, mayStart bool) (*Server, error) {
	o.Health, o.Metrics = nil, nil
	o.PoolSize = min(max(o.PoolSize, 1), attachPool)
	o.DirectSize = minDirectSize
	o.ManagedPooler = false // whoever serves runs it; a command needs none of its own
	if o.DatabaseURL != "" {
		o.DataDir = "" // and its lock is not needed either
	}
	s, err := New(o)
	if err != nil {
		return nil, err
	}
	if s.opts.DatabaseURL == "" {
		if err := s.joinOrLock(ctx, mayStart); err != nil {
			return nil, err
		}
		if s.attached {
			return s, nil
		}
	}
	if err := s.Start(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// ErrNotRunning means that no server runs on the data directory.
var ErrNotRunning = errors.New("database: no server is running")

// attachPool is the most pooled connections of a command.
const attachPool = 4

// joinOrLock takes the data directory's lock, or joins the server of whoever
// has it.
func (s *Server) joinOrLock(ctx context.Context, mayStart bool) error {
	if _, err := os.Stat(s.opts.DataDir); errors.Is(err, fs.ErrNotExist) && !mayStart {
		return ErrNotRunning
	}
	if err := os.MkdirAll(s.opts.DataDir, 0o700); err != nil {
		return fmt.Errorf("create the data directory: %w", err)
	}
	bounded, cancel := context.WithTimeout(ctx, attachWait)
	defer cancel()
	for {
		lock, err := lockDir(bounded, s.opts.DataDir, 0)
		if err == nil && !mayStart {
			return errors.Join(ErrNotRunning, lock.release())
		}
		if err == nil {
			s.lock = lock
			return nil
		}
		if !errors.Is(err, ErrLocked) {
			return err
		}
		joinErr := s.join(bounded)
		if joinErr == nil {
			s.attached = true
			s.publish()
			return nil
		}
		s.pooled.close(ctx)
		s.direct.close(ctx)
		// It may be starting, or it may have just gone.
		if pause(bounded, bootRetry) != nil {
			return fmt.Errorf("reach the running server: %w (%w)", joinErr, err)
		}
	}
}

// join opens the pools to the running server's children.
func (s *Server) join(ctx context.Context) error {
	acc, ok, err := loadAccess(s.opts.DataDir)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("%w: it has not made its passwords yet", ErrUnavailable)
	}
	s.now = running{
		pooled: acc.pooledURL(), direct: acc.directURL(), super: acc.superURL(),
		pooledMode: pgx.QueryExecModeCacheDescribe, // safe with every pooler
		directMode: pgx.QueryExecModeCacheStatement,
	}
	s.now.console = acc.consoleURL()
	return s.openPools(ctx)
}
