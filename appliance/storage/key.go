package storage

import (
	"crypto/rand"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Folders of what people upload (contract 04 §10).
const (
	Avatars     = "avatars"
	PostImages  = "posts/images"
	PostVideos  = "posts/videos"
	Thumbnails  = "posts/videos/thumbnails"
	Attachments = "messages/attachments"
	Gifts       = "gifts"
	Assets      = "assets"
)

// Bounds of keys, in bytes. Those made by [NewKey] have at most 100.
const (
	maxKey     = 512
	maxSegment = 255
)

// CheckKey refuses what is no key: an empty or absolute path, one with empty,
// dot or hidden segments, with backslashes, control characters or broken
// UTF-8, or a very long one. Keys of older installations hold letters of all
// scripts, so these are fine.
func CheckKey(key string) error {
	if key == "" || len(key) > maxKey || !utf8.ValidString(key) {
		return fmt.Errorf("%w: %.60q", ErrBadKey, key)
	}
	for _, segment := range strings.Split(key, "/") {
		if segment == "" || segment[0] == '.' || len(segment) > maxSegment ||
			strings.ContainsFunc(segment, func(r rune) bool { return r == '\\' || unicode.IsControl(r) }) {
			return fmt.Errorf("%w: %.60q", ErrBadKey, key)
		}
	}
	return nil
}

// NewKey makes a key in a folder that nobody can guess. No part of it comes
// from a client, except that ext, such as "jpg", was chosen by what the
// content is. Files of a month are together, so that no directory grows for
// ever.
func NewKey(folder, ext string, at time.Time) string {
	return path.Join(folder, at.UTC().Format("2006/01"), strings.ToLower(rand.Text())+"."+ext)
}

// MediaPath is where this server, or a web server in front of it, serves the
// local directory.
const MediaPath = "/media/"

// localURL is the path of a file on this server.
func localURL(key string) string {
	u := url.URL{Path: MediaPath + key}
	return u.EscapedPath()
}

var ownKey = regexp.MustCompile(`^[a-z]+(?:/[a-z]+)*/\d{4}/\d{2}/[a-z2-7]{26}\.[a-z0-9]{1,8}$`)

// Own reports whether a key was made by [NewKey]. Others came from an older
// installation or from an operator: they are served and never tidied up.
func Own(key string) bool { return ownKey.MatchString(key) }

// typeOf is the media type by which a bucket serves a key's file.
func typeOf(key string) string {
	switch strings.ToLower(path.Ext(key)) {
	case ".jpg", ".jpeg":
		return "image/jpeg"
	case ".png":
		return "image/png"
	case ".gif":
		return "image/gif"
	case ".webp":
		return "image/webp"
	case ".mp4", ".m4v":
		return "video/mp4"
	case ".mov":
		return "video/quicktime"
	case ".json":
		return "application/json"
	default:
		return "application/octet-stream"
	}
}
