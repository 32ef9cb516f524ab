package mentor

import (
	"encoding/json"
	"testing"
	"time"
)

// FuzzOldMeta reads what old messages say of their task and question.
func FuzzOldMeta(f *testing.F) {
	for _, meta := range []string{
		"", "null", "[]", `{"task_id":"0d2e2a13-dbfd-48ba-8ed6-bd51977d2df8","request_id":71,"task_version":"v1"}`,
		`{"task_id":5,"request_id":"71","task_version":1}`, `{"request_id":1e400}`, `{"request_id":-1}`, `{"task_id":"{0d2e2a13-dbfd-48ba-8ed6-bd51977d2df8"}`,
	} {
		f.Add(meta)
	}
	f.Fuzz(func(t *testing.T, meta string) {
		ties := oldTies(roleAssistant, json.RawMessage(meta))
		if ties.version == "" || ties.request != nil && *ties.request <= 0 {
			t.Fatalf("%s: %+v", meta, ties)
		}
		if question := oldTies(roleUser, json.RawMessage(meta)); question.request != nil {
			t.Fatalf("%s: a question answers nothing", meta)
		}
	})
}

// FuzzOldNotes finds the oldest moment of old memories.
func FuzzOldNotes(f *testing.F) {
	for _, notes := range []string{"{}", `{"entries":"none"}`, `{"entries":[{"timestamp":"2025-06-01T10:00:00+04:00"},{"timestamp":7},{}]}`, `{"entries":[{"timestamp":"0000-01-01T00:00:00Z"}]}`} {
		f.Add(notes)
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f.Fuzz(func(t *testing.T, notes string) {
		if at := oldestNote(json.RawMessage(notes), now); at.After(now) || at.Year() < 1999 {
			t.Fatalf("%s: %s", notes, at)
		}
	})
}
