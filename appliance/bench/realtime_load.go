package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// loadCommand is the word that makes this program the load client: a process
// of its own, so that its cpu can be told from the server's. It takes orders on
// its standard input and reports on its standard output, a JSON line each.
const loadCommand = "realtime-load"

// order is what the load client is told to do.
type order struct {
	Do string

	// setup
	Addr    string
	Tokens  []string // of the users, shared out in turn
	Publish string   // the token for publishing

	// open
	Kind      string // ws or sse
	Count     int    // connections in all
	Positions bool
	Slow      bool // one that is not read, beside the others

	// closed, burst, paced
	Seconds    float64
	Events     int
	Rate       int
	Publishers int
	Pad        int     // bytes added to each event
	Churn      float64 // part of the connections that come anew each second
	UntilCut   bool    // closed: on until the slow one was cut, and then Seconds
}

// report is what came of an order. Times are in nanoseconds.
type report struct {
	Error   string
	Elapsed time.Duration
	CPU     time.Duration // of the load client, user and system

	Events, Deliveries            int
	Lost, Duplicate, Reordered    int
	P50, P99, Most                time.Duration
	Published                     time.Duration // until the last event was acknowledged
	Reads                         int           // calls that returned data
	Reconnects, Recovered, Behind int
	Cut                           time.Duration // until the slow one was cut
	P99Cut                        time.Duration // of the time until then
	Closed                        map[string]int
}

// load is the client: one thread, one epoll, no allocation for an event.
type load struct {
	setup    order
	ep       int
	ready    [512]unix.EpollEvent
	buf      [64 << 10]byte
	say      []byte // what is being sent
	patience time.Duration
	ordered  bool // an order waits on the standard input

	conns   []conn
	opening int
	wanted  int // next slot to open
	live    int
	refused error
	slow    *conn
	closed  map[string]int

	pubs     []publisher
	number   [publishers]int // of the last event of each publisher
	unsaid   int             // events without an answer
	publish  error
	template []byte
	bodyAt   int
	poked    time.Time

	place      place
	seen       []uint32 // by slot and publisher: the last event's number
	times      histogram
	deliveries int
	gaps, back int
	current    int64 // what the closed loop waits for
	missing    int   // connections that do not have it
	reads      int
	recovered  int
	behind     int
}

func newLoad() (*load, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	return &load{ep: ep, patience: stall, closed: map[string]int{}}, nil
}

// runLoad is the load client's main.
func runLoad() error {
	runtime.LockOSThread()
	debug.SetGCPercent(-1) // nothing is allocated while it is measured
	debug.SetMemoryLimit(512 << 20)
	l, err := newLoad()
	if err != nil {
		return err
	}
	orders := bufio.NewReaderSize(os.Stdin, 64<<10)
	if err := l.watch(0, stdinID, 0, unix.EPOLLIN); err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	for {
		// Pings are answered while nothing is ordered.
		for l.ordered = false; !l.ordered; {
			if err := l.poll(time.Second); errors.Is(err, errAlone) {
				return nil
			} else if err != nil {
				return err
			}
		}
		line, err := orders.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read an order: %w", err)
		}
		var o order
		if err := json.Unmarshal(line, &o); err != nil {
			return fmt.Errorf("read an order: %w", err)
		}
		if err := out.Encode(l.obey(o)); err != nil {
			return fmt.Errorf("report: %w", err)
		}
	}
}

// A client that wakes for each frame makes the server pay for waking it with
// each write. So after less than a crowd it naps, which adds up to 0.15 ms to
// the latencies and takes a third off the cpu of both.
const (
	nap   = 100 * time.Microsecond
	crowd = 64
)

func (l *load) obey(o order) report {
	var r report
	l.closed = map[string]int{}
	used := cpuTime()
	begin := time.Now()
	err := l.do(o, &r)
	if r.Elapsed == 0 {
		r.Elapsed = time.Since(begin)
	}
	r.CPU = cpuTime() - used
	r.Closed = l.closed
	if err != nil {
		r.Error = err.Error()
	}
	return r
}

func (l *load) do(o order, r *report) error {
	switch o.Do {
	case "setup":
		l.setup = o
		return nil
	case "open":
		if o.Slow {
			return l.openSlow()
		}
		return l.open(o)
	case "closed":
		return l.measure(o, r, l.runClosed)
	case "burst":
		return l.measure(o, r, l.runBurst)
	case "paced":
		return l.measure(o, r, l.runPaced)
	}
	return fmt.Errorf("unknown order %q", o.Do)
}

// errAlone means that nobody is there to report to.
var errAlone = errors.New("the standard input has ended")

// What epoll knows things by: slots of connections, and these.
const (
	stdinID     = 1 << 30
	slowID      = stdinID + 1
	publisherID = 1 << 29
)

func (l *load) watch(fd, id, gen int32, events uint32) error {
	if err := unix.EpollCtl(l.ep, unix.EPOLL_CTL_ADD, int(fd), &unix.EpollEvent{Events: events, Fd: id, Pad: gen}); err != nil {
		return fmt.Errorf("watch a socket: %w", err)
	}
	return nil
}

// poll waits for at most d and handles what has come.
func (l *load) poll(d time.Duration) error {
	wait := (max(d, 0) + time.Millisecond - 1) / time.Millisecond
	// Raw calls here and below: nothing else has to run in this process while
	// they block, and the scheduler would look after them all the time.
	r, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(l.ep), uintptr(unsafe.Pointer(&l.ready[0])), uintptr(len(l.ready)), uintptr(wait), 0, 0)
	if errno == unix.EINTR {
		return nil
	}
	if errno != 0 {
		return fmt.Errorf("epoll: %w", errno)
	}
	n := int(r)
	for i := range n {
		e := &l.ready[i]
		switch {
		case e.Fd < publisherID:
			if c := &l.conns[e.Fd]; c.gen == e.Pad && c.state != stateClosed {
				l.serve(c, int(e.Fd), e.Events)
			}
		case e.Fd == stdinID:
			if l.ordered = true; e.Events&unix.EPOLLIN == 0 {
				return errAlone
			}
		case e.Fd == slowID:
			l.serve(l.slow, slowSlot, e.Events)
		default:
			l.answer(&l.pubs[e.Fd-publisherID])
		}
	}
	if n > 0 && n < crowd {
		pause := unix.Timespec{Nsec: int64(nap)}
		_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&pause)), 0, 0)
	}
	return nil
}

// stall is how long nothing may move before a run gives up.
const stall = 10 * time.Second

// closeAll ends all connections.
func (l *load) closeAll() {
	for i := range l.conns {
		if c := &l.conns[i]; c.state != stateClosed {
			_ = unix.Close(int(c.fd))
			c.state = stateClosed
		}
	}
	if l.slow != nil && l.slow.state != stateClosed {
		_ = unix.Close(int(l.slow.fd))
	}
	_ = unix.Close(l.ep)
}

// start empties the counts before a measured run.
func (l *load) start() {
	l.times.reset()
	l.deliveries, l.gaps, l.back, l.reads, l.recovered, l.behind, l.unsaid = 0, 0, 0, 0, 0, 0, 0
	l.publish = nil
	for i := range l.conns {
		l.conns[i].count, l.conns[i].hash = 0, 0
	}
}

// measure wraps a run into what all have in common.
func (l *load) measure(o order, r *report, run func(order, *report) error) error {
	if l.live == 0 || l.live != len(l.conns) {
		return fmt.Errorf("%d of %d connections are open", l.live, len(l.conns))
	}
	if err := l.openPublishers(max(o.Publishers, 1), o.Pad); err != nil {
		return err
	}
	defer l.closePublishers()
	l.start()
	err := run(o, r)
	r.Deliveries, r.Reads = l.deliveries, l.reads
	r.P50, r.P99, r.Most = l.times.percentile(50), l.times.percentile(99), time.Duration(l.times.most)
	r.Recovered, r.Behind = l.recovered, l.behind
	l.account(r)
	if err == nil {
		err = l.publish
	}
	if err == nil && l.refused != nil {
		err = l.refused
	}
	return err
}

// account compares what every connection got with what was published. Where
// none has lost or doubled anything, the order of all must be one.
func (l *load) account(r *report) {
	orders := map[uint64]int{}
	complete := 0
	for i := range l.conns {
		switch got := int(l.conns[i].count); {
		case got < r.Events:
			r.Lost += r.Events - got
		case got > r.Events:
			r.Duplicate += got - r.Events
		default:
			orders[l.conns[i].hash]++
			complete++
		}
	}
	most := 0
	for _, n := range orders {
		most = max(most, n)
	}
	r.Reordered = l.back + complete - most
	if l.gaps > 0 && r.Lost == 0 {
		r.Reordered = max(r.Reordered, l.gaps)
	}
}

// cpuTime is what this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// loadMain is the entry of the processes that the bench starts of itself; ok
// is false when this is not one.
func loadMain(args []string) (ok bool, err error) {
	if len(args) < 2 || !strings.HasPrefix(args[1], "realtime-") {
		return false, nil
	}
	switch args[1] {
	case loadCommand:
		return true, runLoad()
	case bareCommand:
		return true, runBare()
	}
	return true, fmt.Errorf("unknown command %s", args[1])
}
