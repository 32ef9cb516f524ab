package appliance_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/auth"
	"selflink/appliance/database/databasetest"
	"selflink/appliance/httpapi"
	"selflink/appliance/httpapi/apitest"
	"selflink/services/coin"
	"selflink/services/payments"
	"selflink/services/payments/paymentstest"
)

func TestMain(m *testing.M) { databasetest.Main(m) }

// numbers takes a token for the id of its user.
type numbers struct{}

func (numbers) Authenticate(_ context.Context, header string) (auth.Principal, error) {
	id, err := strconv.ParseInt(strings.TrimPrefix(header, "Bearer "), 10, 64)
	if err != nil {
		return auth.Principal{}, httpapi.InvalidToken("Token is invalid or expired")
	}
	return auth.Principal{UserID: id}, nil
}

type addresses struct{}

func (addresses) Email(context.Context, int64) (string, error) { return "somebody@example.com", nil }

type serial struct{ n atomic.Int64 }

func (s *serial) Next() int64 { return 382707271173410816 + s.n.Add(1) }

// TestPaymentStorm delivers a thousand webhooks of a hundred payments, shuffled
// and repeated, fifty at once: payments, ledger and database together credit
// each payment once.
func TestPaymentStorm(t *testing.T) {
	t.Parallel()
	const (
		buyers   = 10
		bought   = 100
		repeated = 10
		parallel = 50
		secret   = "whsec_of_the_storm"
	)
	db, stripe, ids := databasetest.New(t), paymentstest.New(t), &serial{}
	ledger, err := coin.New(coin.Deps{DB: db.Pool, IDs: ids})
	require.NoError(t, err)
	shop, err := payments.New(payments.Deps{
		DB: db.Pool, IDs: ids, Coins: ledger, People: addresses{}, Enabled: true,
		Stripe: payments.Stripe{Enabled: true, APIKey: paymentstest.Key, WebhookSecrets: []string{secret}, BaseURL: stripe.URL, MinCents: 50},
	})
	require.NoError(t, err)
	server, err := httpapi.New(httpapi.Options{Listen: []string{"127.0.0.1:0"}, Log: slog.New(slog.DiscardHandler), Auth: numbers{}})
	require.NoError(t, err)
	ledger.Register(server)
	shop.Register(server)
	client := apitest.Serve(t, server)

	owed := map[int64]map[string]int{} // buyer → reference → cents
	var deliveries []string
	for i := range bought {
		user := int64(1000 + i%buyers)
		if i < buyers {
			owed[user] = map[string]int{}
			_, err := db.Pool.Exec(t.Context(), `INSERT INTO users (id, email, email_fold, handle, password, created_at, updated_at) VALUES ($1, $2, $2, $2, '', now(), now())`, user, fmt.Sprint("u", user))
			require.NoError(t, err)
		}
		cents := 100 + i
		res := client.As(strconv.FormatInt(user, 10)).Do(t, "POST", "/api/v1/payments/stripe/checkout/", fmt.Sprintf(`{"amount_cents":%d,"currency":"EUR"}`, cents))
		require.Equal(t, http.StatusCreated, res.Status, res.Body)
		var c struct{ Reference string }
		res.JSON(t, &c)
		owed[user][c.Reference] = cents
		told := func(n int, id, kind, status string) {
			body := paymentstest.Event(id+c.Reference, "checkout.session."+kind, time.Now(), paymentstest.Session(c.Reference, cents, "eur", status, "pi_"+c.Reference))
			for range n {
				deliveries = append(deliveries, body)
			}
		}
		switch i % 3 {
		case 0: // one event, again and again
			told(repeated, "evt_a_", "completed", "paid")
		case 1: // the money comes later
			told(repeated/2, "evt_a_", "completed", "unpaid")
			told(repeated/2, "evt_b_", "async_payment_succeeded", "paid")
		case 2: // it is said to have expired, and was paid twice
			told(3, "evt_a_", "expired", "unpaid")
			told(4, "evt_b_", "completed", "paid")
			told(3, "evt_c_", "completed", "paid")
		}
	}
	require.Len(t, deliveries, bought*repeated)
	rand.Shuffle(len(deliveries), func(i, j int) { deliveries[i], deliveries[j] = deliveries[j], deliveries[i] })

	queue := make(chan string, len(deliveries))
	for _, body := range deliveries {
		queue <- body
	}
	close(queue)
	var group sync.WaitGroup
	var again atomic.Int64
	for range parallel {
		group.Go(func() {
			for body := range queue {
				for {
					status, answer := deliver(t, client.Base, body, paymentstest.Sign(body, secret, time.Now()))
					if status == http.StatusOK {
						break
					}
					if status != http.StatusServiceUnavailable || again.Add(1) > 10_000 { // Stripe would come again
						t.Errorf("status %d: %s", status, answer)
						return
					}
				}
			}
		})
	}
	group.Wait()

	credits := 0
	for user, mine := range owed {
		as := client.As(strconv.FormatInt(user, 10))
		var page struct {
			Results []struct {
				EventType string `json:"event_type"`
				Direction string
				Amount    int             `json:"amount_cents"`
				Metadata  json.RawMessage `json:"event_metadata"`
			}
		}
		as.Do(t, "GET", "/api/v1/coin/ledger/?limit=200", "").JSON(t, &page)
		got, sum := map[string]int{}, 0
		for _, e := range page.Results {
			var about struct{ Reference, Provider, Source string }
			require.NoError(t, json.Unmarshal(e.Metadata, &about))
			require.Equal(t, []string{"mint", "CREDIT", "stripe", "stripe_webhook"}, []string{e.EventType, e.Direction, about.Provider, about.Source})
			got[about.Reference] += e.Amount
			sum += e.Amount
			credits++
		}
		require.Equal(t, mine, got)
		var balance struct {
			Cents int `json:"balance_cents"`
		}
		as.Do(t, "GET", "/api/v1/coin/balance/", "").JSON(t, &balance)
		require.Equal(t, sum, balance.Cents)
	}
	require.Equal(t, bought, credits)
	report, err := ledger.Check(t.Context())
	require.NoError(t, err)
	require.NoError(t, report.Err())
	require.Equal(t, coin.Count{Name: "mint_events", Count: bought}, report.Counts[0])
	t.Logf("%d deliveries, %d of them again: %d credits; %+v", len(deliveries), again.Load(), credits, report.Counts)
}

// deliver sends one webhook. It reports instead of failing: it runs beside the
// test.
func deliver(t *testing.T, base, body, signature string) (int, string) {
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/api/v1/payments/stripe/webhook/", strings.NewReader(body))
	if err != nil {
		return 0, err.Error()
	}
	request.Header.Set("Stripe-Signature", signature)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(answer)
}
