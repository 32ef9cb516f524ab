package httpapi_test

import (
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/gofiber/fiber/v2"
	"github.com/stretchr/testify/require"

	"selflink/appliance/httpapi"
	"selflink/appliance/httpapi/apitest"
)

func TestDocument(t *testing.T) {
	t.Parallel()
	api, err := httpapi.New(options(io.Discard))
	require.NoError(t, err)
	registerThings(api)
	events(api, nil, nil)
	c := apitest.Serve(t, api)
	res := c.Do(t, "GET", "/api/schema/", "", "Accept", "application/vnd.oai.openapi+json")
	require.Equal(t, 200, res.Status)
	require.Equal(t, "application/json", res.Header.Get("Content-Type"))
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			OperationID string
			Parameters  []struct{ Name, In string }
			RequestBody struct {
				Content map[string]struct {
					Schema struct {
						Required   []string
						Properties map[string]json.RawMessage
					}
				}
			}
			Responses map[string]struct {
				Ref     string `json:"$ref"`
				Content map[string]json.RawMessage
			}
		}
		Components struct {
			Schemas   map[string]json.RawMessage
			Responses map[string]json.RawMessage
		}
	}
	res.JSON(t, &doc)
	require.Equal(t, "3.1.0", doc.OpenAPI)
	create := doc.Paths["/api/v1/things/"]["post"]
	require.Equal(t, "thing_create", create.OperationID)
	in := create.RequestBody.Content["application/json"].Schema
	require.Equal(t, []string{"name"}, in.Required)
	require.JSONEq(t, `{"type":"string","maxLength":5}`, string(in.Properties["name"]))
	require.JSONEq(t, `{"type":["string","null"],"format":"date"}`, string(in.Properties["born"]))
	require.Contains(t, create.RequestBody.Content, "multipart/form-data")
	require.Equal(t, "#/components/responses/Error400", create.Responses["400"].Ref)
	get := doc.Paths["/api/v1/things/{id}/"]["get"]
	require.Equal(t, "id", get.Parameters[0].Name)
	require.Contains(t, get.Responses, "404")
	require.Contains(t, get.Responses, "401")
	require.Contains(t, doc.Paths["/api/v1/stream/"]["get"].Responses["200"].Content, "text/event-stream")
	for path, methods := range doc.Paths {
		for method, op := range methods {
			for status, r := range op.Responses {
				if name, ok := strings.CutPrefix(r.Ref, "#/components/responses/"); ok {
					require.Contains(t, doc.Components.Responses, name, "%s %s %s", method, path, status)
				}
			}
		}
	}
	for rest := res.Body; ; {
		_, after, found := strings.Cut(rest, `"#/components/schemas/`)
		if !found {
			break
		}
		name, tail, _ := strings.Cut(after, `"`)
		require.Contains(t, doc.Components.Schemas, name, "a reference leads nowhere")
		rest = tail
	}
	res = c.Do(t, "GET", "/api/schema/?format=yaml", "")
	require.True(t, strings.HasPrefix(res.Body, "components:"), res.Body[:50])
}

func TestDocs(t *testing.T) {
	t.Parallel()
	opts := options(io.Discard)
	opts.Docs = fstest.MapFS{"swagger-ui-bundle.js": {Data: []byte("js")}, "swagger-ui.css": {Data: []byte("css")}, "secret.env": {Data: []byte("x")}}
	c := server(t, opts)
	require.Equal(t, 301, c.Do(t, "GET", "/api/docs", "").Status)
	res := c.Do(t, "GET", "/api/docs/", "", "Accept", "text/html")
	require.Equal(t, 200, res.Status)
	require.Contains(t, res.Body, "swagger-ui-bundle.js")
	require.NotContains(t, res.Body, "http://")
	require.NotContains(t, res.Body, "<script>")
	csp := res.Header.Get("Content-Security-Policy")
	require.Contains(t, csp, "default-src 'none'")
	require.NotContains(t, csp, "unsafe")
	res = c.Do(t, "GET", "/api/docs/swagger-ui-bundle.js", "")
	require.Equal(t, "js", res.Body)
	require.Equal(t, "text/javascript; charset=utf-8", res.Header.Get("Content-Type"))
	require.Equal(t, 200, c.Do(t, "GET", "/api/docs/start.js", "").Status)
	for _, name := range []string{"secret.env", "missing.js", "..%2fx.js", "%2e%2e%2fgo.js", "a%5cb.js"} {
		require.Equal(t, 404, c.Do(t, "GET", "/api/docs/"+name, "").Status, name)
	}
	require.Contains(t, server(t, options(io.Discard)).Do(t, "GET", "/api/docs/", "").Body, "no Swagger UI")
}

func TestMistakesInRegisteringAreReportedByStart(t *testing.T) {
	t.Parallel()
	api, err := httpapi.New(options(io.Discard))
	require.NoError(t, err)
	op := func(id, path string) httpapi.Operation {
		return httpapi.Operation{Method: "GET", Path: path, ID: id}
	}
	type none struct{}
	httpapi.Handle(api, op("a", "a/{id}/"), func(context.Context, *struct {
		ID int64 `path:"other"`
	}) (none, error) {
		return none{}, nil
	})
	httpapi.Handle(api, op("b", "b/"), func(context.Context, *struct{ Loose string }) (none, error) { return none{}, nil })
	httpapi.Handle(api, op("c", "c/"), func(context.Context, *struct {
		Body struct {
			X complex64 `json:"x"`
		}
	}) (none, error) {
		return none{}, nil
	})
	httpapi.Handle(api, op("d", "d/x{id}/"), func(context.Context, *struct{}) (none, error) { return none{}, nil })
	httpapi.Handle(api, op("e", "e/"), func(context.Context, *struct{}) (none, error) { return none{}, nil })
	httpapi.Handle(api, op("f", "e/"), func(context.Context, *struct{}) (none, error) { return none{}, nil })
	httpapi.Stream(api, op("e", "g/"), func(*fiber.Ctx) error { return nil })
	limited := op("h", "h/")
	limited.UserLimit = "often"
	httpapi.Handle(api, limited, func(context.Context, *struct{}) (none, error) { return none{}, nil })
	err = api.Start(t.Context())
	for _, part := range []string{
		`operation a GET a/{id}/: the path has no parameter "other"`, "field Loose is no parameter", "complex64 cannot be read",
		"a parameter is a whole segment", "operation f", "operation e GET /api/v1/g/", "operation h",
	} {
		require.ErrorContains(t, err, part)
	}
}
