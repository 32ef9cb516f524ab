//go:build crash

package crash

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/database"
)

const (
	buyers          = 10
	paymentsMade    = 100
	deliveriesEach  = 10
	webhookSecret   = "whsec_of_the_crash_suite"
	webhooksAtOnce  = 50
	mostPaymentKill = 5
)

// TestPayments delivers a thousand webhooks of a hundred payments, shuffled and
// repeated, while the process and its children are killed, and delivers again
// what got no answer, as the provider does. Every payment must be credited
// once.
func TestPayments(t *testing.T) {
	n := min(*kills, mostPaymentKill)
	t.Logf("seed %d, %d kills (repeat with: make crash SEED=%d KILLS=%d)", *seed, n, *seed, *kills)
	require.NotEmpty(t, *bin, "-bin is needed: run make crash")
	random := rand.New(rand.NewPCG(*seed, 3))
	s := newServer(t, *bin, "STRIPE_WEBHOOK_SECRET="+webhookSecret+", whsec_the_one_before",
		"THROTTLE_IP_RATE=0", "THROTTLE_USER_RATE=0", "THROTTLE_ANON_RATE=0")
	t.Logf("first start: ready in %s", s.start().Round(time.Millisecond))
	client := &api{base: "http://" + s.addr, http: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: webhooksAtOnce}}}

	people := make([]account, buyers)
	for i := range people {
		people[i] = openAccount(t, client, fmt.Sprintf("buyer%d@example.com", i))
	}
	owed, bodies := sell(t, s, people)
	random.Shuffle(len(bodies), func(i, j int) { bodies[i], bodies[j] = bodies[j], bodies[i] })

	// Workers deliver what they are allowed to, so that each kill meets a stream.
	queue := make(chan string, len(bodies))
	var done, unanswered atomic.Int64
	load := newGroup()
	t.Cleanup(load.stop)
	for range webhooksAtOnce {
		load.goLoop(func(ctx context.Context) {
			select {
			case <-ctx.Done():
			case body := <-queue:
				status := post(ctx, client, body)
				if status == http.StatusOK {
					done.Add(1)
					return
				}
				if status != 0 && status < 500 {
					t.Errorf("a webhook was answered %d", status)
				}
				unanswered.Add(1)
				queue <- body // there is room: it was taken out
				pause(ctx)
			}
		})
	}
	next := 0
	feed := func(upTo int) {
		for ; next < upTo; next++ {
			queue <- bodies[next]
		}
	}
	victims := []string{"process", "postgres", "process", "pgbouncer", "process"}[:n]
	step := len(bodies) / (n + 1)
	for i, victim := range victims {
		feed((i + 1) * step)
		at := int64(i*step + step/10 + random.IntN(step/2))
		await(t, "webhooks are delivered", patience, func() bool { return done.Load() >= at })
		var took time.Duration
		if victim == "process" {
			s.kill()
			took = s.start()
		} else {
			s.killChild(victim)
			took = s.awaitReady(victim)
		}
		t.Logf("kill %d/%d at delivery %4d: %-9s ready again in %s", i+1, n, at, victim, took.Round(time.Millisecond))
	}
	feed(len(bodies))
	await(t, "all webhooks are delivered", patience, func() bool { return done.Load() == int64(len(bodies)) })
	load.stop()
	t.Logf("%d deliveries were taken, %d times one got no answer and came again", done.Load(), unanswered.Load())
	requireCredits(t, s, client, people, owed)
	client.http.CloseIdleConnections()
	t.Logf("orderly stop in %s", s.terminate().Round(time.Millisecond))
}

// sell writes checkouts into the running server's database, as if a provider
// had been asked for their pages, and gives what each buyer is owed and the
// webhooks that say so.
func sell(t *testing.T, s *server, people []account) (owed []map[string]int, bodies []string) {
	db, err := database.Attach(t.Context(), database.Options{DataDir: s.data})
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Stop(context.Background())) }()
	owed = make([]map[string]int, len(people))
	for i := range paymentsMade {
		buyer := i % len(people)
		if owed[buyer] == nil {
			owed[buyer] = map[string]int{}
		}
		reference, cents := fmt.Sprintf("crash%027d", i), 100+i
		owed[buyer][reference] = cents
		_, err := db.Pool().Exec(t.Context(), `INSERT INTO payment_checkouts (id, provider, reference, user_id, amount_cents, currency, created_at, updated_at)
			VALUES ($1, 'stripe', $2, $3::bigint, $4, 'USD', now(), now())`, int64(i+1), reference, strings.TrimPrefix(people[buyer].channel, "user:"), cents)
		require.NoError(t, err)
		for j := range deliveriesEach {
			// One event of most, two of every third: each alone would be credited.
			event := 0
			if i%3 == 2 {
				event = j % 2
			}
			bodies = append(bodies, fmt.Sprintf(`{"id":"evt_%d_%d","type":"checkout.session.completed","created":%d,"data":{"object":{"mode":"payment","client_reference_id":%q,"amount_total":%d,"currency":"usd","payment_status":"paid","payment_intent":"pi_%d"}}}`,
				i, event, time.Now().Unix(), reference, cents, i))
		}
	}
	return owed, bodies
}

// post delivers one webhook, signed now, and gives the status: 0 when there was
// no answer.
func post(ctx context.Context, client *api, body string) int {
	stamp := strconv.FormatInt(time.Now().Unix(), 10)
	mac := hmac.New(sha256.New, []byte(webhookSecret))
	mac.Write([]byte(stamp + "." + body))
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, client.base+"/api/v1/payments/stripe/webhook/", strings.NewReader(body))
	if err != nil {
		return 0
	}
	request.Header.Set("Stripe-Signature", "t="+stamp+",v1="+hex.EncodeToString(mac.Sum(nil)))
	response, err := client.http.Do(request)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return 0
	}
	return response.StatusCode
}

// requireCredits reads every buyer's ledger and has the command check it all.
func requireCredits(t *testing.T, s *server, client *api, people []account, owed []map[string]int) {
	credits, lost, doubled := 0, 0, 0
	for i, who := range people {
		var page struct {
			Results []struct {
				Amount int                        `json:"amount_cents"`
				Event  struct{ Reference string } `json:"event_metadata"`
			}
		}
		status, err := client.call(t.Context(), "GET", "/api/v1/coin/ledger/?limit=200", who.token, nil, &page)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status)
		times, sum := map[string]int{}, 0
		for _, e := range page.Results {
			times[e.Event.Reference]++
			sum += e.Amount
			credits++
			require.Equal(t, owed[i][e.Event.Reference], e.Amount)
		}
		for reference := range owed[i] {
			if times[reference] == 0 {
				lost++
			}
			if times[reference] > 1 {
				doubled++
			}
		}
		var balance struct {
			Cents int `json:"balance_cents"`
		}
		status, err = client.call(t.Context(), "GET", "/api/v1/coin/balance/", who.token, nil, &balance)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, sum, balance.Cents)
	}
	check := exec.Command(s.bin, "coin", "check", "--json")
	check.Env = s.env
	raw, err := check.Output()
	require.NoError(t, err, "coin check must exit 0: %s", raw)
	var report struct {
		OK     bool
		Counts []struct {
			Name  string
			Count int
		}
	}
	require.NoError(t, json.Unmarshal(raw, &report))
	require.True(t, report.OK)
	t.Logf("credits: %d of %d payments; lost %d, doubled %d; coin check: %+v", credits, paymentsMade, lost, doubled, report.Counts)
	require.Equal(t, paymentsMade, credits)
	require.Zero(t, lost+doubled)
}
