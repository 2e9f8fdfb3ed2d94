package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/larder-db/larder/server/config"
)

// nodeIdentity is who this node is, for as long as its folder exists: a folder that was wiped comes back as somebody else, so
// that nobody counts on what it has promised.
type nodeIdentity struct {
	Node    string `json:"node"`              // 40 hexadecimal digits
	Cluster string `json:"cluster,omitempty"` // likewise; "" while it is about to join
	Seed    uint64 `json:"seed,omitempty"`    // of the keys' hashes, the same in all of the cluster
	Founder bool   `json:"founder,omitempty"` // it began the cluster
	// Members are the peer addresses of the others at the time when this node joined: whom it turns to as long as it has
	// learned nothing newer.
	Members []string `json:"members,omitempty"`
	// Recovering says that this node is being made the only one of a new cluster (recover.go), and is neither yet.
	Recovering bool `json:"recovering,omitempty"`
}

const identityFile = "node.json"

// randomHex is a number of 40 hexadecimal digits.
func randomHex() string {
	return fmt.Sprintf("%016x%016x%08x", randomID(), randomID(), uint32(randomID()))
}

// loadIdentity reads who this node is; ok is false in a new folder.
func loadIdentity(dir string) (id nodeIdentity, ok bool, err error) {
	path := filepath.Join(dir, identityFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return id, false, nil
	}
	if err != nil {
		return id, false, fmt.Errorf("who this node is cannot be read: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&id); err != nil || !isHex40(id.Node) || id.Cluster != "" && !isHex40(id.Cluster) {
		return id, false, fmt.Errorf("%s does not say who this node is: it is damaged, or of another release; restore it, or the whole data folder, from a backup: %w", path, errors.Join(err, errDamagedIdentity))
	}
	return id, true, nil
}

var errDamagedIdentity = errors.New("node and cluster must have 40 hexadecimal digits")

func isHex40(s string) bool {
	if len(s) != 40 {
		return false
	}
	for _, c := range s {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// save writes it; when it returns nil, it is on stable storage.
func (id nodeIdentity) save(dir string) error {
	b, err := json.MarshalIndent(id, "", "  ")
	if err == nil {
		err = config.ReplaceFile(filepath.Join(dir, identityFile), string(append(b, '\n')))
	}
	if err != nil {
		return fmt.Errorf("who this node is cannot be written: %w", err)
	}
	return nil
}
