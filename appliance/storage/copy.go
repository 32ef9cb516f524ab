package storage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"

	"golang.org/x/sync/errgroup"
)

// copiesAtOnce is how many files are copied at a time. Each takes up to two
// parts of a file (8 MiB each) of memory when one side is S3.
const copiesAtOnce = 4

// ErrDiffers means that both sides have a file under one key and it is not the
// same.
var ErrDiffers = errors.New("storage: the copy differs from the original")

// Copied is how far a copy is, or was when it ended.
type Copied struct {
	Files   int64 `json:"files"`   // copied and read back
	Bytes   int64 `json:"bytes"`   // of them
	Present int64 `json:"present"` // were there already
}

// Copy copies every file of from that to lacks, and reads each back to compare
// checksums. A file that is there already counts as copied when it has the same
// size, with verify when it has the same content; so an interrupted copy is gone
// on with by doing it again. Nothing is deleted or replaced on either side.
// progress is called after every file, never twice at a time.
func Copy(ctx context.Context, from, to Store, verify bool, progress func(Copied)) (Copied, error) {
	var mu sync.Mutex
	var done Copied
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(copiesAtOnce)
	err := Walk(ctx, from, "", "", func(info Info) error {
		group.Go(func() error {
			copied, err := copyFile(ctx, from, to, info, verify)
			if err != nil {
				return fmt.Errorf("copy %s: %w", info.Key, err)
			}
			mu.Lock()
			defer mu.Unlock()
			if copied {
				done.Files++
				done.Bytes += info.Size
			} else {
				done.Present++
			}
			progress(done)
			return nil
		})
		return ctx.Err()
	})
	if first := group.Wait(); first != nil {
		err = first
	}
	return done, err
}

// copyFile copies one file unless it is there.
func copyFile(ctx context.Context, from, to Store, info Info, verify bool) (copied bool, err error) {
	there, err := to.Stat(ctx, info.Key)
	switch {
	case err == nil && there.Size != info.Size:
		return false, fmt.Errorf("%w: %d bytes here, %d there", ErrDiffers, info.Size, there.Size)
	case err == nil && verify:
		want, err := checksumOf(ctx, from, info.Key)
		if err != nil {
			return false, err
		}
		return false, compare(ctx, to, info.Key, want)
	case err == nil:
		return false, nil
	case !errors.Is(err, ErrNotFound):
		return false, err
	}
	content, info, err := from.Open(ctx, info.Key, 0, ToEnd)
	if errors.Is(err, ErrNotFound) {
		return false, nil // just deleted
	}
	if err != nil {
		return false, err
	}
	defer content.Close()
	stored, err := to.Put(ctx, info.Key, content, PutOptions{Size: info.Size, Type: typeOf(info.Key)})
	if err != nil {
		return false, err
	}
	return true, compare(ctx, to, info.Key, stored.SHA256)
}

// compare reads a file and compares its checksum.
func compare(ctx context.Context, s Store, key, want string) error {
	got, err := checksumOf(ctx, s, key)
	if err == nil && got != want {
		err = ErrDiffers
	}
	return err
}

func checksumOf(ctx context.Context, s Store, key string) (string, error) {
	content, _, err := s.Open(ctx, key, 0, ToEnd)
	if err != nil {
		return "", err
	}
	defer content.Close()
	sum := sha256.New()
	if _, err := io.CopyBuffer(struct{ io.Writer }{sum}, content, make([]byte, 128<<10)); err != nil {
		return "", fmt.Errorf("read %s: %w", key, err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
