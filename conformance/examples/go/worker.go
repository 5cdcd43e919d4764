// A key worker of signerd with P-256 keys (docs/protocol.md, Worker protocol): go:NAME is the file NAME.pem, PKCS#8, in the
// folder -keys. signerd's peer is at descriptor -fd N, or comes to -socket PATH and proves that it has the -credential.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"
)

var (
	folder    = flag.String("keys", ".", "folder of the keys, each NAME.pem with mode 0600")
	reference = regexp.MustCompile(`^go:([a-z0-9][a-z0-9-]{0,63})$`)
)

// find reads a key anew each time, and describes it. Whoever asks for a signature hands over the SHA-256 of the message.
func find(named any) (*ecdsa.PrivateKey, object) {
	text, isText := named.(string)
	refuseUnless(isText, "request.malformed", "wrong_type")
	name := reference.FindStringSubmatch(text)
	refuseUnless(name != nil, "key.not_found", "reference")
	info, err := os.Lstat(filepath.Join(*folder, name[1]+".pem"))
	refuseUnless(err == nil, "key.not_found", "no_such_key")
	refuseUnless(info.Mode().IsRegular() && info.Mode().Perm()&0o077 == 0, "key.backend_fault", "file_mode")
	content, _ := os.ReadFile(filepath.Join(*folder, info.Name()))
	block, _ := pem.Decode(content)
	refuseUnless(block != nil, "key.backend_fault", "no_pem")
	parsed, _ := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, isECDSA := parsed.(*ecdsa.PrivateKey)
	refuseUnless(isECDSA && key.Curve == elliptic.P256(), "key.algorithm_refused", "key_type")
	spki, _ := x509.MarshalPKIXPublicKey(key.Public())
	keyid := fmt.Sprintf("sha256:%x", sha256.Sum256(spki))
	return key, object{"algorithm": "ES256", "keyid": keyid, "spki": spki, "prehash": "sha256"}
}

func call(method any, given any) object {
	params, isMap := given.(object)
	refuseUnless(isMap, "request.malformed", "wrong_type")
	switch method {
	case "describe":
		_, described := find(params["key"])
		return described
	case "sign":
		key, described := find(params["key"])
		digest, isBin := params["message"].([]byte)
		refuseUnless(isBin, "request.malformed", "wrong_type")
		refuseUnless(len(digest) == sha256.Size, "key.backend_fault", "digest_length")
		signature, err := ecdsa.SignASN1(rand.Reader, key, digest)
		refuseUnless(err == nil, "key.backend_fault", "sign")
		return object{"signature": signature, "keyid": described["keyid"]}
	case "batch":
		items, isList := params["items"].([]any)
		refuseUnless(isList && len(items) <= 4096, "request.malformed", "items")
		outcomes := []any{}
		for _, one := range items {
			item, _ := one.(object)
			refuseUnless(item["method"] != nil && item["method"] != "batch", "request.malformed", "wrong_type")
			result, refused := attempt(func() object { return call(item["method"], item["params"]) })
			outcome := object{"ok": result}
			if refused != nil {
				outcome = object{"error": refused}
			}
			outcomes = append(outcomes, outcome)
		}
		return object{"outcomes": outcomes}
	}
	panic(refusal{"request.unsupported", "method"})
}

// serve answers on a link to its end. With a credential nothing is answered before both sides have proved it.
func serve(link net.Conn, credential []byte) {
	defer link.Close()
	link.SetDeadline(time.Now().Add(5 * time.Second))
	hello, nonce := receive(link), make([]byte, nonceBytes)
	if versions, _ := hello["versions"].([]any); hello["type"] != "hello" || !slices.Contains(versions, any(1)) {
		fail(link, nil, "request.unsupported", "no_common_version")
		return
	}
	rand.Read(nonce)
	answer := object{"type": "hello", "versions": []any{1}, "version": 1, "software": "example-go/1", "nonce": nonce}
	answer["methods"] = []any{"describe", "sign", "batch"}
	send(link, answer)
	if credential != nil && !proved(link, credential, hello["nonce"], nonce) {
		fail(link, nil, "key.forbidden", "wrong_mac")
		return
	}
	link.SetDeadline(time.Time{})
	for message := receive(link); message != nil; message = receive(link) {
		if message["type"] == "cancel" {
			continue // what it withdraws has been answered
		}
		result, refused := attempt(func() object {
			refuseUnless(message["type"] == "request", "request.unsupported", "unknown_type")
			return call(message["method"], message["params"])
		})
		if refused != nil {
			fail(link, message["id"], refused["code"], refused["reason"])
		} else {
			send(link, object{"type": "response", "id": message["id"], "result": result})
		}
	}
}

func main() {
	fd := flag.Int("fd", -1, "descriptor of the connected socket")
	path := flag.String("socket", "", "or a path to listen at, in a folder that nobody else may write to")
	credential := flag.String("credential", "", "with -socket: file of the credential that signerd holds too")
	uid := flag.Int("uid", os.Getuid(), "with -socket: user that signerd runs as")
	flag.Parse()
	if *path != "" {
		log.Fatal(listen(*path, *credential, *uid))
	}
	link, err := net.FileConn(os.NewFile(uintptr(*fd), "link"))
	if err != nil {
		log.Fatal(err)
	}
	serve(link, nil)
}
