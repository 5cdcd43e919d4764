package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

const nonceBytes = 32

// proved takes the sealer's proof of the credential and answers with the worker's own; neither sends the credential.
func proved(link net.Conn, credential []byte, theirs any, ours []byte) bool {
	client, _ := theirs.([]byte)
	mac := func(role string) []byte {
		sum := hmac.New(sha256.New, credential)
		sum.Write(slices.Concat([]byte(role), client, ours))
		return sum.Sum(nil)
	}
	auth := receive(link)
	given, _ := auth["mac"].([]byte)
	if auth["type"] != "auth" || len(client) != nonceBytes || !hmac.Equal(given, mac("sealer")) {
		return false
	}
	send(link, object{"type": "auth", "mac": mac("worker")})
	return true
}

// listen serves one connection after the other, each from a process of the user that signerd runs as.
func listen(path, file string, uid int) error {
	credential, err := os.ReadFile(file)
	if err != nil || len(credential) < 32 || len(credential) > 4096 {
		return errors.Join(errors.New("-credential must name a file of 32 to 4096 bytes"), err)
	}
	folder, err := os.Stat(filepath.Dir(path))
	if err != nil || folder.Mode().Perm()&0o022 != 0 {
		return errors.Join(errors.New("-socket must lie in a folder that is closed to other writers"), err)
	}
	os.Remove(path) // of a worker that was here before
	syscall.Umask(0o177)
	if uid != os.Getuid() {
		syscall.Umask(0o111) // the folder keeps others out, and what the kernel says of a peer
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return err
	}
	free := make(chan bool, 1)
	free <- true
	for {
		link, err := listener.AcceptUnix()
		if err != nil {
			return err
		}
		if user(link) != uid {
			link.Close()
			continue
		}
		select {
		case <-free:
			go func() {
				serve(link, credential)
				free <- true
			}()
		case <-time.After(time.Second / 2): // the connection before may be ending just now
			fail(link, nil, "key.backend_unavailable", "worker_taken")
			link.Close()
		}
	}
}

// user returns the uid of the process at the other end, as the kernel knows it; -1 where it does not tell.
func user(link *net.UnixConn) int {
	uid := -1
	if raw, err := link.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) {
			if peer, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED); err == nil {
				uid = int(peer.Uid)
			}
		})
	}
	return uid
}
