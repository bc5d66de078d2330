// cable joins two network namespaces by a pair of TAP devices, with delay and loss, for kernels without netem.
//
//	cable NAMESPACE_A NAMESPACE_B DEVICE DELAY_MS LOSS_PERCENT
//
// The namespaces are paths such as /run/netns/NAME; in each it makes DEVICE. Delay and loss hold for each
// direction, so a round trip takes twice the delay. It prints "up" when the devices are there. They go when it
// ends, however it ends.
//
// A link without loss carries what TCP gives it at once, up to 64 KiB, as one frame (the devices say that they cut and
// sum up themselves, and neither does): frame by frame of 1500 bytes the cable took more of a processor than all that
// was to be measured over it. A link with loss carries, and loses, single packets.
package main

import (
	"fmt"
	"log"
	"math/rand"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

const (
	iffTap     = 0x0002
	iffNoPI    = 0x1000
	iffVnetHdr = 0x4000 // each frame follows a struct virtio_net_hdr, which says how it is to be cut
	tunSetIff  = 0x400454ca
	tunSetOff  = 0x400454d0 // TUNSETOFFLOAD
	tunOffload = 0x07       // TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6
	setnsAMD64 = 308
	setnsARM64 = 268
	// Bytes in flight, as much as 1 s at 240 Mbit/s, and frames. What does not fit is lost, as on a real link.
	bytesInFlight  = 30_000_000
	framesInFlight = 20_000
	largestFrame   = 10 + 14 + 65535 // virtio_net_hdr, Ethernet, IP
	// Sleeping for less costs more than it gives: timers wake up late by about as much.
	sleepAtLeast = 50 * time.Microsecond
)

type frame struct {
	due  time.Time
	data []byte
}

// tapIn makes a TAP device in the namespace, for frames as a whole or for packets. A descriptor stays with its device,
// whichever namespace reads it.
func tapIn(namespace, name string, whole bool) (*os.File, error) {
	// The thread stays locked, and so ends with this goroutine: it must not run others in that namespace.
	type result struct {
		file *os.File
		err  error
	}
	made := make(chan result)
	go func() {
		runtime.LockOSThread()
		file, err := openTap(namespace, name, whole)
		made <- result{file, err}
	}()
	r := <-made
	return r.file, r.err
}

func openTap(namespace, name string, whole bool) (*os.File, error) {
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
	*(*uint16)(unsafe.Pointer(&request[16])) = iffTap | iffNoPI | iffVnetHdr
	if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), tunSetIff, uintptr(unsafe.Pointer(&request[0]))); e != 0 {
		return nil, fmt.Errorf("make %s in %s: %w", name, namespace, e)
	}
	if whole {
		if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), tunSetOff, tunOffload); e != 0 {
			return nil, fmt.Errorf("have %s in %s take large frames: %w", name, namespace, e)
		}
	}
	if err := syscall.SetNonblock(fd, true); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// carry takes frames from a to b, each after the delay. It returns when a can't be read.
func carry(a, b *os.File, delay time.Duration, loss float64) error {
	queue := make(chan frame, framesInFlight)
	var bytes atomic.Int64
	go func() {
		for f := range queue {
			if wait := time.Until(f.due); wait > sleepAtLeast {
				time.Sleep(wait)
			}
			b.Write(f.data) // a device that is down loses frames, as a cable that is pulled out
			bytes.Add(-int64(len(f.data)))
		}
	}()
	buffer := make([]byte, largestFrame)
	for {
		n, err := a.Read(buffer)
		if err != nil {
			return err
		}
		if rand.Float64()*100 < loss || bytes.Load() > bytesInFlight {
			continue
		}
		select {
		case queue <- frame{time.Now().Add(delay), append([]byte(nil), buffer[:n]...)}:
			bytes.Add(int64(n))
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
	a, err := tapIn(os.Args[1], os.Args[3], loss == 0)
	if err != nil {
		log.Fatal(err)
	}
	b, err := tapIn(os.Args[2], os.Args[3], loss == 0)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("up")
	ended := make(chan error)
	go func() { ended <- carry(a, b, delay, loss) }()
	go func() { ended <- carry(b, a, delay, loss) }()
	log.Fatal(<-ended)
}
