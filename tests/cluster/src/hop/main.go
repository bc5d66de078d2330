// hop relays connections from one network namespace into another.
//
//	hop DESCRIPTOR HOST:PORT
//
// DESCRIPTOR is a listening socket. It was made in another namespace than the one that hop runs in, and a socket
// stays in the namespace in which it was made; so connections come in there, and go out to HOST:PORT here.
package main

import (
	"io"
	"log"
	"net"
	"os"
	"strconv"
)

func main() {
	log.SetFlags(log.LstdFlags)
	if len(os.Args) != 3 {
		log.Fatal("usage: hop DESCRIPTOR HOST:PORT")
	}
	descriptor, err := strconv.ParseUint(os.Args[1], 10, 32)
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.FileListener(os.NewFile(uintptr(descriptor), "listener"))
	if err != nil {
		log.Fatal(err)
	}
	for {
		incoming, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go relay(incoming.(*net.TCPConn), os.Args[2])
	}
}

func relay(incoming *net.TCPConn, address string) {
	defer incoming.Close()
	dialed, err := net.Dial("tcp", address)
	if err != nil {
		log.Print(err)
		return
	}
	defer dialed.Close()
	outgoing := dialed.(*net.TCPConn)
	done := make(chan struct{})
	go func() {
		io.Copy(outgoing, incoming)
		outgoing.CloseWrite()
		close(done)
	}()
	io.Copy(incoming, outgoing)
	incoming.CloseWrite()
	<-done
}
