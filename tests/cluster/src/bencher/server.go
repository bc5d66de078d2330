package main

import (
	"encoding/binary"
	"io"
	"log"
	"net"
)

// What a connection is for, said by its first byte:
//
//	E   all that comes is sent back, this byte too
//	D   bytes are sent until another byte comes; then the connection is closed
//	U   blocks are read, the last one of which begins with a 1; then 8 bytes say how many bytes there were
const (
	forEcho = 'E'
	forDown = 'D'
	forUp   = 'U'
)

const block = 64 << 10

func listen(port string) net.Listener {
	listener, err := net.Listen("tcp", ":"+port)
	if err != nil {
		log.Fatal(err)
	}
	return listener
}

func serve(listener net.Listener) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			defer connection.Close()
			answer(connection)
		}()
	}
}

func answer(connection net.Conn) {
	buffer := make([]byte, 4096)
	n, err := connection.Read(buffer)
	if err != nil {
		return
	}
	switch buffer[0] {
	case forDown:
		send(connection)
	case forUp:
		receive(connection, buffer[1:n])
	default:
		for err == nil {
			if _, err = connection.Write(buffer[:n]); err == nil {
				n, err = connection.Read(buffer)
			}
		}
	}
}

func send(connection net.Conn) {
	enough := make(chan struct{})
	go func() {
		defer close(enough)
		io.ReadFull(connection, make([]byte, 1))
	}()
	chunk := make([]byte, block)
	for {
		select {
		case <-enough:
			return
		default:
			if _, err := connection.Write(chunk); err != nil {
				return
			}
		}
	}
}

func receive(connection net.Conn, begun []byte) {
	chunk := make([]byte, block)
	already := copy(chunk, begun)
	var count uint64
	for last := false; !last; already = 0 {
		if _, err := io.ReadFull(connection, chunk[already:]); err != nil {
			return
		}
		last = chunk[0] == 1
		count += block
	}
	connection.Write(binary.BigEndian.AppendUint64(nil, count))
}
