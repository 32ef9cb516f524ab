package dashboardtest

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"selflink/appliance/llm/llmtest"
)

// answer is what the model says when it is well.
var answer = llmtest.Say("Take ", "a short walk, ", "then write down ", "one thing that went well.")

// refusal is what it says while it cannot ever answer: another attempt is of no
// use, so the job dies at once.
var refusal = llmtest.Script{Status: http.StatusNotFound}

// world is what the pages have to show.
type world struct {
	ben    string // an access token
	benID  string
	dead   string // a job that failed for good
	failed string // a request that did
}

// makeWorld makes people, questions that were answered and some that were not,
// and open connections.
func makeWorld(p *page, s *server, model *llmtest.Server) *world {
	t := p.t
	w := &world{ben: s.register(t, "ben@example.com", "Ben Okafor")}
	w.benID = s.idOf(t, w.ben)
	tokens := []string{w.ben}
	for _, name := range []string{"Chen Wei", "Dora Novak", "Eli Haddad", "Farah Siddiqui", "Vera Lind"} {
		tokens = append(tokens, s.register(t, strings.ToLower(firstWord(name))+"@example.com", name))
	}

	p.visit("#/people")
	p.press("Vera Lind")
	p.press("Make viewer")
	p.press("Make a viewer")
	p.shows("main .badge", "Viewer")

	model.Always(answer)
	for i, token := range tokens {
		follow(t, s, token)
		for n := range 3 {
			s.askNow(t, token, fmt.Sprintf("What could I do today, now that it is %d degrees?", 10+n+i), http.StatusOK)
		}
	}
	model.Always(refusal)
	w.dead = s.chat(t, w.ben, "Are you there?")
	p.visit("#/jobs/" + w.dead)
	p.shows("main .badge", "Dead")
	model.Always(llmtest.Script{Status: http.StatusForbidden})
	p.visit("#/jobs/" + s.chat(t, tokens[1], "And you?"))
	p.shows("main .badge", "Dead")
	w.failed = s.askNow(t, tokens[2], "Will it rain?", http.StatusBadGateway)
	model.Always(answer)
	for _, token := range tokens {
		p.visit("#/jobs/" + s.chat(t, token, "What is one small thing that I can do today?"))
		p.shows("main .badge", "Succeeded")
	}
	p.clean()
	return w
}

func firstWord(name string) string {
	var word string
	_, _ = fmt.Sscan(name, &word) // a name has one
	return word
}

// idOf reads who a token is for.
func (s *server) idOf(t *testing.T, token string) string {
	t.Helper()
	answer, _ := s.ask(t, http.MethodGet, "/api/v1/users/me/", token, nil, http.StatusOK)
	return fmt.Sprint(answer["id"])
}

// follow holds a stream of events open until all tests have ended.
func follow(t *testing.T, s *server, token string) {
	t.Helper()
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, s.url+"/api/v1/events/stream", nil)
	require.NoError(t, err)
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, response.StatusCode)
	s.streams = append(s.streams, response.Body)
}
