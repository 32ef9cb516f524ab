package backup

import (
	"encoding/json"
	"fmt"
	"time"
)

// Format is the version of the archives that this package writes, and the
// newest that it reads.
//
// 1 had no files.
const Format = 2

// Header is the first member of an archive: what has to be known before
// anything else of it is read.
type Header struct {
	Format    int       `json:"format"`
	Appliance Build     `json:"appliance"`
	Schema    int64     `json:"schema"` // newest migration that was applied; 0: none
	Postgres  Postgres  `json:"postgres"`
	StartedAt time.Time `json:"started_at"`
}

// Postgres says what was dumped with what.
type Postgres struct {
	Version string `json:"version"` // of the server, in its own words
	Major   int    `json:"major"`
	Dump    string `json:"pg_dump"` // version of pg_dump, in its own words
}

// Manifest is what an archive says about itself.
type Manifest struct {
	Header
	FinishedAt    time.Time `json:"finished_at"`
	Database      string    `json:"database"`
	DatabaseBytes int64     `json:"database_bytes"` // on disk, when it was dumped
	DumpBytes     int64     `json:"dump_bytes"`     // before compression
	Tables        []Table   `json:"tables"`         // in the order of their names
	Files         *Files    `json:"files"`          // null: made before there were any
	Members       []Member  `json:"members"`        // in the order of the archive, all before the manifest but the files
}

// Table is a table and its rows in the snapshot that was dumped.
type Table struct {
	Name string `json:"name"` // with its schema
	Rows int64  `json:"rows"`
}

// Member is one file inside of an archive.
type Member struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// Rows is the number of rows of all tables.
func (m Manifest) Rows() int64 {
	var n int64
	for _, t := range m.Tables {
		n += t.Rows
	}
	return n
}

// Secrets lists the secrets that the archive holds.
func (m Manifest) Secrets() []string {
	var names []string
	for _, member := range m.Members {
		if kindOf(member.Name) == secretMember {
			names = append(names, member.Name[len(secretsPrefix):])
		}
	}
	return names
}

// decodeHeader reads the first member. The format is looked at before the rest,
// which a newer one may have changed.
func decodeHeader(raw []byte) (Header, error) {
	var version struct{ Format *int }
	if err := json.Unmarshal(raw, &version); err != nil || version.Format == nil {
		return Header{}, fmt.Errorf("%w: %s cannot be read", ErrDamaged, headerName)
	}
	switch f := *version.Format; {
	case f > Format:
		return Header{}, fmt.Errorf("%w: it has format %d, this version reads up to %d. Use the version of selflink that made it, or a newer one", ErrNewer, f, Format)
	case f < 1:
		return Header{}, fmt.Errorf("%w: there is no format %d", ErrNotArchive, f)
	}
	var h Header
	if err := json.Unmarshal(raw, &h); err != nil {
		return Header{}, fmt.Errorf("%w: %s cannot be read", ErrDamaged, headerName)
	}
	return h, nil
}

// decodeManifest reads the manifest and compares it with what was found before
// it in the archive.
func decodeManifest(raw []byte, header Header, found []Member, files fileList) (Manifest, error) {
	var m Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return m, fmt.Errorf("%w: %s cannot be read", ErrDamaged, manifestName)
	}
	if !m.StartedAt.Equal(header.StartedAt) {
		return m, fmt.Errorf("%w: %s and %s are of different archives", ErrDamaged, headerName, manifestName)
	}
	m.StartedAt = header.StartedAt
	if m.Header != header {
		return m, fmt.Errorf("%w: %s and %s contradict each other", ErrDamaged, headerName, manifestName)
	}
	for i, member := range found {
		switch {
		case i >= len(m.Members) || m.Members[i].Name != member.Name:
			return m, fmt.Errorf("%w: %s is not in the manifest at its place", ErrDamaged, member.Name)
		case m.Members[i].Bytes != member.Bytes:
			return m, fmt.Errorf("%w: %s has %d bytes, the manifest says %d", ErrDamaged, member.Name, member.Bytes, m.Members[i].Bytes)
		case m.Members[i].SHA256 != member.SHA256:
			return m, fmt.Errorf("%w: the checksum of %s is not the one in the manifest", ErrDamaged, member.Name)
		}
	}
	if len(m.Members) > len(found) {
		return m, fmt.Errorf("%w: %s is missing", ErrDamaged, m.Members[len(found)].Name)
	}
	return m, m.filesFit(files)
}

// differences compares the rows of a restored database with the manifest's.
func (m Manifest) differences(restored []Table) error {
	have := make(map[string]int64, len(restored))
	for _, t := range restored {
		have[t.Name] = t.Rows
	}
	for _, t := range m.Tables {
		rows, ok := have[t.Name]
		switch {
		case !ok:
			return fmt.Errorf("%w: table %s is missing", ErrMismatch, t.Name)
		case rows != t.Rows:
			return fmt.Errorf("%w: table %s has %d rows, the manifest says %d", ErrMismatch, t.Name, rows, t.Rows)
		}
		delete(have, t.Name)
	}
	for name := range have {
		return fmt.Errorf("%w: table %s is not in the manifest", ErrMismatch, name)
	}
	return nil
}
