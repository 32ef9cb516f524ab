package broker

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Stream declares one stream: what it carries, what it may take, and what a
// power cut costs. Buckets would be listed the same way; there are none yet:
// caches and limits live in memory.
type Stream struct {
	Name      string
	Subjects  []string
	Retention jetstream.RetentionPolicy
	Discard   jetstream.DiscardPolicy
	Storage   jetstream.StorageType
	Replicas  int
	MaxBytes  int64
	MaxAge    time.Duration // 0: until consumed
	MaxMsgs   int64
	Window    time.Duration // in which a repeated message id is dropped
	Sync      time.Duration // between two flushes to disk, the same for all
	Lost      string        // what is lost if power fails now, in words
}

// JobsStream carries ids of jobs that are ready to run.
const JobsStream = "JOBS"

// JobsSubject is where the ids of a queue and priority level travel.
func JobsSubject(queue string, level int) string {
	return fmt.Sprintf("jobs.ready.%s.%d", queue, level)
}

// Table lists every stream of the appliance. There is no other place that
// makes one.
func Table() []Stream {
	return []Stream{{
		Name:      JobsStream,
		Subjects:  []string{"jobs.ready.>"},
		Retention: jetstream.WorkQueuePolicy,
		// A full stream refuses: the job's row waits and the sweeper brings
		// its id again. Discarding old ones would only hide the backlog.
		Discard:  jetstream.DiscardNew,
		Storage:  jetstream.FileStorage,
		Replicas: 1,
		MaxBytes: 64 << 20, // about 400 000 ids
		MaxMsgs:  400_000,
		Window:   2 * time.Minute,
		Sync:     syncInterval,
		Lost:     "nothing: ids of jobs whose rows are in Postgres; the sweeper sends them again",
	}}
}

func (s Stream) config() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:       s.Name,
		Subjects:   s.Subjects,
		Retention:  s.Retention,
		Discard:    s.Discard,
		MaxBytes:   s.MaxBytes,
		MaxMsgs:    s.MaxMsgs,
		MaxAge:     s.MaxAge,
		Duplicates: s.Window,
		Storage:    s.Storage,
		Replicas:   s.Replicas,
	}
}

// Print writes the table for people.
func Print(w io.Writer) error {
	out := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(out, "STREAM\tSUBJECTS\tSTORAGE\tREPLICAS\tBYTES\tAGE\tWHEN FULL\tSYNC\tLOST IF POWER FAILS NOW")
	for _, s := range Table() {
		age := "until consumed"
		if s.MaxAge > 0 {
			age = s.MaxAge.String()
		}
		full := "refuses new"
		if s.Discard == jetstream.DiscardOld {
			full = "drops oldest"
		}
		fmt.Fprintf(out, "%s\t%s\t%s\t%d\t%d MiB\t%s\t%s\t%s\t%s\n",
			s.Name, strings.Join(s.Subjects, " "), strings.ToLower(s.Storage.String()), s.Replicas, s.MaxBytes>>20, age, full, s.Sync, s.Lost)
	}
	return out.Flush()
}
