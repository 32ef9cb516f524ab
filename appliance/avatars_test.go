package appliance_test

import (
	"bytes"
	"encoding/json"
	"image"
	"image/png"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// picture is a PNG of one colour.
func picture(t *testing.T, shade uint8) []byte {
	canvas := image.NewGray(image.Rect(0, 0, 40, 30))
	for i := range canvas.Pix {
		canvas.Pix[i] = shade
	}
	var out bytes.Buffer
	require.NoError(t, png.Encode(&out, canvas))
	return out.Bytes()
}

// sendAvatar patches the profile of token with a file, as the app does.
func sendAvatar(t *testing.T, base, token string, file []byte) (status int, answer map[string]any) {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile("avatar_image", "../../me.png")
	require.NoError(t, err)
	_, err = part.Write(file)
	require.NoError(t, err)
	require.NoError(t, form.Close())
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, base+"/api/v1/me/profile/", &body)
	require.NoError(t, err)
	request.Header.Set("Content-Type", form.FormDataContentType())
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &answer), string(raw))
	return response.StatusCode, answer
}

// A person sets an avatar and another one; nobody else can, and no picture that
// is none becomes one.
func TestAvatars(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "selflink-avatars-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755)) // Postgres runs as a user of its own
	base, _ := life(t, dir)
	join := func(name string) string {
		return call(t, "POST", base+"/api/v1/auth/register/", "", `{"email":"`+name+`@example.com","password":"correct-horse","name":"`+name+`"}`, 201)["token"].(string)
	}
	ann, bob := join("ann"), join("bob")
	// stored reads the file behind an address of this server.
	stored := func(address string) []byte {
		u, err := url.Parse(address)
		require.NoError(t, err)
		key, ok := strings.CutPrefix(u.Path, "/media/")
		require.True(t, ok, address)
		require.True(t, strings.HasPrefix(key, "avatars/") && !strings.Contains(key, "me.png"), "it has a name of our own: %s", key)
		raw, err := os.ReadFile(filepath.Join(dir, "data", "media", filepath.FromSlash(key)))
		require.NoError(t, err)
		return raw
	}
	photo := func(token string) string {
		return call(t, "GET", base+"/api/v1/users/me/", token, "", 200)["photo"].(string)
	}

	status, _ := sendAvatar(t, base, "", picture(t, 10))
	require.Equal(t, 401, status)
	for name, file := range map[string][]byte{"empty": {}, "text": []byte("<script>alert(1)</script>"), "half": picture(t, 1)[:60]} {
		status, answer := sendAvatar(t, base, ann, file)
		require.Equal(t, 400, status, "%s: %v", name, answer)
		require.NotEmpty(t, answer["avatar_image"], name)
	}
	require.Empty(t, photo(ann))

	status, first := sendAvatar(t, base, ann, picture(t, 20))
	require.Equal(t, 200, status, first)
	require.Equal(t, picture(t, 20), stored(first["avatar_image"].(string)))
	status, second := sendAvatar(t, base, ann, picture(t, 30))
	require.Equal(t, 200, status, second)
	require.NotEqual(t, first["avatar_image"], second["avatar_image"], "caches may keep an address for good")
	require.Equal(t, picture(t, 30), stored(second["avatar_image"].(string)))
	require.True(t, strings.HasSuffix(second["avatar_image"].(string), photo(ann)), "the account shows the same: %s", photo(ann))
	require.Empty(t, photo(bob), "another's is their own")
}
