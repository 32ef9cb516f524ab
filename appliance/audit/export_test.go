package audit

import "time"

// Canonical writes metadata as they are stored.
func Canonical(v any) ([]byte, error) { return canonical(v) }

// Hash is that of an event with these fields.
func Hash(action string, actor *int64, at time.Time, metadata []byte, objectID, objectType, prev string) string {
	return hash(covered{action: action, actor: actor, at: at, metadata: metadata, objectID: objectID, objectType: objectType, prev: prev})
}
