package main

import (
	"fmt"
	"strings"
)

// roff writes a manual page in the language of man(7).
type roff struct{ strings.Builder }

// title begins the page. It carries no date: the same source gives the same
// page.
func (r *roff) title(name string, section int, version string) {
	fmt.Fprintf(r, ".TH %s %d \"\" \"SelfLink %s\" \"SelfLink Appliance\"\n", strings.ToUpper(name), section, roffText(version))
	r.WriteString(".nh\n.ad l\n") // names of settings are not to be cut
}

func (r *roff) section(name string) { fmt.Fprintf(r, ".SH %s\n", strings.ToUpper(name)) }

func (r *roff) subsection(name string) { fmt.Fprintf(r, ".SS %s\n", roffText(name)) }

// paragraphs writes text whose paragraphs are parted by blank lines. Lines that
// are indented are kept as they are.
func (r *roff) paragraphs(text string) {
	for i, part := range strings.Split(strings.TrimSpace(text), "\n\n") {
		if i > 0 {
			r.WriteString(".PP\n")
		}
		r.text(part)
	}
}

func (r *roff) text(text string) {
	for line := range strings.Lines(text) {
		r.WriteString(roffLine(strings.TrimSpace(line)) + "\n")
	}
}

// item writes a term in bold, what stands behind it in italics, and what it
// means.
func (r *roff) item(term, value, about string) {
	fmt.Fprintf(r, ".TP\n\\fB%s\\fR", roffText(term))
	if value != "" {
		fmt.Fprintf(r, " \\fI%s\\fR", roffText(value))
	}
	r.WriteString("\n")
	r.text(about)
}

// example writes lines as they are.
func (r *roff) example(text string) {
	r.WriteString(".PP\n.RS 4\n.nf\n")
	r.text(text)
	r.WriteString(".fi\n.RE\n")
}

// roffText escapes what the language gives a meaning to, within a line.
func roffText(text string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`, "…", "...", `"`, `\(dq`).Replace(text)
}

// roffLine escapes a line of text; one that begins with a dot would be a
// request.
func roffLine(text string) string {
	text = roffText(text)
	if strings.HasPrefix(text, ".") {
		return `\&` + text
	}
	return text
}
