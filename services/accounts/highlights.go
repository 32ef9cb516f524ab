package accounts

// Highlights are the texts of the app's first screen (contract 01 §9).
type Highlights struct {
	Hero        Hero        `json:"hero"`
	Features    []Feature   `json:"features"`
	Celebration Celebration `json:"celebration"`
}

// Link is a button: its text and the app's own path.
type Link struct {
	Label string `json:"label"`
	Path  string `json:"path"`
}

// Hero is the first thing that a visitor sees.
type Hero struct {
	Badge        string `json:"badge"`
	Title        string `json:"title"`
	Description  string `json:"description"`
	PrimaryCta   Link   `json:"primaryCta"`
	SecondaryCta Link   `json:"secondaryCta"`
}

// Feature presents one part of the app.
type Feature struct {
	ID          string `json:"id"`
	Title       string `json:"title"`
	Subtitle    string `json:"subtitle"`
	Description string `json:"description"`
	Cta         Link   `json:"cta"`
}

// Celebration is the note at the end.
type Celebration struct {
	Title string   `json:"title"`
	Copy  string   `json:"copy"`
	Tags  []string `json:"tags"`
	Cta   string   `json:"cta"`
}

func highlights() Highlights {
	return Highlights{
		Hero: Hero{
			Badge:        "Welcome to SelfLink",
			Title:        "Know yourself. Meet your people.",
			Description:  "A quiet place to reflect, to talk with a mentor who remembers, and to find people who fit you.",
			PrimaryCta:   Link{"Create an account", "/register"},
			SecondaryCta: Link{"Meet the mentor", "/mentor"},
		},
		Features: []Feature{
			{"soulmatch", "SoulMatch", "People who fit", "See what you share with somebody, what may be hard, and why.", Link{"Find a match", "/soul-match"}},
			{"mentor", "Mentor", "A guide of your own", "Ask anything, keep a short journal, and get an answer that knows your story.", Link{"Start talking", "/mentor"}},
			{"growth", "Growth path", "Small steps", "One thought and one task a day, made for where you are.", Link{"See the path", "/growth-path"}},
		},
		Celebration: Celebration{
			Title: "Made together", Copy: "SelfLink is open source. Whoever improves it belongs to it.",
			Tags: []string{"Open source", "Private by default", "Community"}, Cta: "Join the community",
		},
	}
}
