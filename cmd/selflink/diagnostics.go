package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"selflink/appliance/config"
	"selflink/appliance/diagnostics"
	"selflink/appliance/doctor"
	"selflink/appliance/health"
)

// bundleTime bounds the making of a bundle.
const bundleTime = 90 * time.Second

// bundled is what "diagnostics" prints.
type bundled struct {
	File    string `json:"file"`
	Bytes   int64  `json:"bytes"`
	Running bool   `json:"running"` // the server took part
}

// bundle is the verb "diagnostics".
func bundle(ctx context.Context, p *program, args []string) error {
	o := p.newOptions("diagnostics [options]", "Makes one archive for whoever helps: settings, health, the state of every part, numbers\nand the end of the log, all without secrets. Without a running server it holds the\nsettings and what selflink doctor finds.")
	output := o.set.String("output", "", "the archive's `file` (selflink-diagnostics-TIME.tar.gz here)")
	if err := o.parse(args); err != nil {
		return err
	}
	cfg, err := p.load(o)
	if err != nil {
		return err
	}
	if *output == "" {
		*output = "selflink-diagnostics-" + time.Now().UTC().Format("20060102T150405Z") + ".tar.gz"
	}
	ctx, cancel := context.WithTimeout(ctx, bundleTime)
	defer cancel()
	out := bundled{File: *output, Running: true}
	out.Bytes, err = writeWhole(*output, func(w io.Writer) error {
		answer, err := openDesk(cfg).open(ctx, http.MethodGet, "settings/diagnostics", nil)
		if errors.Is(err, errNoServer) {
			out.Running = false
			return p.bundleBeside(ctx, o, cfg, w)
		}
		if err != nil {
			return err
		}
		defer answer.Close()
		if _, err := io.Copy(w, answer); err != nil {
			return fmt.Errorf("read the bundle: %w", err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if o.json {
		return p.printJSON(out)
	}
	fmt.Fprintf(p.stdout, "%s: %d bytes, without secrets.\n", out.File, out.Bytes)
	if !out.Running {
		fmt.Fprintln(p.stdout, "The appliance does not run: only the settings and the findings of selflink doctor are in it.")
	}
	return nil
}

// bundleBeside makes what can be made without the server.
func (p *program) bundleBeside(ctx context.Context, o *options, cfg *config.Config, w io.Writer) error {
	return diagnostics.Write(ctx, w, diagnostics.Options{Hidden: cfg.Hidden(), Wait: bundleTime / 2, Sections: []diagnostics.Section{
		{Name: "build", Get: func(context.Context) (any, error) {
			return map[string]string{"version": p.version, "commit": p.commit}, nil
		}},
		{Name: "settings", Get: func(context.Context) (any, error) { return cfg.View(), nil }},
		{Name: "doctor", Get: func(ctx context.Context) (any, error) {
			found, _, err := p.examination(ctx, o, func(*doctor.Doctor, []health.Problem) bool { return false })
			return found, err
		}},
	}})
}

// writeWhole makes a file for its owner's eyes, under its name only when it is
// whole. It replaces nothing.
func writeWhole(path string, write func(w io.Writer) error) (size int64, err error) {
	if _, err := os.Lstat(path); err == nil {
		return 0, fmt.Errorf("there is a file %s already; choose another name with --output", path)
	}
	draft, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return 0, fmt.Errorf("make the archive: %w", err)
	}
	defer func() {
		_ = draft.Close()
		_ = os.Remove(draft.Name())
	}()
	if err := write(draft); err != nil {
		return 0, err
	}
	info, err := draft.Stat()
	if err != nil {
		return 0, fmt.Errorf("make the archive: %w", err)
	}
	if err := errors.Join(draft.Sync(), draft.Close(), os.Link(draft.Name(), path)); err != nil {
		return 0, fmt.Errorf("make the archive: %w", err)
	}
	return info.Size(), nil
}
