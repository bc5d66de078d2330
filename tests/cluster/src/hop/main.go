// hop relays connections from one network namespace into another.
//
//	hop HOST:PORT
//
// Descriptor 3 is a listening socket. It was made in another namespace than the one that hop runs in, and a socket
// stays in the namespace in which it was made; so connections come in there, and go out to HOST:PORT here.
package main

import (
	"io"
	"log"
	"net"
	"os"
)

func main() {
	log.SetFlags(log.LstdFlags)
	listener, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		log.Fatal(err)
	}
	for {
		incoming, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go relay(incoming.(*net.TCPConn), os.Args[1])
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
