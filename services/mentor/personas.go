package mentor

import (
	"embed"
	"fmt"
	"strings"
)

//go:embed personas/*.txt
var personaFiles embed.FS

// Languages of personas and texts; every other one is answered in the first.
var languages = [...]string{"en", "ka", "ru"}

// voice is how the mentor speaks one language.
type voice struct {
	chat    string // the persona of chats and streams
	journal string // the persona of the daily journal
	texts
}

// texts are what people read when no model answers.
type texts struct {
	failure     string // a background task gave up
	unavailable string // models are switched off
	reflection  string // answers a journal entry without a model
}

// loadVoices reads the personas.
func loadVoices() (map[string]voice, error) {
	all := map[string]texts{
		"en": {
			failure:     "I could not gather an answer just now. Please ask me again in a little while.",
			unavailable: "The mentor is resting at the moment. Please come back a little later.",
			reflection:  "Thank you for writing this down. Read it once more, slowly, and notice which word carries the most feeling: that is a good place to begin.",
		},
		"ka": {
			failure:     "ახლა პასუხის მოძებნა ვერ შევძელი. გთხოვ, ცოტა ხანში ისევ მკითხე.",
			unavailable: "მენტორი ამჟამად ისვენებს. გთხოვ, ცოტა მოგვიანებით დაბრუნდი.",
			reflection:  "გმადლობ, რომ ეს ჩაწერე. კიდევ ერთხელ, ნელა წაიკითხე და შენიშნე, რომელი სიტყვა გრძნობს ყველაზე მეტს: იქიდან დაწყება კარგია.",
		},
		"ru": {
			failure:     "Сейчас мне не удалось найти ответ. Пожалуйста, спросите меня ещё раз немного позже.",
			unavailable: "Ментор сейчас отдыхает. Пожалуйста, возвращайтесь чуть позже.",
			reflection:  "Спасибо, что записали это. Перечитайте ещё раз, не спеша, и заметьте, в каком слове больше всего чувства: с него хорошо начать.",
		},
	}
	voices := make(map[string]voice, len(languages))
	for _, l := range languages {
		v := voice{texts: all[l]}
		for name, persona := range map[string]*string{"chat": &v.chat, "journal": &v.journal} {
			b, err := personaFiles.ReadFile("personas/" + name + "." + l + ".txt")
			if err != nil {
				return nil, fmt.Errorf("mentor: read persona: %w", err)
			}
			*persona = strings.TrimSpace(string(b))
		}
		voices[l] = v
	}
	return voices, nil
}

// voice chooses by the primary subtag of a language: "ka-GE" is Georgian.
func (s *Service) voice(language string) voice {
	primary := strings.ToLower(language)
	if i := strings.IndexAny(primary, "-_"); i >= 0 {
		primary = primary[:i]
	}
	if v, ok := s.voices[primary]; ok {
		return v
	}
	return s.voices[languages[0]]
}
