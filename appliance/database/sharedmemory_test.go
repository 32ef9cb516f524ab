package database

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSharedMemoryNeedsAPlaceThatOthersMayWrite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o755))
	require.Equal(t, "mmap", sharedMemory(dir))
	require.NoError(t, os.Chmod(dir, 0o777))
	require.Equal(t, "posix", sharedMemory(dir))
	require.Equal(t, "mmap", sharedMemory(filepath.Join(dir, "absent")))
}
