package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"selflink/appliance"
	"selflink/appliance/config"
	"selflink/appliance/storage"
)

// samplePath is the key whose address "storage status" shows (contract 04 §7).
const samplePath = "storage-status/sample.txt"

// storageVerb is the verb "storage".
func storageVerb(ctx context.Context, p *program, args []string) error {
	return p.sub(ctx, "storage", args, []verb{
		{"status", "say where files are kept and whether that works", storageStatus},
		{"check", "look whether one file is there", storageCheck},
		{"copy", "copy all files between the directory and the bucket", storageCopy},
	})
}

// storageState is what "storage status" prints.
type storageState struct {
	Backend    string `json:"backend"`
	Place      string `json:"place"`
	Served     bool   `json:"served"` // by this process, under /media/
	SamplePath string `json:"sample_path"`
	SampleURL  string `json:"sample_url"`
	Working    bool   `json:"working"`
	Problem    string `json:"problem,omitempty"`
}

func storageStatus(ctx context.Context, p *program, args []string) error {
	o := p.newOptions("storage status [options]", "Says where files are kept and tries it. Exits with 1 when files cannot be stored.")
	if err := o.parse(args); err != nil {
		return err
	}
	cfg, err := p.load(o)
	if err != nil {
		return err
	}
	s, err := appliance.NewStorage(cfg)
	if err != nil {
		return err
	}
	out := storageState{Backend: s.Backend(), Place: s.Place(), Served: cfg.Storage.Serve, SamplePath: samplePath, Working: true}
	if out.SampleURL, err = s.URL(ctx, samplePath); err != nil {
		return fmt.Errorf("make an address: %w", err)
	}
	if err := s.Check(ctx); err != nil {
		out.Working, out.Problem = false, err.Error()
	}
	if o.json {
		err = p.printJSON(out)
	} else {
		err = p.printStorage(cfg, out)
	}
	if err == nil && !out.Working {
		return errSilent
	}
	return err
}

func (p *program) printStorage(cfg *config.Config, s storageState) error {
	fmt.Fprintf(p.stdout, "STORAGE_BACKEND=%s\nDEFAULT_FILE_STORAGE=%s\nDEFAULT_STORAGE_BACKEND=%s\n", s.Backend, s.Backend, s.Backend)
	if s.Backend == storage.BackendS3 {
		fmt.Fprintf(p.stdout, "S3_ENDPOINT=%s\nS3_BUCKET=%s\n", cfg.Storage.Endpoint, cfg.Storage.Bucket)
	} else {
		fmt.Fprintf(p.stdout, "MEDIA_ROOT=%s\nMEDIA_URL=%s\n", s.Place, storage.MediaPath)
	}
	_, err := fmt.Fprintf(p.stdout, "SAMPLE_PATH=%s\nSAMPLE_URL=%s\n", s.SamplePath, s.SampleURL)
	if err == nil && !s.Working {
		fmt.Fprintf(p.stderr, "selflink: files cannot be stored: %s\n", s.Problem)
	}
	return err
}

func storageCheck(ctx context.Context, p *program, args []string) error {
	o := p.newOptions("storage check [options] KEY", "Looks whether a file is there, by its key: its path below MEDIA_ROOT or in the bucket.\nExits with 1 when it is not.")
	o.least, o.most = 1, 1
	if err := o.parse(args); err != nil {
		return err
	}
	cfg, err := p.load(o)
	if err != nil {
		return err
	}
	s, err := appliance.NewStorage(cfg)
	if err != nil {
		return err
	}
	key := o.words[0]
	info, err := s.Stat(ctx, key)
	missing := errors.Is(err, storage.ErrNotFound)
	if err != nil && !missing {
		return fmt.Errorf("check %s: %w", key, err)
	}
	if o.json {
		err = p.printJSON(map[string]any{"place": s.Place(), "key": key, "exists": !missing, "size": info.Size})
	} else {
		_, err = fmt.Fprintf(p.stdout, "MEDIA_ROOT=%s PATH=%s EXISTS=%t\n", s.Place(), key, !missing)
	}
	if err == nil && missing {
		return errSilent
	}
	return err
}

func storageCopy(ctx context.Context, p *program, args []string) error {
	o := p.newOptions("storage copy --from local --to s3 [options]", `Copies all files from the directory (local) to the bucket (s3), or back, and reads each
copy back. What is there already is skipped, so an interrupted copy is gone on with by
running it again. Nothing is deleted or replaced. The server may run meanwhile; run it
once more after STORAGE_BACKEND was changed, for what came in between.`)
	from := o.set.String("from", "", "`backend` to read: local or s3")
	to := o.set.String("to", "", "`backend` to write: s3 or local")
	verify := o.set.Bool("verify", false, "also compare the content of what is there already")
	if err := o.parse(args); err != nil {
		return err
	}
	if *from == *to || (*from != storage.BackendLocal && *from != storage.BackendS3) || (*to != storage.BackendLocal && *to != storage.BackendS3) {
		return fmt.Errorf("%w: say --from local --to s3, or the other way round", errUsage)
	}
	cfg, err := p.load(o)
	if err != nil {
		return err
	}
	stores := map[string]storage.Store{}
	for _, name := range []string{*from, *to} {
		if stores[name], err = appliance.StorageNamed(cfg, name); err != nil {
			return err
		}
		if err := stores[name].Check(ctx); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	visible := !o.json && terminal(p.stderr) != nil
	var shown time.Time
	done, err := storage.Copy(ctx, stores[*from], stores[*to], *verify, func(c storage.Copied) {
		if visible && time.Since(shown) > progressEvery {
			shown = time.Now()
			fmt.Fprintf(p.stderr, "\r\x1b[K%d files copied, %s; %d were there", c.Files, size(c.Bytes), c.Present)
		}
	})
	if visible {
		fmt.Fprint(p.stderr, "\r\x1b[K")
	}
	if err != nil {
		return fmt.Errorf("%d files were copied and %d were there; run it again to go on: %w", done.Files, done.Present, err)
	}
	if o.json {
		return p.printJSON(done)
	}
	_, err = fmt.Fprintf(p.stdout, "Copied %d files, %s, and compared their checksums; %d were there already.\n", done.Files, size(done.Bytes), done.Present)
	return err
}
