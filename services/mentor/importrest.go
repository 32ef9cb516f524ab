package mentor

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"selflink/appliance/oldstack"
	"selflink/services/mentor/mentordb"
)

type oldProfile struct {
	ID          int64              `old:"id"`
	UserID      int64              `old:"user_id"`
	Tone        string             `old:"tone" or:"'gentle'" max:"32"`
	Level       string             `old:"level" or:"'basic'" max:"32"`
	Preferences oldstack.JSON      `old:"preferences" or:"'{}'"`
	CreatedAt   pgtype.Timestamptz `old:"created_at" must:"true"`
	UpdatedAt   pgtype.Timestamptz `old:"updated_at" must:"true"`
}

type importedProfile = mentordb.ImportedProfilesRow

func importProfiles(o ImportOptions) oldstack.Copy[oldProfile, importedProfile] {
	user := func(r importedProfile) int64 { return r.UserID }
	save := store("profiles", func(it oldstack.Item[importedProfile]) mentordb.ImportProfileParams {
		r := it.Row
		return mentordb.ImportProfileParams{
			ID: it.ID, UserID: r.UserID, Tone: r.Tone, Level: r.Level, Preferences: r.Preferences, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
		}
	}, func(q *mentordb.Queries, ctx context.Context, rows []mentordb.ImportProfileParams) func(func(int, error)) {
		return q.ImportProfile(ctx, rows).Exec
	})
	return oldstack.Copy[oldProfile, importedProfile]{
		Kind: "mentor profiles", Table: "mentor_mentorprofile", Personal: true,
		ID: func(p *oldProfile) int64 { return p.ID },
		Convert: func(p *oldProfile, _ func(string)) (importedProfile, error) {
			return importedProfile{
				UserID: p.UserID, Tone: p.Tone, Level: p.Level, Preferences: json.RawMessage(p.Preferences),
				CreatedAt: p.CreatedAt.Time.UTC(), UpdatedAt: p.UpdatedAt.Time.UTC(),
			}, nil
		},
		Parents: func(r importedProfile) []oldstack.Parent { return []oldstack.Parent{{Kind: o.Accounts, ID: r.UserID}} },
		Find: find("profiles", (*mentordb.Queries).ImportedProfiles, owners(user), func(r *importedProfile) int64 {
			r.CreatedAt, r.UpdatedAt = r.CreatedAt.UTC(), r.UpdatedAt.UTC()
			return r.UserID
		}, user),
		Insert: save, Update: save,
	}
}

type oldTask struct {
	ID        int64              `old:"id"`
	UserID    int64              `old:"user_id"`
	Task      string             `old:"task" or:"''" max:"255"`
	DueDate   pgtype.Date        `old:"due_date" must:"true"`
	Status    string             `old:"status" or:"'pending'"`
	CreatedAt pgtype.Timestamptz `old:"created_at" must:"true"`
	UpdatedAt pgtype.Timestamptz `old:"updated_at" must:"true"`
}

type importedTask = mentordb.ImportedTasksRow

func importTasks(o ImportOptions) oldstack.Copy[oldTask, importedTask] {
	return oldstack.Copy[oldTask, importedTask]{
		Kind: "mentor tasks", Table: "mentor_dailytask",
		ID: func(t *oldTask) int64 { return t.ID },
		Convert: func(t *oldTask, _ func(string)) (importedTask, error) {
			switch t.Status {
			case "pending", "completed", "skipped":
			default:
				return importedTask{}, oldstack.Refused("status is none of pending, completed and skipped")
			}
			return importedTask{
				ID: t.ID, UserID: t.UserID, Task: t.Task, DueDate: t.DueDate.Time, Status: t.Status,
				CreatedAt: t.CreatedAt.Time.UTC(), UpdatedAt: t.UpdatedAt.Time.UTC(),
			}, nil
		},
		Parents: func(r importedTask) []oldstack.Parent { return []oldstack.Parent{{Kind: o.Accounts, ID: r.UserID}} },
		Find: find("tasks", (*mentordb.Queries).ImportedTasks, oldIDs, func(r *importedTask) int64 {
			r.CreatedAt, r.UpdatedAt = r.CreatedAt.UTC(), r.UpdatedAt.UTC()
			return r.ID
		}, func(r importedTask) int64 { return r.ID }),
		Insert: store("tasks", func(it oldstack.Item[importedTask]) mentordb.ImportTaskParams {
			return mentordb.ImportTaskParams(it.Row)
		}, func(q *mentordb.Queries, ctx context.Context, rows []mentordb.ImportTaskParams) func(func(int, error)) {
			return q.ImportTask(ctx, rows).Exec
		}),
		Update: store("tasks", func(it oldstack.Item[importedTask]) mentordb.ReimportTaskParams {
			r := it.Row
			return mentordb.ReimportTaskParams{Task: r.Task, DueDate: r.DueDate, Status: r.Status, UpdatedAt: r.UpdatedAt, ID: r.ID}
		}, func(q *mentordb.Queries, ctx context.Context, rows []mentordb.ReimportTaskParams) func(func(int, error)) {
			return q.ReimportTask(ctx, rows).Exec
		}),
	}
}

type oldMemory struct {
	ID          int64              `old:"id"`
	UserID      int64              `old:"user_id"`
	Notes       oldstack.JSON      `old:"notes" or:"'{}'"`
	LastSummary string             `old:"last_summary" or:"''"`
	UpdatedAt   pgtype.Timestamptz `old:"updated_at" must:"true"`
}

type importedMemory = mentordb.ImportedMemoriesRow

func importMemories(o ImportOptions) oldstack.Copy[oldMemory, importedMemory] {
	user := func(r importedMemory) int64 { return r.UserID }
	save := store("memories", func(it oldstack.Item[importedMemory]) mentordb.ImportMemoryParams {
		r := it.Row
		return mentordb.ImportMemoryParams{
			UserID: r.UserID, Notes: r.Notes, LastSummary: r.LastSummary, OldestAt: oldestNote(r.Notes, r.UpdatedAt), UpdatedAt: r.UpdatedAt,
		}
	}, func(q *mentordb.Queries, ctx context.Context, rows []mentordb.ImportMemoryParams) func(func(int, error)) {
		return q.ImportMemory(ctx, rows).Exec
	})
	return oldstack.Copy[oldMemory, importedMemory]{
		Kind: "mentor memories", Table: "mentor_mentormemory", Personal: true,
		ID: func(m *oldMemory) int64 { return m.ID },
		Convert: func(m *oldMemory, _ func(string)) (importedMemory, error) {
			return importedMemory{UserID: m.UserID, Notes: json.RawMessage(m.Notes), LastSummary: m.LastSummary, UpdatedAt: m.UpdatedAt.Time.UTC()}, nil
		},
		Parents: func(r importedMemory) []oldstack.Parent { return []oldstack.Parent{{Kind: o.Accounts, ID: r.UserID}} },
		Find: find("memories", (*mentordb.Queries).ImportedMemories, owners(user), func(r *importedMemory) int64 {
			r.UpdatedAt = r.UpdatedAt.UTC()
			return r.UserID
		}, user),
		Insert: save, Update: save,
	}
}

// owners asks for rows by whose they are.
func owners[T any](user func(T) int64) func([]oldstack.Item[T]) []int64 {
	return func(rows []oldstack.Item[T]) []int64 {
		users := make([]int64, len(rows))
		for i, it := range rows {
			users[i] = user(it.Row)
		}
		return users
	}
}

// oldestNote is the moment of the oldest entry of old notes, from which
// retention counts; otherwise when nothing says it.
func oldestNote(notes json.RawMessage, otherwise time.Time) time.Time {
	var n struct {
		Entries []struct {
			Timestamp json.RawMessage `json:"timestamp"`
		} `json:"entries"`
	}
	if json.Unmarshal(notes, &n) != nil {
		return otherwise
	}
	oldest := otherwise
	for _, e := range n.Entries {
		var text string
		if json.Unmarshal(e.Timestamp, &text) != nil {
			continue
		}
		at, err := time.Parse(time.RFC3339Nano, strings.TrimSpace(text))
		if err == nil && at.Year() >= 2000 && at.Before(oldest) {
			oldest = at
		}
	}
	return oldest.UTC()
}
