// Package importrules holds the test that keeps the house in order: who may
// import whom (docs/ARCHITECTURE.md). It has no code of its own.
package importrules

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// core services keep working without any intelligence service (contract 00 §13).
var (
	core         = []string{"accounts", "social", "messaging", "payments", "coin", "notifications", "moderation", "rewards"}
	intelligence = []string{"mentor", "astro", "matching", "search", "feed"}
)

// TestImportRules reads the imports of every Go file and names each one that
// crosses a wall of the house.
func TestImportRules(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	seen := 0
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			switch entry.Name() {
			case "node_modules", "data", ".git", ".tools", "bin":
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		from := filepath.ToSlash(filepath.Dir(rel))
		for _, spec := range file.Imports {
			target, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if to, ok := strings.CutPrefix(target, "selflink/"); ok {
				seen++
				if why := forbidden(from, to); why != "" {
					t.Errorf("%s imports %s: %s", rel, target, why)
				}
			}
		}
		return nil
	})
	require.NoError(t, err)
	require.Greater(t, seen, 50, "the walk found next to no imports: is the root right?")
}

// forbidden says why the package in folder from may not import the one in
// folder to, or nothing when it may. Tests keep to the same rules.
func forbidden(from, to string) string {
	fromService, toService := service(from), service(to)
	switch {
	case to == "appliance" && !strings.HasPrefix(from, "cmd/") && from != "appliance":
		return "the wiring is imported by cmd and its own tests alone"
	case strings.HasPrefix(to, "cmd/"):
		return "nothing imports a command"
	case strings.HasPrefix(from, "appliance/") && toService != "":
		return "the machine room knows nothing of services"
	case fromService != "" && toService != "" && fromService != toService:
		if slices.Contains(core, fromService) && slices.Contains(intelligence, toService) {
			return "core never depends on intelligence"
		}
		return "services do not import each other: declare an interface"
	case to == "web" && from != "appliance/httpapi" && from != "appliance":
		return "only the part that serves it imports web"
	case to == "migrations" && from != "appliance/database" && from != "appliance" && from != "appliance/database/databasetest":
		return "only the part that runs them imports migrations"
	case from == "web" || from == "migrations":
		return "web and migrations are leaves"
	}
	return ""
}

// service is the name of the service that folder belongs to.
func service(folder string) string {
	rest, ok := strings.CutPrefix(folder, "services/")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	return name
}

// TestForbidden shows that the rules can fail.
func TestForbidden(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		from, to string
		allowed  bool
	}{
		{"cmd/selflink", "appliance", true},
		{"services/mentor", "appliance", false},
		{"services/mentor", "appliance/jobs", true},
		{"services/mentor", "services/mentor/mentordb", true},
		{"services/mentor", "services/accounts", false},
		{"services/accounts", "services/mentor/mentordb", false},
		{"appliance/jobs", "services/mentor", false},
		{"appliance", "services/mentor", true},
		{"appliance", "appliance", true},
		{"appliance/jobs", "migrations", false},
		{"web", "appliance/jobs", false},
	} {
		require.Equal(t, c.allowed, forbidden(c.from, c.to) == "", "%s → %s", c.from, c.to)
	}
}
