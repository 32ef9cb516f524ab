package database

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// shownText is how many characters of a statement people are shown.
const shownText = 200

// plainStatement makes a statement fit to be shown: its literals, which may be
// anybody's secrets, are replaced by $…, comments are dropped, white space is
// made single, and it is cut at 200 characters. What cannot be told to be a
// literal or not ends the text: it never shows one by mistake. The text may be
// cut anywhere, as Postgres does.
func plainStatement(text string) string {
	var out strings.Builder
	space := false
	put := func(s string) {
		if space && out.Len() > 0 {
			out.WriteByte(' ')
		}
		space = false
		out.WriteString(s)
	}
	text = strings.ToValidUTF8(text, "�")
scan:
	for len(text) > 0 && out.Len() < 4*utf8.UTFMax*shownText {
		r, size := utf8.DecodeRuneInString(text)
		switch {
		case unicode.IsSpace(r) || unicode.IsControl(r):
			space = true
			text = text[size:]
		case strings.HasPrefix(text, "--"):
			_, text, _ = strings.Cut(text, "\n")
			space = true
		case strings.HasPrefix(text, "/*"):
			text = afterComment(text)
			space = true
		case r == '\'':
			rest, sure := afterString(text, false)
			put("$…")
			if !sure {
				out.WriteString(" …")
				break scan
			}
			text = rest
		case r == '"':
			end := strings.IndexByte(text[1:], '"')
			if end < 0 { // cut inside of a name
				out.WriteString("…")
				break scan
			}
			put(text[:end+2])
			text = text[end+2:]
		case r == '$':
			rest, literal := afterDollars(text)
			if literal {
				put("$…")
			} else {
				put(text[:len(text)-len(rest)])
			}
			text = rest
		case isDigit(r):
			text = text[numberLength(text):]
			put("$…")
		case isWordStart(r):
			n := wordLength(text)
			word, rest := text[:n], text[n:]
			if strings.HasPrefix(rest, "'") && isPrefix(word) {
				put("$…")
				var sure bool
				if rest, sure = afterString(rest, strings.EqualFold(word, "e")); !sure {
					out.WriteString(" …")
					break scan
				}
			} else {
				put(word)
			}
			text = rest
		default:
			put(text[:size])
			text = text[size:]
		}
	}
	shown := []rune(out.String())
	if len(shown) > shownText {
		return string(shown[:shownText-1]) + "…"
	}
	return string(shown)
}

// isPrefix knows the letters that may stand before a string: E”, B”, X”, N”.
func isPrefix(word string) bool {
	return len(word) == 1 && strings.ContainsAny(word, "eEbBxXnN")
}

// afterString skips a string that begins with a quote. Whether a backslash
// before a quote ends it depends on a setting of the session unless escapes are
// certain; then sure is false and nothing may be made of the rest.
func afterString(text string, escapes bool) (rest string, sure bool) {
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			if escapes {
				i++
			} else if i+1 < len(text) && (text[i+1] == '\'' || text[i+1] == '\\') {
				return "", false
			}
		case '\'':
			if i+1 < len(text) && text[i+1] == '\'' {
				i++
				continue
			}
			return text[i+1:], true
		}
	}
	return "", true // cut
}

// afterComment skips /* … */, which may be nested.
func afterComment(text string) string {
	depth := 0
	for i := 0; i+1 < len(text); i++ {
		switch text[i : i+2] {
		case "/*":
			depth++
			i++
		case "*/":
			i++
			if depth--; depth == 0 {
				return text[i+1:]
			}
		}
	}
	return ""
}

// afterDollars skips $tag$ … $tag$, which is a literal, or $1, which is none.
func afterDollars(text string) (rest string, literal bool) {
	n := 1
	for n < len(text) {
		r, size := utf8.DecodeRuneInString(text[n:])
		if !isWordStart(r) && !isDigit(r) {
			break
		}
		n += size
	}
	if n == len(text) { // a cut tag, or a parameter at the end
		return "", strings.Trim(text[1:], "0123456789") != ""
	}
	if text[n] != '$' || n > 1 && isDigit(rune(text[1])) {
		if n > 1 && !isDigit(rune(text[1])) { // no SQL that is known here
			return "", true
		}
		return text[n:], false
	}
	tag := text[:n+1]
	_, rest, _ = strings.Cut(text[n+1:], tag)
	return rest, true
}

func isDigit(r rune) bool { return r >= '0' && r <= '9' }

func isWordStart(r rune) bool { return r == '_' || unicode.IsLetter(r) || r > unicode.MaxASCII }

// wordLength is how long the name or keyword is that text begins with. Names
// may hold digits and dollars.
func wordLength(text string) int {
	n := 0
	for n < len(text) {
		r, size := utf8.DecodeRuneInString(text[n:])
		if !isWordStart(r) && !isDigit(r) && r != '$' {
			break
		}
		n += size
	}
	return n
}

// numberLength is how long the number is that text begins with, with what
// follows it without a gap.
func numberLength(text string) int {
	n := 0
	for n < len(text) {
		c := text[n]
		sign := (c == '+' || c == '-') && n > 0 && (text[n-1] == 'e' || text[n-1] == 'E')
		if c != '.' && c != '_' && !sign && !isDigit(rune(c)) && (c|0x20 < 'a' || c|0x20 > 'z') {
			break
		}
		n++
	}
	return n
}
