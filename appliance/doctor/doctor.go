// Package doctor examines an installation without its server: settings, files,
// programs, ports, disk, secrets, and the database as far as it is reached.
//
// Examining changes nothing. What [Doctor.Treat] does is safe to do at any
// time: it makes what is missing, closes what is open to others, and removes
// what a dead process left; it never touches data.
package doctor

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"selflink/appliance/config"
	"selflink/appliance/database"
	"selflink/appliance/health"
)

// Options are what the doctor looks at.
type Options struct {
	Config   *config.Config   // as far as it could be read; required
	Problems []config.Problem // why it is refused
	Database database.Options // of the server that Config describes
	Held     bool             // whether a process holds the data directory
	// Ours reports whether what listens at an address is this appliance.
	Ours func(ctx context.Context, address string) bool
	// MakeSecrets makes the secrets that are missing. nil: they cannot be made.
	MakeSecrets func() error
}

// Doctor is one examination. It must be closed.
type Doctor struct {
	opts     Options
	registry *health.Registry
	fixes    map[string]fix // by the code of what they mend
	skipped  []Skipped

	open func() (*database.Server, error) // the database, once
	mu   sync.Mutex
	db   *database.Server
}

// Report is what was found.
type Report struct {
	Faults  []health.Problem `json:"faults"`  // the worst first
	Checked []string         `json:"checked"` // codes of all that was looked at
	Skipped []Skipped        `json:"skipped"`
}

// Skipped is what could not be looked at.
type Skipped struct {
	Code string `json:"code"`
	Why  string `json:"why"`
}

// fix is what may be done about a fault.
type fix struct {
	plan  func() ([]string, error) // says what apply is about to do; nothing: nothing
	apply func(ctx context.Context) error
}

// reachTime bounds the way to the database.
const reachTime = 8 * time.Second

// New prepares an examination.
func New(o Options) *Doctor {
	d := &Doctor{opts: o, registry: &health.Registry{}, fixes: map[string]fix{}}
	d.open = sync.OnceValues(d.reach)
	for _, add := range []func(){d.settings, d.files, d.programs, d.network, d.machine, d.ledger} {
		add()
	}
	return d
}

// Examine asks everything once.
func (d *Doctor) Examine(ctx context.Context) Report {
	d.registry.Round(ctx)
	r := Report{Faults: d.registry.Problems(), Checked: []string{}, Skipped: append([]Skipped{}, d.skipped...)}
	for _, component := range d.registry.Checks() {
		for _, check := range component.Checks {
			r.Checked = append(r.Checked, check.Code)
		}
	}
	return r
}

// Treatment is what was done about a fault.
type Treatment struct {
	Code  string   `json:"code"`
	Steps []string `json:"steps"`
	Error string   `json:"error,omitempty"` // why it could not be done
}

// Treat does what is safe about the faults of an examination. say is called
// with each step before it is done.
func (d *Doctor) Treat(ctx context.Context, faults []health.Problem, say func(step string)) []Treatment {
	var done []Treatment
	for _, fault := range faults {
		f, ok := d.fixes[fault.Code]
		if !ok || ctx.Err() != nil {
			continue
		}
		steps, err := f.plan()
		t := Treatment{Code: fault.Code, Steps: steps}
		for _, step := range steps {
			say(step)
		}
		if err == nil && len(steps) > 0 {
			err = f.apply(ctx)
		}
		if err != nil {
			t.Error = err.Error()
		}
		if err != nil || len(steps) > 0 {
			done = append(done, t)
		}
	}
	return done
}

// Close ends the connection to the database.
func (d *Doctor) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.db == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), reachTime)
	defer cancel()
	if err := d.db.Stop(ctx); err != nil {
		return fmt.Errorf("close the database: %w", err)
	}
	d.db = nil
	return nil
}

func (d *Doctor) add(c health.Check) { d.registry.Add(c) }

func (d *Doctor) skip(code, why string) {
	d.skipped = append(d.skipped, Skipped{Code: code, Why: why})
}

// settingCode is the code of a fault of a setting.
func settingCode(key string) string {
	if key == "" {
		return "settings.file"
	}
	return "settings." + strings.ToLower(strings.ReplaceAll(key, "_", "-"))
}
