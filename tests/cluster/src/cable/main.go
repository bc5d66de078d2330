// cable joins two network namespaces by a pair of TAP devices, with delay and loss, for kernels without netem.
//
//	cable NAMESPACE_A NAMESPACE_B DEVICE DELAY_MS LOSS_PERCENT
//
// The namespaces are paths such as /run/netns/NAME; in each it makes DEVICE. Delay and loss hold for each
// direction, so a round trip takes twice the delay. It prints "up" when the devices are there. They go when it
// ends, however it ends.
package main

import (
	"fmt"
	"log"
	"math/rand"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"
	"unsafe"
)

const (
	iffTap     = 0x0002
	iffNoPI    = 0x1000
	tunSetIff  = 0x400454ca
	setnsAMD64 = 308
	setnsARM64 = 268
	// What is in flight: at 1500 bytes about 30 MB, as much as 1 s at 240 Mbit/s. What does not fit is lost, as on a
	// real link.
	inFlight = 20_000
	// Sleeping for less costs more than it gives: timers wake up late by about as much.
	sleepAtLeast = 50 * time.Microsecond
)

type frame struct {
	due  time.Time
	data []byte
}

// tapIn makes a TAP device in the namespace. A descriptor stays with its device, whichever namespace reads it.
func tapIn(namespace, name string) (*os.File, error) {
	// The thread stays locked, and so ends with this goroutine: it must not run others in that namespace.
	type result struct {
		file *os.File
		err  error
	}
	made := make(chan result)
	go func() {
		runtime.LockOSThread()
		file, err := openTap(namespace, name)
		made <- result{file, err}
	}()
	r := <-made
	return r.file, r.err
}

func openTap(namespace, name string) (*os.File, error) {
	ns, err := os.Open(namespace)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	setns := uintptr(setnsAMD64)
	if runtime.GOARCH == "arm64" {
		setns = setnsARM64
	}
	if _, _, e := syscall.RawSyscall(setns, ns.Fd(), syscall.CLONE_NEWNET, 0); e != 0 {
		return nil, fmt.Errorf("enter %s: %w", namespace, e)
	}
	fd, err := syscall.Open("/dev/net/tun", syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/net/tun: %w", err)
	}
	var request [40]byte // struct ifreq: the name, then the flags
	copy(request[:15], name)
	*(*uint16)(unsafe.Pointer(&request[16])) = iffTap | iffNoPI
	if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), tunSetIff, uintptr(unsafe.Pointer(&request[0]))); e != 0 {
		return nil, fmt.Errorf("make %s in %s: %w", name, namespace, e)
	}
	if err := syscall.SetNonblock(fd, true); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// carry takes frames from a to b, each after the delay. It returns when a can't be read.
func carry(a, b *os.File, delay time.Duration, loss float64) error {
	queue := make(chan frame, inFlight)
	go func() {
		for f := range queue {
			if wait := time.Until(f.due); wait > sleepAtLeast {
				time.Sleep(wait)
			}
			b.Write(f.data) // a device that is down loses frames, as a cable that is pulled out
		}
	}()
	for {
		buffer := make([]byte, 2048)
		n, err := a.Read(buffer)
		if err != nil {
			return err
		}
		if rand.Float64()*100 < loss {
			continue
		}
		select {
		case queue <- frame{time.Now().Add(delay), buffer[:n]}:
		default:
		}
	}
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 6 {
		log.Fatal("usage: cable NAMESPACE_A NAMESPACE_B DEVICE DELAY_MS LOSS_PERCENT")
	}
	milliseconds, err := strconv.ParseFloat(os.Args[4], 64)
	if err != nil {
		log.Fatal(err)
	}
	loss, err := strconv.ParseFloat(os.Args[5], 64)
	if err != nil {
		log.Fatal(err)
	}
	delay := time.Duration(milliseconds * float64(time.Millisecond))
	a, err := tapIn(os.Args[1], os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	b, err := tapIn(os.Args[2], os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("up")
	ended := make(chan error)
	go func() { ended <- carry(a, b, delay, loss) }()
	go func() { ended <- carry(b, a, delay, loss) }()
	log.Fatal(<-ended)
}
