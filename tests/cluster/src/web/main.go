// web is what end-to-end tests run in pods: an HTTP server (1.1 and cleartext 2), a TCP echo, and a static Go client.
//
//	web                    serve HTTP on PORT (8080), and echo TCP on ECHO_PORT if that is set
//	web fetch URL...       print the bodies (a client with Go's own resolver: no libc)
//
//	/                      one line: host, VERSION, the peer, method, path, the body's length and its start
//	/echo                  the request's body, streamed back while it comes in
//	/bytes?n=N             N bytes
//	/slow?ms=N             answers after N milliseconds
//	/status?code=N         answers N
//	/ready[?set=0|1]       200 or 503
//	/env  /headers         as JSON
//	/fetch?url=URL         what URL answers to this pod
//
// Settings: VERSION, PORT, ECHO_PORT, LOG_TICK (seconds between log lines), STARTUP (seconds until it listens, which may
// be a fraction).
//
// On SIGTERM it dies at once, whatever connections and requests are open, as many programs do: Go's runtime ends a
// program that handles no signals. So it is the rudest of originals: what still comes to it then is lost.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"
)

var ready atomic.Bool

func main() {
	if len(os.Args) > 2 && os.Args[1] == "fetch" {
		fetchAll(os.Args[2:])
		return
	}
	log.SetFlags(log.LstdFlags | log.Lmicroseconds)
	ready.Store(true)
	if startup, err := strconv.ParseFloat(os.Getenv("STARTUP"), 64); err == nil {
		time.Sleep(time.Duration(startup * float64(time.Second)))
	}
	if port := os.Getenv("ECHO_PORT"); port != "" {
		go echoTCP(port)
	}
	if seconds := number(os.Getenv("LOG_TICK"), 0); seconds > 0 {
		go tick(time.Duration(seconds) * time.Second)
	}
	server := &http.Server{Addr: ":" + port(), Handler: routes(), Protocols: new(http.Protocols)}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	log.Printf("web version=%q on %s", os.Getenv("VERSION"), server.Addr)
	log.Fatal(server.ListenAndServe())
}

func routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("/", describe)
	mux.HandleFunc("/echo", echo)
	mux.HandleFunc("/bytes", bytesOf)
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(time.Duration(number(r.URL.Query().Get("ms"), 1000)) * time.Millisecond)
		fmt.Fprintln(w, "slow")
	})
	mux.HandleFunc("/status", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(number(r.URL.Query().Get("code"), 200))
	})
	mux.HandleFunc("/ready", readiness)
	mux.HandleFunc("/env", func(w http.ResponseWriter, r *http.Request) { json.NewEncoder(w).Encode(os.Environ()) })
	mux.HandleFunc("/headers", func(w http.ResponseWriter, r *http.Request) { json.NewEncoder(w).Encode(r.Header) })
	mux.HandleFunc("/fetch", fetch)
	return mux
}

func describe(w http.ResponseWriter, r *http.Request) {
	host, _ := os.Hostname()
	start := make([]byte, 64)
	n, _ := io.ReadFull(r.Body, start)
	rest, _ := io.Copy(io.Discard, r.Body)
	log.Printf("%s %s %s body=%d", r.RemoteAddr, r.Method, r.URL, int64(n)+rest)
	fmt.Fprintf(w, "host=%s version=%s from=%s %s %s %s length=%d body=%q\n",
		host, os.Getenv("VERSION"), r.RemoteAddr, r.Proto, r.Method, r.URL, int64(n)+rest, start[:n])
}

// echo streams. HTTP/1.1 servers read the whole body before they answer, unless told that both may happen at once.
func echo(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor == 1 {
		if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
			log.Print(err)
		}
	}
	if r.ContentLength >= 0 {
		w.Header().Set("Content-Length", strconv.FormatInt(r.ContentLength, 10))
	}
	if _, err := io.Copy(w, r.Body); err != nil {
		log.Printf("echo: %v", err)
	}
}

func bytesOf(w http.ResponseWriter, r *http.Request) {
	n := number(r.URL.Query().Get("n"), 0)
	w.Header().Set("Content-Length", strconv.Itoa(n))
	chunk := make([]byte, 64<<10)
	for i := range chunk {
		chunk[i] = 'a' + byte(i%26)
	}
	for ; n > 0; n -= len(chunk) {
		if _, err := w.Write(chunk[:min(n, len(chunk))]); err != nil {
			return
		}
	}
}

func readiness(w http.ResponseWriter, r *http.Request) {
	if set := r.URL.Query().Get("set"); set != "" {
		ready.Store(set == "1")
	}
	if !ready.Load() {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	fmt.Fprintf(w, "ready=%v\n", ready.Load())
}

func fetch(w http.ResponseWriter, r *http.Request) {
	client := http.Client{Timeout: 5 * time.Second}
	answer, err := client.Get(r.URL.Query().Get("url"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer answer.Body.Close()
	w.WriteHeader(answer.StatusCode)
	io.Copy(w, answer.Body)
}

// echoTCP gives back what it gets, and after a half-close closes its own half last.
func echoTCP(port string) {
	listener, err := net.Listen("tcp", ":"+port)
	if err != nil {
		log.Fatal(err)
	}
	for {
		connection, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			defer connection.Close()
			io.Copy(connection, connection)
		}()
	}
}

func tick(every time.Duration) {
	for i := 0; ; i++ {
		log.Printf("tick %d", i)
		time.Sleep(every)
	}
}

func fetchAll(urls []string) {
	client := http.Client{Timeout: 10 * time.Second}
	for _, url := range urls {
		answer, err := client.Get(url)
		if err != nil {
			log.Fatal(err)
		}
		if _, err := io.Copy(os.Stdout, answer.Body); err != nil {
			log.Fatal(err)
		}
		answer.Body.Close()
	}
}

func port() string {
	if port := os.Getenv("PORT"); port != "" {
		return port
	}
	return "8080"
}

func number(text string, otherwise int) int {
	if n, err := strconv.Atoi(text); err == nil {
		return n
	}
	return otherwise
}
