// bencher is both ends of what `make bench` measures: a server, and a client that is told over its stdin what to do.
//
//	bencher serve PORT      answer, until killed
//	bencher agent [PORT]    read one JSON task a line, write one JSON result a line; with PORT serve on it, too
//
// The same program is in the pod, on the laptop and in bridge's sandbox, so what differs between two figures is the way
// between the ends. See server.go for what the server answers, tasks.go for the tasks.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log"
	"os"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 2 {
		log.Fatal("usage: bencher serve PORT | bencher agent [PORT]")
	}
	switch {
	case os.Args[1] == "serve" && len(os.Args) == 3:
		serve(listen(os.Args[2]))
	case os.Args[1] == "agent":
		if len(os.Args) == 3 {
			go serve(listen(os.Args[2]))
		}
		work()
	default:
		log.Fatalf("what is %q?", os.Args[1:])
	}
}

// work does one task after another, until stdin ends.
func work() {
	lines := bufio.NewScanner(os.Stdin)
	fmt.Println("ready")
	for lines.Scan() {
		var asked task
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			log.Fatalf("%s: %v", lines.Text(), err)
		}
		found, err := asked.do()
		if err != nil {
			found = figures{"error": err.Error()}
		}
		if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
			log.Fatal(err)
		}
	}
}
