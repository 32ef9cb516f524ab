package machine

import (
	"fmt"
	"time"
)

const (
	// sampleEvery and samplesMost bound what the forecast remembers: a day.
	sampleEvery = 5 * time.Minute
	samplesMost = int(24 * time.Hour / sampleEvery)

	// least is the shortest time from which a trend is read.
	least = time.Hour

	// soon is how far ahead a full disk is a problem: an operator needs a
	// weekend to get to it.
	soon = 72 * time.Hour
)

// sample is how much was free.
type sample struct {
	at   time.Time
	free float64
}

// forecast tells from the recent trend when a disk will be full. It begins
// anew with the process.
type forecast struct {
	samples []sample // by time
}

// note takes a measurement, and returns an error when the disk will be full
// soon.
func (f *forecast) note(free uint64, now time.Time) error {
	n := len(f.samples)
	if n > 0 && now.Before(f.samples[n-1].at) { // the clock was set back
		f.samples, n = nil, 0
	}
	if n == 0 || now.Sub(f.samples[n-1].at) >= sampleEvery {
		f.samples = append(f.samples, sample{now, float64(free)})
		if len(f.samples) > samplesMost {
			f.samples = f.samples[1:]
		}
	}
	first := f.samples[0].at
	span := now.Sub(first)
	if span < least {
		return nil
	}
	// One large file is no trend: both the whole time and its last third must
	// say so, and the slower one counts.
	whole, last := pace(f.samples), pace(since(f.samples, now.Add(-span/3)))
	shrinks := max(whole, last) // both negative when it does
	if shrinks >= 0 {
		return nil
	}
	left := float64(free) / -shrinks // seconds
	if left > soon.Seconds() {
		return nil
	}
	until := time.Duration(left * float64(time.Second))
	return fmt.Errorf("%s are free, and at the pace of the last %s they are used up in %s, on %s",
		size(free), span.Round(time.Minute), until.Round(time.Minute), now.Add(until).UTC().Format("2006-01-02 15:04 UTC"))
}

func since(samples []sample, from time.Time) []sample {
	for i, s := range samples {
		if !s.at.Before(from) {
			return samples[i:]
		}
	}
	return nil
}

// pace is the slope of the line through the samples by least squares, in bytes
// a second; 0 when there are too few.
func pace(samples []sample) float64 {
	if len(samples) < 3 {
		return 0
	}
	n, begin := float64(len(samples)), samples[0].at
	var sumT, sumF float64
	for _, s := range samples {
		sumT += s.at.Sub(begin).Seconds()
		sumF += s.free
	}
	meanT, meanF := sumT/n, sumF/n
	var above, below float64
	for _, s := range samples {
		t := s.at.Sub(begin).Seconds() - meanT
		above += t * (s.free - meanF)
		below += t * t
	}
	if below == 0 {
		return 0
	}
	return above / below
}
