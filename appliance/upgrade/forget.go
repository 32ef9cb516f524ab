package upgrade

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Forgotten is what [Keeper.Forget] removed, or would.
type Forgotten struct {
	Upgrade *Upgrade `json:"upgrade"` // null: there was none
	Bytes   int64    `json:"bytes"`
}

// Forget removes the snapshot and whatever else is kept of upgrades, and with
// it the way back; the last build that worked stays known. dry: it only says
// what it would remove. It returns [ErrUnfinished] in the middle of a rollback.
func (k *Keeper) Forget(dry bool) (Forgotten, error) {
	state, err := k.State()
	if err != nil {
		return Forgotten{}, err
	}
	out := Forgotten{Upgrade: state.Upgrade}
	if u := state.Upgrade; u != nil && (u.Phase == RollingBack || u.Phase == Restored) {
		return out, fmt.Errorf("%w: end it first:  selflink rollback", ErrUnfinished)
	}
	out.Bytes, err = treeSize(k.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil
	}
	if err != nil || dry {
		return out, err
	}
	// The record goes first: it must never name what is gone.
	if state, err = k.update(func(s *State) { s.Upgrade = nil }); err != nil {
		return out, err
	}
	if err := k.sweep(state); err != nil {
		return out, err
	}
	if err := os.RemoveAll(filepath.Join(k.dir, failedName)); err != nil {
		return out, fmt.Errorf("remove the program that was gone back from: %w", err)
	}
	return out, nil
}
