package realtime

import (
	"math"
	"sync/atomic"
	"time"
)

// pace is how many events a channel has had in about the last minute: each
// fades with e^(-age/60 s). It takes eight bytes, which the allocation of a
// channel has to spare, and lives as long as the channel has subscribers.
type pace struct {
	sum float32
	at  uint32 // unix seconds of sum
}

// count adds events.
func (p *pace) count(events int, now uint32) {
	p.sum = float32(p.perMinute(now)) + float32(events)
	p.at = max(p.at, now)
}

func (p *pace) perMinute(now uint32) float64 {
	if p.sum == 0 || now <= p.at {
		return float64(p.sum)
	}
	return float64(p.sum) * math.Exp(-float64(now-p.at)/60)
}

// paceMemory is how far back the deliveries of a second are averaged.
const paceMemory = 5 * time.Second

// deliveries follows how many there are in a second.
type deliveries struct {
	rate atomic.Uint64 // bits of a float64

	// Only the one who samples uses these.
	count int64
	at    time.Time
}

// sample takes how many there were until now.
func (d *deliveries) sample(count int64, now time.Time) {
	past := now.Sub(d.at).Seconds()
	if !d.at.IsZero() && past > 0 {
		rate := d.perSecond()
		rate += (float64(count-d.count)/past - rate) * (1 - math.Exp(-past/paceMemory.Seconds()))
		d.rate.Store(math.Float64bits(rate))
	}
	d.count, d.at = count, now
}

func (d *deliveries) perSecond() float64 { return math.Float64frombits(d.rate.Load()) }
