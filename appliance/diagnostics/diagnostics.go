// Package diagnostics writes a bundle for whoever helps an operator: what is in
// force, what is wrong, and how each part stands, in one .tar.gz.
//
// It knows no other part: each section is a function that somebody hands in.
// A section that fails, hangs or panics is replaced by a text that says so; the
// rest of the bundle does not suffer. Nothing is written before the secrets in
// it are blotted out, in whichever way they are written.
package diagnostics

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"
)

const (
	// DefaultWait bounds one section in time.
	DefaultWait = 5 * time.Second
	// DefaultBytes bounds one section in size. What is more is cut at its end.
	DefaultBytes = 2 << 20

	// maxSections bounds the bundle.
	maxSections = 64
)

// Section is one file of the bundle.
type Section struct {
	// Name is the file's name without its extension.
	Name string
	// Get gives what is in it: text as []byte or string, anything else as what
	// marshals to JSON. It is called once and should end with ctx.
	Get func(ctx context.Context) (any, error)
}

// Options say what goes into a bundle. Zero values mean the default in
// parentheses.
type Options struct {
	Sections []Section // at most 64
	// Hidden are the secrets in force; those of less than 4 characters are
	// left, since blotting them out would leave nothing to read.
	Hidden []string
	Wait   time.Duration    // for one section (5 s)
	Bytes  int              // of one section (2 MiB)
	Clock  func() time.Time // (time.Now)
}

// ErrTooMany is returned for more than 64 sections.
var ErrTooMany = errors.New("diagnostics: at most 64 sections")

// entry is a section as the manifest lists it.
type entry struct {
	File  string  `json:"file"`
	Bytes int     `json:"bytes"`
	Took  float64 `json:"took_ms"`
	Cut   bool    `json:"cut,omitempty"`
	Error string  `json:"error,omitempty"`
}

// Write makes the bundle and writes it to w. Sections follow each other in
// their order, so it takes at most as long as all waits together; a manifest
// comes last. It fails when w does, or when ctx ends; then what was written is
// no whole archive.
func Write(ctx context.Context, w io.Writer, o Options) error {
	if len(o.Sections) > maxSections {
		return ErrTooMany
	}
	if o.Wait <= 0 {
		o.Wait = DefaultWait
	}
	if o.Bytes <= 0 {
		o.Bytes = DefaultBytes
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	now := o.Clock().UTC()
	b := bundle{dir: "selflink-diagnostics-" + now.Format("20060102T150405Z"), now: now, scrub: newScrubber(o.Hidden)}
	packed := gzip.NewWriter(w)
	b.tar = tar.NewWriter(packed)
	manifest := []entry{}
	names := map[string]bool{"manifest": true}
	for _, s := range o.Sections {
		name := fileName(string(b.scrub.clean([]byte(s.Name))), names)
		e, err := b.section(ctx, name, s.Get, o)
		if err != nil {
			return err
		}
		manifest = append(manifest, e)
	}
	text, err := indented(map[string]any{"made_at": now, "sections": manifest})
	if err != nil {
		return fmt.Errorf("diagnostics: %w", err)
	}
	if err := errors.Join(b.file("manifest.json", b.scrub.clean(text)), b.tar.Close(), packed.Close()); err != nil {
		return fmt.Errorf("diagnostics: write the bundle: %w", err)
	}
	return nil
}

// bundle is an archive that is being written.
type bundle struct {
	dir   string
	now   time.Time
	tar   *tar.Writer
	scrub *scrubber
}

// section writes one; its error is that of the archive or of ctx.
func (b *bundle) section(ctx context.Context, name string, get func(context.Context) (any, error), o Options) (entry, error) {
	begin := time.Now()
	text, ext, failed := content(ctx, get, o.Wait)
	if err := ctx.Err(); err != nil {
		return entry{}, fmt.Errorf("diagnostics: %w", err)
	}
	e := entry{Took: float64(time.Since(begin).Microseconds()) / 1000}
	if failed != nil {
		e.Error = string(b.scrub.clean([]byte(failed.Error())))
		text, ext = []byte("This part could not be read: "+failed.Error()+"\n"), ".error.txt"
	}
	text, e.Cut = b.scrub.cut(text, o.Bytes)
	if e.Cut {
		text = append(text, "\n[cut here: this part is longer]\n"...)
	}
	e.File, e.Bytes = name+ext, len(text)
	if err := b.file(e.File, text); err != nil {
		return e, fmt.Errorf("diagnostics: write %s: %w", e.File, err)
	}
	return e, nil
}

func (b *bundle) file(name string, text []byte) error {
	head := &tar.Header{Name: path.Join(b.dir, name), Mode: 0o600, Size: int64(len(text)), ModTime: b.now, Format: tar.FormatPAX}
	if err := b.tar.WriteHeader(head); err != nil {
		return err
	}
	_, err := b.tar.Write(text)
	return err
}

// content asks a section for what is in it. One that does not end in time is
// left to itself: its answer goes nowhere.
func content(ctx context.Context, get func(context.Context) (any, error), wait time.Duration) (text []byte, ext string, err error) {
	type result struct {
		text []byte
		ext  string
		err  error
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	done := make(chan result, 1)
	go func() {
		var r result
		defer func() {
			if p := recover(); p != nil {
				r = result{err: fmt.Errorf("it panicked: %v", p)}
			}
			done <- r
		}()
		r.text, r.ext, r.err = read(ctx, get)
	}()
	select {
	case r := <-done:
		return r.text, r.ext, r.err
	case <-ctx.Done():
		return nil, "", fmt.Errorf("it took longer than %s", wait)
	}
}

func read(ctx context.Context, get func(context.Context) (any, error)) (text []byte, ext string, err error) {
	value, err := get(ctx)
	if err != nil {
		return nil, "", err
	}
	switch v := value.(type) {
	case []byte:
		return v, ".txt", nil
	case string:
		return []byte(v), ".txt", nil
	}
	text, err = indented(value)
	return text, ".json", err
}

func indented(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return b.Bytes(), nil
}

// fileName makes a plain name that no other section has.
func fileName(name string, taken map[string]bool) string {
	name = strings.Trim(strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '-'
	}, name), ".-")
	if len(name) > 60 {
		name = name[:60]
	}
	if name == "" {
		name = "section"
	}
	plain := name
	for n := 2; taken[name]; n++ {
		name = fmt.Sprintf("%s-%d", plain, n)
	}
	taken[name] = true
	return name
}
