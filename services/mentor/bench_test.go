package mentor_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"selflink/appliance/llm"
)

// BenchmarkChat asks the built-in model synchronously over 32 connections,
// each of a user of its own: two statements a question.
func BenchmarkChat(b *testing.B) {
	r := newRig(b, func(c *choices) { c.llm = llm.Options{} })
	address := strings.TrimPrefix(r.Base, "http://")
	var users atomic.Int64
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			b.Error(err)
			return
		}
		defer conn.Close()
		in := bufio.NewReader(conn)
		body := `{"message":"How do I sleep better?"}`
		request := fmt.Appendf(nil, "POST /api/v1/mentor/chat/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %d\r\nX-Sync: true\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", 5000+users.Add(1), len(body), body)
		for pb.Next() {
			if _, err := conn.Write(request); err != nil {
				b.Error(err)
				return
			}
			res, err := http.ReadResponse(in, nil)
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
			if res.StatusCode != http.StatusOK {
				b.Errorf("status %d", res.StatusCode)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "questions/s")
	require.Equal(b, 0, r.count(b, "SELECT count(*) FROM jobs"))
}
