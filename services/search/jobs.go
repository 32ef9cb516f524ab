package search

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"selflink/appliance/database"
	"selflink/appliance/jobs"
	engine "selflink/appliance/search"
	"selflink/services/search/searchdb"
)

// indexJob makes the index say of one account what the database says, also when
// it is closed or gone. Running it twice, or late, does no harm.
type indexJob struct {
	User int64 `json:"user_id"`
}

// Kind names the job.
func (indexJob) Kind() string { return "search.index_user" }

// rebuildJob builds an index anew, or goes on where that was broken off.
type rebuildJob struct {
	Name string `json:"name"`
}

// Kind names the job.
func (rebuildJob) Kind() string { return "search.rebuild" }

const (
	// longestWait bounds the wait between attempts: so long after the end of a
	// failure of the server all is indexed.
	longestWait = 10 * time.Minute
	// indexAttempts last for most of a day. Who mends a longer failure builds
	// the index anew.
	indexAttempts   = 100
	rebuildAttempts = 20
	// rebuildTime is more than a million accounts take.
	rebuildTime = 2 * time.Hour
	// freshTries is how often an account that changes all the time is written
	// before the job leaves it for its next attempt.
	freshTries = 5
)

func backoff(attempt int) time.Duration {
	return min(jobs.Exponential(2*time.Second)(attempt), longestWait)
}

// HandleJobs registers the jobs with e. It is called once, before e starts, also
// without a search server: there may be jobs from when there was one.
func (s *Service[U]) HandleJobs(e *jobs.Engine) error {
	return errors.Join(
		jobs.Handle(e, jobs.Policy{Attempts: indexAttempts, Timeout: time.Minute, Backoff: backoff, Priority: -1, Retain: time.Hour}, s.index),
		jobs.Handle(e, jobs.Policy{Attempts: rebuildAttempts, Timeout: rebuildTime, Backoff: backoff, Priority: -1}, s.rebuildInBackground),
	)
}

// Changed enqueues, in the transaction that made, changed, closed or opened an
// account, what makes the index follow. The row must have been written before.
func (s *Service[U]) Changed(ctx context.Context, tx database.Tx, id int64) error {
	if s.server == nil {
		return nil
	}
	if _, err := s.jobs.Enqueue(ctx, tx, indexJob{User: id}, jobs.EnqueueOptions{Unique: strconv.FormatInt(id, 10)}); err != nil {
		return fmt.Errorf("enqueue indexing: %w", err)
	}
	return nil
}

func (s *Service[U]) enqueueRebuild(ctx context.Context, tx database.Tx) error {
	if _, err := s.jobs.Enqueue(ctx, tx, rebuildJob{Name: usersIndex}, jobs.EnqueueOptions{Unique: usersIndex}); err != nil {
		return fmt.Errorf("enqueue building the index: %w", err)
	}
	return nil
}

// errMoved means that an account changed while it was indexed.
var errMoved = errors.New("search: the account has changed meanwhile")

// index writes one account until what it wrote is what the database has at the
// moment the job ends. Whoever changes the account holds its row until their
// transaction ends, and enqueues while they hold it: either this job meets
// their hold and writes again, or they come after its end and add a job of
// their own. It does not wait for them, because adding a job waits for the end
// of this one.
func (s *Service[U]) index(ctx context.Context, job *jobs.Job, args indexJob) error {
	if s.server == nil {
		return nil
	}
	for range freshTries {
		account, document, err := s.document(ctx, args.User)
		if err != nil {
			return err
		}
		err = s.server.Put(ctx, document)
		if errors.Is(err, engine.ErrConflict) {
			continue // somebody read it later, and perhaps not the newest either
		}
		if errors.Is(err, engine.ErrNoIndex) { // the one to be built takes it from the database
			return job.Complete(ctx, nil, func(tx database.Tx) error { return s.enqueueRebuild(ctx, tx) })
		}
		if err != nil {
			return err
		}
		err = job.Complete(ctx, nil, func(tx database.Tx) error {
			now, err := searchdb.New(tx).HeldAccount(ctx, args.User)
			if err != nil && !database.IsNoRows(err) {
				return fmt.Errorf("read the account again: %w", err)
			}
			now.CreatedAt = account.CreatedAt // never changes, and times compare badly
			if now != account {
				return errMoved
			}
			return nil
		})
		if !errors.Is(err, errMoved) {
			return err
		}
	}
	return errMoved
}

// document reads an account and what the index should say of it.
func (s *Service[U]) document(ctx context.Context, id int64) (searchdb.HeldAccountRow, engine.Document, error) {
	r, err := s.q.Account(ctx, id)
	if database.IsNoRows(err) {
		version, err := s.q.Version(ctx)
		if err != nil {
			return searchdb.HeldAccountRow{}, engine.Document{}, fmt.Errorf("read the time: %w", err)
		}
		return searchdb.HeldAccountRow{}, engine.Document{ID: id, Version: version}, nil
	}
	if err != nil {
		return searchdb.HeldAccountRow{}, engine.Document{}, fmt.Errorf("read the account: %w", err)
	}
	document, err := documentOf(searchdb.AccountsRow(r))
	return searchdb.HeldAccountRow{
		ID: r.ID, Name: r.Name, Handle: r.Handle, Bio: r.Bio, Locale: r.Locale, CreatedAt: r.CreatedAt, IsActive: r.IsActive,
	}, document, err
}

// documentOf is what is indexed of an account; nothing of one that is closed.
func documentOf(r searchdb.AccountsRow) (engine.Document, error) {
	d := engine.Document{ID: r.ID, Version: r.Version}
	if !r.IsActive {
		return d, nil
	}
	var err error
	d.Body, err = json.Marshal(struct {
		ID        int64  `json:"id"`
		Name      string `json:"name"`
		Handle    string `json:"handle"`
		Bio       string `json:"bio"`
		Locale    string `json:"locale"`
		CreatedAt string `json:"created_at"`
	}{r.ID, r.Name, r.Handle, r.Bio, r.Locale, r.CreatedAt.UTC().Format("2006-01-02T15:04:05.000000Z")})
	if err != nil {
		return d, fmt.Errorf("encode the document: %w", err)
	}
	return d, nil
}

// rebuildInBackground is the job. Somebody else who builds does so too.
func (s *Service[U]) rebuildInBackground(ctx context.Context, _ *jobs.Job, _ rebuildJob) error {
	if s.server == nil {
		return nil
	}
	_, err := s.Rebuild(ctx, EngineOpenSearch, nil)
	if errors.Is(err, ErrRebuilding) {
		return nil
	}
	return err
}
