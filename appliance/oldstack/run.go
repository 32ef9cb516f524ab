package oldstack

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"selflink/appliance/database"
	"selflink/appliance/oldstack/oldstackdb"
	"selflink/appliance/snowflake"
)

const (
	// defaultBatch is how many rows are read and stored at once.
	defaultBatch = 500
	// firstFaults is how many rows that were not copied a [Result] names.
	firstFaults = 20
)

// Options of [Run]. DB, Source and Steps are required.
type Options struct {
	DB     database.Pool
	Source *Source
	Steps  []Step // parents before their children
	// DryRun tells what a run would do, and writes nothing.
	DryRun bool
	// MissingOK goes on without old tables that are not there, but for those
	// that every old backend has.
	MissingOK bool
	Batch     int // rows (500)
	// Progress is told after every batch; nil: nobody is.
	Progress func(Progress)
	// Fault is told of every row that was not copied; nil: nobody is. An error
	// ends the run.
	Fault func(Fault) error
}

// Progress is how far a run is.
type Progress struct {
	Kind  string
	Done  int64 // rows
	Total int64
}

// Fault is an old row that was not copied, and why. It names nobody.
type Fault struct {
	Kind    string `json:"kind"`
	ID      int64  `json:"id,string"`
	Verdict string `json:"verdict"` // refused, kept or skipped
	Reason  string `json:"reason"`
}

// Count tells what became of the old rows of a kind. In a dry run it tells what
// would.
type Count struct {
	Kind    string `json:"kind"`
	Table   string `json:"table"`          // empty: there is none
	Rows    int64  `json:"rows"`           // in the old database
	Copied  int64  `json:"copied"`         // new here
	Changed int64  `json:"changed"`        // copied before, changed there, and now here too
	Same    int64  `json:"same"`           // here already
	Kept    int64  `json:"kept"`           // changed there, but ours was changed here and stays
	Skipped int64  `json:"skipped"`        // not needed
	Refused int64  `json:"refused"`        // cannot be kept as it is
	Gone    int64  `json:"gone,omitempty"` // copied before and not in the old database any more; ours stay
}

// Note is a remark on some rows.
type Note struct {
	Kind string `json:"kind"`
	Text string `json:"text"`
	Rows int64  `json:"rows"`
}

// Result is what a run did, or would do.
type Result struct {
	DryRun   bool      `json:"dry_run"`
	Snapshot time.Time `json:"snapshot"` // the moment of the old database that was copied
	Seconds  float64   `json:"seconds"`
	Kinds    []Count   `json:"kinds"`
	Absent   []string  `json:"absent"`  // old tables that are not there
	Missing  []string  `json:"missing"` // old columns that are not there, and have defaults
	Notes    []Note    `json:"notes"`
	Faults   []Fault   `json:"faults"` // the first of the rows that were not copied
}

// Total adds all kinds up.
func (r Result) Total() (t Count) {
	for _, c := range r.Kinds {
		t.Rows += c.Rows
		t.Copied += c.Copied
		t.Changed += c.Changed
		t.Same += c.Same
		t.Kept += c.Kept
		t.Skipped += c.Skipped
		t.Refused += c.Refused
		t.Gone += c.Gone
	}
	return t
}

// Run copies everything. What it did before it failed is done, and told in the
// result; another run goes on from there. Rows that were refused are no error.
func Run(ctx context.Context, o Options) (Result, error) {
	begin := time.Now()
	if o.Batch <= 0 {
		o.Batch = defaultBatch
	}
	r := &run{
		db: o.DB, source: o.Source, batch: o.Batch, dry: o.DryRun, progress: o.Progress, fault: o.Fault,
		result: Result{DryRun: o.DryRun, Snapshot: o.Source.Taken, Absent: []string{}, Missing: []string{}, Notes: []Note{}, Faults: []Fault{}},
		steps:  map[string]Step{}, lost: map[string]map[int64]bool{}, planned: map[string]map[int64]bool{},
	}
	plans, err := r.plan(o)
	if err != nil {
		return r.result, err
	}
	for i, step := range o.Steps {
		if plans[i] == "" {
			r.result.Kinds = append(r.result.Kinds, Count{Kind: step.kind()})
			continue
		}
		if err = r.copy(ctx, step, plans[i]); err != nil {
			break
		}
	}
	r.result.Seconds = time.Since(begin).Seconds()
	return r.result, err
}

// plan finds all tables and their columns before anything is copied, so that
// what is missing is told at once.
func (r *run) plan(o Options) (plans []string, err error) {
	var absent, lacking []string
	for _, step := range o.Steps {
		r.steps[step.kind()] = step
		t := o.Source.find(step.table())
		if t == nil {
			plans = append(plans, "")
			absent = append(absent, o.Source.named(step.table()))
			r.result.Absent = append(r.result.Absent, step.table())
			if step.core() || !o.MissingOK {
				lacking = append(lacking, step.table())
			}
			continue
		}
		sql, missing, err := step.plan(t)
		if err != nil {
			return nil, err
		}
		plans = append(plans, sql)
		r.result.Missing = append(r.result.Missing, missing...)
	}
	if len(lacking) > 0 {
		return nil, fmt.Errorf("%w: it has no %s", ErrSchema, strings.Join(absent, "; no "))
	}
	return plans, nil
}

// run is one run. The fields from count on are of the kind that is copied.
type run struct {
	db       database.Pool
	source   *Source
	batch    int
	dry      bool
	progress func(Progress)
	fault    func(Fault) error
	result   Result
	steps    map[string]Step
	lost     map[string]map[int64]bool // rows that were refused, by kind
	planned  map[string]map[int64]bool // rows that a dry run would have copied

	count  Count
	met    int64 // rows that were copied before
	notes  map[string]int64
	failed error // of Fault
}

func (r *run) copy(ctx context.Context, step Step, sql string) error {
	t := r.source.find(step.table())
	total, err := r.source.count(ctx, t)
	if err != nil {
		return err
	}
	r.count, r.met, r.notes = Count{Kind: step.kind(), Table: t.name}, 0, map[string]int64{}
	r.lost[step.kind()], r.planned[step.kind()] = map[int64]bool{}, map[int64]bool{}
	show := r.progress
	if show != nil {
		r.progress = func(p Progress) { p.Total = total; show(p) }
	}
	before, err := oldstackdb.New(r.db).CountDigests(ctx, step.kind())
	if err != nil {
		return fmt.Errorf("count what was copied: %w", err)
	}
	err = step.copy(ctx, r, sql)
	r.progress = show
	if err == nil {
		r.count.Gone = max(before-r.met, 0)
	}
	r.result.Kinds = append(r.result.Kinds, r.count)
	texts := make([]string, 0, len(r.notes))
	for text := range r.notes {
		texts = append(texts, text)
	}
	slices.Sort(texts)
	for _, text := range texts {
		r.result.Notes = append(r.result.Notes, Note{step.kind(), text, r.notes[text]})
	}
	return errors.Join(err, r.failed)
}

// read counts a row of the old database.
func (r *run) read() { r.count.Rows++ }

func (r *run) note(text string) { r.notes[text]++ }

func (r *run) shown() {
	if r.progress != nil {
		r.progress(Progress{Kind: r.count.Kind, Done: r.count.Rows})
	}
}

// What becomes of rows that are not copied.
const (
	refused = "refused"
	kept    = "kept"
	skipped = "skipped"
)

// verdicts are what becomes of a batch, once its transaction has committed.
type verdicts struct {
	copied, changed, same, met int64
	stored                     []int64
	ownIDs                     bool // their ids are those of our rows too
	faults                     []Fault
}

func (v *verdicts) add(id int64, verdict, why string) {
	v.faults = append(v.faults, Fault{ID: id, Verdict: verdict, Reason: why})
}

func (v *verdicts) addError(id int64, why error) { v.add(id, verdictOf(why), why.Error()) }

func verdictOf(why error) string {
	var skip Skip
	if errors.As(why, &skip) {
		return skipped
	}
	return refused
}

func (r *run) take(v verdicts) {
	r.count.Copied += v.copied
	r.count.Changed += v.changed
	r.count.Same += v.same
	r.met += v.met
	if r.dry {
		for _, id := range v.stored {
			r.planned[r.count.Kind][id] = true
		}
	}
	for _, f := range v.faults {
		r.verdict(f.ID, f.Verdict, f.Reason)
	}
	for _, id := range v.stored {
		if !v.ownIDs {
			break
		}
		if at, _, _ := snowflake.Parts(id); at.After(time.Now().Add(clockSkew)) {
			r.note("their ids are of the future: until then a new id might meet one of them")
		}
	}
}

// clockSkew is how far the old backend's clock may be ahead without a remark.
const clockSkew = time.Minute

func (r *run) refuse(id int64, why error) { r.verdict(id, verdictOf(why), why.Error()) }

func (r *run) verdict(id int64, verdict, why string) {
	switch verdict {
	case refused:
		r.count.Refused++
		r.lost[r.count.Kind][id] = true
	case kept:
		r.count.Kept++
	case skipped:
		r.count.Skipped++
	}
	f := Fault{Kind: r.count.Kind, ID: id, Verdict: verdict, Reason: why}
	if len(r.result.Faults) < firstFaults && verdict != skipped {
		r.result.Faults = append(r.result.Faults, f)
	}
	if r.fault != nil && r.failed == nil {
		r.failed = r.fault(f)
	}
}

func (r *run) digests(ctx context.Context, q database.Querier, kind string, ids []int64) (map[int64][digestSize]byte, error) {
	rows, err := oldstackdb.New(q).Digests(ctx, oldstackdb.DigestsParams{Kind: kind, Ids: ids})
	if err != nil {
		return nil, fmt.Errorf("look up what was copied: %w", err)
	}
	known := make(map[int64][digestSize]byte, len(rows))
	for _, row := range rows {
		known[row.OldID] = [digestSize]byte(row.Digest)
	}
	return known, nil
}

func (r *run) keepDigests(ctx context.Context, tx database.Tx, kind string, ids []int64, digests map[int64][digestSize]byte) error {
	if len(ids) == 0 {
		return nil
	}
	values := make([][]byte, len(ids))
	for i, id := range ids {
		d := digests[id]
		values[i] = d[:]
	}
	if err := oldstackdb.New(tx).KeepDigests(ctx, oldstackdb.KeepDigestsParams{Kind: kind, Ids: ids, Digests: values}); err != nil {
		return fmt.Errorf("note what was copied: %w", err)
	}
	return nil
}

// orphans gives those children whose parent is not here, with the reason.
func (r *run) orphans(ctx context.Context, q database.Querier, children map[int64][]Parent) (map[int64]error, error) {
	wanted := map[string][]int64{}
	for _, parents := range children {
		for _, p := range parents {
			wanted[p.Kind] = append(wanted[p.Kind], p.ID)
		}
	}
	here := map[Parent]bool{}
	for kind, ids := range wanted {
		step := r.steps[kind]
		if step == nil {
			return nil, fmt.Errorf("oldstack: nothing copies %s", kind)
		}
		slices.Sort(ids)
		found, err := step.exist(ctx, q, slices.Compact(ids))
		if err != nil {
			return nil, err
		}
		for _, id := range found {
			here[Parent{kind, id}] = true
		}
	}
	reasons := map[int64]error{}
	for id, parents := range children {
		for _, p := range parents {
			switch {
			case r.lost[p.Kind][p.ID]:
				reasons[id] = Refused(fmt.Sprintf("it is of one of the %s that was refused: %d", p.Kind, p.ID))
			case !here[p] && !r.planned[p.Kind][p.ID]:
				reasons[id] = Refused(fmt.Sprintf("it is of one of the %s that is not here: %d", p.Kind, p.ID))
			}
		}
	}
	return reasons, nil
}

// raced reports whether somebody else wrote the same at the same moment.
func raced(err error) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return false
	}
	switch pg.Code {
	case "23505", "40001", "40P01":
		return true
	}
	return false
}

// dataFault says what the database finds wrong with a row, or nothing when err
// is of another kind. What is in the row is left out.
func dataFault(err error) string {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || len(pg.Code) != 5 {
		return ""
	}
	switch pg.Code[:2] {
	case "22":
		return "the database cannot keep it (" + pg.Code + ")"
	case "23":
		return "the database refuses it (" + pg.ConstraintName + ")"
	}
	return ""
}
