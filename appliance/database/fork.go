package database

import (
	"os/exec"
	"runtime"
	"sync"
)

// forker starts children from one OS thread that lives as long as it does. The
// kernel ties a parent-death signal to the thread that forked, not to the
// process: from any other goroutine a child could be signalled whenever the Go
// runtime retires a thread.
type forker struct {
	requests chan forkRequest
	quit     chan struct{}
	once     sync.Once
	done     chan struct{}
}

type forkRequest struct {
	cmd   *exec.Cmd
	reply chan error
}

func newForker() *forker {
	f := &forker{requests: make(chan forkRequest), quit: make(chan struct{}), done: make(chan struct{})}
	go f.run()
	return f
}

func (f *forker) run() {
	defer close(f.done)
	// Never unlocked: the thread ends with this goroutine, when no child is
	// left that it could take down.
	runtime.LockOSThread()
	for {
		select {
		case r := <-f.requests:
			r.reply <- r.cmd.Start()
		case <-f.quit:
			return
		}
	}
}

// start starts cmd on the forker's thread.
func (f *forker) start(cmd *exec.Cmd) error {
	r := forkRequest{cmd: cmd, reply: make(chan error, 1)}
	select {
	case f.requests <- r:
		return <-r.reply
	case <-f.quit:
		return errStopped
	}
}

// close ends the thread; children that still live get their parent-death
// signal.
func (f *forker) close() {
	f.once.Do(func() { close(f.quit) })
	<-f.done
}
