package accounts_test

import (
	"testing"

	"github.com/valyala/fasthttp"
)

// BenchmarkAuthenticate is what a known caller costs before their request.
func BenchmarkAuthenticate(b *testing.B) {
	r := newRig(b)
	ann := r.join(b, "ann")
	header := "Bearer " + ann.Access
	b.ReportAllocs()
	for b.Loop() {
		if p, err := r.svc.Authenticate(b.Context(), header); err != nil || p.UserID != ann.ID {
			b.Fatal(err)
		}
	}
}

// BenchmarkMe answers users/me/ over sockets, with the clients on the same
// cores. The goal is 10 000 requests a second, 100 µs each.
func BenchmarkMe(b *testing.B) {
	r := newRig(b)
	ann := r.join(b, "ann")
	b.SetParallelism(16)
	client := &fasthttp.Client{MaxConnsPerHost: 256}
	defer client.CloseIdleConnections()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		req, res := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
		req.SetRequestURI(r.Base + me)
		req.Header.Set("Authorization", "Bearer "+ann.Access)
		for pb.Next() {
			if err := client.Do(req, res); err != nil || res.StatusCode() != 200 {
				b.Errorf("%v %d", err, res.StatusCode())
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
}
