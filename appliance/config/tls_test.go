package config

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"selflink/appliance/certificate/certificatetest"
)

func TestTLSSettings(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	authority := certificatetest.New(t)
	cert, key := authority.Files(t, root, 7)
	other := filepath.Join(root, "other")
	require.NoError(t, os.Mkdir(other, 0o700))
	_, otherKey := authority.Files(t, other, 8)
	load := func(readOnly, files bool, environ ...string) (*Config, Report, error) {
		return Load(Sources{
			Environ:  append([]string{"SELFLINK_DATA_DIR=" + filepath.Join(root, "data"), "SELFLINK_ENV_FILE="}, environ...),
			Root:     root,
			ReadOnly: readOnly, Files: files,
		})
	}
	for _, c := range []struct {
		name    string
		environ []string
		key     string // of the problem
		text    string
	}{
		{"none", nil, "", ""},
		{"both", []string{"TLS_CERT_FILE=" + cert, "TLS_KEY_FILE=" + key}, "", ""},
		{"no key", []string{"TLS_CERT_FILE=" + cert}, "TLS_CERT_FILE", "is given without TLS_KEY_FILE"},
		{"no certificate", []string{"TLS_KEY_FILE=" + key}, "TLS_KEY_FILE", "is given without TLS_CERT_FILE"},
		{"not there", []string{"TLS_CERT_FILE=" + cert + "x", "TLS_KEY_FILE=" + key}, "TLS_CERT_FILE", cert + "x: cannot be read"},
		{"of another", []string{"TLS_CERT_FILE=" + cert, "TLS_KEY_FILE=" + otherKey}, "TLS_KEY_FILE", otherKey + ": is not the key to the certificate in " + cert},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, mode := range []struct{ readOnly, files bool }{{true, true}, {false, false}} {
				cfg, report, err := load(mode.readOnly, mode.files, append(c.environ, "JWT_REFRESH_DAYS=7")...)
				if c.key == "" {
					require.NoError(t, err)
					require.Equal(t, len(c.environ) > 0, cfg.TLS())
					continue
				}
				require.Error(t, err)
				require.Len(t, report.Problems, 1)
				require.Equal(t, c.key, report.Problems[0].Key)
				require.Contains(t, report.Problems[0].Text, c.text)
				require.NotEmpty(t, report.Problems[0].Fix)
			}
		})
	}

	// All problems at once.
	_, report, err := load(true, true, "TLS_CERT_FILE="+cert, "JWT_REFRESH_DAYS=x")
	require.Error(t, err)
	require.Len(t, report.Problems, 2)

	// A command beside the server does not stumble over a renewal.
	cfg, _, err := load(true, false, "TLS_CERT_FILE="+cert, "TLS_KEY_FILE="+otherKey)
	require.NoError(t, err)
	require.True(t, cfg.TLS())

	require.NoError(t, os.Chmod(key, 0o644))
	_, report, err = load(true, true, "TLS_CERT_FILE="+cert, "TLS_KEY_FILE="+key)
	require.NoError(t, err)
	require.Contains(t, notesOf(report), "WARN TLS_KEY_FILE")
}
