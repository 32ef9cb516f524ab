package realtime

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	"selflink/appliance/database"
	"selflink/appliance/httpapi"
	"selflink/appliance/httpapi/ratelimit"
)

// published is the one event that comes from outside (contract 03 §5).
const published = "gift.received"

type publishIn struct {
	Authorization string `header:"Authorization" raw:"true" doc:"Bearer and REALTIME_PUBLISH_TOKEN."`
	Body          []byte
}

type publishOut struct {
	Status string `json:"status"`
}

func (h *Hub) registerPublish(api *httpapi.API) {
	httpapi.Handle(api, httpapi.Operation{
		Method: http.MethodPost, Path: "/internal/publish", ID: "internal_publish", Tag: "realtime", Access: httpapi.AccessPublic,
		Summary: "Publish an event from outside", Description: "For helpers inside of the network, with the token REALTIME_PUBLISH_TOKEN.",
		OwnLimits: true, BodyLimit: maxPayload + 1024, OptionalSlash: true,
		Errors: []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusUnprocessableEntity, http.StatusTooManyRequests, http.StatusServiceUnavailable},
	}, h.publishFromOutside)
}

func (h *Hub) publishFromOutside(ctx context.Context, in *publishIn) (publishOut, error) {
	var out publishOut
	token, ok := strings.CutPrefix(in.Authorization, "Bearer ")
	token = strings.TrimSpace(token)
	switch {
	case h.opts.PublishToken == "" || !ok || token == "":
		return out, httpapi.Detail(http.StatusUnauthorized, "Missing token")
	case !sameText(token, h.opts.PublishToken):
		return out, httpapi.Detail(http.StatusForbidden, "Invalid token")
	}
	channel, payload, err := parsePublish(in.Body)
	if err != nil {
		return out, err
	}
	if addr, err := netip.ParseAddr(httpapi.RequestInfo(ctx).ClientIP); err == nil {
		if h.limits.Window(ratelimit.ByAddr(0, addr), h.opts.PublishRate, time.Now()) > 0 {
			return out, httpapi.Detail(http.StatusTooManyRequests, "Rate limit exceeded")
		}
	}
	target, ok := parseTarget(channel)
	if !ok {
		return out, httpapi.Detail(http.StatusBadRequest, "Invalid channel")
	}
	var members map[string]any // not a struct, which would take "Type" too
	if err := json.Unmarshal(payload, &members); err != nil || members["type"] != published {
		return out, httpapi.Detail(http.StatusBadRequest, "Invalid event type")
	}
	err = insert(ctx, h.opts.DB, target, string(payload), "") // one statement: its own transaction
	if errors.Is(err, database.ErrUnavailable) || errors.Is(err, database.ErrBusy) {
		h.logger.Warn("an event from outside was not published", "error", err)
		return out, httpapi.Detail(http.StatusServiceUnavailable, "Publish failed")
	}
	if err != nil {
		return out, fmt.Errorf("publish from outside: %w", err)
	}
	h.opts.Publisher.nudge()
	return publishOut{"ok"}, nil
}

// sameText compares in a time that depends on neither text.
func sameText(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// problem is one fault of a body, in the form of the old gateway's 422.
type problem struct {
	Type    string         `json:"type"`
	Where   []any          `json:"loc"`
	Message string         `json:"msg"`
	Input   any            `json:"input"`
	Context map[string]any `json:"ctx,omitempty"`
}

func unprocessable(problems ...problem) error {
	body, err := json.Marshal(map[string]any{"detail": problems})
	if err != nil {
		return fmt.Errorf("describe what is wrong with a body: %w", err)
	}
	return &httpapi.Error{Status: http.StatusUnprocessableEntity, Body: body}
}

// parsePublish reads {"channel": text, "payload": object} and gives the payload
// as one line. The error is the 422 of contract 03 §5.
func parsePublish(body []byte) (channel string, payload []byte, err error) {
	var value any
	var syntax *json.SyntaxError
	err = json.Unmarshal(body, &value)
	if errors.As(err, &syntax) || len(bytes.TrimSpace(body)) == 0 || !utf8.Valid(body) {
		at := int64(0)
		if syntax != nil {
			at = syntax.Offset
		}
		return "", nil, unprocessable(problem{
			Type: "json_invalid", Where: []any{"body", at}, Message: "JSON decode error", Input: struct{}{},
			Context: map[string]any{"error": "Expecting value"},
		})
	}
	if err != nil {
		return "", nil, fmt.Errorf("read a body: %w", err)
	}
	fields, ok := value.(map[string]any)
	if !ok {
		return "", nil, unprocessable(problem{
			Type: "model_attributes_type", Where: []any{"body"}, Input: value,
			Message: "Input should be a valid dictionary or object to extract fields from",
		})
	}
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(body, &raw); err != nil { // it was read above
		return "", nil, fmt.Errorf("read a payload: %w", err)
	}
	var problems []problem
	given, have := fields["channel"]
	channel, text := given.(string)
	switch {
	case !have:
		problems = append(problems, problem{Type: "missing", Where: []any{"body", "channel"}, Message: "Field required", Input: value})
	case !text:
		problems = append(problems, problem{Type: "string_type", Where: []any{"body", "channel"}, Message: "Input should be a valid string", Input: given})
	}
	inner, have := fields["payload"]
	_, object := inner.(map[string]any)
	switch {
	case !have:
		problems = append(problems, problem{Type: "missing", Where: []any{"body", "payload"}, Message: "Field required", Input: value})
	case !object:
		problems = append(problems, problem{Type: "dict_type", Where: []any{"body", "payload"}, Message: "Input should be a valid dictionary", Input: inner})
	}
	if len(problems) > 0 {
		return "", nil, unprocessable(problems...)
	}
	var line bytes.Buffer
	if err := json.Compact(&line, raw["payload"]); err != nil {
		return "", nil, fmt.Errorf("read a payload: %w", err)
	}
	return channel, line.Bytes(), nil
}
