package realtime

import "sort"

const (
	// ringEntries and ringBytes bound the recent history that a node keeps in
	// memory, so that a wave of returning clients asks Postgres for nothing.
	ringEntries = 4096
	ringBytes   = 8 << 20
)

// ring holds the end of the log in memory: every entry after floor.
// [log] guards it.
type ring struct {
	entries []*entry // a queue; the first skip ones are gone
	skip    int
	bytes   int
	floor   int64
}

func (r *ring) reset(floor int64) { *r = ring{floor: floor} }

func (r *ring) add(e *entry) {
	r.entries = append(r.entries, e)
	r.bytes += len(e.payload)
	for len(r.entries)-r.skip > ringEntries || r.bytes > ringBytes {
		oldest := r.entries[r.skip]
		r.entries[r.skip] = nil
		r.skip++
		r.bytes -= len(oldest.payload)
		r.floor = oldest.seq
	}
	if r.skip > ringEntries {
		r.entries = append([]*entry(nil), r.entries[r.skip:]...)
		r.skip = 0
	}
}

// between gives the entries of channels after one number up to another. ok is
// false when the ring does not reach back that far.
func (r *ring) between(after, until int64, channels []Channel) (missed []*entry, ok bool) {
	if after < r.floor {
		return nil, false
	}
	kept := r.entries[r.skip:]
	first := sort.Search(len(kept), func(i int) bool { return kept[i].seq > after })
	for _, e := range kept[first:] {
		if e.seq > until {
			break
		}
		if contains(channels, e.channel) {
			missed = append(missed, e)
		}
	}
	return missed, true
}
