// Verifies the log's part of a release file with golang.org/x/mod/sumdb's note and tlog, which are Go's own checksum
// database's.
//
//	log RELEASE-FILE LEAF
//
// LEAF is the entry. Prints the size of the log and the names of those who signed its checkpoint.
package main

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type key struct {
	Name   string `json:"name"`
	Origin string `json:"origin"`
	Public []byte `json:"public"`
}

type envelope struct {
	Payload []byte `json:"payload"`
}

// A witness as C2SP's tlog-cosignature has it: a time, then Ed25519 over that time and the note. The package note knows
// the log's own kind of key only.
type witness struct {
	name   string
	hash   uint32
	public ed25519.PublicKey
}

func (w witness) Name() string    { return w.name }
func (w witness) KeyHash() uint32 { return w.hash }
func (w witness) Verify(message, signature []byte) bool {
	if len(signature) != 8+ed25519.SignatureSize {
		return false
	}
	stamp := fmt.Sprintf("cosignature/v1\ntime %d\n", binary.BigEndian.Uint64(signature))
	return ed25519.Verify(w.public, append([]byte(stamp), message...), signature[8:])
}

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(file, leafFile string) error {
	var release struct {
		Roles     []envelope `json:"roles"`
		TlogProof string     `json:"tlogProof"`
	}
	if err := read(file, &release); err != nil {
		return err
	}
	var roles struct {
		Predicate struct {
			Log       key   `json:"log"`
			Witnesses []key `json:"witnesses"`
		} `json:"predicate"`
	}
	if err := json.Unmarshal(release.Roles[len(release.Roles)-1].Payload, &roles); err != nil {
		return err
	}
	proof, checkpoint, _ := strings.Cut(release.TlogProof, "\n\n")
	verifiers, err := verifiers(roles.Predicate.Log, roles.Predicate.Witnesses, checkpoint)
	if err != nil {
		return err
	}
	opened, err := note.Open([]byte(checkpoint), note.VerifierList(verifiers...))
	if err != nil {
		return err
	}
	head := strings.Split(opened.Text, "\n")
	size, err := strconv.ParseInt(head[1], 10, 64)
	if err != nil {
		return err
	}
	root, err := tlog.ParseHash(head[2])
	if err != nil {
		return err
	}
	lines := strings.Split(proof, "\n")
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[1], "index "), 10, 64)
	if err != nil {
		return err
	}
	var path tlog.RecordProof
	for _, line := range lines[2:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return err
		}
		path = append(path, hash)
	}
	leaf, err := os.ReadFile(leafFile)
	if err != nil {
		return err
	}
	if err := tlog.CheckRecord(path, size, root, index, tlog.RecordHash(leaf)); err != nil {
		return err
	}
	names := []string{}
	for _, signature := range opened.Sigs {
		names = append(names, signature.Name)
	}
	fmt.Println(size, strings.Join(names, " "))
	return nil
}

func verifiers(log key, witnesses []key, checkpoint string) ([]note.Verifier, error) {
	text, err := note.NewEd25519VerifierKey(log.Origin, log.Public)
	if err != nil {
		return nil, err
	}
	verifier, err := note.NewVerifier(text)
	if err != nil {
		return nil, err
	}
	all := []note.Verifier{verifier}
	for _, one := range witnesses {
		for _, line := range strings.Split(checkpoint, "\n") {
			if !strings.HasPrefix(line, "— "+one.Name+" ") {
				continue
			}
			raw, err := base64.StdEncoding.DecodeString(strings.Fields(line)[2])
			if err != nil {
				return nil, err
			}
			// The key's hash is a hint; the signature decides.
			all = append(all, witness{one.Name, binary.BigEndian.Uint32(raw), one.Public})
		}
	}
	return all, nil
}

func read(file string, into interface{}) error {
	bytes, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return json.Unmarshal(bytes, into)
}
