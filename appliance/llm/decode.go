package llm

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// errBrokenOff means that a response ended before the provider said so.
var errBrokenOff = fmt.Errorf("%w: it broke off in the middle of the answer", ErrModelDown)

// readLines calls each for every line of r without its line end, until each
// says that the answer is complete. The line is valid during the call. A
// response that ends before is errBrokenOff.
func readLines(r io.Reader, each func(line []byte) (complete bool, err error)) error {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 0, 4<<10), maxLine)
	for s.Scan() {
		complete, err := each(s.Bytes())
		if err != nil || complete {
			return err
		}
	}
	switch err := s.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return fmt.Errorf("%w: a line of the response was too long", ErrModelDown)
	case err != nil:
		return fmt.Errorf("%w: %w", errBrokenOff, plain(err))
	default:
		return errBrokenOff
	}
}

// readEvents calls each with the data of every server-sent event of r, until
// each says that the answer is complete. Several data lines of one event are
// joined by line feeds; comments, names and ids are skipped. The data is
// valid during the call.
func readEvents(r io.Reader, each func(data []byte) (complete bool, err error)) error {
	var data []byte
	has := false
	err := readLines(r, func(line []byte) (bool, error) {
		if len(line) == 0 {
			if !has {
				return false, nil
			}
			complete, err := each(data)
			data, has = data[:0], false
			return complete, err
		}
		value, ok := bytes.CutPrefix(line, []byte("data:"))
		if !ok {
			return false, nil
		}
		if has {
			data = append(data, '\n')
		}
		data, has = append(data, bytes.TrimPrefix(value, []byte(" "))...), true
		if len(data) > maxLine {
			return false, fmt.Errorf("%w: an event of the response was too long", ErrModelDown)
		}
		return false, nil
	})
	if has && err == errBrokenOff { // exactly the clean end, after which the last event may lack its blank line
		complete, eachErr := each(data)
		if eachErr != nil || complete {
			return eachErr
		}
	}
	return err
}
