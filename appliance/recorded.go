package appliance

import (
	"context"
	"fmt"

	"selflink/appliance/audit"
	"selflink/appliance/jobs"
)

// RecordedJobs looks at jobs and acts on them, and writes each act into the
// audit trail before, as the dashboard does.
type RecordedJobs struct {
	*jobs.Engine
	trail *audit.Log
}

// act writes an act of the command line down and then does it.
func (r RecordedJobs) act(ctx context.Context, action, objectType, object string, do func() error) error {
	entry := audit.Entry{Action: action, ObjectType: objectType, ObjectID: object, Metadata: map[string]any{"by": "command"}}
	if err := r.trail.Record(ctx, entry); err != nil {
		return fmt.Errorf("write the audit trail: %w", err)
	}
	err := do()
	if err != nil {
		entry.Action += ".failed"
		entry.Metadata = map[string]any{"by": "command", "error": err.Error()}
		// The act's own error is what the caller must hear.
		_ = r.trail.Record(ctx, entry)
	}
	return err
}

// Retry is [jobs.Engine.Retry], recorded.
func (r RecordedJobs) Retry(ctx context.Context, id jobs.ID) error {
	return r.act(ctx, "jobs.retry", "job", id.String(), func() error { return r.Engine.Retry(ctx, id) })
}

// Cancel is [jobs.Engine.Cancel], recorded.
func (r RecordedJobs) Cancel(ctx context.Context, id jobs.ID) error {
	return r.act(ctx, "jobs.cancel", "job", id.String(), func() error { return r.Engine.Cancel(ctx, id) })
}

// Delete is [jobs.Engine.Delete], recorded.
func (r RecordedJobs) Delete(ctx context.Context, id jobs.ID) error {
	return r.act(ctx, "jobs.delete", "job", id.String(), func() error { return r.Engine.Delete(ctx, id) })
}

// PauseQueue is [jobs.Engine.PauseQueue], recorded.
func (r RecordedJobs) PauseQueue(ctx context.Context, name, by string) error {
	return r.act(ctx, "queues.pause", "queue", name, func() error { return r.Engine.PauseQueue(ctx, name, by) })
}

// ResumeQueue is [jobs.Engine.ResumeQueue], recorded.
func (r RecordedJobs) ResumeQueue(ctx context.Context, name string) error {
	return r.act(ctx, "queues.resume", "queue", name, func() error { return r.Engine.ResumeQueue(ctx, name) })
}
