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

// size is what the snapshots and the program that was gone back from take.
func (k *Keeper) size() (total int64, err error) {
	entries, err := os.ReadDir(k.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look at what is kept of upgrades: %w", err)
	}
	for _, e := range entries {
		if !idShape.MatchString(e.Name()) && e.Name() != failedName {
			continue
		}
		bytes, err := treeSize(filepath.Join(k.dir, e.Name()))
		if err != nil {
			return 0, err
		}
		total += bytes
	}
	return total, nil
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
	if out.Bytes, err = k.size(); err != nil || dry || out.Upgrade == nil {
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
