package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// figures are what a task found; times are in milliseconds.
type figures map[string]any

// task is one thing to do, for so many seconds:
//
//	requests   100 bytes and their echo, again and again on each of so many open connections;
//	           with "during" (down, up) while one stream copies in that direction
//	connect    connection, first byte, close, one after another; at least once
//	down, up   bytes, on so many connections at once
//	dns        look-ups by so many at once; each of a new name if "fresh"
//	await      one answer, tried for until it comes; with "text", a web server's that begins with it
//	hold       open so many connections, and send 100 bytes over each every 5 s until "release", which says how many failed
type task struct {
	Op          string  `json:"op"`
	Address     string  `json:"address"`
	Seconds     float64 `json:"seconds"`
	Connections int     `json:"connections"`
	During      string  `json:"during"`
	Name        string  `json:"name"`
	Fresh       bool    `json:"fresh"`
	Text        string  `json:"text"`
}

const (
	size    = 100
	patient = 60 * time.Second // a stream that is stuck ends in an error, not in silence
)

var held *holding

func (t task) do() (figures, error) {
	t.Connections = max(t.Connections, 1)
	switch t.Op {
	case "requests":
		if t.During != "" {
			return t.requestsDuring()
		}
		return t.requests()
	case "connect":
		return t.connect()
	case "down", "up":
		return t.bulk()
	case "dns":
		return t.lookUp()
	case "await":
		return t.await()
	case "hold":
		var err error
		held, err = hold(t.Address, t.Connections)
		return figures{"open": t.Connections}, err
	case "release":
		if held == nil {
			return nil, errors.New("nothing is held")
		}
		return figures{"failed": held.release()}, nil
	}
	return nil, fmt.Errorf("what is %q?", t.Op)
}

func (t task) end() time.Time {
	return time.Now().Add(time.Duration(t.Seconds * float64(time.Second)))
}

func dial(address string) (net.Conn, error) {
	connection, err := net.DialTimeout("tcp", address, patient)
	if err == nil {
		err = connection.SetDeadline(time.Now().Add(patient))
	}
	return connection, err
}

// -- requests ----------------------------------------------------------------------------------------------------------

func (t task) requests() (figures, error) {
	connections, err := dialAll(t.Address, t.Connections)
	defer closeAll(connections)
	if err != nil {
		return nil, err
	}
	began, until := time.Now(), t.end()
	times := make([][]time.Duration, len(connections))
	err = each(len(connections), func(i int) (err error) {
		times[i], err = ask(connections[i], until)
		return err
	})
	return summary(slices.Concat(times...), time.Since(began)), err
}

func (t task) requestsDuring() (figures, error) {
	beside := t
	beside.Op, beside.Connections, beside.Seconds = t.During, 1, t.Seconds+0.5
	copied := make(chan error, 1)
	go func() {
		_, err := beside.bulk()
		copied <- err
	}()
	time.Sleep(250 * time.Millisecond) // the copy fills the path first
	found, err := t.requests()
	return found, errors.Join(err, <-copied)
}

// dialAll opens the connections and uses each once: some ways accept before they know whether they get through.
func dialAll(address string, count int) ([]net.Conn, error) {
	connections := make([]net.Conn, 0, count)
	var lock sync.Mutex
	gate := make(chan struct{}, 50)
	err := each(count, func(int) error {
		gate <- struct{}{}
		defer func() { <-gate }()
		connection, err := dial(address)
		if err != nil {
			return err
		}
		lock.Lock()
		connections = append(connections, connection)
		lock.Unlock()
		_, err = roundTrip(connection, make([]byte, size))
		return err
	})
	return connections, err
}

func closeAll(connections []net.Conn) {
	for _, connection := range connections {
		connection.Close()
	}
}

func ask(connection net.Conn, until time.Time) (times []time.Duration, err error) {
	buffer := make([]byte, size)
	connection.SetDeadline(until.Add(patient))
	for time.Now().Before(until) {
		took, err := roundTrip(connection, buffer)
		if err != nil {
			return times, err
		}
		times = append(times, took)
	}
	return times, nil
}

func roundTrip(connection net.Conn, buffer []byte) (time.Duration, error) {
	buffer[0] = forEcho
	began := time.Now()
	if _, err := connection.Write(buffer); err != nil {
		return 0, err
	}
	_, err := io.ReadFull(connection, buffer)
	return time.Since(began), err
}

func (t task) connect() (figures, error) {
	var times []time.Duration
	began, until := time.Now(), t.end()
	for len(times) == 0 || time.Now().Before(until) {
		started := time.Now()
		if err := once(t.Address); err != nil {
			return nil, err
		}
		times = append(times, time.Since(started))
	}
	return summary(times, time.Since(began)), nil
}

func once(address string) error {
	connection, err := dial(address)
	if err != nil {
		return err
	}
	defer connection.Close()
	_, err = roundTrip(connection, make([]byte, 1))
	return err
}

// await tries again every 10 ms: often enough to tell when it begins to answer, too rarely to be a load.
func (t task) await() (figures, error) {
	try := once
	if t.Text != "" {
		try = func(address string) error { return begins(address, t.Text) }
	}
	began, until := time.Now(), t.end()
	for {
		err := try(t.Address)
		if err == nil {
			return figures{"seconds": time.Since(began).Seconds()}, nil
		}
		if time.Now().After(until) {
			return nil, err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

var asking = http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

func begins(address, text string) error {
	answer, err := asking.Get("http://" + address + "/")
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	start := make([]byte, len(text))
	if _, err := io.ReadFull(answer.Body, start); err != nil || string(start) != text {
		return fmt.Errorf("%s answers with %q", address, start)
	}
	return nil
}

// -- bytes -------------------------------------------------------------------------------------------------------------

func (t task) bulk() (figures, error) {
	var bytes atomic.Int64
	began, until := time.Now(), t.end()
	err := each(t.Connections, func(int) error {
		connection, err := dial(t.Address)
		if err != nil {
			return err
		}
		defer connection.Close()
		connection.SetDeadline(until.Add(patient))
		carry := fetch
		if t.Op == "up" {
			carry = push
		}
		count, err := carry(connection, until)
		bytes.Add(count)
		return err
	})
	took := time.Since(began).Seconds()
	return figures{"bytes": bytes.Load(), "seconds": took, "rate": float64(bytes.Load()) / 1e6 / took}, err
}

// fetch reads until it is time, says so, and reads what is still under way: that, too, has been carried.
func fetch(connection net.Conn, until time.Time) (count int64, err error) {
	if _, err := connection.Write([]byte{forDown}); err != nil {
		return 0, err
	}
	buffer := make([]byte, 256<<10)
	said := false
	for {
		n, err := connection.Read(buffer)
		count += int64(n)
		if err == io.EOF && said {
			return count, nil
		}
		if err != nil {
			return count, err
		}
		if !said && time.Now().After(until) {
			said = true
			if _, err := connection.Write([]byte{'.'}); err != nil {
				return count, err
			}
		}
	}
}

// push is done when the server says that it has all.
func push(connection net.Conn, until time.Time) (int64, error) {
	if _, err := connection.Write([]byte{forUp}); err != nil {
		return 0, err
	}
	chunk := make([]byte, block)
	for chunk[0] == 0 {
		if time.Now().After(until) {
			chunk[0] = 1
		}
		if _, err := connection.Write(chunk); err != nil {
			return 0, err
		}
	}
	counted := make([]byte, 8)
	_, err := io.ReadFull(connection, counted)
	return int64(binary.BigEndian.Uint64(counted)), err
}

// -- open connections ----------------------------------------------------------------------------------------------------

type holding struct {
	connections []net.Conn
	over        chan struct{}
	failed      atomic.Int64
	users       sync.WaitGroup
}

func hold(address string, count int) (*holding, error) {
	connections, err := dialAll(address, count)
	h := &holding{connections: connections, over: make(chan struct{})}
	for i, connection := range connections {
		h.users.Add(1)
		go h.use(connection, time.Duration(i)*5*time.Second/time.Duration(count))
	}
	return h, err
}

func (h *holding) use(connection net.Conn, after time.Duration) {
	defer h.users.Done()
	buffer := make([]byte, size)
	wait := after
	for {
		select {
		case <-h.over:
			return
		case <-time.After(wait):
		}
		wait = 5 * time.Second
		connection.SetDeadline(time.Now().Add(patient))
		if _, err := roundTrip(connection, buffer); err != nil {
			h.failed.Add(1)
			return
		}
	}
}

func (h *holding) release() int64 {
	close(h.over)
	h.users.Wait()
	closeAll(h.connections)
	return h.failed.Load()
}

// -- helpers -------------------------------------------------------------------------------------------------------------

// each runs so many at once; their errors, the first of them, since they are mostly the same.
func each(count int, do func(int) error) error {
	failures := make(chan error, count)
	for i := range count {
		go func() { failures <- do(i) }()
	}
	var first error
	failed := 0
	for range count {
		if err := <-failures; err != nil {
			failed++
			first = err
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d failed: %w", failed, count, first)
	}
	return nil
}

func summary(times []time.Duration, took time.Duration) figures {
	if len(times) == 0 {
		return figures{"error": "nothing was answered in time"}
	}
	slices.Sort(times)
	part := func(share float64) float64 {
		at := min(int(float64(len(times))*share), len(times)-1)
		return float64(times[at]) / 1e6
	}
	return figures{
		"count": len(times), "seconds": took.Seconds(), "rate": float64(len(times)) / took.Seconds(),
		"p50": part(0.5), "p99": part(0.99),
	}
}
