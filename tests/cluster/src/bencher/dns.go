package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"time"
)

// lookUp asks the first nameserver of resolv.conf for the address of a name. A fresh one is that of a pod that need not
// be (10-1-2-3.NAMESPACE.pod.DOMAIN), which CoreDNS answers from the name alone: new to every cache, and never NXDOMAIN.
func (t task) lookUp() (figures, error) {
	server, err := nameserver()
	if err != nil {
		return nil, err
	}
	began, until := time.Now(), t.end()
	times := make([][]time.Duration, t.Connections)
	err = each(t.Connections, func(i int) (err error) {
		socket, err := net.Dial("udp", net.JoinHostPort(server, "53"))
		if err != nil {
			return err
		}
		defer socket.Close()
		for time.Now().Before(until) {
			name := t.Name
			if t.Fresh {
				name = fmt.Sprintf("10-%d-%d-%d.%s", rand.N(256), rand.N(256), rand.N(256), t.Name)
			}
			started := time.Now()
			if err := resolve(socket, name); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			times[i] = append(times[i], time.Since(started))
		}
		return nil
	})
	return summary(slices.Concat(times...), time.Since(began)), err
}

func nameserver() (string, error) {
	file, err := os.Open("/etc/resolv.conf")
	if err != nil {
		return "", err
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if words := strings.Fields(lines.Text()); len(words) == 2 && words[0] == "nameserver" {
			return words[1], nil
		}
	}
	return "", errors.New("/etc/resolv.conf names no nameserver")
}

// resolve sends a query (RFC 1035, 4.1) and waits for its answer, which must have a record.
func resolve(socket net.Conn, name string) error {
	id := uint16(rand.N(1 << 16))
	query := binary.BigEndian.AppendUint16(nil, id)
	query = append(query, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0) // recursion desired, one question
	for label := range strings.SplitSeq(strings.TrimSuffix(name, "."), ".") {
		query = append(append(query, byte(len(label))), label...)
	}
	query = append(query, 0, 0, 1, 0, 1) // the root; A, IN
	if _, err := socket.Write(query); err != nil {
		return err
	}
	socket.SetReadDeadline(time.Now().Add(5 * time.Second))
	answer := make([]byte, 1500)
	for {
		n, err := socket.Read(answer)
		if err != nil {
			return err
		}
		if n < 12 || binary.BigEndian.Uint16(answer) != id {
			continue
		}
		if code, records := answer[3]&15, binary.BigEndian.Uint16(answer[6:]); code != 0 || records == 0 {
			return fmt.Errorf("answered with code %d and %d records", code, records)
		}
		return nil
	}
}
