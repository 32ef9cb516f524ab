//go:build crash

package crash

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"selflink/appliance/database"
	"selflink/appliance/search/searchtest"
)

const (
	// indexed is how many accounts the index has: several batches.
	indexed = 3000
	// wanted is somebody who has to be found all the time.
	wanted = "Wanted Person"
)

// TestReindex kills "selflink search reindex" in the middle: while it fills the
// new index, while it swaps the alias, and while it deletes the old one.
// Searches find people all the time, and when it is run again there is one
// index with everybody in it.
func TestReindex(t *testing.T) {
	require.NotEmpty(t, *bin, "-bin is needed: run make crash")
	engine := searchtest.New(t)
	at, err := url.Parse(engine.URL)
	require.NoError(t, err)
	host, port, err := net.SplitHostPort(at.Host)
	require.NoError(t, err)
	s := newServer(t, *bin, "OPENSEARCH_HOST="+host, "OPENSEARCH_PORT="+port, "OPENSEARCH_SCHEME=http",
		"OPENSEARCH_USERNAME="+searchtest.User, "OPENSEARCH_PASSWORD="+searchtest.Password,
		"THROTTLE_IP_RATE=0", "THROTTLE_USER_RATE=0", "THROTTLE_ANON_RATE=0")
	s.start()
	client := &api{base: "http://" + s.addr, http: probe}
	viewer := openAccount(t, client, "viewer@example.com")
	await(t, "the first index is built", patience, func() bool { return engine.Count("users_v1") >= 1 })
	fillIndexed(t, s)
	require.NoError(t, selflink(s, "search", "reindex"))
	require.Equal(t, indexed+1, engine.Count("users_v1"))

	var asked atomic.Int64
	searching := newGroup()
	t.Cleanup(searching.stop)
	for range 2 {
		searching.goLoop(func(ctx context.Context) {
			var found []struct{ Name string }
			status, err := client.call(ctx, "GET", "/api/v1/search/users/?q=wanted", viewer.token, nil, &found)
			if ctx.Err() != nil {
				return
			}
			if err != nil || status != http.StatusOK || len(found) != 1 || found[0].Name != wanted {
				t.Errorf("a search was answered %d %v: %+v", status, err, found)
			}
			asked.Add(1)
			pause(ctx)
		})
	}

	for _, c := range []struct {
		when, request string
		turn          int32
	}{
		{"before the new index is there", "PUT /users_v1_", 1},
		{"in the first batch", "POST /_bulk", 1},
		{"in a later batch", "POST /_bulk", 3},
		{"when the alias is swapped", "POST /_aliases", 1},
		{"when the old index is deleted", "DELETE /users_v1_", 1},
	} {
		before := asked.Load()
		killReindex(t, s, engine, c.request, c.turn)
		require.GreaterOrEqual(t, engine.Count("users_v1"), indexed+1, c.when)
		await(t, "searches are answered", patience, func() bool { return asked.Load() > before+4 })
		t.Logf("killed %-32s indices: %s", c.when+":", strings.Join(engine.Names(), ", "))
	}

	// The lock of the one that was killed ends with its connection.
	swaps := 0
	await(t, "it is built to its end", patience, func() bool {
		before := len(engine.Requests())
		if selflink(s, "search", "reindex") != nil {
			return false
		}
		for _, r := range engine.Requests()[before:] {
			if r == "POST /_aliases" {
				swaps++
			}
		}
		return true
	})
	searching.stop()
	require.Equal(t, 1, swaps)
	names := engine.Names()
	require.Len(t, names, 1, "no index is left over")
	require.True(t, strings.HasSuffix(names[0], " users_v1"), names[0])
	require.Equal(t, indexed+1, engine.Count("users_v1"))
	for id := range indexed {
		require.NotNil(t, engine.Document("users_v1", fmt.Sprint(id+1)))
	}
	status := exec.Command(s.bin, "search", "status", "--json")
	status.Env = s.env
	raw, err := status.Output()
	require.NoError(t, err)
	var told struct {
		OpenSearch struct {
			Documents int
			Building  *struct{}
			Stray     []string
		}
	}
	require.NoError(t, json.Unmarshal(raw, &told))
	require.Equal(t, indexed+1, told.OpenSearch.Documents)
	require.Nil(t, told.OpenSearch.Building)
	require.Empty(t, told.OpenSearch.Stray)
	t.Logf("built to its end: %s with %d accounts, the alias swapped once; %d searches meanwhile, all found", names[0], indexed+1, asked.Load())
	t.Logf("orderly stop in %s", s.terminate())
}

// killReindex runs a reindex and kills it when it sends a request of a kind
// for some time, before that is answered.
func killReindex(t *testing.T, s *server, engine *searchtest.Server, request string, turn int32) {
	// A build that was killed may hold its lock for a moment.
	for killed := new(atomic.Bool); !killed.Load(); {
		cmd := exec.Command(s.bin, "search", "reindex")
		cmd.Env = s.env
		var once sync.Once
		var turns atomic.Int32
		started := make(chan struct{})
		engine.Hook(func(method, path string) {
			if strings.HasPrefix(method+" "+path, request) && turns.Add(1) >= turn {
				once.Do(func() {
					<-started
					killed.Store(cmd.Process.Kill() == nil)
				})
			}
		})
		require.NoError(t, cmd.Start())
		close(started)
		_ = cmd.Wait()
		engine.Hook(nil)
	}
}

// fillIndexed makes accounts without telling of them.
func fillIndexed(t *testing.T, s *server) {
	db, err := database.Attach(t.Context(), database.Options{DataDir: s.data})
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Stop(context.Background())) }()
	_, err = db.Pool().Exec(t.Context(), `INSERT INTO users (id, email, email_fold, handle, password, name, created_at, updated_at)
		SELECT i, 'r' || i, 'r' || i, 'r' || i, '!', CASE WHEN i = 77 THEN $2 ELSE 'Name ' || i END, now(), now() FROM generate_series(1, $1::int) i`, indexed, wanted)
	require.NoError(t, err)
}
