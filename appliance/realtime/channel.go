package realtime

import (
	"strconv"
	"strings"
	"time"
)

// Channel is where events are published and what connections subscribe to.
// Make one with [User], [Post], [Comment] or take [Broadcast].
type Channel string

// Broadcast reaches every connection.
const Broadcast Channel = "broadcast"

// The kinds of channels that carry an id.
const (
	kindUser    = "user:"
	kindPost    = "post:"
	kindComment = "comment:"
)

// User is the channel of everything that concerns one account. All its
// connections have it, and nobody else's.
func User(id int64) Channel { return Channel(kindUser + strconv.FormatInt(id, 10)) }

// user gives whose channel it is; ok is false when it is no user's.
func (c Channel) user() (id int64, ok bool) {
	digits, ok := strings.CutPrefix(string(c), kindUser)
	if !ok {
		return 0, false
	}
	id, err := strconv.ParseInt(digits, 10, 64)
	return id, err == nil
}

// Post is the channel of a post.
func Post(id int64) Channel { return Channel(kindPost + strconv.FormatInt(id, 10)) }

// Comment is the channel of a comment.
func Comment(id int64) Channel { return Channel(kindComment + strconv.FormatInt(id, 10)) }

// maxChannels is how many channels a client may name (contract 03 §2).
const maxChannels = 20

// parseTarget takes post:<n> and comment:<n>, n without a sign or leading zero;
// ok is false for anything else.
func parseTarget(name string) (Channel, bool) {
	digits, ok := strings.CutPrefix(name, kindPost)
	if !ok {
		if digits, ok = strings.CutPrefix(name, kindComment); !ok {
			return "", false
		}
	}
	if digits == "" || digits[0] < '1' || digits[0] > '9' {
		return "", false
	}
	if _, err := strconv.ParseInt(digits, 10, 64); err != nil {
		return "", false
	}
	return Channel(name), true
}

// parseTargets reads the channels parameter: the first 20 different ones that
// are well formed.
func parseTargets(list string) []Channel {
	var out []Channel
	for name := range strings.SplitSeq(list, ",") {
		if len(out) == maxChannels {
			break
		}
		c, ok := parseTarget(strings.TrimSpace(name))
		if ok && !contains(out, c) {
			out = append(out, c)
		}
	}
	return out
}

func contains(list []Channel, c Channel) bool {
	for _, have := range list {
		if have == c {
			return true
		}
	}
	return false
}

// class is how much history a kind of channel keeps.
type class struct {
	prefix string
	age    time.Duration
	count  int64
}

// maxAge is the longest age of all classes.
const maxAge = 7 * 24 * time.Hour

// classes are the kinds of channels. A user's channel is what a person would
// miss after days without the app; the others matter while one looks at them.
func classes() []class {
	return []class{
		{kindUser, maxAge, 1000},
		{string(Broadcast), 24 * time.Hour, 1000},
		{kindPost, time.Hour, 200},
		{kindComment, time.Hour, 200},
	}
}

// age is how long events of c are kept.
func (c Channel) age() time.Duration {
	for _, k := range classes() {
		if strings.HasPrefix(string(c), k.prefix) {
			return k.age
		}
	}
	return time.Hour
}
