package httpapi

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
)

// What browsers of allowed origins may send (contract 00 §9).
const (
	corsMethods = "GET, POST, PUT, PATCH, DELETE, OPTIONS"
	corsHeaders = "accept, accept-encoding, authorization, content-type, origin, user-agent, x-csrftoken, x-requested-with, " +
		"x-sync, x-async, x-llm-key, idempotency-key, x-request-id, last-event-id"
	corsExpose = "x-request-id, retry-after"
	corsMaxAge = "86400" // seconds
)

func checkOrigins(origins []string) error {
	for _, o := range origins {
		u, err := url.Parse(o)
		if err != nil || u.Scheme == "" || u.Host == "" || u.Path != "" {
			return fmt.Errorf("CORS origin %q is not of the form https://host", o)
		}
	}
	return nil
}

// cors adds the headers of an allowed origin and answers a preflight; it
// reports whether it did the latter.
func (a *API) cors(rc *request, method string) (answered bool) {
	req := &rc.fc.Request().Header
	head := &rc.fc.Response().Header
	origin := req.Peek("Origin")
	allowed := len(origin) > 0 && slices.Contains(a.origins, string(origin))
	if allowed {
		head.SetBytesV("Access-Control-Allow-Origin", origin)
		head.Set("Access-Control-Allow-Credentials", "true")
	}
	if method != http.MethodOptions || len(req.Peek("Access-Control-Request-Method")) == 0 {
		if allowed {
			head.Set("Access-Control-Expose-Headers", corsExpose)
		}
		return false
	}
	if allowed {
		head.Set("Access-Control-Allow-Methods", corsMethods)
		head.Set("Access-Control-Allow-Headers", corsHeaders)
		head.Set("Access-Control-Max-Age", corsMaxAge)
	}
	head.SetCanonical(headerVary, varyOrigin)
	rc.fc.Status(http.StatusOK)
	head.SetContentType(typeHTML)
	return true
}
