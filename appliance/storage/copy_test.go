package storage_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"selflink/appliance/storage"
	"selflink/appliance/storage/storagetest"
)

func TestCopy(t *testing.T) {
	t.Parallel()
	local, back := storage.NewLocal(t.TempDir()), storage.NewLocal(t.TempDir())
	bucket := storagetest.Start(t).Store(t)
	const many = 30
	for i := range many {
		put(t, local, fmt.Sprintf("posts/images/%02d.jpg", i), content(uint64(i), i*10_000))
	}
	// Interrupted after some, and gone on with.
	ctx, cancel := context.WithCancel(t.Context())
	_, err := storage.Copy(ctx, local, bucket, false, func(c storage.Copied) {
		if c.Files == 5 {
			cancel()
		}
	})
	require.ErrorIs(t, err, context.Canceled)
	done, err := storage.Copy(t.Context(), local, bucket, true, func(storage.Copied) {})
	require.NoError(t, err)
	require.Equal(t, int64(many), done.Files+done.Present)
	require.GreaterOrEqual(t, done.Present, int64(5))
	done, err = storage.Copy(t.Context(), bucket, back, false, func(storage.Copied) {})
	require.NoError(t, err)
	require.Equal(t, int64(many), done.Files)
	for i := range many {
		require.Equal(t, content(uint64(i), i*10_000), read(t, back, fmt.Sprintf("posts/images/%02d.jpg", i), 0, storage.ToEnd))
	}
	// What differs is named, and left alone.
	require.NoError(t, back.Delete(t.Context(), "posts/images/07.jpg"))
	put(t, back, "posts/images/07.jpg", content(99, 70_000))
	_, err = storage.Copy(t.Context(), bucket, back, false, func(storage.Copied) {})
	require.NoError(t, err, "sizes alone are compared")
	_, err = storage.Copy(t.Context(), bucket, back, true, func(storage.Copied) {})
	require.ErrorIs(t, err, storage.ErrDiffers)
	require.ErrorContains(t, err, "posts/images/07.jpg")
}
