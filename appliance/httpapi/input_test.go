package httpapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/gofiber/fiber/v2"
	"github.com/stretchr/testify/require"

	"selflink/appliance/httpapi"
	"selflink/appliance/httpapi/apitest"
)

type kinds struct {
	Email string                         `json:"email" format:"email" optional:"true" max:"30"`
	Site  string                         `json:"site" format:"url" optional:"true" blank:"true"`
	Key   string                         `json:"key" format:"uuid" optional:"true"`
	Kind  string                         `json:"kind" enum:"a,b" default:"a"`
	Pass  string                         `json:"pass" min:"8" optional:"true" trim:"false"`
	On    bool                           `json:"on" default:"true"`
	Off   httpapi.Opt[bool]              `json:"off" null:"true"`
	Ratio *float64                       `json:"ratio" null:"true" optional:"true" min:"-90" max:"90"`
	Small int32                          `json:"small" optional:"true"`
	Born  httpapi.Date                   `json:"born" optional:"true" formats:"YYYY-MM-DD,DD/MM/YYYY"`
	Hour  httpapi.Opt[httpapi.Clock]     `json:"hour" null:"true" formats:"hh:mm,hh:mm:ss"`
	When  httpapi.Opt[httpapi.Timestamp] `json:"when"`
	Photo httpapi.Opt[httpapi.File]      `json:"photo" null:"true"`
	Tags  []string                       `json:"tags" optional:"true" empty:"false"`
	Boxes []struct {
		N int64 `json:"n"`
	} `json:"boxes" optional:"true"`
}

func inputs(t *testing.T) *apitest.Client {
	t.Helper()
	opts := options(io.Discard)
	opts.BodyLimit = 2000
	api, err := httpapi.New(opts)
	require.NoError(t, err)
	op := func(id string) httpapi.Operation {
		return httpapi.Operation{Method: "POST", Path: "in/" + id + "/", ID: id, Access: httpapi.AccessPublic}
	}
	httpapi.Handle(api, op("kinds"), func(_ context.Context, in *struct{ Body kinds }) (string, error) {
		b := in.Body
		if b.Photo.Set && !b.Photo.Null {
			return fmt.Sprintf("%s %s %d", b.Photo.Value.Name, b.Photo.Value.Type, len(b.Photo.Value.Data)), nil
		}
		ratio := "none"
		if b.Ratio != nil {
			ratio = fmt.Sprint(*b.Ratio)
		}
		return fmt.Sprintf("%q %q %s %s %q %v %v %s %d %s %v %s %v", b.Email, b.Site, b.Key, b.Kind, b.Pass, b.On, b.Off, ratio, b.Small, b.Born, b.Hour, b.When.Value, b.Tags), nil
	})
	upload := op("upload")
	upload.BodyLimit = 10_000
	httpapi.Handle(api, upload, func(_ context.Context, in *struct {
		Body struct {
			File httpapi.File `json:"file"`
		}
	}) (int, error) {
		return len(in.Body.File.Data), nil
	})
	httpapi.Handle(api, op("switch"), func(_ context.Context, in *struct {
		Body struct {
			On bool `json:"on"`
		}
	}) (bool, error) {
		return in.Body.On, nil
	})
	httpapi.Handle(api, op("any"), func(_ context.Context, in *struct{ Body json.RawMessage }) (json.RawMessage, error) {
		return in.Body, nil
	})
	httpapi.Handle(api, op("bytes"), func(_ context.Context, in *struct{ Body []byte }) (int, error) { return len(in.Body), nil })
	httpapi.StreamIn(api, httpapi.Operation{Method: "GET", Path: "in/{word}/query/", ID: "query", Access: httpapi.AccessPublic}, func(c *fiber.Ctx, in *struct {
		Word  string             `path:"word"`
		N     httpapi.Opt[int64] `query:"n" max:"9"`
		Async httpapi.Opt[bool]  `query:"async"`
		All   []string           `query:"all"`
		Must  string             `query:"must" required:"true"`
		Sync  string             `header:"X-Sync"`
	}) error {
		return c.SendString(fmt.Sprintf("%s %v %v %q %s %s %s", in.Word, in.N, in.Async, in.All, in.Must, in.Sync, httpapi.Param(c, "word")))
	})
	return apitest.Serve(t, api)
}

func TestKinds(t *testing.T) {
	t.Parallel()
	c := inputs(t)
	for body, want := range map[string]string{
		`{}`: `"" ""  a "" true {false false false} none 0 0000-00-00 {false false 00:00:00}  []`,
		`{"email":" a@b.co ","site":"","key":"0D2E2A1326DBFD48BA8ED6BD51977D2D","kind":"b","pass":" 123456 ","on":"no","off":null,"ratio":"-1e1","small":"-7","born":"01/05/1990","hour":"8:30","when":"2026-11-23T04:54:12+04:00","tags":[1.50]}`://
		`"a@b.co" "" 0d2e2a13-26db-fd48-ba8e-d6bd51977d2d b " 123456 " false {true true false} -10 -7 1990-05-01 {true false 08:30:00} 2026-11-23T00:54:12Z [1.50]`,
		`{"email":"a@b","site":"/x","key":"7","kind":"c","pass":"short","on":2,"off":"maybe","ratio":91,"small":2147483648,"born":"1990/05/01","hour":"8:30:00.5","when":"now","photo":"x","tags":[]}`://
		`{"email":["Enter a valid email address."],"site":["Enter a valid URL."],"key":["Must be a valid UUID."],"kind":["\"c\" is not a valid choice."],"pass":["Ensure this field has at least 8 characters."],"on":["Must be a valid boolean."],"off":["Must be a valid boolean."],"ratio":["Ensure this value is less than or equal to 90."],"small":["Ensure this value is less than or equal to 2147483647."],"born":["Date has wrong format. Use one of these formats instead: YYYY-MM-DD, DD/MM/YYYY."],"hour":["Time has wrong format. Use one of these formats instead: hh:mm, hh:mm:ss."],"when":["Datetime has wrong format. Use one of these formats instead: YYYY-MM-DDThh:mm[:ss[.uuuuuu]][+HH:MM|-HH:MM|Z]."],"photo":["The submitted data was not a file. Check the encoding type on the form."],"tags":["This list may not be empty."]}`,
		`{"email":"toolongandnomail@x.yzxxxxxxxxxxxxx@","kind":[1],"on":null,"ratio":"nan","small":true,"born":7,"tags":{"a":1},"boxes":[{"n":"x"},null]}`://
		`{"email":["Ensure this field has no more than 30 characters.","Enter a valid email address."],"kind":["\"[1]\" is not a valid choice."],"on":["This field may not be null."],"ratio":["A valid number is required."],"small":["A valid integer is required."],"born":["Date has wrong format. Use one of these formats instead: YYYY-MM-DD, DD/MM/YYYY."],"tags":["Expected a list of items but got type \"dict\"."],"boxes":[{"n":["A valid integer is required."]},{"non_field_errors":["This field may not be null."]}]}`,
	} {
		res := c.Do(t, "POST", "/api/v1/in/kinds/", body)
		got := res.Body
		if res.Status == 200 {
			require.NoError(t, json.Unmarshal([]byte(res.Body), &got))
		}
		require.Equal(t, want, got, body)
	}
}

// TestSwitchesOfForms: browsers send nothing for a switch that is off.
func TestSwitchesOfForms(t *testing.T) {
	t.Parallel()
	c := inputs(t)
	form := []string{"Content-Type", "application/x-www-form-urlencoded"}
	require.Contains(t, c.Do(t, "POST", "/api/v1/in/kinds/", "kind=b", form...).Body, " true {false false false}", "but a default holds, and Opt stays unset")
	require.Contains(t, c.Do(t, "POST", "/api/v1/in/switch/", "x=1", form...).Body, "false")
	require.Contains(t, c.Do(t, "POST", "/api/v1/in/switch/", "on=on", form...).Body, "true")
	require.Equal(t, `{"on":["This field is required."]}`, c.Do(t, "POST", "/api/v1/in/switch/", "{}").Body)
}

func TestUploads(t *testing.T) {
	t.Parallel()
	c := inputs(t)
	part := func(field, file, data string) string {
		name := `name="` + field + `"`
		if file != "" {
			name += `; filename="` + file + `"`
		}
		return "--b\r\nContent-Disposition: form-data; " + name + "\r\nContent-Type: image/png\r\n\r\n" + data + "\r\n--b--\r\n"
	}
	form := []string{"Content-Type", "multipart/form-data; boundary=b"}
	post := func(path, body string) apitest.Response {
		return c.Do(t, "POST", "/api/v1/in/"+path+"/", body, form...)
	}
	require.Equal(t, `"a.png image/png 3"`, post("kinds", part("photo", `..\\..\\a.png`, "abc")).Body)
	require.Equal(t, `{"photo":["The submitted file is empty."]}`, post("kinds", part("photo", "a.png", "")).Body)
	require.Contains(t, post("kinds", part("photo", "", "")).Body, "none", "an empty text clears a file that may be null")
	require.Equal(t, `{"file":["No file was submitted."]}`, post("upload", part("other", "", "x")).Body)
	require.Equal(t, `{"file":["No file was submitted."]}`, c.Do(t, "POST", "/api/v1/in/upload/", "").Body)
	require.Equal(t, "5000", post("upload", part("file", "a", strings.Repeat("x", 5000))).Body, "an operation may allow larger bodies")
	require.Equal(t, 413, post("upload", part("file", "a", strings.Repeat("x", 20_000))).Status)
	require.Equal(t, 413, post("kinds", part("photo", "a", strings.Repeat("x", 5000))).Status)
}

func TestBodiesThatAreNoObject(t *testing.T) {
	t.Parallel()
	c := inputs(t)
	for body, want := range map[string]string{
		`[1, {"a" : "\u00e9"}]`: `[1,{"a":"é"}]`,
		``:                      `{}`,
		`"\u0000"`:              `{"non_field_errors":["Null characters are not allowed."]}`,
		`[1e999]`:               `{"non_field_errors":["Value must be valid JSON."]}`,
	} {
		require.Equal(t, want, c.Do(t, "POST", "/api/v1/in/any/", body).Body)
	}
	require.Equal(t, `{"a":"1","b":""}`, c.Do(t, "POST", "/api/v1/in/any/", "a=1&b", "Content-Type", "application/x-www-form-urlencoded").Body)
	require.Equal(t, `3`, c.Do(t, "POST", "/api/v1/in/bytes/", "\xff{x", "Content-Type", "image/png").Body)
}

func TestParameters(t *testing.T) {
	t.Parallel()
	c := inputs(t)
	get := func(query string, header ...string) string {
		return c.Do(t, "GET", "/api/v1/in/a%2Fb/query/"+query, "", header...).Body
	}
	require.Equal(t, `a/b {true false 7} {true false true} ["x" "y"] m true a/b`, get("?n=1&n=7&async=YES&all=x&all=y&must=m", "X-Sync", " true "))
	require.Equal(t, `a/b {false false 0} {false false false} [] +  a/b`, get("?n=&async=&must=%2B&unknown=1"))
	require.Equal(t, `{"n":["Ensure this value is less than or equal to 9."],"async":["Must be a valid boolean."],"must":["This field is required."]}`, get("?n=10&async=x"))
	require.Equal(t, `{"must":["Null characters are not allowed."]}`, get("?must=%00"))
	require.Equal(t, "a/b {false false 0} {false false false} [] \ufffd  a/b", get("?must=%ff"))
}
