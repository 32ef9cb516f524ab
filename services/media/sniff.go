package media

import (
	"bytes"
	"slices"
	"strings"
)

// sniffBytes of a file are enough to know what it is.
const sniffBytes = 512

// sort is a type of file that is taken.
type sort struct {
	mime, ext string
}

func (t sort) video() bool { return strings.HasPrefix(t.mime, "video/") }

// sniff knows a file by its first bytes.
func sniff(head []byte) (sort, bool) {
	has := func(at int, text string) bool {
		return len(head) >= at+len(text) && string(head[at:at+len(text)]) == text
	}
	switch {
	case has(0, "\xff\xd8\xff"):
		return sort{"image/jpeg", "jpg"}, true
	case has(0, "\x89PNG\r\n\x1a\n"):
		return sort{"image/png", "png"}, true
	case has(0, "GIF87a"), has(0, "GIF89a"):
		return sort{"image/gif", "gif"}, true
	case has(0, "RIFF") && has(8, "WEBP"):
		return sort{"image/webp", "webp"}, true
	case has(4, "ftyp") && len(head) >= 12:
		return sniffMovie(head)
	}
	return sort{}, false
}

// sniffMovie reads the brands of a file of the ISO base media format.
func sniffMovie(head []byte) (sort, bool) {
	brand := string(head[8:12])
	switch {
	case brand == "qt  ":
		return sort{"video/quicktime", "mov"}, true
	case slices.Contains([]string{"isom", "mp41", "mp42", "avc1", "M4V ", "M4VH", "M4VP", "MSNV", "dash", "mmp4"}, brand),
		strings.HasPrefix(brand, "iso") && bytes.ContainsAny(head[11:12], "23456789"),
		strings.HasPrefix(brand, "3gp"):
		return sort{"video/mp4", "mp4"}, true
	}
	return sort{}, false // HEIC and AVIF among them: nothing here decodes them
}
