package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"

	"selflink/appliance"
	"selflink/appliance/config"
	"selflink/appliance/doctor"
	"selflink/appliance/health"
)

// treatments is how often "doctor --fix" looks again: what one fix makes may
// show the next fault.
const treatments = 3

// findings is what "doctor" prints.
type findings struct {
	OK bool `json:"ok"` // nothing of medium severity or worse
	doctor.Report
	Server standing           `json:"server"`
	Fixed  []doctor.Treatment `json:"fixed,omitempty"`
}

// examine is "selflink doctor".
func examine(ctx context.Context, p *program, args []string) error {
	o := p.newOptions("doctor [options]", "Examines the installation: settings, data directory, secrets, programs, ports, disk,\nand the database as far as it is reached. It works without a running server, and asks\none that runs for its problems. Each fault comes with its cause, what it does, and\nwhat to do. Exits with 1 when there is one of medium severity or worse.\n\nWith --fix it does what is safe, and says so before: it makes a missing data directory\nand missing secrets, closes files to others, and removes files of dead processes.\nIt never touches data.")
	o.setting("listen", "SELFLINK_LISTEN", "`addresses` to listen on, a comma list of host:port")
	mend := o.set.Bool("fix", false, "do what is safe")
	if err := o.parse(args); err != nil {
		return err
	}
	say := p.stdout
	if o.json {
		say = p.stderr
	}
	var found findings
	var fixed []doctor.Treatment
	for round, worked := 1, true; worked; round++ {
		var err error
		found, worked, err = p.examination(ctx, o, func(d *doctor.Doctor, faults []health.Problem) (worked bool) {
			if !*mend || round == treatments {
				return false
			}
			for _, t := range d.Treat(ctx, faults, func(step string) { fmt.Fprintf(say, "fixing: %s\n", step) }) {
				fixed, worked = append(fixed, t), worked || t.Error == ""
			}
			return worked
		})
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
	}
	found.Fixed = fixed
	if o.json {
		if err := p.printJSON(found); err != nil {
			return err
		}
	} else {
		found.print(p.stdout, *mend)
	}
	if !found.OK {
		return errSilent
	}
	return nil
}

// examination is one look at everything, and the treatment after it; worked is
// whether that has changed something.
func (p *program) examination(ctx context.Context, o *options, treat func(*doctor.Doctor, []health.Problem) bool) (found findings, worked bool, err error) {
	src := p.sources(o)
	src.ReadOnly, src.Files = true, true
	cfg, report, err := config.Load(src)
	var invalid *config.Error
	if err != nil && !errors.As(err, &invalid) {
		return found, false, err
	}
	found.Server = look(ctx, cfg)
	_, held := holder(filepath.Join(cfg.DataDir, lockFile))
	d := appliance.NewDoctor(cfg, slog.New(slog.DiscardHandler), doctor.Options{
		Problems: report.Problems, Held: held,
		Ours: func(ctx context.Context, address string) bool {
			s, answered := ask(ctx, localURL(cfg, address), cfg)
			return !answered || s.State != stateForeign
		},
		MakeSecrets: func() error {
			_, _, err := config.Load(p.sources(o))
			return err
		},
	})
	found.Report = d.Examine(ctx)
	worked = treat(d, found.Faults)
	if err := d.Close(); err != nil {
		return found, worked, err
	}
	found.addServer()
	found.OK = !slices.ContainsFunc(found.Faults, func(f health.Problem) bool { return f.Severity >= health.Medium })
	return found, worked, nil
}

// addServer adds what the running server says of itself.
func (f *findings) addServer() {
	s := f.Server
	switch s.State {
	case stateDown:
		f.Skipped = append(f.Skipped, doctor.Skipped{Code: "server", Why: "it does not run"})
		return
	case stateStarting:
		f.Skipped = append(f.Skipped, doctor.Skipped{Code: "server", Why: "it is starting"})
		return
	case stateForeign: // the address tells
		return
	}
	f.Checked = append(f.Checked, "server")
	known := func(code string) bool {
		return slices.ContainsFunc(f.Faults, func(p health.Problem) bool { return p.Code == code })
	}
	for _, p := range s.Problems {
		if !known(p.Code) {
			f.Faults = append(f.Faults, p)
		}
	}
	explained := slices.ContainsFunc(f.Faults, func(p health.Problem) bool { return p.Required || p.Code == doctor.CheckListen })
	if s.State == stateNotReady && !explained {
		text := s.Reason
		if text == "" {
			text = "not ready: " + strings.Join(s.NotReady, ", ")
		}
		f.Faults = append(f.Faults, health.Problem{
			Code: "server", Title: "The server is not ready", Severity: health.High, Text: text, Required: true,
			Impact: "A proxy in front sends it no requests; those that come may fail.", Remedy: "selflink status",
		})
	}
	slices.SortStableFunc(f.Faults, func(a, b health.Problem) int { return cmp.Compare(b.Severity, a.Severity) })
}

// print says it to people.
func (f findings) print(w io.Writer, mended bool) {
	for _, t := range f.Fixed {
		if t.Error != "" {
			fmt.Fprintf(w, "not fixed: %s: %s\n", t.Code, t.Error)
			continue
		}
		fmt.Fprintf(w, "fixed: %s\n", t.Code)
	}
	if mended && len(f.Fixed) == 0 {
		fmt.Fprintln(w, "There was nothing that can be fixed from here.")
	}
	if len(f.Fixed) > 0 {
		fmt.Fprintln(w)
	}
	for _, p := range f.Faults {
		fmt.Fprintf(w, "%s: %s  (%s)\n", p.Severity, p.Title, p.Code)
		for _, line := range [][2]string{{"cause", p.Text}, {"impact", p.Impact}, {"remedy", p.Remedy}} {
			if line[1] != "" {
				fmt.Fprintf(w, "  %-7s %s\n", line[0]+":", strings.ReplaceAll(line[1], "\n", "\n          "))
			}
		}
		fmt.Fprintln(w)
	}
	for i := 0; i < len(f.Skipped); {
		codes, why := []string{}, f.Skipped[i].Why
		for ; i < len(f.Skipped) && f.Skipped[i].Why == why; i++ {
			codes = append(codes, f.Skipped[i].Code)
		}
		fmt.Fprintf(w, "not examined: %s: %s\n", strings.Join(codes, ", "), why)
	}
	count := map[health.Severity]int{}
	for _, p := range f.Faults {
		count[p.Severity]++
	}
	if len(f.Faults) == 0 {
		fmt.Fprintf(w, "All is well: %d checks, no fault.\n", len(f.Checked))
		return
	}
	fmt.Fprintf(w, "%d checks: %d high, %d medium, %d low.\n", len(f.Checked), count[health.High], count[health.Medium], count[health.Low])
}
