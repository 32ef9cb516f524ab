package main

import (
	"context"
	"fmt"
)

// verifyVerb is the verb "verify".
func verifyVerb(ctx context.Context, p *program, args []string) error {
	o := p.newOptions("verify [options] FILE", "Checks every checksum of an archive, restores it into a scratch database beside the\ncurrent one, which it does not touch, and counts the rows of every table.")
	o.least, o.most = 1, 1
	if err := o.parse(args); err != nil {
		return err
	}
	line := p.progress(o)
	keeper, err := p.backups(ctx, o, line)
	if err != nil {
		return err
	}
	v, err := keeper.Verify(ctx, o.words[0])
	line.clear()
	if err := closing(keeper, err); err != nil {
		return fmt.Errorf("the archive is not proven: %w", err)
	}
	if o.json {
		return p.printJSON(v)
	}
	m := v.Manifest
	fmt.Fprintf(p.stdout, "%s is good.\n  of %s, selflink %s, schema %d, PostgreSQL %s\n  %s, SHA-256 %s\n",
		v.File, moment(m.StartedAt), m.Appliance.Version, m.Schema, m.Postgres.Version, size(v.Bytes), v.SHA256)
	if f := m.Files; f != nil && f.Included {
		fmt.Fprintf(p.stdout, "  %d uploaded files, %s: every checksum is right\n", f.Count, size(f.Bytes))
	} else if f != nil {
		fmt.Fprintf(p.stdout, "  without the uploaded files, which are in %s\n", f.Place)
	}
	if v.Restored {
		_, err = fmt.Fprintf(p.stdout, "  restored into a scratch database: %d rows of %d tables, as in the manifest\n", m.Rows(), len(m.Tables))
	} else {
		_, err = fmt.Fprintf(p.stdout, "  checksums are right and the dump was read to its end; it was not restored:\n  %s\n", v.Reason)
	}
	return err
}
