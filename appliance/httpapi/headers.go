package httpapi

import (
	"bytes"
	"html"
	"net/http"
	"strings"

	"github.com/valyala/fasthttp"
)

// Header names and values as fasthttp wants them, so that setting them costs
// no conversion. They are never written to.
var (
	headerVary   = []byte("Vary")
	headerAllow  = []byte("Allow")
	varyAll      = []byte("Accept, origin")
	varyOrigin   = []byte("origin")
	headerFrame  = []byte("X-Frame-Options")
	valueDeny    = []byte("DENY")
	headerSniff  = []byte("X-Content-Type-Options")
	valueNoSniff = []byte("nosniff")
	headerRef    = []byte("Referrer-Policy")
	headerOpener = []byte("Cross-Origin-Opener-Policy")
	valueSame    = []byte("same-origin")
)

func securityHeaders(h *fasthttp.ResponseHeader) {
	h.SetCanonical(headerFrame, valueDeny)
	h.SetCanonical(headerSniff, valueNoSniff)
	h.SetCanonical(headerRef, valueSame)
	h.SetCanonical(headerOpener, valueSame)
}

const typeHTML = "text/html; charset=utf-8"

// badHost answers a request for a host that is not ours.
func (rc *request) badHost() {
	resp := rc.fc.Response()
	securityHeaders(&resp.Header)
	resp.SetStatusCode(http.StatusBadRequest)
	resp.Header.SetContentType(typeHTML)
	resp.SetBodyString("<!doctype html>\n<html lang=\"en\">\n<head>\n  <title>Bad Request (400)</title>\n</head>\n<body>\n  <h1>Bad Request (400)</h1><p></p>\n</body>\n</html>\n")
}

// addSlash sends the client to the same path with a slash at its end.
func (rc *request) addSlash() {
	to := rc.path + "/"
	if rc.query != "" {
		to += "?" + rc.query
	}
	resp := rc.fc.Response()
	resp.SetStatusCode(http.StatusMovedPermanently)
	resp.Header.SetCanonical(headerVary, varyOrigin)
	resp.Header.SetContentType(typeHTML)
	resp.Header.Set("Location", to)
}

// headOfStream answers HEAD without starting what GET would start.
func (rc *request) headOfStream() {
	resp := rc.fc.Response()
	if p := rc.route.op.Produces; p != "" {
		resp.Header.SetContentType(p)
	}
	resp.SetStatusCode(rc.route.op.Status)
}

// describe answers OPTIONS with a description of the resource.
func (rc *request) describe() error {
	return rc.encode(http.StatusOK, description{
		Name:        rc.res.name,
		Description: html.EscapeString(rc.res.first.op.Description),
		Renders:     []string{typeJSON},
		Parses:      []string{typeJSON, "application/x-www-form-urlencoded", "multipart/form-data"},
	})
}

type description struct {
	Name        string   `json:"name"`
	Description string   `json:"description"`
	Renders     []string `json:"renders"`
	Parses      []string `json:"parses"`
}

// acceptable tells whether one of the media ranges of an Accept header takes
// JSON, HTML (which is answered in JSON too) or what the operation produces.
func acceptable(accept []byte, produces string) bool {
	if len(accept) == 0 || produces == anyType {
		return true
	}
	for len(accept) > 0 {
		var part []byte
		part, accept, _ = bytes.Cut(accept, []byte{','})
		media, params, _ := bytes.Cut(part, []byte{';'})
		media = bytes.TrimSpace(media)
		if refused(params) {
			continue
		}
		switch {
		case string(media) == "*/*", string(media) == "*",
			asciiFold(media, "application/json"), asciiFold(media, "application/*"),
			asciiFold(media, "text/html"), asciiFold(media, "text/*"):
			return true
		case produces != "" && asciiFold(media, produces):
			return true
		}
	}
	return false
}

// anyType is what an operation produces that answers with files.
const anyType = "*/*"

func asciiFold(b []byte, s string) bool { return len(b) == len(s) && strings.EqualFold(string(b), s) }

// refused tells whether a media range has quality 0.
func refused(params []byte) bool {
	for len(params) > 0 {
		var p []byte
		p, params, _ = bytes.Cut(params, []byte{';'})
		p = bytes.TrimSpace(p)
		if len(p) > 2 && (p[0] == 'q' || p[0] == 'Q') && p[1] == '=' {
			return strings.Trim(string(p[2:]), "0.") == "" && p[2] == '0'
		}
	}
	return false
}
