package accounts_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"selflink/appliance/httpapi/apitest"
	"selflink/services/accounts"
)

func TestDevices(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ann, bob := r.join(t, "ann"), r.join(t, "bob")
	const path = "/api/v1/devices/"
	add := func(as *signedIn, status int, kind, token string) accounts.Device {
		t.Helper()
		res := as.Do(t, "POST", path, `{"device_type":"`+kind+`","push_token":"`+token+`","last_seen":"2000-01-01T00:00:00Z"}`)
		require.Equal(t, status, res.Status, res.Body)
		var d accounts.Device
		res.JSON(t, &d)
		return d
	}
	first := add(ann, 201, "ios", "t1")
	again := add(ann, 200, "android", "t1")
	require.Equal(t, first.ID, again.ID)
	require.Equal(t, first.CreatedAt, again.CreatedAt)
	require.Equal(t, "android", again.DeviceType)
	require.True(t, again.LastSeen.Time().After(first.LastSeen.Time()))
	moved := add(bob, 201, "ios", "t1")
	require.NotEqual(t, first.ID, moved.ID, "the phone is bob's now")
	second := add(ann, 201, "ios", "t2")
	third := add(ann, 201, "ios", "t3")

	at := func(d accounts.Device) string { return fmt.Sprintf("%s%d/", path, d.ID) }
	const missing = `{"detail":"No Device matches the given query."}`
	table := []apitest.Scenario{
		{Name: "moved away", As: ann.Client, Get: at(first), Status: 404, JSON: missing},
		{Name: "own", As: ann.Client, Get: at(second), Status: 200},
		{Name: "nothing", As: ann.Client, Post: path, Body: `{}`, Status: 400, JSON: `{"device_type":["This field is required."],"push_token":["This field is required."]}`},
		{Name: "long", As: ann.Client, Post: path, Body: `{"device_type":"` + strings.Repeat("x", 33) + `","push_token":" "}`, Status: 400, JSON: `{"device_type":["Ensure this field has no more than 32 characters."],"push_token":["This field may not be blank."]}`},
		{Name: "put needs all", As: ann.Client, Put: at(second), Body: `{"device_type":"web"}`, Status: 400, JSON: `{"push_token":["This field is required."]}`},
		{Name: "put", As: ann.Client, Put: at(second), Body: `{"device_type":"web","push_token":"t4"}`, Status: 200},
		{Name: "patch", As: ann.Client, Patch: at(second), Body: `{"device_type":"web2"}`, Status: 200},
		{Name: "takes a token over", As: ann.Client, Patch: at(second), Body: `{"push_token":"t3"}`, Status: 200},
		{Name: "which had one", As: ann.Client, Get: at(third), Status: 404, JSON: missing},
	}
	for _, method := range []string{"GET", "PUT", "PATCH", "DELETE"} {
		table = append(table, apitest.Scenario{
			Name: "another's by " + method, As: bob.Client, Method: method, Path: at(second),
			Body: map[bool]string{true: `{"device_type":"x","push_token":"y"}`}[method != "GET"], Status: 404, JSON: missing,
		})
	}
	r.Scenarios(t, table)
	var d accounts.Device
	ann.Do(t, "GET", at(second), "").JSON(t, &d)
	require.Equal(t, "web2 t3", d.DeviceType+" "+d.PushToken)

	for i := range 4 {
		add(ann, 201, "ios", fmt.Sprint("more", i))
	}
	type page struct {
		Next, Previous *string
		Results        []accounts.Device
	}
	var p, back page
	ann.Do(t, "GET", path+"?page_size=3", "").JSON(t, &p)
	require.Len(t, p.Results, 3)
	require.Equal(t, "more3", p.Results[0].PushToken)
	ann.Do(t, "GET", strings.TrimPrefix(*p.Next, r.Base), "").JSON(t, &p)
	require.Len(t, p.Results, 2)
	require.Nil(t, p.Next)
	ann.Do(t, "GET", strings.TrimPrefix(*p.Previous, r.Base), "").JSON(t, &back)
	require.Len(t, back.Results, 3)
	require.Equal(t, "more3", back.Results[0].PushToken)
	ann.Do(t, "GET", path+"?ordering=created_at&page_size=1", "").JSON(t, &p)
	require.Equal(t, "t3", p.Results[0].PushToken)

	require.Equal(t, 204, ann.Do(t, "DELETE", at(second), "").Status)
	require.Equal(t, 404, ann.Do(t, "DELETE", at(second), "").Status)
}

func TestPersonalMap(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ann, bob := r.join(t, "ann"), r.join(t, "bob")
	const path = "/api/v1/me/profile/"
	empty := func(handle string) string {
		return `{"email":"` + handle + `@example.com","first_name":"","last_name":"","birth_date":null,"birth_time":null,"birth_place_country":"","birth_place_city":"","avatar_image":null,"is_complete":false}`
	}
	whole := `{"email":"ann@example.com","first_name":"Ann","last_name":"Lee","birth_date":"1990-05-01","birth_time":"08:30:00","birth_place_country":"GE","birth_place_city":"Tbilisi","avatar_image":null,"is_complete":true}`
	patch := func(name, body string, status int, want string) apitest.Scenario {
		return apitest.Scenario{Name: name, As: ann.Client, Patch: path, Body: body, Status: status, JSON: want}
	}
	r.Scenarios(t, []apitest.Scenario{
		{Name: "empty", As: ann.Client, Get: path, Status: 200, JSON: empty("ann")},
		patch("a first draft", `{"first_name":"Anna","birth_time":"07:00"}`, 200, `{"email":"ann@example.com","first_name":"Anna","last_name":"","birth_date":null,"birth_time":"07:00:00","birth_place_country":"","birth_place_city":"","avatar_image":null,"is_complete":false}`),
		patch("no avatar", `{"avatar_image":null}`, 200, ""),
		{Name: "put nothing", As: ann.Client, Put: path, Body: `{}`, Status: 400, JSON: `{"first_name":["This field is required."],"last_name":["This field is required."],"birth_date":["This field is required."],"birth_place_country":["This field is required."],"birth_place_city":["This field is required."]}`},
		patch("wrong", `{"first_name":"","birth_date":"1990.05.01","birth_time":"8h"}`, 400, `{"first_name":["This field may not be blank."],"birth_date":["Date has wrong format. Use one of these formats instead: YYYY-MM-DD, DD/MM/YYYY."],"birth_time":["Time has wrong format. Use one of these formats instead: hh:mm, hh:mm:ss."]}`),
		patch("avatar as text", `{"avatar_image":"a.png"}`, 400, `{"avatar_image":["The submitted data was not a file. Check the encoding type on the form."]}`),
		{
			Name: "avatar as file", As: ann.Client, Patch: path, Header: []string{"Content-Type", "multipart/form-data; boundary=x"},
			Body:   "--x\r\nContent-Disposition: form-data; name=\"avatar_image\"; filename=\"a.png\"\r\n\r\npng\r\n--x--\r\n",
			Status: 400, JSON: `{"avatar_image":["Uploading images is not available."]}`,
		},
		{Name: "put", As: ann.Client, Put: path, Body: `{"email":"x@example.com","is_complete":false,"first_name":"Ann","last_name":"Lee","birth_date":"01/05/1990","birth_time":"08:30","birth_place_country":"GE","birth_place_city":"Tbilisi"}`, Status: 200, JSON: whole},
		{Name: "get", As: ann.Client, Get: path, Status: 200, JSON: whole},
		{Name: "another's is their own", As: bob.Client, Get: path, Status: 200, JSON: empty("bob")},
		{Name: "delete", As: ann.Client, Delete: path, Status: 405},
	})
	var u accounts.User
	ann.Do(t, "GET", me, "").JSON(t, &u)
	require.Equal(t, "Ann Lee|1990-05-01|08:30:00|Tbilisi, GE", strings.Join([]string{u.Name, u.BirthDate.String(), u.BirthTime.String(), *u.BirthPlace}, "|"))
	before := u.UpdatedAt
	require.Equal(t, 200, ann.Do(t, "PATCH", path, `{"birth_time":null}`).Status)
	ann.Do(t, "GET", me, "").JSON(t, &u)
	require.Nil(t, u.BirthTime, "a time that is taken back goes from the account too")
	require.Equal(t, before, u.UpdatedAt)

	bob.Do(t, "PATCH", path, `{"first_name":"Robert"}`)
	bob.Do(t, "GET", me, "").JSON(t, &u)
	require.Equal(t, "bob Lee", u.Name, "a draft takes nothing away")
}

func TestProfile(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ann, bob := r.join(t, "ann"), r.join(t, "bob")
	const path = "/api/v1/profile/me/"
	const empty = `{"gender":"","orientation":"","relationship_goal":"unsure","values":[],"preferred_lifestyle":[],"attachment_style":"","love_language":[],"birth_date":null,"birth_time":null,"birth_city":"","birth_country":"","birth_timezone":"","birth_latitude":null,"birth_longitude":null}`
	patch := func(name, body string, status int, want string) apitest.Scenario {
		return apitest.Scenario{Name: name, As: ann.Client, Patch: path, Body: body, Status: status, JSON: want}
	}
	many := `["` + strings.Repeat(`a","`, 32) + `b"]`
	r.Scenarios(t, []apitest.Scenario{
		{Name: "empty", As: ann.Client, Get: path, Status: 200, JSON: empty},
		patch("nothing", `{}`, 201, empty),
		patch("nothing again", `{}`, 201, empty),
		patch("wrong", `{"gender":"robot","relationship_goal":"","attachment_style":1,"birth_latitude":500,"birth_longitude":-181,"birth_city":null}`, 400,
			`{"gender":["\"robot\" is not a valid choice."],"relationship_goal":["\"\" is not a valid choice."],"attachment_style":["\"1\" is not a valid choice."],"birth_city":["This field may not be null."],"birth_latitude":["Ensure this value is less than or equal to 90."],"birth_longitude":["Ensure this value is greater than or equal to -180."]}`),
		patch("no lists", `{"values":"not-a-list","preferred_lifestyle":`+many+`,"love_language":[1]}`, 400,
			`{"values":["values must be a list of strings."],"preferred_lifestyle":["preferred_lifestyle must contain 32 items or fewer."],"love_language":["love_language must be a list of strings."]}`),
		patch("null in a list", `{"values":[null]}`, 400, `{"values":["values must be a list of strings."]}`),
		patch("null list", `{"values":null}`, 400, `{"values":["This field may not be null."]}`),
		patch("first", `{"gender":"female","values":["truth","",""],"birth_date":"1990-05-01","birth_time":"08:30","birth_latitude":41.7,"birth_longitude":"44.8","birth_timezone":"anything"}`, 201,
			`{"gender":"female","orientation":"","relationship_goal":"unsure","values":["truth","",""],"preferred_lifestyle":[],"attachment_style":"","love_language":[],"birth_date":"1990-05-01","birth_time":"08:30:00","birth_city":"","birth_country":"","birth_timezone":"anything","birth_latitude":41.7,"birth_longitude":44.8}`),
		patch("second", `{"gender":"","values":[],"birth_date":null,"birth_time":null,"birth_timezone":"","birth_latitude":null,"birth_longitude":null}`, 200, empty),
		patch("unfilled again", `{"orientation":"bi"}`, 201, ""),
		{Name: "put", As: ann.Client, Put: path, Body: `{}`, Status: 405},
		{Name: "another's is their own", As: bob.Client, Get: path, Status: 200, JSON: empty},
	})
}

func TestHighlights(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, path := range []string{"/api/v1/home/highlights", "/api/v1/home/highlights/"} {
		var h struct {
			Hero     map[string]any
			Features []struct {
				ID  string
				Cta struct{ Path string }
			}
			Celebration map[string]any
		}
		res := r.Do(t, "GET", path, "", "Authorization", "Bearer nonsense")
		require.Equal(t, 200, res.Status)
		res.JSON(t, &h)
		require.Len(t, h.Features, 3)
		require.Equal(t, "soulmatch/soul-match mentor/mentor growth/growth-path", h.Features[0].ID+h.Features[0].Cta.Path+" "+h.Features[1].ID+h.Features[1].Cta.Path+" "+h.Features[2].ID+h.Features[2].Cta.Path)
		require.Contains(t, h.Hero, "primaryCta")
		require.Contains(t, h.Celebration, "copy")
	}
}
