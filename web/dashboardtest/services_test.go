package dashboardtest

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"mime/multipart"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/database"
	"selflink/services/payments/paymentstest"
)

// webhookSecret signs what the tests send in Stripe's name.
const webhookSecret = "whsec_of_the_pages"

// servicesWork shows that an operator sees and does what the pages of files,
// searches and payments are for.
func servicesWork(p *page, s *server, w *world) {
	upload(p.t, s, w)
	buy(p.t, s, w)

	p.visit("#/storage")
	p.shows("main tbody tr", "avatars/")
	p.press("Check now")
	p.shows(".toast", "of the sample are there")
	p.shows("main dd", "looked at")
	p.press("Sweep now")
	p.press("Run the sweep")
	p.shows(".toast", "The sweep runs")
	p.shows("main dd", "0 orphans removed")

	p.visit("#/search")
	p.fill("search-text", "okafor")
	p.press("Find")
	p.shows("main ol", "Ben Okafor")
	p.shows("main", "1 hit by postgres")

	p.visit("#/payments")
	p.shows("main table", "Paid")
	p.shows("main table", "another secret, or forged")
	p.press("Check now")
	p.press("Check it")
	p.shows("main .badge", "Balanced")
	p.press("Checkouts")
	p.shows("main tbody tr", "15.00 EUR")
	p.visit("#/payments?tab=checkouts&status=failed")
	p.shows("main tbody tr", "Failed")
	p.Until(`document.querySelectorAll("main tbody tr").length === 1`, "the list did not follow its filter")
	p.visit("#/payments?tab=events")
	p.shows("main tbody tr", "charge.refunded")
	p.shows("main tbody tr", "Credited")
	p.clean()
}

// upload gives Ben a picture, in vain another one that is none.
func upload(t *testing.T, s *server, w *world) {
	t.Helper()
	picture := image.NewRGBA(image.Rect(0, 0, 320, 240))
	for x := range 320 {
		for y := range 240 {
			picture.Set(x, y, color.RGBA{uint8(x), uint8(y), 90, 255})
		}
	}
	var raw bytes.Buffer
	require.NoError(t, png.Encode(&raw, picture))
	for i, content := range [][]byte{raw.Bytes(), raw.Bytes(), []byte("#!/bin/sh")} {
		s.form(t, http.MethodPost, "/api/v1/media/upload/", w.ben, "file", content, []int{http.StatusCreated, http.StatusCreated, http.StatusBadRequest}[i])
	}
	s.form(t, http.MethodPatch, "/api/v1/me/profile/", w.ben, "avatar_image", raw.Bytes(), http.StatusOK)
}

// form sends one file.
func (s *server) form(t *testing.T, method, path, bearer, field string, content []byte, status int) {
	t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile(field, "picture.png")
	require.NoError(t, err)
	_, err = part.Write(content)
	require.NoError(t, err)
	require.NoError(t, form.Close())
	s.send(t, method, path, &body, status, "Authorization", "Bearer "+bearer, "Content-Type", form.FormDataContentType())
}

// send sends a request as it is.
func (s *server) send(t *testing.T, method, path string, body *bytes.Buffer, status int, headers ...string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, s.url+path, body)
	require.NoError(t, err)
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := client.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	var answer bytes.Buffer
	_, err = answer.ReadFrom(response.Body)
	require.NoError(t, err)
	require.Equal(t, status, response.StatusCode, answer.String())
}

// buy makes checkouts, as if Stripe had given pages for them, and tells in
// Stripe's name what became of them.
func buy(t *testing.T, s *server, w *world) {
	t.Helper()
	db, err := database.Join(t.Context(), database.Options{DataDir: s.data})
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Stop(context.WithoutCancel(t.Context()))) }()
	for i, currency := range []string{"EUR", "EUR", "USD", "GEL"} {
		_, err := db.Pool().Exec(t.Context(), `INSERT INTO payment_checkouts (id, provider, reference, user_id, amount_cents, currency, created_at, updated_at)
			VALUES ($1, 'stripe', $2, $3::text::bigint, 1500, $4, now(), now())`, int64(1000+i), fmt.Sprintf("chk_of_the_pages_%d", i), w.benID, currency)
		require.NoError(t, err)
	}
	now := time.Now()
	for i, what := range []struct{ kind, object string }{
		{"checkout.session.completed", paymentstest.Session("chk_of_the_pages_0", 1500, "eur", "paid", "pi_0")},
		{"checkout.session.completed", paymentstest.Session("chk_of_the_pages_2", 1500, "usd", "paid", "pi_2")},
		{"checkout.session.expired", paymentstest.Session("chk_of_the_pages_3", 1500, "gel", "unpaid", "pi_3")},
		{"charge.refunded", `{"payment_intent":"pi_2","amount":1500,"amount_refunded":500,"currency":"usd"}`},
		{"invoice.paid", `{}`},
	} {
		s.webhook(t, paymentstest.Event(fmt.Sprintf("evt_of_the_pages_%d", i), what.kind, now, what.object), webhookSecret, http.StatusOK)
	}
	s.webhook(t, paymentstest.Event("evt_forged", "checkout.session.completed", now, `{}`), "whsec_of_somebody", http.StatusBadRequest)
}

func (s *server) webhook(t *testing.T, body, secret string, status int) {
	t.Helper()
	s.send(t, http.MethodPost, "/api/v1/payments/stripe/webhook/", bytes.NewBufferString(body), status,
		"Content-Type", "application/json", "Stripe-Signature", paymentstest.Sign(body, secret, time.Now()))
}
