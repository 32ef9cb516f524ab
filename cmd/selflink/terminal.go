package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLine bounds a line of input in bytes.
const maxLine = 4 << 10

// terminal is the file behind a stream when a person sits at it, else nil.
func terminal(stream any) *os.File {
	file, ok := stream.(*os.File)
	if !ok {
		return nil
	}
	if _, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS); err != nil {
		return nil
	}
	return file
}

// askHidden reads a line from a terminal that does not show it.
func askHidden(ctx context.Context, file *os.File, out io.Writer, prompt string) (string, error) {
	fd := int(file.Fd())
	shown, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return "", fmt.Errorf("look at the terminal: %w", err)
	}
	hidden := *shown
	hidden.Lflag &^= unix.ECHO
	hidden.Lflag |= unix.ICANON | unix.ISIG
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &hidden); err != nil {
		return "", fmt.Errorf("hide what is typed: %w", err)
	}
	fmt.Fprint(out, prompt)
	line, err := readLine(ctx, file)
	fmt.Fprintln(out)
	if restoreErr := unix.IoctlSetTermios(fd, unix.TCSETS, shown); restoreErr != nil {
		err = errors.Join(err, fmt.Errorf("show again what is typed: %w", restoreErr))
	}
	return line, err
}

// readLine reads one line byte by byte, so that what follows stays for the
// next one. When ctx ends it returns at once and the read is left behind until
// the process ends, which it then does.
func readLine(ctx context.Context, r io.Reader) (string, error) {
	type answer struct {
		line string
		err  error
	}
	done := make(chan answer, 1)
	go func() {
		var b strings.Builder
		one := bufio.NewReaderSize(onlyOne{r}, 16)
		for b.Len() <= maxLine {
			c, err := one.ReadByte()
			if err != nil || c == '\n' {
				if errors.Is(err, io.EOF) {
					err = nil
				}
				done <- answer{strings.TrimSuffix(b.String(), "\r"), err}
				return
			}
			b.WriteByte(c)
		}
		done <- answer{"", fmt.Errorf("a line is longer than %d bytes", maxLine)}
	}()
	select {
	case a := <-done:
		return a.line, a.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// onlyOne reads a byte at a time.
type onlyOne struct{ r io.Reader }

func (o onlyOne) Read(p []byte) (int, error) {
	if len(p) > 1 {
		p = p[:1]
	}
	return o.r.Read(p)
}
