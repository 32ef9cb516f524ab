package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"selflink/appliance/auth"
)

// Access says who may call an operation.
type Access int

const (
	// AccessUser asks for a signed-in user; it is the default.
	AccessUser Access = iota
	// AccessPublic lets everybody in. A valid token still names the caller, a
	// bad one is ignored.
	AccessPublic
	// AccessStaff asks for a member of the staff.
	AccessStaff
)

// Operation describes one method of one path.
type Operation struct {
	Method string
	// Path begins with a slash, or is relative to /api/v1/. Parameters are
	// whole segments in braces: "users/{id}/follow/". A literal segment wins
	// over a parameter, whatever the order of registration.
	Path        string
	ID          string // operationId, unique
	Tag         string
	Summary     string
	Description string
	Access      Access
	// Identify says who calls instead of Options.Auth, for operations that know
	// their callers by something else than the Authorization header. It runs
	// before the input is read; the context knows the request ([RequestInfo]).
	// Its error is answered like a handler's. Access then says who may call, but
	// a caller without a user id, who is no stranger here, may be staff too.
	Identify func(ctx context.Context) (auth.Principal, error)
	// Status of success: 200, or 204 for an output of NoContent.
	Status int
	// Throttle names scopes of Limits.Scopes, separated by commas; each
	// counts per user and per address.
	Throttle string
	// UserLimit is a limit per user in fixed windows, "30/min". Operations
	// with the same UserLimitKey share it; without a key it is its own.
	UserLimit    string
	UserLimitKey string
	// OptionalSlash accepts the path with and without its last slash.
	OptionalSlash bool
	// Produces is the media type of a stream ("text/event-stream"); it is
	// accepted in Accept beside JSON. With "*/*" any Accept is fine, and HEAD
	// runs the handler too.
	Produces string
	// Errors are statuses to document beyond those that follow from the rest.
	Errors []int
	// Timeout is the deadline of the handler's context instead of
	// Options.RequestTimeout. Streams have none unless they name one.
	Timeout time.Duration
	// BodyLimit is the largest body in bytes instead of Options.BodyLimit.
	BodyLimit int
	// OwnLimits keeps the operation out of the limits that all others share: it
	// bounds its callers by itself.
	OwnLimits bool
	// Hidden keeps the operation out of the OpenAPI document.
	Hidden bool

	upload bool // reads its body itself
	system bool // of the server itself: any host, no negotiation, no caller, no limits
}

// NoContent is the output of an operation that answers 204 without a body.
type NoContent struct{}

// Result is an output that chooses its status or headers. A Status of 0 means
// Operation.Status.
type Result[T any] struct {
	Status int
	Body   T
	Header []Header
}

// resulter is what Result shows the encoder.
type resulter interface {
	result() (status int, body any, header []Header)
	bodyType() reflect.Type
}

func (r Result[T]) result() (int, any, []Header) { return r.Status, r.Body, r.Header }
func (Result[T]) bodyType() reflect.Type         { return reflect.TypeFor[T]() }

// Handle adds a typed operation to api. It is called before Start; a mistake
// in the description or in In is reported by Start.
//
// In is a struct. Its fields are tagged path:"name", query:"name" or
// header:"Name", or are an embedded PageQuery, or are called Body. Body is a
// struct whose fields carry json:"name" and rules: a field is required and
// must not be null unless tagged optional:"true" or null:"true" (a pointer or
// Opt allows null only with the tag); text must not be blank unless tagged
// blank:"true"; max:"120" and min:"8" bound characters of text, items of
// lists and values of numbers; format:"email|url|date|time|uuid" and
// enum:"a,b" bound text; trim:"false" keeps outer whitespace; strict:"true"
// takes no number for a text. Opt makes a field optional. json.RawMessage takes any JSON. File takes an upload. Fields
// of Body that the client adds on its own are ignored. A Body of
// json.RawMessage takes any document, one of []byte the raw bytes of any
// media type. All problems are answered at once, in the order of declaration.
//
// The context ends with the request's deadline or when the server stops
// draining; it carries the caller ([auth.From]) and [RequestInfo]. In and
// everything in it may be kept after the handler returns, except File.Data.
func Handle[In, Out any](api *API, op Operation, handler func(ctx context.Context, in *In) (Out, error)) {
	out := reflect.TypeFor[Out]()
	_, none := any(*new(Out)).(NoContent)
	_, chooses := any(*new(Out)).(resulter)
	if op.Status == 0 {
		op.Status = http.StatusOK
		if none {
			op.Status = http.StatusNoContent
		}
	}
	plan, err := compilePlan(reflect.TypeFor[In](), op)
	if err != nil {
		api.fail(op, err)
		return
	}
	api.add(op, plan, out, func(rc *request) error {
		var in In
		if err := plan.bind(rc, reflect.ValueOf(&in).Elem()); err != nil {
			return err
		}
		res, err := handler(rc.context(), &in)
		if err != nil {
			return err
		}
		switch {
		case none:
			rc.noContent(op.Status)
			return nil
		case chooses:
			status, body, header := any(res).(resulter).result()
			if status == 0 {
				status = op.Status
			}
			for _, h := range header {
				rc.fc.Response().Header.Set(h.Name, h.Value)
			}
			if _, empty := body.(NoContent); empty {
				rc.noContent(status)
				return nil
			}
			return rc.encode(status, body)
		}
		return rc.encode(op.Status, &res)
	})
}

// Stream adds an operation that writes its own response, in the same
// middleware and the same document as the typed ones. The handler gets its
// context, with the caller and RequestInfo, from c.UserContext(); use
// [ServeEvents] for server-sent events. What it reads from c must be copied
// before it outlives the handler. A returned error is answered like that of a
// typed operation, as long as nothing was written.
func Stream(api *API, op Operation, handler func(c *fiber.Ctx) error) {
	if op.Status == 0 {
		op.Status = http.StatusOK
	}
	StreamIn(api, op, func(c *fiber.Ctx, _ *struct{}) error { return handler(c) })
}

// StreamIn is [Stream] with a typed input, bound as by [Handle].
func StreamIn[In any](api *API, op Operation, handler func(c *fiber.Ctx, in *In) error) {
	if op.Status == 0 {
		op.Status = http.StatusOK
	}
	plan, err := compilePlan(reflect.TypeFor[In](), op)
	if err != nil {
		api.fail(op, err)
		return
	}
	api.addStream(op, plan, func(rc *request) error {
		var in In
		if err := plan.bind(rc, reflect.ValueOf(&in).Elem()); err != nil {
			return err
		}
		rc.fc.SetUserContext(rc.context())
		return handler(rc.fc, &in)
	})
}

// Param gives the text of a path parameter inside a [Stream] handler.
func Param(c *fiber.Ctx, name string) string {
	rc, ok := c.Locals(requestLocal{}).(*request)
	if !ok {
		return ""
	}
	return rc.param(name)
}

// normalize checks op and completes its path.
func (op *Operation) normalize() error {
	if op.Method == "" || op.Path == "" || op.ID == "" {
		return fmt.Errorf("method, path and id are required")
	}
	op.Method = strings.ToUpper(op.Method)
	if !strings.HasPrefix(op.Path, "/") {
		op.Path = "/api/v1/" + op.Path
	}
	for _, seg := range strings.Split(op.Path, "/") {
		if strings.ContainsAny(seg, "{}") && (!strings.HasPrefix(seg, "{") || !strings.HasSuffix(seg, "}") || len(seg) < 3) {
			return fmt.Errorf("segment %q: a parameter is a whole segment in braces", seg)
		}
	}
	return nil
}
