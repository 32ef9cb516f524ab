package oldstack

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"

	"selflink/appliance/database"
)

// Copy says how the rows of one old table, read as O, become ours, T. What is
// of a T decides whether a row has changed: a field that is added to it later
// needs omitempty, or every row would seem changed.
type Copy[O, T any] struct {
	// Kind names the rows in reports and in the notes on what was copied, as in
	// "accounts". It never changes.
	Kind string
	// Table is Django's name of the old table, app and model.
	Table string
	// Core says that there is no old backend without this table.
	Core bool

	ID func(*O) int64
	// Convert makes ours of an old row. Its error, if there is one, is why the
	// row is refused, or [Skip]. It says nothing of what is in the row.
	Convert func(o *O, note func(text string)) (T, error)
	// Parents are rows without which this one cannot be.
	Parents func(row T) []Parent

	// Find gives those of rows that we have, as they are, by old id.
	Find func(ctx context.Context, q database.Querier, rows []Item[T]) (map[int64]T, error)
	// Blank reports whether one of ours was made beside its account and never
	// filled in. nil: none is.
	Blank func(row T) bool
	// Personal says that ours is found by whose it is and not by an id: one
	// that was made here stays and is no clash.
	Personal bool
	// Pair says that being there is all that such a row tells.
	Pair bool
	// Exist gives those of ids that we have, for kinds that are parents.
	Exist func(ctx context.Context, q database.Querier, ids []int64) ([]int64, error)
	// Clashes gives those of rows that cannot be stored beside what is there
	// and the rows before them, each with the reason: an error or a [Skip].
	// nil: there are none.
	Clashes func(ctx context.Context, q database.Querier, rows []Item[T]) (map[int64]error, error)
	Insert  func(ctx context.Context, tx database.Tx, rows []Item[T]) error
	Update  func(ctx context.Context, tx database.Tx, rows []Item[T]) error // nil: of pairs
}

// Item is a row of ours and the old id that it has.
type Item[T any] struct {
	ID  int64
	Row T
}

// Parent is a row that another one is of.
type Parent struct {
	Kind string
	ID   int64
}

// Skip is a reason to leave a row out that is no fault.
type Skip string

// Error implements error.
func (s Skip) Error() string { return string(s) }

// Refused is a reason why a row cannot be kept.
type Refused string

// Error implements error.
func (r Refused) Error() string { return string(r) }

// Step is a [Copy] of whatever types.
type Step interface {
	kind() string
	table() string
	core() bool
	exist(ctx context.Context, q database.Querier, ids []int64) ([]int64, error)
	plan(t *oldTable) (sql string, missing []string, err error)
	copy(ctx context.Context, r *run, sql string) error
}

var _ Step = Copy[struct{}, struct{}]{}

func (c Copy[O, T]) kind() string  { return c.Kind }
func (c Copy[O, T]) table() string { return c.Table }
func (c Copy[O, T]) core() bool    { return c.Core }

func (c Copy[O, T]) exist(ctx context.Context, q database.Querier, ids []int64) ([]int64, error) {
	return c.Exist(ctx, q, ids)
}

func (c Copy[O, T]) plan(t *oldTable) (string, []string, error) {
	columns, err := columnsOf[O]()
	if err != nil {
		return "", nil, err
	}
	return selection(columns, t)
}

// copy carries all rows over, batch by batch.
func (c Copy[O, T]) copy(ctx context.Context, r *run, sql string) error {
	columns, err := columnsOf[O]()
	if err != nil {
		return err
	}
	for after, more := int64(minID), true; more; {
		old, err := readBatch[O](ctx, r.source, sql, after, r.batch)
		if err != nil {
			return err
		}
		if more = len(old) > 0; !more {
			break
		}
		items := make([]Item[T], 0, len(old))
		for i := range old {
			o := &old[i]
			after = c.ID(o)
			r.read()
			if why := fault(columns, o); why != "" {
				r.verdict(after, refused, why)
				continue
			}
			row, err := c.Convert(o, r.note)
			if err != nil {
				r.refuse(after, err)
				continue
			}
			items = append(items, Item[T]{after, row})
		}
		if err := c.store(ctx, r, items); err != nil {
			return fmt.Errorf("store %s up to %d: %w", c.Kind, after, err)
		}
		r.shown()
	}
	return nil
}

// batchTries bounds how often a batch is planned anew because somebody wrote
// the same at the same moment.
const batchTries = 10

// store keeps a batch. When the database finds fault with it, the halves of it
// are tried, down to the row that has the fault.
func (c Copy[O, T]) store(ctx context.Context, r *run, items []Item[T]) error {
	if len(items) == 0 {
		return nil
	}
	var err error
	for range batchTries {
		var v verdicts
		err = r.db.Tx(ctx, func(tx database.Tx) error {
			v = verdicts{ownIDs: !c.Personal && !c.Pair}
			// Whoever changes one of our rows between the look at it and the
			// writing makes this fail, and be planned anew.
			mode := "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"
			if r.dry {
				mode += ", READ ONLY"
			}
			if _, err := tx.Exec(ctx, mode); err != nil {
				return fmt.Errorf("begin a batch: %w", err)
			}
			return c.attempt(ctx, tx, r, items, &v)
		})
		if err == nil {
			r.take(v)
			return nil
		}
		if !raced(err) {
			break
		}
	}
	why := dataFault(err)
	switch {
	case why == "":
		return err
	case len(items) == 1:
		r.verdict(items[0].ID, refused, why)
		return nil
	}
	half := len(items) / 2
	if err := c.store(ctx, r, items[:half]); err != nil {
		return err
	}
	return c.store(ctx, r, items[half:])
}

// attempt is one transaction of a batch.
func (c Copy[O, T]) attempt(ctx context.Context, tx database.Tx, r *run, items []Item[T], v *verdicts) error {
	known, err := r.digests(ctx, tx, c.Kind, ids(items))
	if err != nil {
		return err
	}
	digests := make(map[int64][digestSize]byte, len(items))
	var open []Item[T]
	for _, it := range items {
		if digests[it.ID], err = digest(it.Row); err != nil {
			return err
		}
		was, ok := known[it.ID]
		if ok {
			v.met++
		}
		if ok && was == digests[it.ID] {
			v.same++
			continue
		}
		open = append(open, it)
	}
	if len(open) == 0 {
		return nil
	}
	ours, err := c.Find(ctx, tx, open)
	if err != nil {
		return err
	}
	var inserts, updates []Item[T]
	var keep []int64 // whose digests are new
	for _, it := range open {
		was, copied := known[it.ID]
		cur, here := ours[it.ID]
		var now [digestSize]byte
		if here {
			if now, err = digest(cur); err != nil {
				return err
			}
		}
		switch {
		case !copied && !here:
			inserts = append(inserts, it)
		case !here:
			v.add(it.ID, kept, "it was deleted here, and changed in the old database")
		case !copied && c.Blank != nil && c.Blank(cur): // copied, also when it is the same: as a dry run foresees
			updates = append(updates, it)
		case now == digests[it.ID], !copied && c.Pair:
			v.same++
			keep = append(keep, it.ID)
		case copied && now == was && !c.Pair:
			updates = append(updates, it)
		case copied:
			v.add(it.ID, kept, "it was changed here, and in the old database")
		case c.Personal:
			v.add(it.ID, kept, "there is one that was made here")
		default:
			v.add(it.ID, refused, "its id is that of another row here")
		}
	}
	for _, step := range []struct {
		rows  []Item[T]
		store func(context.Context, database.Tx, []Item[T]) error
		news  bool
	}{{updates, c.Update, false}, {inserts, c.Insert, true}} {
		rows, err := c.storable(ctx, tx, r, step.rows, step.news, v)
		if err != nil {
			return err
		}
		for _, it := range rows {
			if _, copied := known[it.ID]; copied {
				v.changed++
			} else {
				v.copied++
			}
			v.stored = append(v.stored, it.ID)
		}
		if r.dry || len(rows) == 0 {
			continue
		}
		if err := step.store(ctx, tx, rows); err != nil {
			return err
		}
		keep = append(keep, ids(rows)...)
	}
	if r.dry {
		return nil
	}
	return r.keepDigests(ctx, tx, c.Kind, keep, digests)
}

// storable leaves out the rows that cannot be stored.
func (c Copy[O, T]) storable(ctx context.Context, tx database.Tx, r *run, rows []Item[T], news bool, v *verdicts) ([]Item[T], error) {
	if len(rows) == 0 {
		return nil, nil
	}
	if c.Parents != nil && news {
		orphans, err := r.orphans(ctx, tx, rows2parents(rows, c.Parents))
		if err != nil {
			return nil, err
		}
		rows = without(rows, orphans, v)
	}
	if c.Clashes != nil && len(rows) > 0 {
		clashes, err := c.Clashes(ctx, tx, rows)
		if err != nil {
			return nil, err
		}
		rows = without(rows, clashes, v)
	}
	return rows, nil
}

func rows2parents[T any](rows []Item[T], parents func(T) []Parent) map[int64][]Parent {
	all := make(map[int64][]Parent, len(rows))
	for _, it := range rows {
		all[it.ID] = parents(it.Row)
	}
	return all
}

// without leaves out rows with a reason against them.
func without[T any](rows []Item[T], reasons map[int64]error, v *verdicts) []Item[T] {
	if len(reasons) == 0 {
		return rows
	}
	var rest []Item[T]
	for _, it := range rows {
		if why := reasons[it.ID]; why != nil {
			v.addError(it.ID, why)
			continue
		}
		rest = append(rest, it)
	}
	return rest
}

func ids[T any](items []Item[T]) []int64 {
	all := make([]int64, len(items))
	for i, it := range items {
		all[i] = it.ID
	}
	return all
}

const (
	digestSize = 16
	// minID is before every id.
	minID = -1 << 63
)

// digest is what a row is recognised by.
func digest(row any) (d [digestSize]byte, err error) {
	b, err := json.Marshal(row)
	if err != nil {
		return d, fmt.Errorf("digest a row: %w", err)
	}
	sum := sha256.Sum256(b)
	copy(d[:], sum[:])
	return d, nil
}
