package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"selflink/appliance/config"
)

func said(t *testing.T, args ...string) string {
	t.Helper()
	b := newBench(t)
	require.Equal(t, exitOK, b.run(args), b.err.String())
	require.Empty(t, b.err.String())
	require.NotEmpty(t, b.out.String())
	return b.out.String()
}

// everyVerb gives the outlines of all verbs, those below others too.
func everyVerb(t *testing.T) []outline {
	t.Helper()
	all, err := newBench(t).outlines(context.Background())
	require.NoError(t, err, "every verb explains itself")
	var list []outline
	walk(all, func(o outline) { list = append(list, o) })
	require.Greater(t, len(list), len(verbs()), "those below others too")
	return list
}

func TestManualNamesEveryVerbAndOption(t *testing.T) {
	t.Parallel()
	page := said(t, "man")
	require.Equal(t, page, said(t, "man"), "the same program makes the same page")
	for _, o := range everyVerb(t) {
		if o.Usage != "" {
			require.Contains(t, page, ".SS "+roffText("selflink "+o.Usage)+"\n")
			require.True(t, strings.HasPrefix(o.Usage, o.Name), "%s explains itself as %s", o.Name, o.Usage)
		} else {
			require.NotEmpty(t, o.Verbs, o.Name)
		}
		for _, option := range o.Options {
			require.Contains(t, page, roffText(dashed(option.Name)), o.Name)
		}
	}
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, ".") { // nothing of a text is taken for a request
			require.Regexp(t, `^\.(TH|SH|SS|PP|TP|br|nh|ad l|RS 4|nf|fi|RE)\b`, line)
		}
	}
	require.Contains(t, said(t, "man", "--json"), `"name": "jobs list"`)
}

func TestManualOfTheSettings(t *testing.T) {
	t.Parallel()
	page := said(t, "config", "docs", "--format", "man")
	for _, s := range config.Settings() {
		require.Contains(t, page, roffText(s.Key))
		for _, name := range s.Aliases {
			if s.Status == config.Used {
				require.Contains(t, page, roffText(name))
			}
		}
	}
}

// TestPackagedEnvFile holds every setting and changes none.
func TestPackagedEnvFile(t *testing.T) {
	t.Parallel()
	text := said(t, "config", "docs", "--format", "env")
	entries, err := config.ParseEnv(text)
	require.NoError(t, err)
	require.Empty(t, entries, "every line is a remark")
	for _, s := range config.Settings() {
		if s.Status == config.Used && s.Key != "SELFLINK_ENV_FILE" { // a file cannot name itself
			require.Contains(t, text, "\n#"+s.Key+"=", s.Key)
		}
	}
	// With all remarks taken away it still says what is so anyway; only naming
	// a search server means to use it.
	root := t.TempDir()
	file := filepath.Join(root, "env")
	var bare strings.Builder
	for line := range strings.Lines(text) {
		if name, rest, ok := strings.Cut(line, "="); ok && strings.HasPrefix(name, "#") && !strings.Contains(name, " ") && name != "#OPENSEARCH_HOST" {
			bare.WriteString(name[1:] + "=" + rest)
		}
	}
	require.NoError(t, os.WriteFile(file, []byte(bare.String()), 0o600))
	load := func(file string) map[string]string {
		_, report, err := config.Load(config.Sources{Environ: []string{"SELFLINK_ENV_FILE=" + file, "SELFLINK_DATA_DIR=" + root}, Root: root, ReadOnly: true})
		require.NoError(t, err)
		values := map[string]string{}
		for _, v := range report.Values {
			if v.Key != "SELFLINK_ENV_FILE" {
				values[v.Key] = v.Value
			}
		}
		return values
	}
	require.Equal(t, load(""), load(file))
}

func TestBashCompletion(t *testing.T) {
	t.Parallel()
	shell, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("there is no bash")
	}
	file := filepath.Join(t.TempDir(), "completion")
	require.NoError(t, os.WriteFile(file, []byte(said(t, "completion", "bash")), 0o600))
	// Asks for what may stand in the place of the last word.
	script := `. "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$((${#COMP_WORDS[@]}-1)); _selflink; printf '%s\n' "${COMPREPLY[@]}"`
	complete := func(words ...string) []string {
		out, err := exec.Command(shell, append([]string{"-c", script, "bash", file, "selflink"}, words...)...).CombinedOutput()
		require.NoError(t, err, string(out))
		return strings.Fields(string(out))
	}
	require.Subset(t, complete(""), append(last(outlinesOf(t)), "help"))
	require.Equal(t, []string{"serve"}, complete("ser"))
	require.Equal(t, []string{"list"}, complete("jobs", "li"))
	require.Equal(t, []string{"--kind"}, complete("jobs", "list", "--ki"))
	require.Equal(t, []string{"--kind"}, complete("jobs", "list", "--limit", "7", "--ki"), "values are no verbs")
	require.Empty(t, complete("jobs", "list", "--limit", ""), "a number is not offered")
	require.Equal(t, []string{file}, complete("status", "--env-file", file[:len(file)-2]))
	for _, o := range everyVerb(t) {
		words := strings.Fields(o.Name)
		require.Contains(t, complete(words...), words[len(words)-1])
		offered := complete(append(words, "--")...)
		for _, option := range o.Options {
			if len(option.Name) > 1 {
				require.Contains(t, offered, "--"+option.Name, o.Name)
			}
		}
	}
}

func outlinesOf(t *testing.T) []outline {
	t.Helper()
	all, err := newBench(t).outlines(context.Background())
	require.NoError(t, err)
	return all
}

func TestZshCompletion(t *testing.T) {
	t.Parallel()
	script := said(t, "completion", "zsh")
	for _, o := range everyVerb(t) {
		require.Contains(t, script, "        '"+o.Name+"')\n")
		for _, option := range o.Options {
			require.Contains(t, script, "'"+dashed(option.Name)+"[")
		}
	}
	shell, err := exec.LookPath("zsh")
	if err != nil {
		return // what it says is as far as it goes without one
	}
	file := filepath.Join(t.TempDir(), "_selflink")
	require.NoError(t, os.WriteFile(file, []byte(script), 0o600))
	out, err := exec.Command(shell, "-n", file).CombinedOutput()
	require.NoError(t, err, string(out))
}

func TestCompletionOfAnotherShell(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	require.Equal(t, exitUsage, b.run([]string{"completion", "fish"}))
	require.Contains(t, b.err.String(), "bash and zsh")
}
