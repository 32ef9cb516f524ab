// Package machine holds the checks of what the process runs on: disk, memory,
// file descriptors and the clock.
package machine

import (
	"context"
	"time"

	"selflink/appliance/health"
)

// CheckSpace is the code of the check that fails when the disk is about to be
// full; other failures follow from it.
const CheckSpace = "disk.space"

// Register tells r what may go wrong with the machine. dataDir is where all
// data is.
func Register(r *health.Registry, dataDir string) {
	for _, c := range append(Disk(dataDir), others(dataDir)...) {
		c.Private = true // what runs short here is an attacker's aim
		r.Add(c)
	}
}

func others(dataDir string) []health.Check {
	trend := &forecast{}
	jumps := newJumpWatch()
	return []health.Check{{
		Code: "disk.forecast", Title: "The disk will be full soon", Every: time.Minute,
		Impact:    "When it is full nothing can be stored any more.",
		Remedy:    "Find what grows: du -xh " + dataDir + " | sort -h | tail. Then free space or enlarge the disk.",
		DependsOn: []string{CheckSpace, "disk.low"},
		Run: func(context.Context) error {
			now, err := measure(dataDir)
			if err != nil {
				return err
			}
			return trend.note(now.free, time.Now())
		},
	}, {
		Code: "memory.limit", Title: "The process needs nearly all of its memory", Visible: time.Minute, Every: 15 * time.Second,
		Impact: "Go collects garbage all the time, which makes everything slow, or the kernel ends the process.",
		Remedy: "Raise GOMEMLIMIT if the machine has more, or lower REALTIME_MAX_CONNECTIONS and BROKER_MEMORY_MB.",
		Run:    func(context.Context) error { return memory().tight() },
	}, {
		Code: "descriptors.limit", Title: "The process has nearly all the files and connections it may open", Visible: 15 * time.Second, Every: 15 * time.Second,
		Impact: "New connections are refused, and files cannot be opened.",
		Remedy: "Raise the limit: LimitNOFILE= in the unit (systemctl edit selflink), or ulimit -n.",
		Run:    func(context.Context) error { return checkDescriptors() },
	}, {
		Code: "clock.jump", Title: "The clock jumped", Severity: health.Low,
		Impact: "Schedules in between were missed, and times of this hour are not to be trusted.",
		Remedy: "Nothing if the machine slept. Otherwise let it keep time: systemctl enable --now systemd-timesyncd (or chrony).",
		Run:    func(context.Context) error { return jumps.check() },
	}}
}
