package main

import (
	"context"
	"fmt"
	"io"
	"strings"
)

// completionVerb is "selflink completion".
func completionVerb(ctx context.Context, p *program, args []string) error {
	o := p.newOptions("completion [options] SHELL", "Prints the completion of bash or zsh, made from the commands and their options.\nThe package installs both. For this shell alone:  . <(selflink completion bash)")
	o.least, o.most = 1, 1
	if err := o.parse(args); err != nil {
		return err
	}
	all, err := p.outlines(ctx)
	if err != nil {
		return err
	}
	var script string
	switch shell := o.words[0]; shell {
	case "bash":
		script = bashCompletion(all)
	case "zsh":
		script = zshCompletion(all)
	default:
		return fmt.Errorf("%w: completions are made for bash and zsh, not for %q", errUsage, shell)
	}
	if o.json {
		return p.printJSON(map[string]string{"shell": o.words[0], "script": script})
	}
	_, err = io.WriteString(p.stdout, script)
	return err
}

// bashCompletion is a function that finds the verb in the words before the
// cursor and offers what may follow it.
func bashCompletion(all []outline) string {
	var b strings.Builder
	b.WriteString(`# bash completion of selflink; made by "selflink completion bash"
_selflink() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} verb="" next="" i
    for ((i = 1; i < COMP_CWORD; i++)); do
        next="${verb:+$verb }${COMP_WORDS[i]}"
        case "$next" in
`)
	var names []string
	walk(all, func(o outline) { names = append(names, `"`+o.Name+`"`) })
	fmt.Fprintf(&b, "            %s) verb=$next ;;\n        esac\n    done\n", strings.Join(names, "|"))
	b.WriteString("    local verbs=\"\" options=\"\" values=\"\"\n    case \"$verb\" in\n")
	fmt.Fprintf(&b, "        \"\") verbs=%q ;;\n", strings.Join(append(last(all), "help"), " "))
	walk(all, func(o outline) {
		var options, values []string
		for _, option := range o.Options {
			options = append(options, dashed(option.Name))
			if option.Value != "" {
				values = append(values, dashed(option.Name))
			}
		}
		fmt.Fprintf(&b, "        %q) verbs=%q options=%q values=%q ;;\n", o.Name, strings.Join(last(o.Verbs), " "), strings.Join(options, " "), strings.Join(values, " "))
	})
	b.WriteString(`    esac
    if [[ " $values " == *" $prev "* ]]; then
        case "$prev" in
            --data-dir) mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
            --env-file|--output) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
        esac
    elif [[ $cur == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$options -h" -- "$cur")
    elif [[ -n $verbs ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$verbs" -- "$cur")
    else
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
    fi
}
complete -o filenames -F _selflink selflink
`)
	return b.String()
}

// zshCompletion does the same with zsh's own means, which show what each means.
func zshCompletion(all []outline) string {
	var b strings.Builder
	b.WriteString(`#compdef selflink
# zsh completion of selflink; made by "selflink completion zsh"
_selflink() {
    local verb="" next="" i
    local -a verbs options
    for ((i = 2; i < CURRENT; i++)); do
        next="${verb:+$verb }${words[i]}"
        case "$next" in
`)
	var names []string
	walk(all, func(o outline) { names = append(names, zshQuote(o.Name)) })
	fmt.Fprintf(&b, "            (%s)) verb=$next ;;\n        esac\n    done\n    case \"$verb\" in\n", strings.Join(names, "|"))
	level := func(o outline, below []outline) {
		var verbs, options []string
		for _, v := range below {
			verbs = append(verbs, zshQuote(last([]outline{v})[0]+":"+v.Summary))
		}
		for _, option := range o.Options {
			text := strings.NewReplacer("[", "(", "]", ")", ":", ";").Replace(option.About)
			spec := dashed(option.Name) + "[" + strings.ReplaceAll(text, "\n", " ") + "]"
			switch {
			case option.Name == "data-dir":
				spec += ":directory:_files -/"
			case option.Name == "env-file" || option.Name == "output":
				spec += ":file:_files"
			case option.Value != "":
				spec += ":" + option.Value + ": "
			}
			options = append(options, zshQuote(spec))
		}
		fmt.Fprintf(&b, "        %s)\n            verbs=(%s)\n            options=(%s)\n            ;;\n", zshQuote(o.Name), strings.Join(verbs, " "), strings.Join(options, " "))
	}
	level(outline{}, all)
	walk(all, func(o outline) { level(o, o.Verbs) })
	b.WriteString(`    esac
    if (( $#verbs )) && [[ ${words[CURRENT]} != -* ]]; then
        _describe command verbs
    elif (( $#options )); then
        _arguments $options '*:file:_files'
    fi
}
_selflink "$@"
`)
	return b.String()
}

// last gives the last words of the verbs' names.
func last(all []outline) []string {
	var out []string
	for _, o := range all {
		out = append(out, o.Name[strings.LastIndexByte(o.Name, ' ')+1:])
	}
	return out
}

func zshQuote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
