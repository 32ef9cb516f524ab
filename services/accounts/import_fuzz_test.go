package accounts

import (
	"strings"
	"testing"
	"unicode/utf8"

	"selflink/appliance/oldstack"
)

// FuzzImportedPhoto gives addresses of photos of the old backend: what comes of
// one is itself, or a key below the folder of avatars.
func FuzzImportedPhoto(f *testing.F) {
	const media = "https://api.example.com/media/"
	for _, photo := range []string{
		"", "/media/avatars/a.png", "/media/avatars/", "/media/../avatars/a.png", "https://api.example.com/media/avatars/x%20y.png",
		"https://s3/b/avatars/a.png?X-Amz-Signature=1", "https://example.com/avatars/a.png", "avatars/a.png", "%zz", "https://s3/avatars/?Signature=1&Expires=2",
	} {
		f.Add(photo)
	}
	f.Fuzz(func(t *testing.T, photo string) {
		got := importedPhoto(photo, media)
		if got == photo {
			return
		}
		if !strings.HasPrefix(got, avatarFolder) || got == avatarFolder || len(got) > len(photo) {
			t.Fatalf("%q became %q", photo, got)
		}
		if utf8.ValidString(photo) && !utf8.ValidString(got) {
			t.Fatalf("%q is text and became %q", photo, got)
		}
	})
}

// FuzzOldTexts reads lists of texts of old profiles.
func FuzzOldTexts(f *testing.F) {
	for _, list := range []string{"", "null", "[]", `["a","ბ"]`, `["a",null]`, `[1]`, `{"a":1}`, `[["a"]]`} {
		f.Add(list)
	}
	f.Fuzz(func(t *testing.T, list string) {
		texts, err := stringsOf(oldstack.JSON(list))
		if err == nil && texts == nil {
			t.Fatal("a list is never nil: Postgres would keep null")
		}
	})
}
