package database

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
)

// ErrNotOurs means that the database is not one that this process supervises,
// and so cannot be stopped by it.
var ErrNotOurs = errors.New("database: another process runs it")

// Supervises reports whether this process runs the private cluster, and may
// call [Server.WhileStopped].
func (s *Server) Supervises() bool {
	r := s.running.Load()
	return r != nil && r.postgres != nil
}

// WhileStopped stops the private cluster in order, calls f with its directory
// and starts it again; the data directory stays locked throughout. Callers of
// the pools get [ErrUnavailable] meanwhile, so it belongs to a start, before
// anybody else uses them. When f fails the cluster stays stopped, and so is the
// server. It returns [ErrNotOurs] for a database that this process does not run.
func (s *Server) WhileStopped(ctx context.Context, f func(cluster string) error) error {
	s.life.Lock()
	defer s.life.Unlock()
	if !s.started || s.stopped || s.now.postgres == nil {
		return ErrNotOurs
	}
	lock := s.lock
	s.lock = nil // tearDown lets go of everything but this
	err := s.tearDown(ctx)
	s.lock = lock
	if err != nil {
		return err
	}
	cluster := filepath.Join(s.opts.DataDir, clusterName)
	if err := evict(ctx, s.log, inDirectory(cluster)); err != nil {
		return err
	}
	if err := f(cluster); err != nil {
		return err
	}
	if err := s.bring(ctx); err != nil {
		return err
	}
	s.publish()
	return nil
}

// Held is a data directory on which nothing runs and nothing can start.
type Held struct {
	opts Options
	lock *dirLock
}

// Hold locks the data directory of a private cluster and ends what a killed
// appliance left running on it. It returns [ErrLocked] while a server runs.
func Hold(ctx context.Context, o Options) (*Held, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	lock, err := lockDir(ctx, o.DataDir, min(lockWait, o.BootWait))
	if err != nil {
		return nil, err
	}
	h := &Held{opts: o, lock: lock}
	if err := evict(ctx, o.Logger, inDirectory(h.Cluster())); err != nil {
		return nil, errors.Join(err, lock.release())
	}
	return h, nil
}

// Cluster is the directory of the private cluster, whether there is one or not.
func (h *Held) Cluster() string { return filepath.Join(h.opts.DataDir, clusterName) }

// Start starts the cluster under the same hold, which [Server.Stop] then ends.
// When it fails the hold has ended too.
func (h *Held) Start(ctx context.Context) (*Server, error) {
	s, err := New(h.opts)
	if err != nil {
		return nil, errors.Join(err, h.Release())
	}
	s.lock, h.lock = h.lock, nil
	if err := s.Start(ctx); err != nil {
		return nil, fmt.Errorf("start the database: %w", err)
	}
	return s, nil
}

// Release lets go of the directory. After [Held.Start] it does nothing.
func (h *Held) Release() error { return h.lock.release() }

// ClusterDir is where the private cluster of a data directory is.
func ClusterDir(dataDir string) string { return filepath.Join(dataDir, clusterName) }
