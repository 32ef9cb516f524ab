package realtime

import (
	"encoding/binary"
	"errors"
)

// Subjects on the broker.
const (
	subjectLog      = "realtime.log"      // numbered events
	subjectTell     = "realtime.tell"     // events that are kept nowhere
	subjectPresence = "realtime.presence" // who is connected where
	subjectAsk      = "realtime.ask"      // questions that every node answers
)

// entry is one event of the log. It is not changed once it is made.
type entry struct {
	seq      int64
	channel  Channel
	payload  []byte // one line of JSON, an object
	closes   string
	position string // empty for events that are kept nowhere
}

// maxBatch bounds a message on the broker, whose own bound is 1 MiB.
const maxBatch = 512 << 10

var errWire = errors.New("realtime: a node sent what cannot be read")

func appendText[T ~string | ~[]byte](b []byte, s T) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// takeText cuts a text off b.
func takeText(b []byte) (text, rest []byte, err error) {
	n, used := binary.Uvarint(b)
	if used <= 0 || n > uint64(len(b)-used) {
		return nil, nil, errWire
	}
	b = b[used:]
	return b[:n], b[n:], nil
}

// appendEntry writes an entry as it travels between nodes.
func appendEntry(b []byte, e *entry) []byte {
	b = binary.AppendUvarint(b, uint64(e.seq))
	b = appendText(b, e.channel)
	b = appendText(b, e.closes)
	return appendText(b, e.payload)
}

// decodeEntries reads the epoch and the entries of a message.
func decodeEntries(b []byte) (epoch int64, entries []*entry, err error) {
	if len(b) < 8 {
		return 0, nil, errWire
	}
	epoch = int64(binary.BigEndian.Uint64(b))
	b = b[8:]
	for len(b) > 0 {
		seq, used := binary.Uvarint(b)
		if used <= 0 || seq > 1<<62 {
			return 0, nil, errWire
		}
		var channel, closes, payload []byte
		if channel, b, err = takeText(b[used:]); err != nil {
			return 0, nil, err
		}
		if closes, b, err = takeText(b); err != nil {
			return 0, nil, err
		}
		if payload, b, err = takeText(b); err != nil {
			return 0, nil, err
		}
		entries = append(entries, &entry{
			seq: int64(seq), channel: Channel(channel), closes: string(closes), payload: append([]byte(nil), payload...),
		})
	}
	return epoch, entries, nil
}

func encodeTell(to Channel, payload []byte) []byte {
	return append(appendText(make([]byte, 0, len(payload)+len(to)+2), to), payload...)
}

func decodeTell(b []byte) (*entry, error) {
	channel, payload, err := takeText(b)
	if err != nil {
		return nil, err
	}
	if len(payload) < 2 || payload[0] != '{' || payload[len(payload)-1] != '}' {
		return nil, errWire
	}
	return &entry{channel: Channel(channel), payload: append([]byte(nil), payload...)}, nil
}
